from __future__ import annotations

from typing import Any

import pytest

from engine.report.wording import (
    cohort_label,
    duration,
    explain_null,
    fraction,
    gates_mark,
    kappa_text,
    metric_title,
    percent,
    quantity,
    short_null,
    size,
    spread,
    step_range,
    verdict_sentence,
)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.4871, 2, ".49"),
        (-0.012, 2, "−.01"),
        (1.0, 2, "1.00"),
        (0.9996, 3, "1.000"),
        (-0.001, 2, ".00"),
        (-5.3, 2, "−5.30"),
        (-153.221, 3, "−153.2"),
        (-3.2426991777e33, 3, "−3.2e33"),
        (0, 2, ".00"),
        (None, 2, "–"),
    ],
)
def test_fractions_lose_their_leading_zero(value: float | None, digits: int, text: str) -> None:
    assert fraction(value, digits) == text


def test_numbers_for_people() -> None:
    assert [percent(0.361), percent(0.0316, 1), percent(None)] == ["36 %", "3.2 %", "–"]
    assert [quantity(v) for v in (31.94, 426.7, 12_769, 3, 1.25, 3.1e-7, -2.5, 4.2e31, None)] == [
        "31.9", "427", "12,769", "3", "1.25", "3.1e-07", "−2.5", "4.2e31", "–",
    ]  # fmt: skip
    assert [duration(v) for v in (4.21, 83, 7510, None)] == ["4.2 s", "1:23", "2:05:10", "–"]
    assert [size(v) for v in (512, 640e6, 1.24e9, None)] == ["512 B", "640 MB", "1.2 GB", "–"]
    assert spread({"mean": 0.5, "sd": None, "per_seed": [0.5]}) == ".50"
    assert spread(None) == spread({"mean": None, "sd": None, "per_seed": []}) == "–"
    assert [step_range(v) for v in ([400, 500], [None, 500], [None, None], None)] == [
        "at steps 400–500", "by step 500", "never", "never",
    ]  # fmt: skip


def test_names_of_metrics_and_nulls() -> None:
    assert metric_title("shared_fraction@0.7") == "shared fraction (cos ≥ .7)"
    assert metric_title("mean_max_cos") == "mean max cosine"
    assert metric_title("new_metric") == "new_metric"
    assert [short_null(name) for name in ("N3 surrogate retrain", "N6", "own", None)] == [
        "N3", "N6", "own", "–",
    ]  # fmt: skip
    assert explain_null("N0 isotropic") == "N0: random directions"
    assert explain_null("own") == "own"
    # Two nulls share the code N4: neither may pass for the other.
    assert short_null("N4 untrained") == "N4 untrained"
    assert explain_null("N4 step 0") == "N4 step 0: the same SAEs before their first step"
    assert metric_title("strict_shared_fraction@0.7") == "strictly shared (cos ≥ .7)"


def test_the_verdict_is_one_sentence_in_plain_words(summary: dict[str, Any]) -> None:
    topk, relu = summary["cohorts"]
    assert verdict_sentence(topk) == (
        "The features of 5 seeds are no more alike than chance (κ .01, 95 % CI −.01 to .03, against N3)."
    )
    assert "more alike than chance, but far from the same" in verdict_sentence(relu)


def test_without_an_interval_the_verdict_is_open_and_says_why(planted: dict[str, Any]) -> None:
    assert verdict_sentence(planted["cohorts"][0]) == (
        "Whether the features of 2 seeds are alike beyond chance is open: two seeds give no interval "
        "(κ .89, against N3)."
    )


def test_a_seed_that_did_not_train_is_no_missing_interval(summary: dict[str, Any]) -> None:
    cohort = {**summary["cohorts"][0], "verdict": "undetermined"}
    assert "is open: an SAE did not train (κ .01, 95 % CI −.01 to .03" in verdict_sentence(cohort)
    unfair = {**cohort, "warnings": ["the surrogate explains −.1: N3 is no fair null here"]}
    assert "is open: its twins on surrogate data learnt nothing (κ" in verdict_sentence(unfair)


def test_failed_gates_are_named(
    summary: dict[str, Any], fail_gates: dict[str, Any], planted: dict[str, Any]
) -> None:
    assert gates_mark(fail_gates) == "gates failed: G1, G2"
    assert gates_mark(summary) == gates_mark(planted) == ""


def test_a_label_names_the_hook_only_where_there_are_several(summary: dict[str, Any]) -> None:
    first, second = summary["cohorts"]
    assert cohort_label(summary, first) == "topk 1024 k32"
    second["hook"] = "blocks.0.hook_mlp_out"
    assert cohort_label(summary, second) == "relu 1024 l1 0.001 · blocks.0.hook_mlp_out"


def test_a_bound_is_never_rounded_to_nothing() -> None:
    cell = {"kappa": 0.0148, "ci_low": 0.0038, "ci_high": 0.0257}
    assert kappa_text(cell) == ".015 [.004, .026]"
    assert kappa_text({"kappa": 0.12, "ci_low": 0.03, "ci_high": 0.21}) == ".12 [.03, .21]"
    assert kappa_text({"kappa": 0.0, "ci_low": 0.0, "ci_high": 0.0}) == ".00 [.00, .00]"


def test_a_narrow_interval_is_told_with_a_digit_more() -> None:
    cell = {"kappa": 0.01005, "ci_low": 0.00681, "ci_high": 0.01329}
    assert kappa_text(cell) == ".010 [.007, .013]"
    assert kappa_text({"kappa": 0.12, "ci_low": 0.03, "ci_high": 0.21}) == ".12 [.03, .21]"
