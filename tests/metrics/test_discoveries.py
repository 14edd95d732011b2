"""False discoveries: Benjamini and Hochberg's own example, partial conjunction by hand, calibration."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InputError
from engine.metrics.discoveries import (
    benjamini_hochberg,
    find_discoveries,
    majority,
    partial_conjunction,
)

# Benjamini & Hochberg 1995, section 3.3: fifteen endpoints; four are discoveries at .05.
PUBLISHED = (
    .0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262, .5719, .6528, .7590, 1.0,
)  # fmt: skip


def test_the_published_example() -> None:
    q = benjamini_hochberg(np.array(PUBLISHED))
    assert int((q <= 0.05).sum()) == 4
    assert q[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert q[-1] == 1


def test_q_is_monotone_keeps_its_shape_and_skips_what_is_missing() -> None:
    # m = 3: .01·3/1 = .03, .04·3/2 = .06, .05·3/3 = .05, so the second is .05 as well.
    q = benjamini_hochberg(np.array([[0.05, np.nan], [0.01, 0.04]]))
    assert q == pytest.approx(np.array([[0.05, np.nan], [0.03, 0.05]]), nan_ok=True)


def test_no_p_values_give_no_q_values() -> None:
    assert np.isnan(benjamini_hochberg(np.full(3, np.nan))).all()


@pytest.mark.parametrize(("others", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (9, 5)])
def test_most_is_more_than_half(others: int, needed: int) -> None:
    assert majority(others) == needed


def test_partial_conjunction_by_hand() -> None:
    # Four others, three needed: twice the third smallest.
    p = np.array([[0.01, 0.5], [0.02, 0.9], [0.03, 0.8], [0.9, 0.7]])
    assert partial_conjunction(p) == pytest.approx([0.06, 1.0])
    assert partial_conjunction(np.array([[0.2], [0.3]])) == pytest.approx([0.3]), "both of two"
    assert np.isnan(partial_conjunction(np.array([[0.2], [np.nan]]))).all()


def test_chance_is_rarely_discovered_and_signal_is() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((5, 5, 400))
    p[:, :, :40] *= 1e-6
    found = find_discoveries({"isotropic": p}, {}, np.ones((5, 400), dtype=bool))
    assert (found.q["isotropic"][:, :40] <= 0.05).all()
    false = (found.q["isotropic"][:, 40:] <= 0.05).sum()
    assert false <= 0.1 * 200
    assert found.to_json()["isotropic"]["per_seed"][0] >= 40


def test_a_feature_found_by_half_of_the_others_is_no_discovery() -> None:
    p = np.full((5, 5, 1), 0.9)
    p[:, :2] = 1e-9
    found = find_discoveries({"isotropic": p}, {}, np.ones((5, 1), dtype=bool))
    assert found.q["isotropic"][4, 0] > 0.5


def test_what_is_not_tested_has_p_but_no_q_and_does_not_count() -> None:
    tested = np.array([[True, False], [True, True]])
    found = find_discoveries({}, {"surrogate": np.full((2, 2), 0.04)}, tested)
    assert found.tested == (1, 2)
    assert np.isnan(found.q["surrogate"][0, 1])
    assert found.q["surrogate"][0, 0] == pytest.approx(0.04)
    assert found.to_json()["surrogate"] == {"per_seed": [1, 2]}
    assert set(found.columns(0)) == {"p_surrogate", "q_surrogate"}


@pytest.mark.parametrize(
    ("partner", "whole"),
    [
        ({"isotropic": np.zeros((2, 3, 1))}, {}),
        ({}, {"surrogate": np.zeros((2, 2))}),
        ({}, {"surrogate": np.full((2, 1), 1.5)}),
    ],
)
def test_shapes_and_values_that_do_not_fit_are_refused(
    partner: dict[str, np.ndarray], whole: dict[str, np.ndarray]
) -> None:
    with pytest.raises(InputError):
        find_discoveries(partner, whole, np.ones((2, 1), dtype=bool))


def test_p_without_a_row_is_refused() -> None:
    with pytest.raises(InputError):
        partial_conjunction(np.zeros((0, 3)))
