"""Whether the features that are true are the stable ones: rank correlation over features, by seed.

Features of one seed share their seed, so the interval is a jackknife over seeds (`uncertainty`): a seed that
is left out is left out as the partner of the others, too. Numpy, float64.

Shapes: S seeds, F features; [s, t, f] is feature f of seed s seen by seed t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from engine.errors import InputError
from engine.metrics.uncertainty import MIN_SEEDS, jackknife

Floats = NDArray[np.float64]
Agreement = Callable[[int, Sequence[int]], Floats]
"""Given a seed and the other seeds: how well those have each of its features, [F]."""

PERMUTATIONS = 499
_FEWEST = 4


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ over features, averaged over seeds."""

    mean: float
    """NaN where no seed has one."""
    per_seed: tuple[float, ...]
    """NaN where a side is constant, or fewer than four features are counted."""
    low: float
    high: float
    """95 % delete-one-seed jackknife; NaN with fewer than three seeds."""
    p: float
    """Share of permutations of the features, within seeds, whose mean is as far from 0."""
    permutations: int
    n_per_seed: tuple[int, ...]
    """Features counted."""


def spearman(x_F: Floats, y_F: Floats) -> float:
    """Spearman's ρ, ties at their mean rank; NaN for a constant side or fewer than four features."""
    x, y = _ranks(x_F), _ranks(y_F)
    return float(x @ y) if x is not None and y is not None else math.nan


def correlate(
    truth: Sequence[Floats],
    agreement: Agreement,
    live: Sequence[NDArray[np.bool_]],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> RankCorrelation:
    """Correlate a score of recovery, [F] per seed, with agreement over the live features that have both.

    `InputError` unless there is one mask per seed and there are at least two seeds.
    """
    count = len(truth)
    if count < 2 or len(live) != count:
        raise InputError("recovery", f"{count} seeds, {len(live)} masks", "one mask for ≥ 2 seeds")

    def sides(s: int, seeds: Sequence[int]) -> tuple[Floats, Floats]:
        y_F = agreement(s, [t for t in seeds if t != s])
        kept = live[s] & np.isfinite(truth[s]) & np.isfinite(y_F)
        return truth[s][kept], y_F[kept]

    def mean(seeds: Sequence[int]) -> float:
        return _mean([spearman(*sides(s, seeds)) for s in seeds])

    everyone = list(range(count))
    pairs = [sides(s, everyone) for s in everyone]
    per_seed = [spearman(x, y) for x, y in pairs]
    value, low, high = _mean(per_seed), math.nan, math.nan
    if count >= MIN_SEEDS and math.isfinite(value):
        found = jackknife(mean, count)
        low, high = found.low, found.high
    p = _permuted_p(pairs, value, permutations, seed)
    sizes = tuple(len(x) for x, _ in pairs)
    return RankCorrelation(value, tuple(per_seed), low, high, p, permutations, sizes)


def median_best(best_STF: Floats) -> Agreement:
    """Agreement as the median over other seeds of the best cosine."""
    return lambda s, others: np.asarray(np.median(best_STF[s][list(others)], axis=0))


def shared_by(best_STF: Floats, partner_STF: NDArray[np.int64], tau: float = 0.7) -> Agreement:
    """Agreement as the share of other seeds with a mutual nearest neighbour of cosine ≥ tau."""

    def share(s: int, others: Sequence[int]) -> Floats:
        votes = [_mutual(partner_STF, s, t) & (best_STF[s, t] >= tau) for t in others]
        return np.asarray(np.mean(votes, axis=0), dtype=np.float64)

    return share


def _mutual(partner_STF: NDArray[np.int64], s: int, t: int) -> NDArray[np.bool_]:
    forth = partner_STF[s, t]
    back = partner_STF[t, s][np.maximum(forth, 0)]
    return np.asarray((forth >= 0) & (back == np.arange(len(forth))))


def _ranks(x_F: Floats) -> Floats | None:
    """Ranks with mean 0 and norm 1; None where all are equal or too few."""
    if len(x_F) < _FEWEST:
        return None
    ranks = rankdata(x_F) - (len(x_F) + 1) / 2
    norm = float(np.linalg.norm(ranks))
    return ranks / norm if norm > 0 else None


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _permuted_p(
    pairs: Sequence[tuple[Floats, Floats]], value: float, permutations: int, seed: int
) -> float:
    if not math.isfinite(value):
        return math.nan
    rng = np.random.default_rng(seed)
    drawn, used = np.zeros(permutations), 0
    for x_F, y_F in pairs:
        x, y = _ranks(x_F), _ranks(y_F)
        if x is None or y is None:
            continue
        drawn += rng.permuted(np.tile(x, (permutations, 1)), axis=1) @ y
        used += 1
    as_far = int((np.abs(drawn / used) >= abs(value) - 1e-12).sum())
    return (1 + as_far) / (1 + permutations)
