"""How the directions of one dictionary lie to each other: evenly, in pairs, or crowded.

Definitions and nulls: science.md §3. N0 are as many directions at random. Dictionaries are rows; zero
rows take no part.

Shapes: N rows, M of them not zero, C of these in a part, D dimensions, B bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError
from engine.metrics.nulls import expected_max_cos, max_cos_p
from engine.metrics.similarity import unit_rows

ANTIPODAL = -0.9
"""Cosine at or below which two features count as opposite; at or above its negative, as duplicates."""
BINS = 100
"""Of the histogram of cosines, from −1 to 1."""

_CHUNK = 1024


@dataclass(frozen=True)
class Directions:
    """How the non-zero rows of one dictionary lie to each other."""

    n: int
    """Number M of directions."""
    resultant: float
    """‖mean d̂‖: 0 if they cancel, 1 if all point the same way."""
    resultant_null: float
    """√(1/M), the root of what its square is at random."""
    coherence: float
    """Mutual coherence: largest |cos| of two; NaN for a single direction."""
    coherence_null: float
    """Its mean at random."""
    welch: float
    """Least coherence that M directions in D dimensions can have."""
    antipodal: int
    """Pairs with cos ≤ −.9."""
    duplicates: int
    """Pairs with cos ≥ .9."""
    close_null: float
    """Number of antipodal pairs at random; as many duplicates."""
    histogram: NDArray[np.float64]
    """Share of pairs in each of `BINS` bins from −1 to 1, [B]; zero for a single direction."""


def directions(rows_ND: Tensor) -> Directions:
    """Measure the directions of one dictionary; InputError if no row is other than zero."""
    units_MD = unit_rows(rows_ND).rows
    if len(units_MD) == 0:
        raise InputError("dictionary", "every row is zero", "at least one feature")
    n, d = units_MD.shape
    pairs = n * (n - 1) / 2
    count_B, lowest, highest, antipodal, duplicates = _pairs(units_MD)
    close = pairs * float(max_cos_p(-ANTIPODAL, 1, d)) if d > 1 else math.nan
    return Directions(
        n=n,
        resultant=float(units_MD.mean(0).norm()),
        resultant_null=math.sqrt(1 / n),
        coherence=max(-lowest, highest) if n > 1 else math.nan,
        coherence_null=isotropic_coherence(n, d),
        welch=welch_bound(n, d),
        antipodal=antipodal,
        duplicates=duplicates,
        close_null=close,
        histogram=count_B / max(1.0, 2 * pairs),
    )


def feature_coherence(rows_ND: Tensor) -> Tensor:
    """Largest |cos| of each row with another row that is not zero [N]; NaN where there is none."""
    given = unit_rows(rows_ND)
    largest_N = torch.full((len(rows_ND),), torch.nan, dtype=torch.float64)
    if len(given.rows) > 1:
        parts = [cosine_CM.abs().amax(1) for cosine_CM in _others(given.rows, own=0.0)]
        largest_N[given.kept] = torch.cat(parts).double()
    return largest_N


def welch_bound(n: int, d: int) -> float:
    """√((n-d)/(d(n-1))), what the coherence of n directions in d dimensions is at least; 0 for n ≤ d."""
    if n < 1 or d < 1:
        raise InputError("dictionary", f"{n} rows in {d} dimensions", "at least one of each")
    return math.sqrt((n - d) / (d * (n - 1))) if n > d else 0.0


def isotropic_coherence(n: int, d: int) -> float:
    """Mean coherence of n random directions (N0); the cosines of pairs are all but independent."""
    if n < 2 or d < 2:
        return math.nan
    return expected_max_cos(n * (n - 1) // 2, d, "abs")


def isotropic_histogram(d: int) -> NDArray[np.float64]:
    """Share of pairs of random directions in each of `BINS` bins of the cosine [B] (N0)."""
    above = max_cos_p(bin_edges(), 1, d)
    return above[:-1] - above[1:]


def bin_edges() -> NDArray[np.float64]:
    """Edges of the histograms of cosines, [B + 1]."""
    return np.linspace(-1.0, 1.0, BINS + 1)


def _others(units_MD: Tensor, own: float) -> Iterator[Tensor]:
    """Yield cosines of all rows with all rows in parts [C, M]; those with themselves are `own`.

    In float32: cosines to 1e-6 are enough for a bin and for a maximum, at half of the memory.
    """
    units_MD = units_MD.float()
    for start in range(0, len(units_MD), _CHUNK):
        cosine_CM = (units_MD[start : start + _CHUNK] @ units_MD.T).clamp_(-1.0, 1.0)
        cosine_CM.diagonal(start).fill_(own)
        yield cosine_CM


def _pairs(units_MD: Tensor) -> tuple[NDArray[np.float64], float, float, int, int]:
    """Histogram over ordered pairs [B], least and largest cosine, and unordered close pairs."""
    count_B = torch.zeros(BINS, dtype=torch.float64)
    lowest, highest, antipodal, duplicates = math.inf, -math.inf, 0, 0
    for cosine_CM in _others(units_MD, own=math.nan):
        # A cosine with itself is no pair: outside the range it is not counted.
        known_CM = cosine_CM.nan_to_num(nan=2.0)
        count_B += torch.histc(known_CM, BINS, -1.0, 1.0)
        highest = max(highest, float(cosine_CM.nan_to_num(nan=-2.0).max()))
        lowest = min(lowest, float(known_CM.min()))
        antipodal += int((known_CM <= ANTIPODAL).sum())
        duplicates += int((known_CM <= 1.0).logical_and_(known_CM >= -ANTIPODAL).sum())
    return count_B.numpy(), lowest, highest, antipodal // 2, duplicates // 2
