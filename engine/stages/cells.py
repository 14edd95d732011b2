"""One measure of every pair of seeds, beside what chance gives, as the summary has it.

Shapes: S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.metrics.nulls import Null
from engine.metrics.parallel import side_by_side
from engine.metrics.uncertainty import MIN_SEEDS, jackknife_pairs, pair_mean

Floats = NDArray[np.float64]
Cell = dict[str, Any]
Pair = tuple[int, int]


def make_cell(pairs_SS: Floats, nulls: Sequence[Cell], **more: Any) -> Cell:
    """Return mean over pairs, its jackknife interval over seeds, the pairs, and the nulls, as plain values.

    Pairs that are not symmetric are of one direction each: of the row's seed in the column's.
    """
    both_SS = (pairs_SS + pairs_SS.T) / 2
    observed, low, high, reason = pair_mean(both_SS), math.nan, math.nan, ""
    if not math.isfinite(observed):
        reason = "a pair of seeds has no value"
    elif len(pairs_SS) < MIN_SEEDS:
        reason = f"{len(pairs_SS)} seeds give no interval; at least {MIN_SEEDS} are needed"
    else:
        estimate = jackknife_pairs(both_SS)
        low, high = estimate.low, estimate.high
    return {
        "observed": known(observed),
        "ci_low": known(low),
        "ci_high": known(high),
        "nulls": list(nulls),
        "pairs": [[known(value) for value in row] for row in pairs_SS.tolist()],
        "reason": reason,
        **more,
    }


def lacking(reason: str, **more: Any) -> Cell:
    """Return the cell of what could not be measured."""
    empty: Cell = {"observed": None, "ci_low": None, "ci_high": None, "nulls": [], "pairs": None}
    return {**empty, "reason": reason, **more}


def make_null(name: str, value: float, reason: str = "", *, admissible: bool = True) -> Cell:
    """Return what chance of one kind gives, as plain values; one without a value is not admissible."""
    fits = admissible and math.isfinite(value)
    return {"name": name, "value": known(value), "admissible": fits, "reason": reason}


def nulls_of(nulls: Iterable[Null]) -> list[Cell]:
    """Return the nulls of an agreement, as plain values."""
    return [make_null(n.name, n.value, n.reason, admissible=n.admissible) for n in nulls]


def tabulate(values: Callable[[int, int], float], n_seeds: int) -> Floats:
    """Return one value per pair of seeds, symmetric [S, S], NaN on the diagonal."""
    table_SS = np.full((n_seeds, n_seeds), np.nan)
    pairs = list(combinations(range(n_seeds), 2))
    found = side_by_side(lambda pair: values(*pair), pairs)
    for (s, t), value in zip(pairs, found, strict=True):
        table_SS[s, t] = table_SS[t, s] = value
    return table_SS


def ring(n_seeds: int) -> list[Pair]:
    """Return as many pairs as seeds, each seed in two: enough for the mean of a null."""
    if n_seeds == 2:
        return [(0, 1)]
    return [(s, s + 1) for s in range(n_seeds - 1)] + [(0, n_seeds - 1)]


def known(value: float) -> float | None:
    """Return a finite number, else None."""
    return float(value) if math.isfinite(value) else None
