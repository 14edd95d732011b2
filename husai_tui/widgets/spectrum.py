"""Values as bars, family by family: the spectrum of a map, or how often which activation occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from engine.disk.text import visible_line
from husai_tui.state.raster import bars, scale, ticks

TOLD = 12
"""Characters kept at the right for what is said of a family."""


@dataclass(frozen=True)
class Family:
    """Bars of one kind."""

    name: str
    values: tuple[float, ...]
    told: str = ""
    """At their right."""
    peak: int | None = None
    """Place of the bar that is named; it is drawn in the accent."""


class Spectrum(Widget):
    """Families of bars, one under the other, all on one scale, over a line of numbers."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"spectrum--faint", "spectrum--accent"}
    DEFAULT_CSS = """
    Spectrum { height: 5; width: 1fr; }
    Spectrum > .spectrum--faint { color: $faint; }
    Spectrum > .spectrum--accent { color: $accent; text-style: bold; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._families: tuple[Family, ...] = ()
        self._first: int | None = 1

    def tell(self, families: Sequence[Family], first: int | None = 1) -> None:
        """Show these bars; `first` is the number of the first one, None: they have none."""
        now = tuple(families)
        if now != self._families or first != self._first:
            self._families, self._first = now, first
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        width, plain = self.size.width, self.rich_style
        lines = self._height
        number, line = divmod(y, lines)
        if not self._families or number > len(self._families):
            return Strip.blank(width, plain)
        label = max(cell_len(one.name) for one in self._families) + 1
        along = scale(len(self._families[0].values), max(0, width - label - TOLD))
        faint = plain + self.get_component_rich_style("spectrum--faint", partial=True)
        accent = plain + self.get_component_rich_style("spectrum--accent", partial=True)
        if number == len(self._families):
            numbered = line == 0 and self._first is not None
            text = " " * label + ticks(along, self._first or 0) if numbered else ""
            return Strip([Segment(text, faint)]).adjust_cell_length(width, plain)
        family = self._families[number]
        top = max((value for one in self._families for value in one.values), default=0.0)
        drawn = bars(_array(family.values), along, lines, top)[line]
        last = line == lines - 1
        segments = [Segment(f"{family.name if last else '':<{label}}", faint)]
        if family.peak is None:
            segments.append(Segment(drawn, plain))
        else:
            begin = along.column(family.peak)
            end = begin + along.pitch
            segments.append(Segment(drawn[:begin], plain))
            segments.append(Segment(drawn[begin:end], accent))
            segments.append(Segment(drawn[end:], plain))
        if last and family.told:
            told = visible_line(family.told)
            segments.append(Segment(f" {told}", accent if family.peak is not None else faint))
        return Strip(segments).adjust_cell_length(width, plain)

    @property
    def _height(self) -> int:
        """Lines of one family."""
        return max(1, (self.size.height - 1) // max(1, len(self._families)))


def _array(values: tuple[float, ...]) -> Any:
    return np.array(values, dtype=np.float64)
