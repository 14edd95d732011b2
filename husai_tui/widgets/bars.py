"""The first and the last line: where we are, and what can be done here. They are sent only when they change."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.disk.text import visible_line
from husai_tui.tones import Part, Tone

MOST_LOST = 12
"""Cells that a part may leave empty rather than be cut: half a word says less than none."""


class Bar(Widget):
    """One line: parts from the left, parts at the right edge; the last ones on the left give way first."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "bar--faint",
        "bar--good",
        "bar--warn",
        "bar--bad",
        "bar--accent",
        "bar--strong",
    }
    DEFAULT_CSS = """
    Bar { height: 1; width: 1fr; background: $panel; }
    Bar > .bar--faint { color: $faint; }
    Bar > .bar--good { color: $success; }
    Bar > .bar--warn { color: $warning; }
    Bar > .bar--bad { color: $error; text-style: bold; }
    Bar > .bar--accent { color: $accent; text-style: bold; }
    Bar > .bar--strong { text-style: bold; }
    Bar:ansi { background: transparent; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._left: tuple[Part, ...] = ()
        self._right: tuple[Part, ...] = ()

    def tell(self, left: list[Part], right: list[Part]) -> None:
        """Show these parts; only what changes of the line is sent."""
        told = (tuple(left), tuple(right))
        if told == (self._left, self._right):
            return
        before = self._cells() if self.is_attached and self.size else []
        self._left, self._right = told
        now = self._cells() if before else []
        changed = [x for x, pair in enumerate(zip(before, now, strict=False)) if pair[0] != pair[1]]
        if not before or len(before) != len(now):
            self.refresh()
        elif changed:
            self.refresh(Region(changed[0], 0, changed[-1] + 1 - changed[0], 1))

    def _cells(self) -> list[tuple[str, Tone]]:
        """Return every cell of the line: what begins in it, and what that means."""
        cells: list[tuple[str, Tone]] = []
        for text, tone in self._parts():
            for character in text:
                wide = cell_len(character)
                cells += [(character, tone), *[("", tone)] * (wide - 1)][:wide]
        return cells

    @property
    def text(self) -> str:
        """What it says, without its colours."""
        return "".join(text for text, _ in (*self._left, *self._right))

    def render_line(self, y: int) -> Strip:
        """Return the line."""
        width = self.size.width
        segments = [self._segment(text, tone) for text, tone in self._parts()]
        return Strip(segments).crop(0, width)

    def _parts(self) -> list[Part]:
        """Return what fits of the line, from the left edge to the right one."""
        right = [(visible_line(text), tone) for text, tone in self._right]
        right = [("  ", ""), *right] if right and not right[0][0].startswith(" ") else right
        used = sum(cell_len(text) for text, _ in right)
        if used >= self.size.width - 2:
            right, used = [], 0
        room = self.size.width - 2 - used
        parts: list[Part] = [(" ", "")]
        for text, tone in self._left:
            told = visible_line(text)
            if cell_len(told) > room:
                if room > MOST_LOST:
                    parts.append((set_cell_size(told, room - 1) + "…", tone))
                    room = 0
                elif len(parts) > 2 and parts[-1][1] == "accent":
                    room += cell_len(parts.pop()[0])  # a key without its word
                break
            parts.append((told, tone))
            room -= cell_len(told)
        return [*parts, (" " * room, ""), *right, (" ", "")]

    def _segment(self, text: str, tone: Tone) -> Segment:
        style = self.rich_style
        if tone:
            style += self.get_component_rich_style(f"bar--{tone}", partial=True)
        return Segment(text, style)
