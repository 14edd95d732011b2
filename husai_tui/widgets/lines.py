"""Lines of text whose parts carry meanings; only lines that changed are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.disk.text import visible_line
from husai_tui.tones import Part


class Lines(Widget):
    """As many lines as there is room for; what is too long ends in …"""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "lines--faint",
        "lines--good",
        "lines--warn",
        "lines--bad",
        "lines--accent",
        "lines--strong",
    }
    DEFAULT_CSS = """
    Lines { height: 1fr; width: 1fr; }
    Lines > .lines--faint { color: $faint; }
    Lines > .lines--good { color: $success; }
    Lines > .lines--warn { color: $warning; }
    Lines > .lines--bad { color: $error; text-style: bold; }
    Lines > .lines--accent { color: $accent; }
    Lines > .lines--strong { text-style: bold; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[tuple[Part, ...]] = []

    def tell(self, lines: Sequence[Sequence[Part]]) -> None:
        """Show these lines."""
        now = [tuple(line) for line in lines]
        before, self._lines = self._lines, now
        for y in range(min(max(len(before), len(now)), self.size.height)):
            if before[y : y + 1] != now[y : y + 1]:
                self.refresh(Region(0, y, self.size.width, 1))

    @property
    def text(self) -> str:
        """What it says, without its colours."""
        return "\n".join("".join(text for text, _ in line) for line in self._lines)

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        width, plain = self.size.width, self.rich_style
        segments: list[Segment] = []
        room = width
        for text, tone in self._lines[y] if y < len(self._lines) else ():
            text = visible_line(text)
            if cell_len(text) > room:
                text = set_cell_size(text, max(0, room - 1)) + "…" * (room > 0)
            style = plain
            if tone:
                style += self.get_component_rich_style(f"lines--{tone}", partial=True)
            segments.append(Segment(text, style))
            room -= cell_len(text)
        segments.append(Segment(" " * max(0, room), plain))
        return Strip(segments, width)
