"""The first and the last line: where we are, and what can be done here. They are sent only when they change."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from engine.disk.text import visible_line
from husai_tui.tones import Part, Tone


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
        """Show these parts; nothing is sent if they are shown already."""
        told = (tuple(left), tuple(right))
        if told != (self._left, self._right):
            self._left, self._right = told
            self.refresh()

    @property
    def text(self) -> str:
        """What it says, without its colours."""
        return "".join(text for text, _ in (*self._left, *self._right))

    def render_line(self, y: int) -> Strip:
        """Return the line."""
        width = self.size.width
        right = self._right if sum(cell_len(text) for text, _ in self._right) < width - 2 else ()
        room = width - 2 - sum(cell_len(text) for text, _ in right)
        segments = [self._segment(" ", "")]
        for text, tone in self._left:
            text = visible_line(text)
            if cell_len(text) > room:
                break
            segments.append(self._segment(text, tone))
            room -= cell_len(text)
        segments.append(self._segment(" " * room, ""))
        segments += [self._segment(visible_line(text), tone) for text, tone in right]
        segments.append(self._segment(" ", ""))
        return Strip(segments, width).crop(0, width)

    def _segment(self, text: str, tone: Tone) -> Segment:
        style = self.rich_style
        if tone:
            style += self.get_component_rich_style(f"bar--{tone}", partial=True)
        return Segment(text, style)
