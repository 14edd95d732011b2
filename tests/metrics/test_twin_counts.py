"""A twin with fewer features is raised to what chance scores among as many; one with more is left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.metrics import nulls
from engine.metrics.nulls import expected_max_cos
from engine.metrics.similarity import mean_max_cos
from engine.metrics.stability import measure_stability
from engine.metrics.twin_counts import as_many

TAUS = (0.5,)
METRICS = 2 + 2 * len(TAUS)


def isotropic(seeds: int, n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(seeds, n, d, generator=torch.Generator().manual_seed(seed)).double()


def measured(twins: list[Tensor]) -> list[np.ndarray]:
    values = [[mean_max_cos(a, b) if a is not b else math.nan for b in twins] for a in twins]
    return [np.array(values)] * METRICS


def test_isotropic_twins_score_like_more_isotropic_rows() -> None:
    twins = list(isotropic(3, 100, 16))
    raised = as_many(measured(twins), twins, [400, 400, 400], TAUS)[0]
    upper = np.triu_indices(3, 1)
    assert measured(twins)[0][upper].mean() == pytest.approx(expected_max_cos(100, 16), abs=0.01)
    assert raised[upper].mean() == pytest.approx(expected_max_cos(400, 16), abs=0.01)
    assert np.isnan(np.diagonal(raised)).all()


def test_agreement_beyond_chance_keeps_its_share_of_the_room() -> None:
    # Room left by chance shrinks from 1 - E(100) to 1 - E(400); of it, .7 stays unfilled.
    twins = list(isotropic(2, 100, 16))
    value = 1 - 0.7 * (1 - expected_max_cos(100, 16))
    pairs = [np.array([[math.nan, value], [value, math.nan]])] * METRICS
    raised = as_many(pairs, twins, [400, 400], TAUS)[0][0, 1]
    assert raised == pytest.approx(1 - 0.7 * (1 - expected_max_cos(400, 16)), abs=0.01)


@pytest.mark.parametrize("counts", [[100, 100], [60, 60], [120, 80]])
def test_twins_with_no_fewer_features_are_left_alone(counts: list[int]) -> None:
    twins = list(isotropic(2, 100, 16))
    before = measured(twins)
    for old, new in zip(before, as_many(before, twins, counts, TAUS), strict=True):
        np.testing.assert_array_equal(old, new)


def test_it_repeats_itself_and_never_lowers() -> None:
    twins = [rows[:n] for rows, n in zip(isotropic(3, 20, 6), (20, 1, 7), strict=True)]
    before = measured(twins)
    once, again = (as_many(before, twins, [20, 20, 20], TAUS) for _ in range(2))
    upper = np.triu_indices(3, 1)
    for old, new, same in zip(before, once, again, strict=True):
        np.testing.assert_array_equal(new, same)
        assert (new[upper] >= old[upper]).all()


def test_rows_on_one_axis_leave_no_room_to_raise() -> None:
    axis = torch.ones(4, 1) * torch.tensor([1.0, 0, 0])
    twins = [axis, axis.clone()]
    raised = as_many(measured(twins), twins, [9, 9], TAUS)
    assert raised[0][0, 1] == pytest.approx(1.0)


def test_noise_judged_by_smaller_twins_is_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 features judged by twins of 16, nothing shared: without the raise every run was `weak`."""
    monkeypatch.setattr(nulls, "MIN_ROWS", 1)  # N0 to N2 are not asked
    weak = 0
    for seed in range(10):
        rows, twins = isotropic(5, 64, 24, seed), isotropic(5, 64, 24, 100 + seed)
        found = measure_stability(
            rows,
            torch.ones(5, 64, dtype=torch.bool),
            activation_covariance_DD=None,
            initial_SFD=None,
            surrogate_SFD=twins,
            surrogate_live_SF=torch.arange(64).expand(5, 64) < 16,
            dependence="N3 alone is the null",
        ).agreement("mean_max_cos", "live")
        assert found.null_name == "N3"
        weak += found.verdict != "chance"
    assert weak <= 1
