"""Rank correlation over features with seeds as the unit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from engine.errors import InputError
from engine.metrics.rank_correlation import correlate, median_best, shared_by, spearman


def everything(count: int, features: int) -> list[np.ndarray]:
    return [np.ones(features, dtype=bool)] * count


class TestSpearman:
    def test_by_hand(self) -> None:
        x = np.array([1.0, 2, 3, 4, 5])
        # Differences of rank 1, 1, 1, 1, 0: ρ = 1 - 6·4/(5·24).
        assert spearman(x, np.array([2.0, 1, 4, 3, 5])) == pytest.approx(0.8)
        assert spearman(x, np.exp(x)) == pytest.approx(1.0)
        assert spearman(x, -x) == pytest.approx(-1.0)

    def test_ties_as_in_scipy(self) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 4, 50).astype(float), rng.integers(0, 3, 50).astype(float)
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)

    def test_nothing_to_rank(self) -> None:
        assert math.isnan(spearman(np.ones(9), np.arange(9.0)))
        assert math.isnan(spearman(np.arange(3.0), np.arange(3.0)))


class TestCorrelate:
    def test_the_interval_is_the_jackknife_by_hand(self) -> None:
        # Seed 0 follows, seed 1 opposes, seed 2 is half way whatever the others are: ρ = 1, -1, .4.
        truth = [np.array([1.0, 2, 3, 4])] * 3
        agree = [np.array([1.0, 2, 3, 4]), np.array([4.0, 3, 2, 1]), np.array([3.0, 1, 2, 4])]
        found = correlate(truth, lambda s, others: agree[s], everything(3, 4))
        assert found.per_seed == pytest.approx((1.0, -1.0, 0.4))
        assert found.mean == pytest.approx(0.4 / 3)
        # Means without one seed: -.3, .7, 0; SE² = 2/3·Σ(dev²) and t(.975, 2) = 4.3027.
        deviations = np.array([-0.3, 0.7, 0.0]) - 0.4 / 3
        half = 4.3026527 * math.sqrt(2 / 3 * float((deviations**2).sum()))
        assert found.high - found.mean == pytest.approx(half)
        assert found.n_per_seed == (4, 4, 4)

    def test_a_deleted_seed_is_no_partner_either(self) -> None:
        asked: set[tuple[int, tuple[int, ...]]] = set()

        def agreement(s: int, others: list[int]) -> np.ndarray:
            asked.add((s, tuple(others)))
            return np.arange(5.0)

        correlate([np.arange(5.0)] * 3, agreement, everything(3, 5))  # type: ignore[arg-type]
        assert (0, (1, 2)) in asked
        assert (0, (2,)) in asked
        assert all(s not in others for s, others in asked)

    def test_permutations(self) -> None:
        rng = np.random.default_rng(1)
        x = [rng.normal(size=200) for _ in range(4)]
        related = correlate(x, lambda s, _: x[s] + rng.normal(size=200), everything(4, 200))
        assert related.p == pytest.approx(1 / 500)
        noise = [rng.normal(size=200) for _ in range(4)]
        assert correlate(x, lambda s, _: noise[s], everything(4, 200)).p > 0.02

    def test_only_live_and_known_features_count(self) -> None:
        truth = [np.array([1.0, 2, 3, 4, math.nan, 0.0])] * 2
        agree = np.array([1.0, 2, 3, 4, 9, 99])
        live = [np.array([True] * 5 + [False])] * 2
        found = correlate(truth, lambda s, others: agree, live)
        assert found.mean == pytest.approx(1.0)
        assert found.n_per_seed == (4, 4)
        assert math.isnan(found.low), "two seeds have no interval"

    def test_constant_scores_have_none(self) -> None:
        found = correlate([np.ones(9)] * 3, lambda s, others: np.arange(9.0), everything(3, 9))
        assert math.isnan(found.mean)
        assert math.isnan(found.p)

    def test_errors(self) -> None:
        for count, masks in ((1, 1), (3, 2)):
            with pytest.raises(InputError, match="recovery"):
                correlate([np.ones(4)] * count, lambda s, t: np.ones(4), everything(masks, 4))


class TestAgreements:
    best = np.array([[[np.nan] * 2, [0.9, 0.6]], [[0.9, 0.6], [np.nan] * 2]])

    def test_median(self) -> None:
        best = np.zeros((1, 4, 2))
        best[0, 1:] = [[0.1, 0.9], [0.5, 0.8], [0.4, 0.1]]
        assert median_best(best)(0, [1, 2, 3]).tolist() == [0.4, 0.8]
        assert median_best(best)(0, [2]).tolist() == [0.5, 0.8]

    def test_mutual_neighbours_near_enough(self) -> None:
        partner = np.array([[[-1, -1], [0, 1]], [[0, 1], [-1, -1]]])
        assert shared_by(self.best, partner)(0, [1]).tolist() == [1.0, 0.0]
        assert shared_by(self.best, partner, tau=0.5)(0, [1]).tolist() == [1.0, 1.0]
        crossed = np.array([[[-1, -1], [0, 0]], [[1, 1], [-1, -1]]])
        assert shared_by(self.best, crossed, tau=0.5)(0, [1]).tolist() == [0.0, 1.0]
