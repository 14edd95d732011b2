"""A canvas of braille dots, two by four to a cell, and curves drawn on it.

Our own, not plotext: eight series of 10,000 points at 160x45 take plotext 6.1 96 ms (5.3: 949 ms), this
canvas 6 (and 9 for 100,000 points). plotext returns one string for a whole plot, so nothing tells which cells
changed and all of it is sent again, 14 times the bytes; it raises on infinite values and on a logarithmic axis
with values of zero, where a run that diverges should show a gap; and it draws no band over seeds.

Shapes: T points, S series, K dot columns with points in them; [rows, columns] of cells, [4 rows, 2 columns] of
dots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Dots = NDArray[np.bool_]
NO_INK = -1
_WEIGHTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
"""Bit of each dot of a cell in Unicode's braille block."""
_BLANK, _BRAILLE = ord(" "), 0x2800


@dataclass(frozen=True)
class Columns:
    """Points gathered by dot column: what is left of any number of them is at most four a column."""

    at_K: NDArray[np.int64]
    """Dot column; one before the first and one after the last stand for points out of sight."""
    first_x_K: Floats
    last_x_K: Floats
    """Where its first and last points are, in dot columns."""
    first_KS: Floats
    last_KS: Floats
    low_KS: Floats
    high_KS: Floats

    def mapped(self, rows: Callable[[Floats], Floats]) -> Columns:
        """Return the same points with their values as dot rows, which grow downwards."""
        first, last = rows(self.first_KS), rows(self.last_KS)
        low, high = rows(self.high_KS), rows(self.low_KS)
        return Columns(self.at_K, self.first_x_K, self.last_x_K, first, last, low, high)


def gather(x_T: Floats, y_TS: Floats, dots: int) -> Columns:
    """Gather points by dot column.

    Args:
        x_T: places in dot columns, ascending; a column's own middle is its number plus one half.
        y_TS: values; what is not finite is a gap.
        dots: dot columns in sight, from 0.
    """
    # One point out of sight on each side: lines go on to the edge.
    start = max(0, int(np.searchsorted(x_T, 0.0)) - 1)
    stop = min(len(x_T), int(np.searchsorted(x_T, float(dots))) + 1)
    x, y = x_T[start:stop], y_TS[start:stop]
    if not len(x):
        none = np.empty((0, y_TS.shape[1]))
        return Columns(np.empty(0, np.int64), np.empty(0), np.empty(0), none, none, none, none)
    if not np.isfinite(y).all():
        y = np.where(np.isfinite(y), y, np.nan)
    at = np.clip(np.floor(x), -1, dots).astype(np.int64)
    begin = np.flatnonzero(np.concatenate(([True], at[1:] != at[:-1])))
    end = np.concatenate((begin[1:], [len(at)])) - 1
    return Columns(
        at[begin],
        x[begin],
        x[end],
        y[begin],
        y[end],
        np.fmin.reduceat(y, begin, axis=0),
        np.fmax.reduceat(y, begin, axis=0),
    )


class Canvas:
    """Dots, and one ink per cell: what is drawn last gives the cell its colour."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = max(1, columns), max(1, rows)
        self.bits = np.zeros((self.rows, self.columns), dtype=np.uint8)
        self.ink = np.full((self.rows, self.columns), NO_INK, dtype=np.int16)

    @property
    def dots(self) -> tuple[int, int]:
        """Dot columns and dot rows."""
        return 2 * self.columns, 4 * self.rows

    def curve(self, columns: Columns, series: int, ink: int, *, over: bool = False) -> None:
        """Draw one series as a line; its values are dot rows from the top, gaps stay empty.

        Args:
            columns: gathered points.
            series: which of them.
            ink: colour.
            over: whether what is below it in the same cell vanishes.
        """
        at, low, high = columns.at_K, columns.low_KS[:, series], columns.high_KS[:, series]
        ends = columns.last_KS[:-1, series], columns.first_KS[1:, series]
        spans = [_Spans(at, low, high)]
        joined = np.isfinite(ends[0]) & np.isfinite(ends[1])
        if joined.any():
            spans.append(
                _segments(
                    columns.last_x_K[:-1][joined],
                    ends[0][joined],
                    columns.first_x_K[1:][joined],
                    ends[1][joined],
                    self.dots[0],
                )
            )
        self._put(self._fill(spans), ink, over)

    def band(self, columns: Columns, low: int, high: int, ink: int) -> None:
        """Fill between two of the series with every second dot.

        The values between two points are those of the straight lines that join them.
        """
        at = np.arange(self.dots[0])
        across_D = at + np.float64(0.5)
        middle: Floats = (columns.first_x_K + columns.last_x_K) / 2
        # Of dot rows, which grow downwards, the lower series has the larger ones.
        bottom = _between(across_D, middle, columns.high_KS[:, low], columns)
        top = _between(across_D, middle, columns.low_KS[:, high], columns)
        dots = self._fill([_Spans(at, np.fmin(bottom, top), np.fmax(bottom, top))])
        rows, across = np.arange(dots.shape[0])[:, None], np.arange(dots.shape[1])
        self._put(dots & ((rows + across) % 2 == 0), ink, over=False)

    def text(self) -> NDArray[np.str_]:
        """Return the characters [rows, columns]; cells without dots are spaces, which are sent as one byte."""
        codes = np.where(self.bits == 0, _BLANK, _BRAILLE + self.bits.astype(np.uint32))
        return codes.astype(np.uint32).view("U1").reshape(self.rows, self.columns)

    def _fill(self, spans: list[_Spans]) -> Dots:
        """Return the dots of vertical spans, [4 rows, 2 columns]."""
        wide, high = self.dots
        steps = np.zeros((high + 1) * wide)
        for span in spans:
            at, top, bottom = span.cut(wide, high)
            size = len(steps)
            steps += np.bincount(top * wide + at, minlength=size)
            steps -= np.bincount((bottom + 1) * wide + at, minlength=size)
        filled: Dots = steps.reshape(high + 1, wide).cumsum(axis=0)[:high] > 0
        return filled

    def _put(self, dots: Dots, ink: int, over: bool) -> None:
        cells = dots.reshape(self.rows, 4, self.columns, 2)
        bits = np.einsum("hawb,ab->hw", cells.view(np.uint8), _WEIGHTS, dtype=np.uint8)
        touched = bits != 0
        self.bits = np.where(touched & over, bits, self.bits | bits)
        self.ink[touched] = ink


@dataclass(frozen=True)
class _Spans:
    """Dots one above the other: of column `at` from `top` to `bottom`, in dot rows; NaN: none."""

    at: NDArray[np.int64]
    top: Floats
    bottom: Floats

    def cut(self, wide: int, high: int) -> tuple[NDArray[np.int64], ...]:
        """Return what is on the canvas: columns, first rows, last rows."""
        there = np.isfinite(self.top) & np.isfinite(self.bottom)
        there &= (self.at >= 0) & (self.at < wide)
        # Before they become whole numbers, which infinitely steep lines would not fit.
        top = np.clip(np.rint(self.top[there]), -1, high).astype(np.int64)
        bottom = np.clip(np.rint(self.bottom[there]), -1, high).astype(np.int64)
        at, inside = self.at[there], (bottom >= 0) & (top < high)
        return at[inside], np.maximum(top[inside], 0), np.minimum(bottom[inside], high - 1)


def _segments(x0: Floats, y0: Floats, x1: Floats, y1: Floats, wide: int) -> _Spans:
    """Return the dots of straight lines from (x0, y0) to (x1, y1), x0 ≤ x1."""
    first = np.clip(np.floor(x0), -1, wide).astype(np.int64)
    last = np.clip(np.floor(x1), -1, wide).astype(np.int64)
    count = last - first + 1
    which = np.repeat(np.arange(len(first)), count)
    at = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + first[which]
    run = np.where(x1 > x0, x1 - x0, 1.0)[which]
    slope = (y1 - y0)[which] / run
    left = y0[which] + slope * (np.maximum(at, x0[which]) - x0[which])
    right = y0[which] + slope * (np.minimum(at + 1, x1[which]) - x0[which])
    # Neighbours share the dot where one column ends and the next begins: it is drawn once.
    # Halves go the way the line goes, so that rising and falling ones are equally thin.
    rises = slope > 0
    enters = np.where(rises, np.floor(left + 0.5), np.ceil(left - 0.5))
    leaves = np.where(rises, np.floor(right + 0.5), np.ceil(right - 0.5))
    back = (at < last[which]) & (enters != leaves)
    leaves = leaves - np.where(back, np.sign(leaves - enters), 0.0)
    return _Spans(at, np.minimum(enters, leaves), np.maximum(enters, leaves))


def _between(at: Floats, x_K: Floats, y_K: Floats, columns: Columns) -> Floats:
    """Return the values of a series at the dot columns; NaN outside of it and in its gaps."""
    there = np.isfinite(y_K)
    if not there.any():
        return np.full(len(at), np.nan)
    found: Floats = np.interp(at, x_K[there], y_K[there], left=np.nan, right=np.nan)
    own = columns.at_K[there]
    inside = (own >= 0) & (own < len(at))
    found[own[inside]] = y_K[there][inside]
    for place in np.flatnonzero(~there):
        before = x_K[max(0, int(place) - 1)]
        after = x_K[min(len(x_K) - 1, int(place) + 1)]
        found[(at > before + 0.5) & (at < after - 0.5)] = np.nan
    return found
