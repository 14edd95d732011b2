"""What is made of measurements as they come in: smoothed curves, median and range over seeds; each row once.

Shapes: T rows, S seeds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CHUNK = 4096
"""Rows smoothed at once: what is made of them stays in the cache."""
BLOCK = 64
"""Rows of which only the extremes are drawn where that many fall into half a dot."""
FORGOTTEN = 1e-12
"""Weight below which an older value counts for nothing."""


class Smoother:
    """An exponential moving average that does not lean to zero at the start, and passes over gaps.

    After row t it is sum(w^(t-i) y_i) / sum(w^(t-i)) over the rows i ≤ t that have a value: without gaps the
    debiased average that TensorBoard and Adam use.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self._sum_S: Floats | None = None
        self._count_S: Floats | None = None

    def extend(self, values_TS: Floats) -> Floats:
        """Take more rows and return them smoothed; a gap stays one."""
        pieces = [
            self._piece(values_TS[start : start + CHUNK])
            for start in range(0, len(values_TS), CHUNK)
        ]
        return np.concatenate(pieces) if pieces else np.empty_like(values_TS)

    def _piece(self, values_TS: Floats) -> Floats:
        there = np.isfinite(values_TS)
        sums = self._scan(np.where(there, values_TS, 0.0), self._sum_S)
        weights = there if not there.all() else there[:, :1]
        counts = self._scan(weights.astype(np.float64), self._count_S)
        self._sum_S, self._count_S = sums[-1], np.broadcast_to(counts[-1], sums.shape[1:])
        # Long after the last value there is nothing left to divide by, and nothing to show.
        return np.where(there, sums / np.where(there, counts, 1.0), np.nan)

    def _scan(self, values_TS: Floats, before_S: Floats | None) -> Floats:
        """Return sum(w^(t-i) values_i), by doubling how many rows each sum spans."""
        sums, shift = values_TS.copy(), 1
        while shift < len(sums) and self.weight**shift > FORGOTTEN:
            sums[shift:] = sums[shift:] + self.weight**shift * sums[:-shift]
            shift *= 2
        if before_S is not None:
            powers_T = self.weight ** np.arange(1, len(sums) + 1)
            sums = sums + powers_T[:, None] * before_S
        return sums


def spread(values_TS: Floats) -> Floats:
    """Return median, lowest and highest over the seeds that have a value, [T, 3]; NaN where none has."""
    there_TS = np.sort(np.where(np.isfinite(values_TS), values_TS, np.nan), axis=1)
    count_T = np.isfinite(there_TS).sum(axis=1)
    rows = np.arange(len(there_TS))
    last_T = np.maximum(count_T - 1, 0)
    # NaN is sorted to the end.
    median_T = (there_TS[rows, last_T // 2] + there_TS[rows, (last_T + 1) // 2]) / 2
    return np.stack([median_T, there_TS[:, 0], there_TS[rows, last_T]], axis=1)


def extremes(values_TS: Floats) -> Floats:
    """Return two rows for each `BLOCK` rows, their lowest and their highest values; the rest is dropped."""
    blocks = len(values_TS) // BLOCK
    values = values_TS[: blocks * BLOCK].reshape(blocks, BLOCK, -1)
    values = np.where(np.isfinite(values), values, np.nan)
    pairs_BPS = np.stack([np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)], axis=1)
    return pairs_BPS.reshape(2 * blocks, -1)


class Kept:
    """Rows made of other rows: when those grow, only the new ones are made."""

    def __init__(self, make: Callable[[Floats], Floats]) -> None:
        self._make = make
        self._rows: Floats | None = None
        self._done = 0

    def of(self, values_TS: Floats) -> Floats:
        """Return what is made of these rows; the first ones are those of the last time."""
        if self._rows is None or self._done < len(values_TS):
            fresh = self._make(values_TS[self._done :])
            self._done = len(values_TS)
            self._rows = fresh if self._rows is None else np.concatenate((self._rows, fresh))
        return self._rows
