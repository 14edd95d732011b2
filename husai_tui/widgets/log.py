"""The rows of a log: only what has changed of them is sent."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.events import Click, MouseScrollDown, MouseScrollUp, Resize
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from husai_tui.state.logs import LogPage, Row

MARGIN = 3
"""Cells before the text: the line in hand, the kind of trouble, a space."""
GLYPHS = {"": " ", "warn": "!", "bad": "✗"}


class Log(Widget, can_focus=True):
    """A window on a log."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--cursor",
        "log--bad",
        "log--warn",
        "log--faint",
        "log--match",
        "log--accent",
    }
    DEFAULT_CSS = """
    Log { height: 1fr; width: 1fr; }
    Log > .log--cursor { background: $panel; }
    Log > .log--bad { color: $error; }
    Log > .log--warn { color: $warning; }
    Log > .log--faint { color: $faint; }
    Log > .log--accent { color: $accent; text-style: bold; }
    Log > .log--match { background: $accent; color: $background; }
    Log:ansi > .log--match, Log:nocolor > .log--match { text-style: reverse; }
    Log:ansi > .log--cursor, Log:nocolor > .log--cursor { text-style: bold; }
    """

    class Moved(Message):
        """The mouse took another line in hand."""

    def __init__(self) -> None:
        super().__init__()
        self.page: LogPage | None = None
        self.empty = ""
        """What to say where there is no line."""
        self._rows: list[Row] = []
        self._painted: dict[int, list[tuple[str, Style]]] = {}

    def set_page(self, page: LogPage | None) -> None:
        """Show another log, or the same one at another place."""
        self.page = page
        if page and self.size and (page.width, page.height) != self._room:
            page.resize(*self._room)
        self.repaint()

    @property
    def _room(self) -> tuple[int, int]:
        return max(1, self.size.width - MARGIN - 1), max(1, self.size.height)

    def repaint(self) -> None:
        """Send what has changed, from the first cell of a row that differs to the last."""
        self._rows = self.page.rows() if self.page else []
        if not self.is_attached or not self.size:
            return
        for y in range(self.size.height):
            before, now = self._painted.get(y), self._line(y)
            if before is None:
                self.refresh(Region(0, y, self.size.width, 1))
            elif before != now:
                start, end = _changed(before, now)
                self.refresh(Region(start, y, min(end, self.size.width) - start, 1))

    def on_resize(self, event: Resize) -> None:
        """Fill the new size."""
        self._painted.clear()
        if self.page:
            self.page.resize(*self._room)
            self._rows = self.page.rows()

    def on_focus(self) -> None:
        """Show that keys go here."""
        self.repaint()

    # Painting

    def render_line(self, y: int) -> Strip:
        """Return one row of the window."""
        parts = self._line(y)
        self._painted[y] = parts
        return Strip([Segment(text, style) for text, style in parts], self.size.width)

    def _line(self, y: int) -> list[tuple[str, Style]]:
        width, plain = self.size.width, self.rich_style
        row = self._rows[y] if y < len(self._rows) else None
        if row is None or not row.real:
            said = self.empty if y == 1 and not (self._rows and self._rows[0].real) else ""
            return [(f"   {said}".ljust(width)[:width], self._part("faint", plain))]
        ground = self._part("cursor", plain) if row.cursor else plain
        parts = [("▌" if row.cursor else " ", self._part("accent", ground))]
        tone = self._part(row.kind, ground) if row.kind else ground
        glyph = GLYPHS[row.kind] if row.begins else "┆"
        parts.append((f"{glyph} ", tone if row.begins else self._part("faint", ground)))
        at = 0
        for start, end in row.marks:
            start = max(start, at)
            if end > start:
                parts += [(row.text[at:start], tone)] if start > at else []
                parts.append((row.text[start:end], self._part("match", ground)))
                at = end
        parts.append((row.text[at:], tone))
        used = sum(cell_len(text) for text, _ in parts)
        return [*parts, (" " * max(0, width - used), ground)]

    def _part(self, name: str, ground: Style) -> Style:
        return ground + self.get_component_rich_style(f"log--{name}", partial=True)

    # The mouse, which is never needed

    def on_click(self, event: Click) -> None:
        """Take the line in hand."""
        row = self._rows[event.y] if event.y < len(self._rows) else None
        if self.page and row and row.real:
            self.page.follow = False
            self._go(row.number - self.page.cursor)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Go down three rows."""
        event.stop()
        self._go(3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Go up three rows."""
        event.stop()
        self._go(-3)

    def _go(self, by: int) -> None:
        if self.page:
            self.page.move(by)
            self.repaint()
            self.post_message(self.Moved())


def _changed(before: list[tuple[str, Style]], now: list[tuple[str, Style]]) -> tuple[int, int]:
    """Return from which to which cell two rows differ."""
    start = 0
    for old, new in zip(before, now, strict=False):
        if old != new:
            break
        start += cell_len(new[0])
    tail = 0
    for old, new in zip(reversed(before), reversed(now), strict=False):
        if old != new:
            break
        tail += cell_len(new[0])
    width = max(sum(cell_len(text) for text, _ in row) for row in (before, now))
    return start, max(start + 1, width - tail)
