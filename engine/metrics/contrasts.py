"""Differences between cohorts and trends along a sweep, with the uncertainty that seeds leave.

What two cohorts share are their seeds, so seeds are deleted, resampled and swapped in both at once;
pairs of seeds are never samples (science.md §2). κ = (observed − null) / (1 − null), where observed and
null are means over pairs of different seeds; a null that is one number is a table of that number.
Shapes: S = shared seeds, A = the two architectures, L = relabellings, R = resamples, C = cohorts of a
sweep, P = pairs of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr
from scipy.stats import spearmanr

from engine.errors import InputError
from engine.metrics.nulls import kappa
from engine.metrics.uncertainty import Estimate, check_pairs, jackknife, pair_mean, resampled_means

Floats = NDArray[np.float64]

EXACT_SEEDS = 12
"""Up to so many seeds every swap of labels is tried; from there on some are drawn."""
DRAWS = 2000
EQUAL = 1e-12
"""Relabellings this close to what was observed count as equal to it."""


@dataclass(frozen=True)
class Side:
    """What one cohort brings to a comparison: its pairs, and those of its null, over the shared seeds."""

    observed_SS: Floats
    null_SS: Floats

    def __post_init__(self) -> None:
        check_pairs(self.observed_SS)
        check_pairs(self.null_SS)
        if self.observed_SS.shape != self.null_SS.shape:
            what = f"{len(self.observed_SS)} seeds and {len(self.null_SS)} in the null"
            raise InputError("pairs", f"have {what}", "the same seeds in both")

    def kappa(self, seeds: Sequence[int] | None = None) -> float:
        """Return κ of all seeds, or of those named by their index."""
        return kappa(pair_mean(self.observed_SS, seeds), pair_mean(self.null_SS, seeds))


@dataclass(frozen=True)
class Permutation:
    """How often a difference as large comes about when architectures are swapped within seeds."""

    p: float
    smallest: float
    """The smallest p that so many seeds can give."""
    relabellings: int
    """B, without the one that was observed."""
    exact: bool


@dataclass(frozen=True)
class Trend:
    """How κ changes along a sweep."""

    slope: Estimate
    """Of κ on log2 of the swept number: the change of κ for each doubling."""
    spearman: float


@dataclass(frozen=True)
class Curve:
    """κ and a quality of one architecture at several settings."""

    sides: tuple[Side, ...]
    qualities_CS: Floats
    """The quality of each setting and seed, such as L0."""


def constant(value: float, n_seeds: int) -> Floats:
    """Return the table [S, S] of a null that is the same for every pair."""
    return np.full((n_seeds, n_seeds), value)


def difference(baseline: Side, variant: Side) -> Estimate:
    """Return κ of the variant less κ of the baseline: jackknife over the seeds, deleted from both.

    Raises InputError for sides of different seeds or fewer than three of them.
    """
    n_seeds = _shared(baseline, variant)
    return jackknife(lambda seeds: variant.kappa(seeds) - baseline.kappa(seeds), n_seeds)


def observed_difference(baseline: Side, variant: Side) -> Estimate:
    """Return the difference of what was observed; it means something at equal n, d and sign alone."""
    n_seeds = _shared(baseline, variant)
    a_SS, b_SS = baseline.observed_SS, variant.observed_SS
    return jackknife(lambda seeds: pair_mean(b_SS, seeds) - pair_mean(a_SS, seeds), n_seeds)


def _shared(baseline: Side, variant: Side) -> int:
    a, b = len(baseline.observed_SS), len(variant.observed_SS)
    if a != b:
        raise InputError("seeds", f"{a} against {b}", "the seeds that both sides share")
    return a


def t_probability(estimate: Estimate) -> float:
    """Return the two-sided p of an estimate being 0, by Student's t with S − 1 degrees of freedom; NaN
    where every seed gives the same value."""
    if not estimate.se > 0:
        return math.nan
    return float(2 * stdtr(estimate.n_seeds - 1, -abs(estimate.value) / estimate.se))


def bootstrap_difference(
    baseline: Side, variant: Side, *, draws: int = DRAWS, seed: int = 0
) -> Floats:
    """Return the differences of κ [R] when seeds are resampled, the same in both sides.

    A seed drawn twice is not paired with itself; a resample of one single seed is drawn again.
    Raises InputError for sides of different seeds, fewer than three of them, or no draws.
    """
    _shared(baseline, variant)
    a_R, a_null_R, b_R, b_null_R = resampled_means(
        np.stack([baseline.observed_SS, baseline.null_SS, variant.observed_SS, variant.null_SS]),
        draws,
        seed,
    )
    difference_R: Floats = (b_R - b_null_R) / (1 - b_null_R) - (a_R - a_null_R) / (1 - a_null_R)
    return difference_R


def label_permutation(
    observed_AASS: Floats, null_AASS: Floats, *, draws: int = 4999, seed: int = 0
) -> Permutation:
    """Swap the architectures within seeds and ask how often |Δκ| comes out as large.

    Entry [a, b, s, t] compares the SAE of architecture a and seed s with that of b and t; a seed is never
    compared with itself. Swapping within seeds keeps what a seed shares across architectures. Swapping all
    seeds only turns the sign, so with S seeds no p is below 2 / 2^S: .25 for 3, .0625 for 5.
    p = (1 + #≥) / (1 + B) over the B relabellings that are not the observed one: all of them up to 12
    seeds, else `draws` at random.

    Raises InputError unless both tables are [2, 2, S, S] with S >= 2 and finite off the diagonal.
    """
    n_seeds = observed_AASS.shape[-1]
    if observed_AASS.shape != (2, 2, n_seeds, n_seeds) or n_seeds < 2:
        raise InputError("tables", f"have shape {list(observed_AASS.shape)}", "[2, 2, S, S]")
    if null_AASS.shape != observed_AASS.shape:
        raise InputError("null", f"has shape {list(null_AASS.shape)}", "that of the observed")
    first_P, second_P = np.triu_indices(n_seeds, 1)
    off = ~np.eye(n_seeds, dtype=bool)
    if not (np.isfinite(observed_AASS[..., off]).all() and np.isfinite(null_AASS[..., off]).all()):
        raise InputError("tables", "a pair has no finite value", "one value for every two SAEs")
    exact = n_seeds <= EXACT_SEEDS
    if exact:
        labels_LS = np.array(list(product((0, 1), repeat=n_seeds)))[1:]
    else:
        labels_LS = np.random.default_rng(seed).integers(0, 2, (draws, n_seeds))
    labels_LS = np.concatenate([np.zeros((1, n_seeds), dtype=int), labels_LS])

    def kappas(labels_LS: NDArray[np.int_]) -> Floats:
        a_LP, b_LP = labels_LS[:, first_P], labels_LS[:, second_P]
        observed_L = observed_AASS[a_LP, b_LP, first_P, second_P].mean(1)
        null_L = null_AASS[a_LP, b_LP, first_P, second_P].mean(1)
        return np.asarray((observed_L - null_L) / (1 - null_L), dtype=np.float64)

    size_L = np.abs(kappas(1 - labels_LS) - kappas(labels_LS))
    count, total = int((size_L[1:] >= size_L[0] - EQUAL).sum()), len(size_L) - 1
    smallest = 2 / 2**n_seeds if exact else 1 / (1 + total)
    return Permutation((1 + count) / (1 + total), smallest, total, exact)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return p adjusted for several tests (Holm 1979), in the order given.

    Raises InputError for a value that is no probability.
    """
    if any(not 0 <= p <= 1 for p in probabilities):
        raise InputError("p", f"{list(probabilities)}", "probabilities")
    adjusted, running = [0.0] * len(probabilities), 0.0
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * probabilities[place]))
        adjusted[place] = running
    return adjusted


def trend(x_CS: Floats, sides: Sequence[Side]) -> Trend:
    """Return how κ changes with log2 x along cohorts, seeds being deleted from all of them at once.

    Args:
        x_CS: the swept number of each cohort, by seed where it was measured (L0).
        sides: the cohorts, over the same seeds.

    Raises:
        InputError: fewer than three cohorts or seeds, x that is not positive or does not vary.
    """
    n_seeds = x_CS.shape[1]
    if len(sides) < 3 or len(x_CS) != len(sides):
        raise InputError("sweep", f"{len(sides)} cohorts, {len(x_CS)} values", "three or more")
    if not (x_CS > 0).all() or np.ptp(x_CS.mean(1)) == 0:
        raise InputError("sweep", "has values that are not positive or all the same", "a range")

    def slope(seeds: Sequence[int]) -> float:
        x_C = np.log2(x_CS[:, list(seeds)].mean(1))
        kappa_C = np.array([side.kappa(seeds) for side in sides])
        away_C = x_C - x_C.mean()
        return float((away_C * kappa_C).sum() / (away_C**2).sum())

    kappas = [side.kappa() for side in sides]
    level = len(set(kappas)) == 1
    rho = math.nan if level else float(spearmanr(x_CS.mean(1), kappas).statistic)
    return Trend(jackknife(slope, n_seeds), rho)


def overlap(first: Curve, second: Curve) -> tuple[float, float]:
    """Return the ends of the range of the quality that both curves reach; low > high where there is none."""
    ends = [
        (means.min(), means.max()) for means in (c.qualities_CS.mean(1) for c in (first, second))
    ]
    return float(max(low for low, _ in ends)), float(min(high for _, high in ends))


def at_quality(curve: Curve, value: float, seeds: Sequence[int] | None = None) -> float:
    """Return κ of a curve where its quality has a value, between its settings by linear interpolation."""
    chosen = list(range(curve.qualities_CS.shape[1])) if seeds is None else list(seeds)
    kappas = [side.kappa(chosen) for side in curve.sides]
    return interpolate(curve.qualities_CS[:, chosen].mean(1), kappas, value)


def interpolate(x: Sequence[float] | Floats, y: Sequence[float] | Floats, value: float) -> float:
    """Return y where x has a value, linear between neighbours of x and level beyond its ends."""
    x_C, y_C = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    order = np.argsort(x_C, kind="stable")
    return float(np.interp(value, x_C[order], y_C[order]))


def curve_difference(baseline: Curve, variant: Curve, value: float) -> Estimate:
    """Return the difference of κ where both curves have one value of the quality, by joint jackknife.

    Raises InputError where the value lies outside what both reach, or for different or few seeds.
    """
    low, high = overlap(baseline, variant)
    if not low <= value <= high:
        raise InputError("value", f"is {value:g}", f"within {low:g} to {high:g}, which both reach")
    n_seeds = _shared(baseline.sides[0], variant.sides[0])

    def gap(seeds: Sequence[int]) -> float:
        return at_quality(variant, value, seeds) - at_quality(baseline, value, seeds)

    return jackknife(gap, n_seeds)
