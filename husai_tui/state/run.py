"""The Run screen: one job's curves, and everything about it that is not a curve, on one sheet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.client.curves import CurveTail
from engine.disk.rundir import RunDirectory
from engine.disk.text import bare
from husai_tui.state.curves import WEIGHTS, Curves
from husai_tui.state.facts import (
    WITH_CURVES,
    Facts,
    details,
    headline,
    looking,
    notes,
    read_facts,
)
from husai_tui.state.panels import Data, Flag, take
from husai_tui.state.paper import Ink, Paper, Part, length, series_ink, wrap
from husai_tui.state.plot import AXIS, Box, chart, columns_of, strip
from husai_tui.state.runs import Job, Paces

ALL_PANELS = (120, 34)
"""Columns and lines from which all panels are shown at once."""
STRIP = 4
"""Lines of the row of small charts."""
LONGEST_NOTE = 3
BAND_SEEDS = 3
"""Seeds from which median and range are drawn at first: lines of one colour per cell hide each other."""


@dataclass(frozen=True)
class Loaded:
    """What was read of a job at one moment."""

    directory: str = ""
    data: Data = field(default_factory=Data)
    facts: Facts = field(default_factory=Facts)
    trouble: str = ""
    """What is wrong with the files; the rest is then what was read last."""


class Follower:
    """Reads the files of one job again and again; belongs to the thread that loads."""

    def __init__(self, run: RunDirectory, directory: str) -> None:
        self.directory = directory
        self._run, self._tail = run, CurveTail(run.curves_file)
        self._last, self._read = Loaded(directory), ""

    def read(self) -> Loaded:
        """Return what is there now. A file that vanished or cannot be read is told, and what was read stays."""
        facts = read_facts(self._run, self._last.facts)
        file, trouble, data = self._run.curves_file, "", self._last.data
        try:
            changed = self._tail.poll()
            if len(data) and not len(self._tail) and not file.is_file():
                trouble = f"{file.name} is gone"
            elif changed or len(data) != len(self._tail):
                data = take(self._tail)
        except (OSError, OverflowError) as error:
            trouble = f"{file.name} cannot be read: {getattr(error, 'strerror', None) or error}"
        if trouble and len(data):
            trouble += f"; what is shown was read at {self._read}"
        if not trouble:
            self._read = time.strftime("%H:%M:%S")
        if not facts.there:
            facts = Facts(
                self._last.facts.config, self._last.facts.result, self._last.facts.log, False
            )
        self._last = Loaded(self.directory, data, facts, trouble)
        return self._last


class RunSheet:
    """One job as it is shown: `draw` makes the sheet, the rest changes how it is looked at."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.loaded = Loaded()
        self.curves = Curves("")
        self.paces = Paces()
        self.maximised = False
        self._now = 0.0
        self._columns = 60
        self._told: set[tuple[str, Flag]] = set()
        self.wish: dict[str, Any] = {}
        """How the curves of the last job were looked at, for the next one."""

    def update(self, job: Job | None, loaded: Loaded, now: float) -> list[Flag]:
        """Take a newer look, and return the red flags that were raised since the last one."""
        self._now = now
        fresh = loaded.directory != self.loaded.directory
        self.loaded = loaded
        self.job = job or self.job
        if self.job is None:
            return []
        live = self.job["state"] in ("running", "queued", "paused")
        end = float(self.job["steps"]) if self.job["steps"] else None
        if fresh or self.curves.kind != self.job["kind"]:
            self.curves = Curves(self.job["kind"], loaded.facts.seeds, end)
            self.take_wish()
        self.curves.seeds, self.curves.end = loaded.facts.seeds, end
        self.curves.update(loaded.data, live=live)
        named = {(loaded.directory, flag) for flag in loaded.data.flags}
        new = [flag for directory, flag in sorted(named - self._told, key=lambda one: one[1].step)]
        self._told |= named
        return [] if fresh else new

    def take_wish(self) -> None:
        """Look at a new job as at the one before."""
        curves, wish = self.curves, self.wish
        curves.band = bool(wish.get("band", len(curves.seeds) >= BAND_SEEDS))
        weight = wish.get("weight", 0)
        curves.weight = weight if isinstance(weight, int) and 0 <= weight < len(WEIGHTS) else 0
        log = wish.get("log", {})
        curves.log = {str(k): bool(v) for k, v in log.items()} if isinstance(log, dict) else {}

    def keep_wish(self) -> dict[str, Any]:
        """Return how the curves are looked at, as plain values."""
        curves = self.curves
        if self.job is None:
            return self.wish
        self.wish = {
            "band": curves.band,
            "weight": curves.weight,
            "log": dict(curves.log),
        }
        return self.wish

    # What the chart asks for

    def zoom(self, by: int) -> str:
        """Halve or double what is in sight."""
        return self.curves.zoom(by)

    def pan(self, by: int) -> str:
        """Move what is in sight."""
        return self.curves.pan(by)

    def reset(self) -> str:
        """Show everything."""
        return self.curves.reset()

    def scrub(self, cells: int) -> str:
        """Move the cursor."""
        return self.curves.scrub(cells, self._columns)

    def smooth(self, by: int) -> str:
        """Smooth more or less."""
        return self.curves.smooth(by)

    def toggle(self, what: str) -> str:
        """Change between lines and band, steps and time, linear and logarithmic."""
        ways: dict[str, Callable[[], str]] = {
            "band": self.curves.toggle_band,
            "axis": self.curves.toggle_axis,
            "log": self.curves.toggle_log,
        }
        return ways[what]()

    def select(self, by: int) -> str:
        """Go to the next panel."""
        return self.curves.select(by)

    # Drawing

    def draw(self, width: int, height: int) -> Paper:
        """Return the sheet."""
        with np.errstate(all="ignore"):  # a warning would be written across the screen
            return self._draw(width, height)

    def _draw(self, width: int, height: int) -> Paper:
        paper = Paper(width, height)
        if self.job is None:
            paper.write(2, 2, self.loaded.trouble or "nothing has run yet", "faint")
            paper.write(2, 3, "5 builds a sweep, or `husai-engine submit STUDY`", "faint")
            return paper
        y = self._head(paper, self.job)
        if not len(self.curves.data) or not self.curves.panels:
            self._log(paper, y + 1)
            return paper
        everything = width >= ALL_PANELS[0] and height >= ALL_PANELS[1] and not self.maximised
        body = Box(1, y, width - 2, height - y)
        self._grid(paper, body) if everything else self._one(paper, body)
        return paper

    def _head(self, paper: Paper, job: Job) -> int:
        facts, room = self.loaded.facts, paper.width - 2
        left, right = headline(job, self.curves, facts, self.paces, self._now)
        begins = paper.right(0, right, paper.width - 1, room * 2 // 3)
        if length(left) > begins - 2:
            left[1] = ("  ", "")  # the job's name says more than its study's
        paper.parts(1, 0, left, max(0, begins - 2))
        right = looking(self.curves, WEIGHTS[self.curves.weight])
        begins = paper.right(1, right, paper.width - 1, room * 2 // 3)
        paper.parts(1, 1, details(job, self.curves, facts, self._now), max(0, begins - 2))
        y = 2
        told = notes(job, facts, self.loaded.trouble)
        if flag := self.curves.flag:
            told.append((f"! {flag.message}", "bad" if flag.name == "diverged" else "warn"))
        for text, ink in told:
            # What goes on is indented, below the text and not below its mark.
            for number, line in enumerate(wrap(text[2:], room - 2, LONGEST_NOTE)):
                paper.write(1, y, ("  " if number else text[:2]) + line, ink)
                y += 1
        return y

    def _one(self, paper: Paper, body: Box) -> None:
        """Draw the selected panel large, and all of them small below it."""
        keys = self._keys_line()
        room = body.height - (1 if keys else 0)
        small = not self.maximised and room >= STRIP + 8
        main = room - (STRIP + 1 if small else 0)
        self._columns = columns_of(body.width)
        gap = 1 if main >= 10 else 0
        box = Box(body.x, body.y + gap, body.width, max(4, main - gap))
        chart(paper, box, self.curves, self.curves.selected)
        y = body.y + main + 1
        if small:
            panels = range(len(self.curves.panels))
            strip(paper, Box(body.x, y, body.width, STRIP), self.curves, panels)
            y += STRIP
        if keys:
            paper.parts(body.x + 1, body.y + body.height - 1, keys, body.width - 1)

    def _grid(self, paper: Paper, body: Box) -> None:
        """Draw all panels, and in the last place the values of each seed and the red flags."""
        count = len(self.curves.panels)
        across = 3 if body.width >= 240 else 2
        down = -(-(count + 1) // across)
        gap = 3
        width = (body.width - gap * (across - 1)) // across
        height = (body.height - 1) // down
        self._columns = columns_of(width)
        for place in range(down * across):
            x = body.x + place % across * (width + gap)
            y = body.y + 1 + place // across * height
            box = Box(x, y, width, height - 1)
            if place < count:
                chart(paper, box, self.curves, place, values=False)
            elif place == count:
                self._table(paper, box)

    def _table(self, paper: Paper, box: Box) -> None:
        """Write the values of each seed, now or at the cursor, then key frequencies and red flags."""
        curves = self.curves
        y, end = box.y, box.y + box.height
        rows = list(self._rows()) if curves.kind == "cohort" else []
        if rows:
            at = curves.data.steps[-1] if curves.cursor is None else curves.cursor
            paper.write(box.x + 2, y, f"at step {at:,.0f}", "strong")
            names = max(18, AXIS + max(len(curves.label(place)) for place, _ in rows) + 1)
            column = min(12, (box.width - names) // len(curves.panels))
            ends = [box.x + names + column * (n + 1) for n in range(len(curves.panels))]
            for end_x, panel in zip(ends, curves.panels, strict=True):
                paper.right(y, [(panel.short, "faint")], end_x, column - 1)
            shown = rows if len(rows) <= end - y - 3 else rows[: max(1, end - y - 5)]
            for place, values in shown:
                y += 1
                paper.write(box.x + AXIS, y, curves.label(place), series_ink(place))
                for end_x, text in zip(ends, values, strict=True):
                    paper.right(y, [(text, "")], end_x, column - 1)
            if len(shown) < len(rows):
                y += 1
                paper.write(box.x + AXIS, y, f"and {len(rows) - len(shown)} seeds more", "faint")
            y += 2
        for parts in [*self._key_lines(), *self._flag_lines(end - y)]:
            if y < end:
                paper.parts(box.x + 2, y, parts, box.width - 2)
                y += 1

    def _rows(self) -> Iterator[tuple[int, Sequence[str]]]:
        """Yield each seed's place and its values in all panels."""
        curves, columns = self.curves, []
        for panel in curves.panels:
            lines = curves.lines(panel, plain=True)
            row = lines.row(curves.cursor)
            best = lines.raw_TL
            columns.append(
                {p: best[row, n] if row >= 0 else np.nan for n, p in enumerate(lines.places)}
            )
        for place in range(len(curves.seeds)):
            if any(place in column for column in columns):
                values = [column.get(place, np.nan) for column in columns]
                yield place, [p.told(float(v)) for p, v in zip(curves.panels, values, strict=True)]

    def _key_lines(self) -> list[list[Part]]:
        keys = self.loaded.facts.key_frequencies()
        if not keys:
            return []
        lines: list[list[Part]] = [[("key frequencies and their share of the logits", "strong")]]
        for key, share in keys:
            bar = "█" * max(1, round(30 * share / max(keys[0][1], 1e-9)))
            lines.append(
                [(f"{key:>4}  ", "accent"), (f"{100 * share:5.1f} %  ", ""), (bar, "accent")]
            )
        return [*lines, [("", "")]]

    def _keys_line(self) -> list[Part]:
        """Return the key frequencies in one line, where they are not drawn."""
        keys = self.loaded.facts.key_frequencies()
        if not keys:
            return []
        parts: list[Part] = [("key frequencies", "faint")]
        for key, share in keys[:8]:
            parts += [(f"  {key}", "accent"), (f" {100 * share:.0f} %", "")]
        return parts

    def _flag_lines(self, room: int) -> list[list[Part]]:
        flags = sorted(self.curves.data.flags, key=lambda flag: flag.step)
        if not flags or room < 2:
            return []
        lines: list[list[Part]] = [[("red flags", "strong")]]
        for flag in flags[-(room - 1) :]:
            ink: Ink = "bad" if flag.name == "diverged" else "warn"
            lines.append([("! ", ink), (f"step {flag.step:,}  ", "faint"), (flag.message, "")])
        return lines

    def _log(self, paper: Paper, y: int) -> None:
        """Write the end of the log, for a job that has no curves (yet)."""
        assert self.job is not None, "there is nothing to draw without a job"
        if self.job["kind"] in WITH_CURVES and self.job["state"] in ("running", "queued"):
            paper.write(2, y, "no measurement yet", "faint")
            y += 2
        lines = [line for line in self.loaded.facts.log if line.strip()]
        shown = lines[-max(0, paper.height - y - 1) :]
        if shown:
            paper.write(
                2, y, "the end of its log" if len(shown) < len(lines) else "its log", "strong"
            )
        elif self.job["state"] not in ("queued", "paused"):
            paper.write(2, y, "its log is empty", "faint")
        for line in shown:
            y += 1
            paper.write(2, y, line, "faint", paper.width - 3)

    # For others

    def values_text(self) -> str:
        """Return the values at the cursor as one line."""
        curves = self.curves
        if not len(curves.data):
            return ""
        told = []
        for panel in curves.panels:
            lines = curves.lines(panel, plain=True)
            row = lines.row(curves.cursor)
            values = lines.raw_TL[row].tolist() if row >= 0 else []
            each = [
                bare(f"{label} {value:.6g}".strip())
                for label, value in zip(lines.labels, values, strict=False)
            ]
            told.append(f"{panel.title}: {', '.join(each)}")
        at = curves.data.steps[-1] if curves.cursor is None else curves.cursor
        return f"step {at:.0f}; {'; '.join(told)}"


class Measurements(Sequence[Sequence[Any]]):
    """The rows of curves for export, made one at a time: there may be hundreds of thousands."""

    def __init__(self, curves: Curves) -> None:
        self._data = curves.data
        self.columns = ["step", "seconds"]
        self._values = []
        for name, values in curves.data.series.items():
            many = values.shape[1] > 1
            for place in range(values.shape[1]):
                self.columns.append(f"{name}/{curves.label(place)}" if many else name)
                self._values.append(values[:, place])

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[place] for place in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        numbers = [self._data.seconds[row], *(values[row] for values in self._values)]
        told = [float(value) if np.isfinite(value) else None for value in numbers]
        return [int(self._data.steps[row]), *told]
