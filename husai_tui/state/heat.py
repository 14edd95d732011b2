"""The agreement of every pair of seeds as a matrix, on one colour scale with what chance would give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.client.findings import fraction

NARROWEST = 0.2
"""Span of the scale at least: differences that mean nothing shall not look like much."""
LEGEND = 24
"""Cells of the colour key."""


@dataclass(frozen=True)
class Heat:
    """What is drawn."""

    labels: tuple[str, ...] = ()
    """Of rows and columns: the seeds."""
    values: tuple[tuple[float | None, ...], ...] = ()
    """None: not measured, or a seed with itself."""
    observed: float | None = None
    """Mean over the pairs."""
    null: float | None = None
    null_name: str = ""
    low: float = 0.0
    high: float = 1.0
    """Ends of the colour scale."""
    null_values: tuple[tuple[float | None, ...], ...] = ()
    """The null of the same pairs; empty where it is one value for all."""

    def null_at(self, row: int, column: int) -> float | None:
        """Return what chance would give a pair of seeds."""
        return self.null_values[row][column] if self.null_values else self.null

    def share(self, value: float) -> float:
        """Return where on the scale a value is, 0 to 1."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    @property
    def pairs(self) -> list[float]:
        """The values above the diagonal."""
        size = len(self.values)
        found = (self.values[i][j] for i in range(size) for j in range(i + 1, size))
        return [value for value in found if value is not None]


def make_heat(
    labels: Sequence[str],
    values: Sequence[Sequence[float | None]],
    observed: float | None,
    null: float | None,
    null_name: str,
    null_values: Sequence[Sequence[float | None]] | None = None,
) -> Heat:
    """Return the matrix with a scale that holds all values and the null, and ends at round figures."""
    rows, chance = (tuple(tuple(row) for row in table) for table in (values, null_values or ()))
    every = [value for row in (*rows, *chance) for value in row if value is not None]
    every += [] if null is None else [null]
    low, high = _ends(every)
    return Heat(tuple(labels), rows, observed, null, null_name, low, high, chance)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if high - low < NARROWEST:
        middle = (low + high) / 2
        low, high = middle - NARROWEST / 2, middle + NARROWEST / 2
    if low < 0 <= min(values):
        low, high = 0.0, high - low
    if high > 1 >= max(values):
        low, high = low - (high - 1), 1.0
    return math.floor(low * 20 + 1e-9) / 20, math.ceil(high * 20 - 1e-9) / 20


def figure(value: float | None, digits: int = 3) -> str:
    """Return a bounded number in at most one sign more than its digits: `.338`, `1.00`, `−.12`."""
    text = fraction(value, digits)
    return fraction(value, digits - 1) if len(text) > digits + 1 and digits > 1 else text


@dataclass(frozen=True)
class Layout:
    """How a matrix is drawn in the room there is."""

    cell: int
    """Columns of a cell."""
    digits: int
    """Digits after the point; 0: no figures."""
    halves: bool
    """Whether two rows share a line."""
    both: bool
    """Whether the null has a matrix of its own."""
    label: int
    """Columns of a row's label."""
    lines: int = 1
    """Lines of a cell."""

    def width(self, size: int) -> int:
        """Return the columns that one matrix takes."""
        return self.label + 1 + self.cell * size

    def height(self, size: int) -> int:
        """Return the lines that a matrix takes, without its head and its key."""
        return (size + 1) // 2 if self.halves else size * self.lines


GAP = 4
"""Columns between the two matrices."""
AROUND = 4
"""Lines for title, head, and key."""


def layout(
    heat: Heat, width: int, height: int, *, both: bool = True, roomy: bool = False
) -> Layout:
    """Return the most telling way to draw a matrix in so many columns and lines; `roomy`: in large cells."""
    size = len(heat.values)
    label = max([len(one) for one in heat.labels] + [1])
    halves = size > height - AROUND
    lines = 2 if 2 * size + AROUND <= height and roomy else 1
    forms = [(6, 3), (5, 2), (3, 0), (2, 0), (1, 0)]
    if halves:
        forms = [(2, 0), (1, 0)]
    elif roomy:
        forms.insert(0, (8, 3))
    for twice in (True, False) if both else (False,):
        for cell, digits in forms:
            if twice and not digits and size <= 12:
                continue
            made = Layout(cell, digits, halves, twice, label, lines)
            if made.width(size) * (2 if twice else 1) + GAP * twice <= width:
                return made
    return Layout(1, 0, halves, False, label)
