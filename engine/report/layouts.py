"""How tables fit a terminal: several layouts, the widest that fits is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table

ACCENT, PROBLEM, CAUTION = "cyan", "bold red", "yellow"
UNBOUNDED = 10_000


class Fitting:
    """Draws the first of several layouts that fits the width at hand; the last one wraps."""

    def __init__(
        self, layouts: Sequence[RenderableType], feet: Sequence[RenderableType] = ()
    ) -> None:
        """Take the layouts, the widest first, and what stands below each of them."""
        self.layouts, self.feet = layouts, feet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(max_width=UNBOUNDED)
        chosen = len(self.layouts) - 1
        for number, layout in enumerate(self.layouts[:-1]):
            if Measurement.get(console, unbounded, layout).maximum <= options.max_width:
                chosen = number
                break
        yield self.layouts[chosen]
        if self.feet:
            yield self.feet[chosen]


def flat_table(columns: Sequence[str], gap: int) -> Table:
    """Make a table without a box; a column named `>x` is x, set flush right."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if right else "left", no_wrap=True
        )
    return table
