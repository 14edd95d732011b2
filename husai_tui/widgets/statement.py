"""Lines of text whose parts carry a meaning; only lines that changed are sent."""

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


class Statement(Widget, can_focus=True):
    """Some lines; what does not fit is counted in the last one, what is too long ends in …"""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "statement--faint",
        "statement--good",
        "statement--warn",
        "statement--bad",
        "statement--accent",
        "statement--strong",
    }
    DEFAULT_CSS = """
    Statement { height: 1fr; width: 1fr; }
    Statement > .statement--faint { color: $faint; }
    Statement > .statement--good { color: $success; }
    Statement > .statement--warn { color: $warning; }
    Statement > .statement--bad { color: $error; text-style: bold; }
    Statement > .statement--accent { color: $accent; text-style: bold; }
    Statement > .statement--strong { text-style: bold; }
    """

    def __init__(self, *, more: str = "", id: str | None = None) -> None:
        """Make it.

        Args:
            more: what shows the lines that do not fit, as `: x reads all`.
            id: name for the style sheet.
        """
        super().__init__(id=id)
        self._more = more
        self._lines: list[tuple[Part, ...]] = []
        self._painted: dict[int, tuple[Part, ...]] = {}

    def tell(self, lines: Sequence[Sequence[Part]]) -> None:
        """Show these lines."""
        self._lines = [tuple(line) for line in lines]
        if not self.is_attached or not self.size:
            return
        for y in range(self.size.height):
            if self._painted.get(y) != self._line(y):
                self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self) -> None:
        """Paint all anew."""
        self._painted.clear()

    @property
    def text(self) -> str:
        """All lines, without their colours."""
        return "\n".join("".join(text for text, _ in line) for line in self._lines)

    def _line(self, y: int) -> tuple[Part, ...]:
        height, hidden = self.size.height, len(self._lines) - self.size.height
        if hidden > 0 and y == height - 1:
            return ((f"… {hidden + 1} more lines{self._more}", "faint"),)
        return self._lines[y] if y < len(self._lines) else ()

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        line, room = self._line(y), self.size.width
        self._painted[y] = line
        segments, plain = [], self.rich_style
        for text, tone in line:
            text = visible_line(text)
            style = plain
            if tone:
                style += self.get_component_rich_style(f"statement--{tone}", partial=True)
            if cell_len(text) > room:
                text = set_cell_size(text, max(0, room - 1)) + "…"
            if room > 0:
                segments.append(Segment(text, style))
            room -= cell_len(text)
        return Strip(segments).adjust_cell_length(self.size.width, plain)
