"""A table of any length: only the rows in sight are asked for, and only changed cells are sent.

Textual's own table measures every cell of every row (26 s for 100,000 rows) and repaints as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from engine.disk.text import visible_line
from husai_tui.bindings import bindings
from husai_tui.tones import Cell, Tone


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    width: int
    """In cells, without the space between columns."""
    right: bool = False
    """Whether its values stand at the right edge, as numbers do."""
    grows: bool = False
    """Whether it takes the room that is left."""
    rank: int = 0
    """Columns of the highest rank vanish first where the window is too narrow; 0 stays."""
    sorts: bool = True
    """Whether rows can be sorted by it."""


class Rows(Protocol):
    """What a table shows."""

    def __len__(self) -> int: ...

    def cells(self, row: int) -> Sequence[Cell]:
        """Return the cells of a row, one per column."""

    def key(self, row: int) -> str:
        """Return what stays the same of a row when the order changes."""

    def find(self, key: str) -> int | None:
        """Return the row of a key; None: it is gone."""


class NoRows:
    """A table without rows."""

    def __len__(self) -> int:
        return 0

    def cells(self, row: int) -> Sequence[Cell]:
        """Return nothing."""
        return ()

    def key(self, row: int) -> str:
        """Return nothing."""
        return ""

    def find(self, key: str) -> int | None:
        """Return None."""
        return None


class Table(Widget, can_focus=True):
    """Rows under a header, with a cursor that stays on its item when the rows are sorted anew."""

    BINDINGS: ClassVar[list[Binding]] = bindings("table")  # type: ignore[assignment]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header",
        "table--sorted",
        "table--cursor",
        "table--cursor-blurred",
        "table--mark",
        "table--faint",
        "table--good",
        "table--warn",
        "table--bad",
        "table--accent",
        "table--strong",
    }
    DEFAULT_CSS = """
    Table { height: 1fr; width: 1fr; }
    Table > .table--header { color: $faint; }
    Table > .table--sorted { color: $accent; }
    Table > .table--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    Table > .table--cursor-blurred { background: $panel; }
    Table > .table--mark { color: $accent; text-style: bold; }
    Table > .table--faint { color: $faint; }
    Table > .table--good { color: $success; }
    Table > .table--warn { color: $warning; }
    Table > .table--bad { color: $error; text-style: bold; }
    Table > .table--accent { color: $accent; }
    Table > .table--strong { text-style: bold; }
    Table:ansi > .table--cursor { text-style: reverse; }
    Table:ansi > .table--cursor-blurred { text-style: underline; }
    Table:nocolor > .table--cursor { text-style: reverse; }
    Table:nocolor > .table--cursor-blurred { text-style: underline; }
    """

    class Chosen(Message):
        """Enter was pressed on a row, or it was clicked when the cursor was there."""

        def __init__(self, table: Table, key: str) -> None:
            self.table, self.key = table, key
            super().__init__()

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, table: Table, key: str) -> None:
            self.table, self.key = table, key
            super().__init__()

    class Sorted(Message):
        """The user wants another order."""

        def __init__(self, table: Table, column: int, descending: bool) -> None:
            self.table, self.column, self.descending = table, column, descending
            super().__init__()

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        empty: str = "nothing here",
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.empty = empty
        self.rows: Rows = NoRows()
        self.marked: set[str] = set()
        self.cursor, self.top, self.left = 0, 0, 0
        self.sort: tuple[int, bool] | None = None
        """Column by which the rows are sorted, and whether the largest are first."""
        self._painted: dict[int, list[tuple[str, Style]]] = {}

    # What others call

    def set_rows(self, rows: Rows, *, keep: bool = True) -> None:
        """Show other rows; the cursor stays on its item if it is still there (`keep`)."""
        key = self.cursor_key
        self.rows = rows
        found = rows.find(key) if keep and key else None
        self.cursor = self.cursor if found is None else found
        if not keep:
            self.cursor = self.top = 0
        self._settle()
        self.repaint()

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Show other columns."""
        if tuple(columns) != self.columns:
            self.columns, self.left = tuple(columns), 0
            self.refresh()

    @property
    def cursor_key(self) -> str:
        """Key of the row under the cursor; empty: there is none."""
        return self.rows.key(self.cursor) if 0 <= self.cursor < len(self.rows) else ""

    def go_to(self, key: str) -> bool:
        """Put the cursor on an item; return whether it is there."""
        found = self.rows.find(key)
        if found is None:
            return False
        self._go(found)
        return True

    def toggle_mark(self) -> None:
        """Mark the row under the cursor, or take the mark away, and go down."""
        key = self.cursor_key
        if key:
            self.marked ^= {key}
            self._go(self.cursor + 1)
            self.repaint()

    def repaint(self) -> None:
        """Send what has changed of the rows in sight, cell by cell."""
        if not self.is_attached or not self.size:
            return
        for y in range(self.size.height):
            before, now = self._painted.get(y), self._line(y)
            if before is None or len(before) != len(now):
                self.refresh(Region(0, y, self.size.width, 1))
                continue
            x = 0
            for old, new in zip(before, now, strict=True):
                if old != new:
                    self.refresh(Region(x, y, cell_len(new[0]), 1))
                x += cell_len(new[0])

    # Keys

    def action_move(self, by: int) -> None:
        """Go down or up."""
        self._go(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Go down or up a page."""
        self._go(self.cursor + by * self._page)

    def action_half(self, by: int) -> None:
        """Go down or up half a page."""
        self._go(self.cursor + by * max(1, self._page // 2))

    def action_first(self) -> None:
        """Go to the first row."""
        self._go(0)

    def action_last(self) -> None:
        """Go to the last row."""
        self._go(len(self.rows) - 1)

    def action_shift(self, by: int) -> None:
        """Show the columns to the left or right."""
        left = min(max(0, self.left + by), max(0, len(self.columns) - 2))
        if left != self.left:
            self.left = left
            self.refresh()

    def action_choose(self) -> None:
        """Open the row."""
        if self.cursor_key:
            self.post_message(self.Chosen(self, self.cursor_key))

    def action_sort(self, by: int) -> None:
        """Sort by the next column, or by the one before."""
        can = [place for place, column in enumerate(self.columns) if column.sorts]
        if not can:
            return
        at = can.index(self.sort[0]) if self.sort and self.sort[0] in can else (-1 if by > 0 else 0)
        place = can[(at + by) % len(can)]
        self._sort(place, self.columns[place].right)

    def action_reverse(self) -> None:
        """Turn the order round."""
        if self.sort:
            self._sort(self.sort[0], not self.sort[1])

    def _sort(self, column: int, descending: bool) -> None:
        self.sort = (column, descending)
        self.refresh(Region(0, 0, self.size.width, 1))
        self.post_message(self.Sorted(self, column, descending))

    # The mouse, which is never needed

    def on_click(self, event: Click) -> None:
        """Put the cursor where the click was; a second one opens the row."""
        row = self.top + event.y - 1
        if event.y >= 1 and row < len(self.rows):
            same = row == self.cursor
            self._go(row)
            if same and event.chain == 2:
                self.action_choose()

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Go down three rows."""
        event.stop()
        self._go(self.cursor + 3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Go up three rows."""
        event.stop()
        self._go(self.cursor - 3)

    # Painting

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self._painted.clear()
        self._settle()

    def on_focus(self) -> None:
        """Show that keys go here."""
        self.repaint()

    def on_blur(self) -> None:
        """Show that keys go elsewhere."""
        self.repaint()

    @property
    def _page(self) -> int:
        return max(1, self.size.height - 1)

    def _go(self, row: int) -> None:
        before = self.cursor
        self.cursor = row
        self._settle()
        if self.cursor != before:
            self.repaint()
            self.post_message(self.Moved(self, self.cursor_key))

    def _settle(self) -> None:
        """Bring the cursor onto a row and into sight."""
        self.cursor = max(0, min(self.cursor, len(self.rows) - 1))
        self.top = min(max(self.top, self.cursor - self._page + 1), self.cursor)
        self.top = max(0, min(self.top, max(0, len(self.rows) - self._page)))

    def render_line(self, y: int) -> Strip:
        """Return one line of the window."""
        parts = self._line(y)
        self._painted[y] = parts
        return Strip([Segment(text, style) for text, style in parts], self.size.width)

    def _line(self, y: int) -> list[tuple[str, Style]]:
        """Return a line as texts with their styles: a margin, then a part per column."""
        width = self.size.width
        plain = self.rich_style
        places = self._places(width)
        if y == 0:
            return self._header(places, plain, width)
        row = self.top + y - 1
        if row >= len(self.rows):
            said = self.empty if not len(self.rows) and y == 2 else ""
            return [(set_cell_size(f"  {said}", width), self._tone("faint", plain))]
        ground = plain
        if row == self.cursor:
            ground += self._component("cursor" if self.has_focus else "cursor-blurred")
        marked = self.rows.key(row) in self.marked
        parts = [("▌" if marked else " ", ground + self._component("mark") if marked else ground)]
        cells = self.rows.cells(row)
        for place, room in places:
            cell = cells[place]
            text, tone = _cell(cell)
            parts.append(
                (_fit(text, room, self.columns[place].right) + " ", self._tone(tone, ground))
            )
        used = sum(cell_len(text) for text, _ in parts)
        return [*parts, (" " * max(0, width - used), ground)]

    def _header(
        self, places: list[tuple[int, int]], plain: Style, width: int
    ) -> list[tuple[str, Style]]:
        header = plain + self._component("header")
        parts = [(" ", header)]
        for place, room in places:
            column = self.columns[place]
            mine = self.sort is not None and self.sort[0] == place
            arrow = ("↓" if self.sort[1] else "↑") if mine and self.sort else ""
            title = _fit(column.title + arrow, room, column.right) + " "
            parts.append((title, plain + self._component("sorted") if mine else header))
        used = sum(cell_len(text) for text, _ in parts)
        return [*parts, (" " * max(0, width - used), header)]

    def _places(self, width: int) -> list[tuple[int, int]]:
        """Return which columns are in sight, and the room of each."""
        chosen = [0, *range(1 + self.left, len(self.columns))] if self.columns else []
        room = width - 1
        while True:
            need = sum(self.columns[place].width + 1 for place in chosen)
            ranks = [self.columns[place].rank for place in chosen]
            if need <= room or not ranks or max(ranks) == 0:
                break
            last = max(place for place in chosen if self.columns[place].rank == max(ranks))
            chosen.remove(last)
        growing = [place for place in chosen if self.columns[place].grows]
        spare = max(0, room - need)
        places = []
        for place in chosen:
            extra = spare // len(growing) if place in growing else 0
            places.append((place, self.columns[place].width + extra))
        return places

    def _component(self, name: str) -> Style:
        return self.get_component_rich_style(f"table--{name}", partial=True)

    def _tone(self, tone: Tone, ground: Style) -> Style:
        # Reversed, each colour would be a ground of its own.
        return ground + self._component(tone) if tone and not ground.reverse else ground


def _cell(cell: Cell) -> tuple[str, Tone]:
    return (cell, "") if isinstance(cell, str) else cell


def _fit(text: str, room: int, right: bool) -> str:
    """Return text of exactly so many cells; what does not fit ends in …"""
    text = visible_line(text)
    length = cell_len(text)
    if length > room:
        return set_cell_size(set_cell_size(text, max(0, room - 1)) + "…", room)
    pad = " " * (room - length)
    return pad + text if right else text + pad
