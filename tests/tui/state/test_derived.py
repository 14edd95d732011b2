"""Smoothing and spread, against values worked by hand and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from husai_tui.state.derived import BLOCK, CHUNK, Kept, Smoother, extremes, spread

NAN = np.nan


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_the_first_value_stays_and_the_average_does_not_lean_to_zero() -> None:
    # w = ½: 4, (½·4 + 8)/(½ + 1), (¼·4 + ½·8 + 0)/(¼ + ½ + 1)
    smooth = Smoother(0.5).extend(column(4, 8, 0))
    assert smooth[:, 0] == pytest.approx([4, 10 / 1.5, 5 / 1.75])


def test_gaps_stay_and_are_passed_over() -> None:
    # The value after the gap: (¼·4 + 8)/(¼ + 1)
    smooth = Smoother(0.5).extend(column(4, NAN, 8))
    assert smooth[0, 0] == 4
    assert np.isnan(smooth[1, 0])
    assert smooth[2, 0] == pytest.approx(9 / 1.25)


def test_a_seed_that_diverges_leaves_the_others_alone() -> None:
    both = np.array([[4.0, 1.0], [8.0, NAN], [0.0, NAN]])
    assert Smoother(0.5).extend(both)[:, 0] == pytest.approx([4, 10 / 1.5, 5 / 1.75])
    assert np.isnan(Smoother(0.5).extend(both)[1:, 1]).all()


@pytest.mark.parametrize("weight", [0.5, 0.9, 0.995])
def test_it_is_the_debiased_average_over_many_rows(weight: float) -> None:
    y = np.random.default_rng(1).normal(size=(CHUNK + 500, 2))
    mean, norm, want = np.zeros(2), 0.0, []
    for row in y:
        mean, norm = weight * mean + (1 - weight) * row, weight * norm + (1 - weight)
        want.append(mean / norm)
    assert Smoother(weight).extend(y) == pytest.approx(np.array(want), abs=1e-9)


def test_rows_that_come_later_continue() -> None:
    y = np.random.default_rng(2).normal(size=(100, 3))
    y[40:50, 1] = NAN
    whole = Smoother(0.8).extend(y)
    smoother = Smoother(0.8)
    pieces = [smoother.extend(y[start : start + 7]) for start in range(0, 100, 7)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-12)


def test_no_rows_are_none() -> None:
    assert Smoother(0.5).extend(np.empty((0, 2))).shape == (0, 2)
    assert spread(np.empty((0, 2))).shape == (0, 3)


def test_median_and_range_over_the_seeds_that_are_there() -> None:
    values = np.array([[3.0, 1.0, 2.0], [3.0, NAN, 1.0], [NAN, NAN, NAN], [np.inf, 5.0, NAN]])
    told = spread(values)
    assert told[0].tolist() == [2, 1, 3]
    assert told[1].tolist() == [2, 1, 3]
    assert np.isnan(told[2]).all()
    assert told[3].tolist() == [5, 5, 5]


def test_only_new_rows_are_made() -> None:
    made: list[int] = []

    def make(rows: np.ndarray) -> np.ndarray:
        made.append(len(rows))
        return rows * 2

    kept = Kept(make)
    y = np.arange(10.0)[:, None]
    kept.of(y[:4])
    kept.of(y[:4])
    assert kept.of(y)[:, 0].tolist() == [2 * value for value in range(10)]
    assert made == [4, 6]


def test_of_many_rows_only_the_extremes_are_kept() -> None:
    y = np.zeros((2 * BLOCK + 5, 2))
    y[7], y[BLOCK], y[BLOCK + 1] = (9, NAN), (-3, np.inf), (NAN, 4)
    y[BLOCK:, 1] = NAN
    pairs = extremes(y)
    assert pairs[:, 0].tolist() == [0, 9, -3, 0]
    assert pairs[:2, 1].tolist() == [0, 0]
    assert np.isnan(pairs[2:, 1]).all()
