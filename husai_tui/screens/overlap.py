"""The matrices of a cohort and the words beside them, or below where the window is narrow."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Container
from textual.widget import Widget

from husai_tui.state.heat import AROUND, GAP, Heat, layout
from husai_tui.widgets.heatmap import Heatmap
from husai_tui.widgets.statement import Statement

BESIDE = 46
"""Columns that the text beside the matrices needs; with less it goes below them."""
BELOW = 5
"""Lines that the text below them needs."""
KEY = 52
"""Columns that the colour key takes with its marks named."""
WIDE = 140
"""Columns from which cells are drawn large."""
MARGIN = 4
"""Columns between the matrices and the text beside them."""


class Overlap(Container):
    """Both, sharing out the room."""

    DEFAULT_CSS = """
    Overlap { height: 1fr; layout: vertical; padding: 0 1; }
    Overlap.-beside { layout: horizontal; }
    Overlap > Statement { margin: 0; }
    Overlap.-beside > Statement { margin: 0 0 0 4; }
    """

    def compose(self) -> ComposeResult:
        """Return the matrices and the text."""
        yield Heatmap()
        yield Statement(more=": x reads all")

    def wanted(self, heat: Heat, width: int) -> int:
        """Return the lines that would be good to have."""
        size = len(heat.values)
        matrix = size + AROUND if size else 0
        return max(matrix, 13) if _beside(heat, width - 2) else max(matrix + BELOW, 8)

    def share_out(self, heat: Heat, width: int, lines: int) -> tuple[int, int]:
        """Show a matrix in so many columns and lines; return the columns and lines that the text has."""
        wide, size, matrix = width - 2, len(heat.values), self.query_one(Heatmap)
        beside = _beside(heat, wide)
        how = layout(
            heat,
            wide - BESIDE if beside else wide,
            lines if beside else lines - BELOW,
            roomy=wide >= WIDE,
        )
        one, high = how.width(size), how.height(size) + AROUND
        columns = min(wide, max(one * 2 + GAP if how.both else one, KEY))
        shown = bool(size) and (high + 2 <= lines or beside)
        set_room(matrix, high, columns)
        matrix.display = shown
        self.set_class(beside, "-beside")
        matrix.set_heat(heat, how)
        if not shown:
            return wide, lines
        return (wide - columns - MARGIN, lines) if beside else (wide, lines - high)


def _beside(heat: Heat, wide: int) -> bool:
    """Return whether both matrices with their figures leave room for text beside them."""
    label = max([len(one) for one in heat.labels] + [1])
    both = 2 * (label + 1 + 6 * len(heat.values)) + GAP
    return wide >= max(98, both + BESIDE + MARGIN)


def set_room(widget: Widget, height: int, width: int | None) -> None:
    """Set a size only where it is another one: each setting lays out the whole screen."""
    given: dict[str, Any] = {"height": height, "width": width}
    if getattr(widget, "room_given", None) != given:
        widget.room_given = given  # type: ignore[attr-defined]
        widget.styles.height = height
        if width is not None:
            widget.styles.width = width
