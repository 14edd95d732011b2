"""A log as it is read: which lines are in sight, where the cursor is, what is searched, what is followed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, chop_cells, set_cell_size

from husai_tui.state.logfile import Kind, LogFile, trouble
from husai_tui.state.query import Query

Aim = Literal["match", "trouble", "step", "start"]
AT_ONCE = 1 << 20
"""Bytes that a key searches before it leaves the rest to the next look."""
PER_LOOK = 1 << 25
"""Bytes that are read back, or searched, in one look."""
_STEP = re.compile(r"\bstep[ =:]+(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One line on the screen."""

    number: int
    """Of the line; -1 in `text`: there is none here."""
    text: str
    kind: Kind = ""
    cursor: bool = False
    """Whether the line is in hand."""
    begins: bool = True
    """Whether it is the first row of its line, where lines are wrapped."""
    marks: tuple[tuple[int, int], ...] = ()
    """Where the search found something: columns of the text, from and to."""
    real: bool = True
    """Whether there is a line at all."""


EMPTY = Row(-1, "", real=False)


@dataclass
class Quest:
    """A line that is looked for."""

    aim: Aim
    way: int
    """1: down, −1: up."""
    at: int
    """Number of the line to go on from."""
    step: int = 0
    """For `step`: the one to come near to."""
    best: int | None = None
    """For `step`: the nearest line so far."""
    turned: bool = False
    """Whether nothing was there the way it began, so that it looks the other way."""


class LogPage:
    """A log in a window of some width and height."""

    def __init__(self, file: LogFile) -> None:
        self.file = file
        self.width, self.height = 80, 20
        self.cursor = self.top = self.row = 0
        """Line in hand; line at the top, and which of its rows is there."""
        self.left = 0
        """First column in sight, where lines are not wrapped."""
        self.follow, self.wrap = True, False
        self.query = Query("")
        self.quest: Quest | None = None
        self.said = ""
        """What became of the last search; empty: nothing to say."""
        self._generation = -1

    # The clock

    def look(self) -> bool:
        """Take in what is new (may be called from a thread); return whether more is to be done at once."""
        before = self.file.generation
        self.file.poll()
        if before and before != self.file.generation:
            self.quest = None
        if self.quest is not None:
            self._pursue(PER_LOOK)
            return self.quest is not None
        self.file.read_back(PER_LOOK)
        return False

    def settle(self) -> None:
        """Bring cursor and window to where they belong now."""
        file = self.file
        if self._generation != file.generation:
            self._generation, self.row, self.cursor = file.generation, 0, file.end - 1
        if self.follow and self.quest is None:
            self.cursor = file.end - 1
        self._keep_in_sight()

    def resize(self, width: int, height: int) -> None:
        """Take another size."""
        self.width, self.height = max(1, width), max(1, height)
        self.row = 0
        self._keep_in_sight()

    # Moving

    def move(self, by: int) -> None:
        """Go down or up some lines; up leaves the end, down to it does not follow by itself."""
        self._go(self.cursor + by)

    def scroll(self, by: int) -> None:
        """Go down or up some rows of the screen: a wrapped line may be longer than the window."""
        if not self.wrap:
            self.move(by)
            return
        for _ in range(abs(by)):
            rows = len(self._rows_of(self.top))
            if by > 0 and self.row + 1 < rows:
                self.row += 1
            elif by > 0 and self.top + 1 < self.file.end:
                self.top, self.row = self.top + 1, 0
            elif by < 0 and self.row:
                self.row -= 1
            elif by < 0 and self.top > self.file.first:
                self.top -= 1
                self.row = len(self._rows_of(self.top)) - 1
        self.follow = False
        self.cursor = max(self.top, min(self.cursor + by, self._bottom()))

    def shift(self, by: int) -> None:
        """Show what is further left or right of lines that are not wrapped."""
        self.left = max(0, self.left + by * 8)

    def to_start(self) -> None:
        """Go to the first line, once it is known where that is."""
        self.follow = False
        self._seek(Quest("start", -1, self.file.first))

    def to_end(self) -> None:
        """Go to the last line, and stay there when more come."""
        self.quest, self.said, self.follow = None, "", True
        self.settle()

    def toggle_follow(self) -> None:
        """Follow, or stay."""
        if self.follow:
            self.follow = False
        else:
            self.to_end()

    def toggle_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self.wrap, self.left, self.row = not self.wrap, 0, 0
        self._keep_in_sight()

    # Searching

    def search(self, text: str) -> str:
        """Search for something else; return what is wrong with it."""
        query = Query(text)
        if query.wrong:
            return query.wrong
        changed = query.text != self.query.text
        self.query, self.said = query, ""
        if query and changed and not query.matches(self.file.line(self.cursor)):
            # Logs are read from their end: what was searched is the newest of its kind.
            self._seek(Quest("match", -1, self.cursor))
        elif not query and self.quest and self.quest.aim == "match":
            self.quest = None
        return ""

    def next_match(self, way: int) -> None:
        """Go to the next line down (1) or up (−1) that has what is searched."""
        if not self.query:
            self.said = "nothing is searched: / begins"
            return
        self._seek(Quest("match", way, self.cursor + way))

    def next_trouble(self, way: int) -> None:
        """Go to the next error, warning or NaN."""
        self._seek(Quest("trouble", way, self.cursor + way))

    def to_step(self, step: int) -> None:
        """Go to the line that tells of a step, or of the one nearest to it."""
        self._seek(Quest("step", -1, self.file.end - 1, step=step))

    def _seek(self, quest: Quest) -> None:
        self.quest, self.said = quest, ""
        self._pursue(AT_ONCE)

    def _pursue(self, budget: int) -> None:
        """Look for what is looked for, through about so many bytes."""
        quest = self.quest
        if quest is None:
            return
        if quest.aim == "start":
            if not self.file.read_back(budget):
                self._arrive(self.file.first, quest)
            return
        found, at = self.file.find(
            self._test(quest),
            quest.at,
            quest.way,
            budget,
            troubled=quest.aim == "trouble",
            hints=self._hints(quest),
        )
        quest.at = at
        if found is not None:
            self._arrive(found, quest)
        elif self.file.first <= at < self.file.end:
            return
        elif at < self.file.first and not self.file.whole:
            self.file.read_back(budget)
        else:
            self._give_up(quest)

    def _test(self, quest: Quest) -> Callable[[str], bool]:
        if quest.aim == "match":
            return self.query.matches
        if quest.aim == "trouble":
            return lambda line: bool(trouble(line))
        return lambda line: bool((found := _STEP.search(line)) and int(found[1]) <= quest.step)

    def _hints(self, quest: Quest) -> list[bytes]:
        if quest.aim == "match":
            return self.query.hints
        return [b"step"] if quest.aim == "step" else []

    def _give_up(self, quest: Quest) -> None:
        what = {"match": "match", "trouble": "error or warning", "step": "line about a step"}
        where = "below" if quest.way > 0 else "above"
        name, self.quest = what.get(quest.aim, ""), None
        if quest.turned or quest.aim == "step":
            self.said = (
                f"no line here tells of step {quest.step} or one before it"
                if quest.aim == "step"
                else f"no {name} in this log"
            )
            return
        # At the end of a log, where it opens, the next one is the last one.
        here = self.file.line(self.cursor)
        on_one = self.query.matches(here) if quest.aim == "match" else bool(trouble(here))
        if not on_one:
            self._seek(Quest(quest.aim, -quest.way, self.cursor - quest.way, turned=True))
        self.said = self.said or f"no {'' if not on_one else 'other '}{name} {where}"

    def _arrive(self, number: int, quest: Quest) -> None:
        self.quest, self.follow = None, False
        self.cursor = number
        if not self.top <= number <= self._bottom() - 1:
            self.top, self.row = max(self.file.first, number - self.height // 3), 0
        self._keep_in_sight()

    # What is in sight

    def rows(self) -> list[Row]:
        """Return the rows of the window, from the top; as many as it is high."""
        rows: list[Row] = []
        number, skip = self.top, self.row
        while len(rows) < self.height and number < self.file.end:
            rows += self._shown(number)[skip:]
            number, skip = number + 1, 0
        return (rows + [EMPTY] * self.height)[: self.height]

    def _shown(self, number: int) -> list[Row]:
        line = self.file.line(number)
        kind, marks, cursor = trouble(line), self.query.marks(line), number == self.cursor
        if not self.wrap:
            text, marks = _cut(line, marks, self.left, self.width)
            return [Row(number, text, kind, cursor, True, tuple(marks))]
        rows, at = [], 0
        for part in self._rows_of(number):
            mine = _clip(marks, at, at + len(part))
            rows.append(Row(number, part, kind, cursor, not at, tuple(mine)))
            at += len(part)
        return rows

    def _rows_of(self, number: int) -> list[str]:
        if not self.wrap:
            return [""]
        return chop_cells(self.file.line(number), self.width) or [""]

    def _bottom(self) -> int:
        """Return the last line that is in sight, at least in part."""
        if not self.wrap:
            return min(self.file.end, self.top + self.height) - 1
        number, used = self.top, -self.row
        while number < self.file.end:
            used += len(self._rows_of(number))
            if used >= self.height:
                return number
            number += 1
        return self.file.end - 1

    def _go(self, number: int) -> None:
        last = self.file.end - 1
        if number < self.cursor:
            self.follow = False
        if number < self.file.first and not self.file.whole:
            self.file.read_back(AT_ONCE)
        self.quest, self.said = None, ""
        self.cursor = max(self.file.first, min(number, last))
        self._keep_in_sight()

    def _keep_in_sight(self) -> None:
        first, last = self.file.first, self.file.end - 1
        self.cursor = max(first, min(self.cursor, last))
        self.top = max(first, min(self.top, last))
        if self.cursor < self.top:
            self.top, self.row = self.cursor, 0
        elif not self.wrap:
            self.row = 0
            self.top = max(self.top, self.cursor - self.height + 1)
            self.top = max(first, min(self.top, last - self.height + 1))
        else:
            self._fit_wrapped()

    def _fit_wrapped(self) -> None:
        """Put the window so that the whole line in hand is in it, or its beginning if it is too long."""
        self.row = min(self.row, len(self._rows_of(self.top)) - 1)
        need, number = len(self._rows_of(self.cursor)), self.cursor
        while number > self.file.first and number > self.top:
            more = len(self._rows_of(number - 1))
            if need + more > self.height:
                break
            number, need = number - 1, need + more
        if number > self.top or (number == self.top == self.cursor and not self.follow):
            self.top, self.row = number, (self.row if number == self.top else 0)
        elif self.follow:
            self.top, self.row = number, 0

    # What is said

    def number_of(self, line: int) -> int | None:
        """Return the number of a line from the start of the file; None: nobody knows yet."""
        return line - self.file.first + 1 if self.file.whole else None


def _cut(
    line: str, marks: list[tuple[int, int]], left: int, width: int
) -> tuple[str, list[tuple[int, int]]]:
    """Return the part of a line that is in sight, with … where it goes on, and the marks in it."""
    begin = "…" if left and line else ""
    part = line[left + len(begin) :] if left else line
    room = width - len(begin)
    if cell_len(part) > room:
        kept = set_cell_size(part, max(0, room - 1)).rstrip("\0")
        part = kept + "…"
    text = begin + part
    return text, _clip(marks, left, left + len(text))


def _clip(marks: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    return [(max(a, start) - start, min(b, end) - start) for a, b in marks if a < end and b > start]
