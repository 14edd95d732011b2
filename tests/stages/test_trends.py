"""Trends along a sweep: told with an interval, refused over too little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.stages.trends import find_trends

Entry = Callable[..., dict[str, Any]]


def widths(entry: Entry, *marks: tuple[int, float], **changes: Any) -> list[dict[str, Any]]:
    return [entry(f"topk {w}", cos, d_sae=w, **changes) for w, cos in marks]


def test_the_slope_of_kappa_for_each_doubling_of_width(entry: Entry) -> None:
    # κ = .5 .4 .2 at 32, 64, 256; the middle one varies between its seeds.
    cohorts = [
        *widths(entry, (256, 0.36), (32, 0.6), wobble=0.0),
        *widths(entry, (64, 0.52), wobble=0.001),
    ]
    (one,) = find_trends(cohorts, "")
    assert one["x"] == [32, 64, 256]
    assert one["kappa"] == pytest.approx([0.5, 0.4, 0.2])
    assert one["slope"] == pytest.approx(-0.1)
    assert one["direction"] == "falls"
    low, high = one["interval"]
    assert low < -0.1 < high < 0
    assert one["spearman"] == pytest.approx(-1)
    assert one["line"] == "topk k 32"
    assert (one["refusals"], one["marks"]) == ([], [])


def test_a_direction_is_told_only_where_the_interval_leaves_out_zero(entry: Entry) -> None:
    (one,) = find_trends(widths(entry, (32, 0.52), (64, 0.5), (256, 0.519), wobble=0.05), "")
    (calm,) = find_trends(widths(entry, (32, 0.5), (64, 0.5), (256, 0.5), wobble=0.0), "")
    assert one["direction"] == "open" or one["interval"][0] * one["interval"][1] > 0
    assert (calm["direction"], calm["interval"]) == ("open", None)
    unsure = [
        *widths(entry, (32, 0.5), (64, 0.5), wobble=0.0),
        *widths(entry, (256, 0.51), wobble=0.05),
    ]
    (found,) = find_trends(unsure, "")
    assert found["direction"] == "open"
    assert found["interval"][0] < 0 < found["interval"][1]


def test_sparsity_is_what_was_measured_and_a_narrow_range_is_refused(entry: Entry) -> None:
    settings = [(0.30, 400.0), (0.31, 420.0), (0.29, 440.0)]
    cohorts = [entry(f"relu {l1}", 0.5 - l1, l0=l0, settings={"l1": l1}) for l1, l0 in settings]
    (one,) = find_trends(cohorts, "")
    # The cautionary tale of r = −.999 over a 1.1× range of L0.
    assert one["over"] == "l0"
    assert one["refusals"] == ["L0 spans a factor of 1.1 (400 to 440); a trend needs 2"]
    assert (one["slope"], one["spearman"], one["direction"]) == (None, None, "refused")
    assert one["kappa"] == pytest.approx([0.0, -0.0125, 0.0125])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too few": ({"twins": False}, "2 points that can be used; a trend needs 3"),
    "few seeds": ({"seeds": [4, 5, 8]}, "2 shared seeds; an interval needs 3"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_has_no_trend_says_why(entry: Entry, case: str) -> None:
    changes, said = REFUSED[case]
    cohorts = widths(entry, (32, 0.6), (64, 0.5))
    (one,) = find_trends([*cohorts, *widths(entry, (256, 0.4), **changes)], "")
    assert said in one["refusals"]
    if case == "too few":
        assert any("topk 256 has no N3" in reason for reason in one["refusals"])


def test_any_searched_number_has_a_trend_and_undertrained_points_are_marked(entry: Entry) -> None:
    cohorts = [
        entry(f"topk {n}", cos, point={"training.epochs": n}, kept=kept)
        for n, cos, kept in ((1, 0.3, 0.9), (4, 0.4, 0.6), (16, 0.6, 0.2))
    ]
    (one,) = find_trends(cohorts, "G3")
    assert (one["over"], one["name"]) == ("training.epochs", "epochs of training")
    assert one["direction"] == "rises"
    said = " ".join(one["marks"])
    assert "gates failed (G3)" in said
    assert "topk 1 is undertrained" in said
    assert "topk 16" not in said


def test_hooks_and_architectures_have_lines_of_their_own(entry: Entry) -> None:
    cohorts = [
        entry(f"{name} {w} {hook}", 0.5, d_sae=w, hook=hook)
        for name in ("topk", "relu")
        for hook in ("a", "b")
        for w in (32, 64, 128)
    ]
    assert [(one["line"], one["hook"]) for one in find_trends(cohorts, "")] == [
        ("topk k 32", "a"),
        ("topk k 32", "b"),
        ("relu l1 0.1", "a"),
        ("relu l1 0.1", "b"),
    ]
    assert find_trends([entry("topk a", 0.5), entry("relu b", 0.6)], "") == []


def larger_null(cohort: dict[str, Any], value: float, n3: bool = True) -> dict[str, Any]:
    """Take κ against N6 of a value, with N3 at .2 beside it, or with none."""
    for cell in cohort["stability"]["mean_max_cos"].values():
        cell.update(null_name="N6", null=value, null_pairs=None)
        cell["kappa"] = (cell["observed"] - value) / (1 - value)
        cell["nulls"] = [{"name": "N6", "value": value, "admissible": True}]
        if n3:
            cell["nulls"].append({"name": "N3", "value": 0.2, "admissible": True})
    return cohort


def test_kappa_that_moves_with_the_kind_of_its_null_is_told_against_one_null(entry: Entry) -> None:
    # What is observed does not change; where the larger null sets in, κ falls from .5 to 0.
    cohorts = widths(entry, (32, 0.6), (64, 0.6), (128, 0.6), (256, 0.6))
    for cohort in cohorts[2:]:
        larger_null(cohort, 0.6)
    (one,) = find_trends(cohorts, "")
    assert one["kappa"] == pytest.approx([0.5, 0.5, 0.0, 0.0])
    assert one["null_names"] == ["N3", "N3", "N6", "N6"]
    assert one["against"] == "N3"
    assert one["kappa_against"] == pytest.approx([0.5] * 4)
    assert one["slope"] == pytest.approx(0.0)
    assert one["direction"] == "open"
    assert not any("held fixed" in mark for mark in one["marks"]), "N6 is not what the slope is of"


def test_on_the_common_null_the_pairs_of_the_surrogate_are_deleted_with_their_seed(
    entry: Entry,
) -> None:
    cohorts = widths(entry, (32, 0.6), (64, 0.5), (256, 0.4), wobble=0.0)
    fixed = larger_null(cohorts[2], 0.3)
    (before,) = find_trends(cohorts, "")
    assert before["interval"] is None, "no seed differs from another"
    pairs = [[None if i == j else 0.1 + 0.01 * (i + j) for j in range(5)] for i in range(5)]
    fixed["surrogate_pairs"] = {"metric": "mean_max_cos", "live": pairs, "all": pairs}
    (after,) = find_trends(cohorts, "")
    assert after["kappa_against"] == pytest.approx(before["kappa_against"]), "N3 is what it was"
    assert after["interval"] is not None


def test_without_a_null_common_to_all_points_the_trend_is_undetermined(entry: Entry) -> None:
    cohorts = widths(entry, (32, 0.6), (64, 0.5), (256, 0.4))
    larger_null(cohorts[0], 0.3)
    for cell in cohorts[0]["stability"]["mean_max_cos"].values():
        cell["nulls"][1]["value"] = None
    (one,) = find_trends(cohorts, "")
    assert one["direction"] == "refused"
    assert one["slope"] is None
    (why,) = one["refusals"]
    assert why == (
        "undetermined: nulls differ (topk 32 N6, topk 64 N3, topk 256 N3), and none is common to all"
    )


def test_nulls_of_one_kind_stay_the_headline(entry: Entry) -> None:
    cohorts = [
        larger_null(cohort, 0.3) for cohort in widths(entry, (32, 0.6), (64, 0.5), (256, 0.4))
    ]
    (one,) = find_trends(cohorts, "")
    assert (one["against"], one["kappa_against"]) == ("N6", None)
    assert sum("held fixed" in mark for mark in one["marks"]) == 3
