"""κ with its interval, drawn as a small range on an axis that all cohorts share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WIDEST = 1.0
"""κ beyond ±1 is drawn at the edge: where the null comes near to 1, κ explodes and means nothing."""


@dataclass(frozen=True)
class Axis:
    """From where to where κ is drawn; zero, chance, is always on it."""

    low: float = -0.1
    high: float = 0.1

    def cell(self, value: float, width: int) -> int:
        """Return the cell of a value, in `width` cells."""
        share = (value - self.low) / (self.high - self.low)
        return min(width - 1, max(0, round(share * (width - 1))))


def axis_of(bounds: Iterable[float | None]) -> Axis:
    """Return the axis on which all values lie, zero too."""
    known = [min(WIDEST, max(-WIDEST, value)) for value in bounds if value is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    if high - low < 0.01:
        return Axis(low - 0.005, high + 0.005)
    return Axis(low, high)


def draw(kappa: float | None, low: float | None, high: float | None, axis: Axis, width: int) -> str:
    """Return `├─●──┤` at its place, with `┊` where zero is; without an interval the point alone."""
    cells = [" "] * width
    zero = axis.cell(0.0, width)
    cells[zero] = "┊"
    if kappa is None:
        return "".join(cells)
    if low is not None and high is not None:
        start, end = axis.cell(low, width), axis.cell(high, width)
        cells[start : end + 1] = "─" * (end - start + 1)
        if start < zero < end:
            cells[zero] = "┼"
        cells[start] = "├" if low >= axis.low else "◂"
        cells[end] = "┤" if high <= axis.high else "▸"
    cells[axis.cell(kappa, width)] = "●" if axis.low <= kappa <= axis.high else "○"
    return "".join(cells)


def scale(axis: Axis, width: int) -> str:
    """Return the axis in figures: its ends, and 0 where it is."""
    left, right = _figure(axis.low), _figure(axis.high)
    cells = list(left + " " * (width - len(left) - len(right)) + right)
    zero = axis.cell(0.0, width)
    around = cells[max(0, zero - 1) : zero + 2]
    if "0" not in (left, right) and all(cell == " " for cell in around):
        cells[zero] = "0"
    return "".join(cells)


def _figure(value: float) -> str:
    if abs(value) < 0.005:
        return "0"
    text = f"{abs(value):.2f}" if abs(value) < 0.095 else f"{abs(value):.1f}"
    text = text[1:] if text.startswith("0.") else text
    return f"−{text}" if value < 0 else text
