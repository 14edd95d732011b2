"""Jackknife, bootstrap and verdict: against the worked matrix of five seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.errors import InputError
from engine.metrics.uncertainty import (
    Verdict,
    jackknife,
    jackknife_pairs,
    pair_mean,
    seed_bootstrap,
    verdict,
)

UPPER = [0.80, 0.70, 0.75, 0.60, 0.78, 0.82, 0.66, 0.72, 0.58, 0.64]


def worked_matrix(diagonal: float = math.nan) -> np.ndarray:
    matrix = np.full((5, 5), diagonal)
    matrix[np.triu_indices(5, 1)] = UPPER
    matrix.T[np.triu_indices(5, 1)] = UPPER
    return matrix


def test_jackknife_of_the_worked_matrix() -> None:
    estimate = jackknife_pairs(worked_matrix())
    assert estimate.value == pytest.approx(0.705, abs=1e-9)
    assert estimate.se == pytest.approx(0.0646, abs=5e-5)
    assert (estimate.low, estimate.high) == pytest.approx((0.526, 0.884), abs=5e-4)
    naive = np.std(UPPER, ddof=1) / math.sqrt(10)
    assert naive == pytest.approx(0.0265, abs=5e-5)
    assert estimate.se > 2 * naive  # pairs are not samples


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    # Textbook identity: for a plain mean, SE is s/sqrt(n); here s² = 5/3, t_3(.975) = 3.1824.
    sample = [1.0, 2.0, 3.0, 4.0]
    estimate = jackknife(lambda seeds: float(np.mean([sample[s] for s in seeds])), 4)
    se = math.sqrt(5 / 3) / 2
    assert estimate.se == pytest.approx(se, abs=1e-12)
    assert estimate.high - estimate.value == pytest.approx(3.1824 * se, abs=1e-4)


def test_three_seeds_by_hand() -> None:
    # Deleting a seed leaves one pair: .3, .6, .9; SE² = 2/3 * (.09 + 0 + .09).
    matrix = np.array([[1, 0.9, 0.6], [0.9, 1, 0.3], [0.6, 0.3, 1.0]])
    estimate = jackknife_pairs(matrix)
    assert estimate.value == pytest.approx(0.6)
    assert estimate.se == pytest.approx(math.sqrt(0.12))
    assert estimate.low == pytest.approx(0.6 - 4.302653 * math.sqrt(0.12), abs=1e-5)


def test_coverage_of_the_interval_under_seed_effects() -> None:
    # Pair value = mean of two seed effects: the pairs share seeds; naive coverage is about .62.
    rng = np.random.default_rng(0)
    hits = naive_hits = 0
    for _ in range(1000):
        effect = rng.normal(size=5)
        matrix = (effect[:, None] + effect[None, :]) / 2 + rng.normal(scale=0.01)
        estimate = jackknife_pairs(matrix)
        hits += estimate.low <= 0 <= estimate.high
        pairs = matrix[np.triu_indices(5, 1)]
        naive_hits += abs(pairs.mean()) <= 2.262 * pairs.std(ddof=1) / math.sqrt(10)
    assert hits / 1000 == pytest.approx(0.95, abs=0.02)
    assert naive_hits / 1000 < 0.75


@pytest.mark.parametrize("n_seeds", [0, 1, 2])
def test_fewer_than_three_seeds_have_no_interval(n_seeds: int) -> None:
    with pytest.raises(InputError, match="at least 3"):
        jackknife(lambda seeds: float(len(seeds)), n_seeds)
    with pytest.raises(InputError):
        jackknife_pairs(np.ones((n_seeds, n_seeds)))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((3, 4)), "square"),
        (np.ones(9), "square"),
        (np.array([[1, 0.5, 0.5], [0.5, 1, math.nan], [0.5, math.nan, 1]]), "finite"),
        (np.array([[1, 0.5, 0.5], [0.6, 1, 0.5], [0.5, 0.5, 1]]), "symmetric"),
    ],
)
def test_matrices_that_are_not_pairs_are_refused(matrix: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        jackknife_pairs(matrix)
    with pytest.raises(InputError, match=message):
        seed_bootstrap(matrix)


def test_a_level_that_is_no_probability_is_refused() -> None:
    with pytest.raises(InputError, match="level"):
        jackknife_pairs(worked_matrix(), level=95)


def test_the_bootstrap_never_pairs_a_seed_with_itself() -> None:
    means = seed_bootstrap(worked_matrix(), draws=20_000)
    assert means.mean() == pytest.approx(0.705, abs=0.005)
    # A diagonal of ones is what would lift it to .2 * 1 + .8 * .705 = .765.
    np.testing.assert_array_equal(means, seed_bootstrap(worked_matrix(1.0), draws=20_000))
    assert min(UPPER) <= means.min() <= means.max() <= max(UPPER)


def test_the_bootstrap_repeats_itself_and_gives_as_many_as_asked() -> None:
    matrix = np.full((3, 3), 0.4)
    assert len(seed_bootstrap(matrix, draws=500)) == 500  # one in nine resamples has no pair
    assert np.allclose(seed_bootstrap(matrix, draws=500), 0.4)
    first, again = (seed_bootstrap(worked_matrix(), draws=50, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    with pytest.raises(InputError):
        seed_bootstrap(np.ones((2, 2)))
    with pytest.raises(InputError):
        seed_bootstrap(matrix, draws=0)


def test_pair_mean_of_a_choice_of_seeds() -> None:
    assert pair_mean(worked_matrix(), [0, 1, 4]) == pytest.approx((0.80 + 0.60 + 0.66) / 3)
    assert math.isnan(pair_mean(worked_matrix(), [2]))


@pytest.mark.parametrize(
    ("kappa", "ci", "expected"),
    [
        (0.10, (0.05, 0.15), "weak"),
        (0.20, (0.10, 0.30), "moderate"),
        (0.59, (0.50, 0.68), "moderate"),
        (0.60, (0.50, 0.70), "strong"),
        (0.90, (-0.01, 1.81), "chance"),
        (0.30, (0.00, 0.60), "chance"),
        (0.00, (0.00, 0.00), "chance"),
        (-0.30, (-0.40, -0.20), "chance"),
        (0.90, (math.nan, math.nan), "undetermined"),
        (math.nan, (0.1, 0.2), "undetermined"),
    ],
)
def test_verdict(kappa: float, ci: tuple[float, float], expected: Verdict) -> None:
    assert verdict(kappa, ci) == expected
