"""Pictures made of characters: a map scaled to the room there is, and values as bars.

Shapes: P side of the grid, H rows and W columns of dots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHADES = " ░▒▓█"
"""From nothing to the largest, where there are no colours."""
STEPS = 15
"""Levels above zero of a coloured map: more would only be more bytes."""
BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Picture:
    """A map in the dots of a window."""

    dots: Floats
    """[H, W], at least 0; square dots: two stand in a character, one above the other."""
    factor: float
    """Grid cells along one side of a dot; below 1 where a cell takes several dots."""

    @property
    def columns(self) -> int:
        """Characters along a line."""
        return int(self.dots.shape[1])

    @property
    def lines(self) -> int:
        """Lines of characters."""
        return (int(self.dots.shape[0]) + 1) // 2

    def told(self, in_shades: bool = False) -> str:
        """Say how large a dot is; a shade stands for two, one above the other."""
        if self.factor == 1:
            return "a dot for each pair"
        if self.factor < 1:
            return f"{round(1 / self.factor)}×{round(1 / self.factor)} dots for each pair"
        tall = self.factor * (1 + in_shades)
        return f"dots of {tall:.1f}×{self.factor:.1f} pairs"


def picture(grid_PP: NDArray[Any], columns: int, lines: int) -> Picture | None:
    """Return a square map in at most so many characters: shrunk by area mean, or each cell several dots; None
    where there is no room."""
    P = len(grid_PP)
    side = min(columns, 2 * lines)
    if side < 2 or not P:
        return None
    if side >= P:
        times = side // P
        dots: Floats = grid_PP.astype(np.float64).repeat(times, 0).repeat(times, 1)
        return Picture(dots, 1 / times)
    side -= side % 2
    return Picture(shrink(grid_PP, side, side), P / side)


def shrink(grid_PQ: NDArray[Any], rows: int, columns: int) -> Floats:
    """Return the mean over the area under each of rows × columns dots; cells on an edge count in part."""
    left, right = _overlap(grid_PQ.shape[0], rows), _overlap(grid_PQ.shape[1], columns)
    dots: Floats = left @ grid_PQ.astype(np.float64) @ right.T
    return dots


def _overlap(cells: int, dots: int) -> Floats:
    """Return which share of each dot each cell covers, [dots, cells]; every row adds up to 1."""
    width = cells / dots
    begin = np.arange(dots)[:, None] * width
    cell = np.arange(cells)[None, :]
    covered = np.minimum(begin + width, cell + 1) - np.maximum(begin, cell)
    share: Floats = np.clip(covered, 0, None) / width
    return share


def levels(dots_HW: Floats, steps: int = STEPS) -> NDArray[np.int64]:
    """Return 0 (nothing) to `steps` (the largest) for each dot; what is above zero is at least 1."""
    largest = dots_HW.max(initial=0.0)
    if not largest > 0:
        return np.zeros(dots_HW.shape, dtype=np.int64)
    found: NDArray[np.int64] = np.ceil(dots_HW / largest * steps - 1e-9).astype(np.int64)
    return found.clip(0, steps)


def shaded(picture: Picture) -> list[str]:
    """Return a picture in shades, a line of text for each two rows of dots."""
    dots = picture.dots
    if len(dots) % 2:
        dots = np.vstack([dots, dots[-1:]])
    level = levels((dots[0::2] + dots[1::2]) / 2, len(SHADES) - 1)
    return ["".join(SHADES[one] for one in line) for line in level]


@dataclass(frozen=True)
class Scale:
    """Where values stand along a line."""

    values: int
    bars: int
    """Number of them: fewer than values where there is not the room."""
    pitch: int
    """Characters from one to the next."""

    @property
    def width(self) -> int:
        """Characters that all of them take."""
        return self.bars * self.pitch

    def column(self, place: int) -> int:
        """Return in which character the bar of a value begins; `place` counts from 0."""
        return place * self.bars // self.values * self.pitch


def scale(values: int, width: int) -> Scale:
    """Return how so many values fit into a line: each bar one to three characters."""
    pitch = max(1, min(3, width // max(1, values)))
    return Scale(values, max(0, min(values, width // pitch)), pitch)


def bars(values: NDArray[Any], along: Scale, lines: int, top: float) -> list[str]:
    """Return values as bars in so many lines, the highest line first; `top` is a full bar.

    Where there are more values than bars, the largest of neighbours stands for them. What is below a
    sixteenth of a line is drawn as nothing.
    """
    height = np.zeros(along.bars)
    if top > 0 and along.bars:
        place = np.arange(len(values)) * along.bars // along.values
        np.maximum.at(height, place, np.nan_to_num(values, nan=0.0) / top)
    eighths = np.clip(np.floor(height * 8 * lines + 0.5), 0, 8 * lines).astype(int)
    thick = max(1, along.pitch - 1)
    gap = " " * (along.pitch - thick)
    return [
        "".join(BLOCKS[max(0, min(8, one - below))] * thick + gap for one in eighths)
        for below in range(8 * (lines - 1), -1, -8)
    ]


def ticks(along: Scale, first: int) -> str:
    """Return a line of round numbers under bars; `first` is the number of the first value."""
    if not along.bars:
        return ""
    text = [" "] * (along.width + 4)
    every = next(
        (one for one in (1, 2, 5, 10, 20, 50, 100, 200, 500) if _gap(along, one) >= 5), 1000
    )
    numbers = [first, *(n for n in range(every, first + along.values, every) if n > first)]
    free = 0
    for number in numbers:
        column = along.column(number - first)
        if column >= free:
            text[column : column + len(str(number))] = str(number)
            free = column + len(str(number)) + 1
    return "".join(text).rstrip()


def _gap(along: Scale, every: int) -> float:
    return along.width * every / max(1, along.values)
