from __future__ import annotations

from typing import Any

import pytest

from engine.report.guidance import leave_one_out, thresholds_here, would_change
from engine.report.wording import headline

Record = dict[str, Any]


def three(summary: Record) -> Record:
    """A cohort of three seeds whose pairs are .8, .6, .4 against a surrogate of .2, .1, .3."""
    cohort: Record = summary["cohorts"][1]
    cohort["seeds"] = [1, 2, 3]
    cell = headline(cohort)
    cell["pairs"] = [[None, 0.8, 0.6], [0.8, None, 0.4], [0.6, 0.4, None]]
    twin = [[None, 0.2, 0.1], [0.2, None, 0.3], [0.1, 0.3, None]]
    cell["null_pairs"], cell["null"] = twin, 0.2
    return cohort


def test_a_seed_and_its_twin_are_left_out_together(summary: Record) -> None:
    """Without seed 1: (.4 − .3)/.7; without 2: (.6 − .1)/.9; without 3: (.8 − .2)/.8."""
    cohort = three(summary)
    assert leave_one_out(cohort, headline(cohort)) == pytest.approx([1 / 7, 5 / 9, 3 / 4])
    headline(cohort)["null_pairs"] = None
    assert leave_one_out(cohort, headline(cohort)) == pytest.approx([0.25, 0.5, 0.75])


def test_a_missing_pair_leaves_no_value(summary: Record) -> None:
    cohort = three(summary)
    headline(cohort)["pairs"][0][1] = None
    assert leave_one_out(cohort, headline(cohort)) == []


def test_the_seed_that_carries_the_word_is_named(summary: Record) -> None:
    cohort = summary["cohorts"][1]
    cell = headline(cohort)
    cell["pairs"] = [[None if i == j else 0.5 for j in range(5)] for i in range(5)]
    for other in range(1, 5):
        cell["pairs"][0][other] = cell["pairs"][other][0] = 0.99
    cell.update(null=0.45, kappa=0.446)
    said = " ".join(would_change(summary, cohort))
    assert "the word changes without seed 42 (κ .09)" in said


def test_more_seeds_longer_training_and_other_nulls_are_named(summary: Record) -> None:
    cohort = summary["cohorts"][0]
    cohort["warnings"] = ["undertrained: live decoder rows keep a mean cosine of 0.91"]
    cohort["quality"]["cosine_with_start"] = {"mean": 0.91, "sd": 0.0}
    said = would_change(summary, cohort)
    assert said[0].startswith(
        "Longer training (training.epochs): live features keep a cosine of .91"
    )
    # κ .01 ± .02 over five seeds: the interval must halve, which takes four times as many.
    assert "about 20 seeds" in said[1]
    assert any(
        "against N2: directions drawn from the decoders' covariance" in text for text in said
    )
    assert any("vary: [init, order]" in text for text in said)


def test_the_next_word_is_told_with_what_would_have_to_be_observed(summary: Record) -> None:
    """Null .5338 at observed .641 and κ .23: κ .6 takes .5338 + .6 · .4662 = .8135."""
    said = " ".join(would_change(summary, summary["cohorts"][1]))
    assert "“strong” begins at κ .6, at this null an observed .814 (now .641)" in said


def test_two_seeds_and_nothing_measured_say_what_is_missing(planted: Record) -> None:
    assert would_change(planted, planted["cohorts"][0])[0].startswith(
        "More seeds: 2 give no interval"
    )
    headline(planted["cohorts"][0])["kappa"] = None
    assert would_change(planted, planted["cohorts"][0]) == [
        "A measurement at all: two seeds give no interval."
    ]


@pytest.mark.parametrize(("rank", "said"), [(9.2, "no barrier"), (80.0, "rarely"), (None, "")])
def test_the_threshold_is_judged_by_the_rank_of_the_activations(
    summary: Record, rank: float | None, said: str
) -> None:
    cohort = summary["cohorts"][0]
    cohort["ground_truth"]["activation_rank"] = rank
    text = thresholds_here(cohort)
    assert said in text
    assert bool(text) == (rank is not None)
