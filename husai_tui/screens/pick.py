"""A list to pick one row from: too long for a dialog of letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Label

from husai_tui.screens.dialogs import Ask, Dialog
from husai_tui.state.picking import PickRows
from husai_tui.widgets.sheet import Sheet
from husai_tui.widgets.table import Column, Table


class Pick(Dialog[str | None]):
    """Asks for one row of a table; below it all that is known of the row under the cursor."""

    BINDINGS: ClassVar[list[Binding]] = [  # type: ignore[assignment]
        Binding("escape,q,ctrl+c", "leave", "leave", show=False),
        Binding("slash", "filter", "filter", show=False),
    ]
    DEFAULT_CSS = """
    Pick { align: center middle; background: $background 60%; }
    Pick > .pick { width: 100; max-width: 96%; height: 80%; padding: 1 2; background: $panel; }
    Pick Table { height: 1fr; background: $panel; }
    Pick Sheet { height: 3; margin: 1 0 0 0; background: $panel; }
    Pick #title { text-style: bold; }
    """

    def __init__(self, title: str, columns: Sequence[Column], rows: PickRows) -> None:
        super().__init__()
        self._title, self._columns, self._rows = title, columns, rows

    def compose(self) -> ComposeResult:
        """Return the table and what is known of its row."""
        with Vertical(classes="pick"):
            yield Label(self._title, id="title", markup=False)
            yield Table(self._columns, empty="nothing matches")
            yield Sheet()

    def on_mount(self) -> None:
        """Show the rows."""
        table = self.query_one(Table)
        table.set_rows(self._rows)
        table.focus()
        self.call_after_refresh(self._tell)

    def _tell(self) -> None:
        sheet = self.query_one(Sheet)
        key = self.query_one(Table).cursor_key
        sheet.tell(self._rows.about(key, max(20, sheet.size.width)))

    def on_table_moved(self, event: Table.Moved) -> None:
        """Tell what is known of the row."""
        event.stop()
        self._tell()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Take the row."""
        event.stop()
        self.dismiss(event.key)

    def on_resize(self) -> None:
        """Wrap anew."""
        self.call_after_refresh(self._tell)

    def action_filter(self) -> None:
        """Show only what matches, while it is typed."""
        before = self._rows.filter

        def filtered(text: str) -> str:
            self._rows.set_filter(text)
            self.query_one(Table).set_rows(self._rows)
            self._tell()
            return ""

        def answered(text: str | None) -> None:
            filtered(before if text is None else text)

        self.app.push_screen(Ask("words that must be there", before, filtered), answered)

    def action_leave(self) -> None:
        """Pick nothing."""
        self.dismiss(None)
