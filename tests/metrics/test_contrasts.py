"""Differences of κ and trends against hand-worked and published numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.errors import InputError
from engine.metrics.contrasts import (
    Curve,
    Side,
    at_quality,
    bootstrap_difference,
    constant,
    curve_difference,
    difference,
    holm,
    interpolate,
    label_permutation,
    observed_difference,
    overlap,
    t_probability,
    trend,
)
from engine.metrics.uncertainty import Estimate

# science.md §8: θ .705, SE .0646, CI [.526, .884].
UPPER = (0.80, 0.70, 0.75, 0.60, 0.78, 0.82, 0.66, 0.72, 0.58, 0.64)


def table(upper: tuple[float, ...], n: int) -> np.ndarray:
    pairs = np.full((n, n), np.nan)
    pairs[np.triu_indices(n, 1)] = upper
    return np.where(np.isnan(pairs), pairs.T, pairs)


def flat(value: float, n: int = 5, null: float = 0.0) -> Side:
    return Side(constant(value, n), constant(null, n))


KNOWN = Side(table(UPPER, 5), constant(0.0, 5))


def test_the_joint_jackknife_of_the_known_matrix() -> None:
    # Against a cohort without any agreement the difference is the matrix's own mean.
    found = difference(flat(0.0), KNOWN)
    assert found.value == pytest.approx(0.705)
    assert found.se == pytest.approx(0.0646, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((0.526, 0.884), abs=5e-4)
    # Seeds are deleted from both sides at once: what both share leaves no uncertainty.
    half = Side(KNOWN.observed_SS - 0.1, constant(0.0, 5))
    joint = difference(half, KNOWN)
    assert joint.value == pytest.approx(0.1)
    assert joint.se == pytest.approx(0.0, abs=1e-12)
    assert observed_difference(half, KNOWN).value == pytest.approx(0.1)


def test_kappa_uses_the_pairs_of_the_null_of_the_same_seeds() -> None:
    # Observed .8 .6 .7, null .6 .2 .4: κ = (.7 − .4)/.6 = .5; seeds 0 and 1 alone: (.8 − .6)/.4 = .5.
    side = Side(table((0.8, 0.6, 0.7), 3), table((0.6, 0.2, 0.4), 3))
    assert side.kappa() == pytest.approx(0.5)
    assert side.kappa([0, 1]) == pytest.approx(0.5)
    assert side.kappa([0, 2]) == pytest.approx(0.5)
    assert side.kappa([1, 2]) == pytest.approx(0.5)
    # So every seed gives the same, though observed and null both vary.
    assert difference(flat(0.1, 3), side).se == pytest.approx(0.0, abs=1e-12)


def test_student_t_of_an_estimate() -> None:
    # Two-sided p of t = 2.776 with 4 degrees of freedom is .05 (tables).
    assert t_probability(Estimate(2.776, 1.0, 0, 0, 5)) == pytest.approx(0.05, abs=1e-4)
    assert t_probability(Estimate(-2.776, 1.0, 0, 0, 5)) == pytest.approx(0.05, abs=1e-4)
    assert math.isnan(t_probability(Estimate(0.1, 0.0, 0, 0, 5)))


def test_the_bootstrap_leaves_self_pairs_out_and_resamples_both_sides_together() -> None:
    alone = bootstrap_difference(flat(0.0), KNOWN)
    assert len(alone) == 2000
    # Self-pairs would pull the mean from .705 to .765 (science.md §8).
    assert alone.mean() == pytest.approx(0.705, abs=0.005)
    shifted = Side(KNOWN.observed_SS - 0.1, constant(0.0, 5))
    assert bootstrap_difference(shifted, KNOWN) == pytest.approx(np.full(2000, 0.1))
    assert (bootstrap_difference(flat(0.0), KNOWN) == alone).all(), "same seed, same draws"


def blocks(within_a: float, within_b: float, across: float, n: int) -> np.ndarray:
    tables = np.full((2, 2, n, n), across)
    tables[0, 0], tables[1, 1] = within_a, within_b
    return tables


@pytest.mark.parametrize(("n", "least"), [(3, 0.25), (4, 0.125), (5, 0.0625)])
def test_swapped_labels_cannot_fall_below_their_least_p(n: int, least: float) -> None:
    found = label_permutation(blocks(0.2, 0.9, 0.1, n), np.zeros((2, 2, n, n)))
    assert found.p == pytest.approx(least)
    assert found.smallest == pytest.approx(least)
    assert found.relabellings == 2**n - 1
    assert found.exact


def test_swapped_labels_by_hand() -> None:
    # Seeds 0, 1, 2. Within A .9 .1 .1 and within B all .1 (pairs 01, 02, 12); across .3 for A0–B1, else .1.
    tables = np.full((2, 2, 3, 3), 0.1)
    tables[0, 0, 0, 1] = tables[0, 0, 1, 0] = 0.9
    tables[0, 1, 0, 1] = tables[1, 0, 1, 0] = 0.3
    # |Δ| · 3: nobody or seed 2 or all or all but 2 swapped: .8 (4 of 8); seed 1 or its complements: .2.
    found = label_permutation(tables, np.zeros((2, 2, 3, 3)))
    assert found.p == pytest.approx(4 / 8)


def test_swapped_labels_of_equal_architectures_are_never_rare() -> None:
    same = np.broadcast_to(table(UPPER, 5), (2, 2, 5, 5))
    assert label_permutation(same, np.zeros((2, 2, 5, 5))).p == 1.0


def test_many_seeds_are_swapped_at_random() -> None:
    found = label_permutation(blocks(0.2, 0.9, 0.1, 13), np.zeros((2, 2, 13, 13)), draws=99)
    assert (found.exact, found.relabellings) == (False, 99)
    assert found.p == pytest.approx(0.01)
    assert found.smallest == pytest.approx(0.01)


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04 times 4, 3, 2, 1 = .04 .06 .06 .04, made monotone.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_trend_is_the_slope_for_each_doubling() -> None:
    x_CS = np.array([[32.0] * 5, [64.0] * 5, [256.0] * 5])
    # κ = .5 − .1 log2(x / 32): .5 .4 .2
    found = trend(x_CS, [flat(0.5), flat(0.4), flat(0.2)])
    assert found.slope.value == pytest.approx(-0.1)
    assert found.spearman == pytest.approx(-1)
    # Of the known matrix, added with weights 0 1 3 over log2 x: the slope is its mean, with its error.
    added = [Side(w * KNOWN.observed_SS / 10, constant(0.0, 5)) for w in (0, 1, 3)]
    known = trend(x_CS, added).slope
    assert (known.value, known.se) == pytest.approx((0.0705, 0.00646), abs=5e-6)
    assert math.isnan(trend(x_CS, [flat(0.5)] * 3).spearman), "nothing to rank"


def test_curves_are_compared_where_both_have_a_value() -> None:
    def curve(*marks: tuple[float, float]) -> Curve:
        return Curve(
            tuple(flat(kappa, 3) for _, kappa in marks), np.array([[x] * 3 for x, _ in marks])
        )

    # In no order: at 3 the first lies half-way from .4 to .8, the second at .5.
    first, second = curve((4, 0.8), (2, 0.4)), curve((3, 0.5), (9, 0.1))
    assert overlap(first, second) == (3, 4)
    assert at_quality(first, 3) == pytest.approx(0.6)
    assert curve_difference(first, second, 3).value == pytest.approx(-0.1)
    with pytest.raises(InputError, match="both reach"):
        curve_difference(first, second, 5)
    low, high = overlap(first, curve((5, 0.5), (9, 0.1)))
    assert low > high
    assert interpolate([2, 4], [0.4, 0.8], 9) == pytest.approx(0.8)


BAD = {
    "seeds differ": (lambda: difference(flat(0.1, 4), flat(0.1, 5)), "share"),
    "two seeds": (lambda: difference(flat(0.1, 2), flat(0.1, 2)), "at least 3"),
    "null of other seeds": (lambda: Side(constant(0.1, 3), constant(0.1, 4)), "same seeds"),
    "a pair is missing": (lambda: Side(constant(math.nan, 3), constant(0.1, 3)), "one value"),
    "bootstrap of two": (lambda: bootstrap_difference(flat(0.1, 2), flat(0.2, 2)), "S >= 3"),
    "tables of one": (lambda: label_permutation(np.zeros((1, 1, 3, 3)), np.zeros(3)), "2, 2, S, S"),
    "null of another shape": (
        lambda: label_permutation(np.zeros((2, 2, 3, 3)), np.zeros((2, 2, 4, 4))),
        "that of the observed",
    ),
    "tables with a hole": (
        lambda: label_permutation(np.full((2, 2, 3, 3), math.nan), np.zeros((2, 2, 3, 3))),
        "every two SAEs",
    ),
    "no probability": (lambda: holm([1.2]), "probabilities"),
    "two points": (lambda: trend(np.ones((2, 3)), [flat(0.1, 3)] * 2), "three or more"),
    "no range": (lambda: trend(np.ones((3, 3)), [flat(0.1, 3)] * 3), "a range"),
    "no logarithm": (
        lambda: trend(np.array([[0.0] * 3, [1.0] * 3, [2.0] * 3]), [flat(0.1, 3)] * 3),
        "a range",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_what_has_no_answer_is_refused(case: str) -> None:
    ask, said = BAD[case]
    with pytest.raises(InputError, match=said):
        ask()
