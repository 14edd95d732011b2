"""What a reader must know before believing a cohort: said once, with the user's seeds, in readable figures."""

from __future__ import annotations

from typing import Any

import pytest

from engine.stages.analysis import _verdict
from engine.stages.flags import flags_of_training, red_flags, warnings_of_training

CONFIG = {"architecture": "jumprelu", "d_sae": 64, "target_l0": 8.0}


def cell(
    observed: float | None, reason: str = "", counts: tuple[int, ...] = (9, 9, 9)
) -> dict[str, Any]:
    """Return a cell of agreement."""
    verdict = "undetermined" if reason else "chance"
    return {"observed": observed, "reason": reason, "verdict": verdict, "n_per_seed": list(counts)}


def flags(
    live: dict[str, Any], every: dict[str, Any], ev: float = 0.9, batch_size: int = 900
) -> list[str]:
    """Return the red flags of a cohort of the seeds 42, 123 and 456."""
    mean = {"mean": 0.1, "per_seed": [0.1] * 3}
    quality = {
        "explained_variance": {"mean": ev, "per_seed": [0.9, ev, 0.9]},
        "dead_fraction": mean,
        "loss_recovered": None,
        "cosine_with_start": mean,
    }
    none: dict[str, Any] = {"diverged": {}, "surrogate_diverged": {}}
    cohort = {"quality": quality, "seeds": [42, 123, 456], **none}
    stability = {"metrics": {"mean_max_cos": {"live": live, "all": every}}, "step_zero": None}
    # A thousand activations whose first principal direction explains a tenth.
    results = {"activations": {"rank_one_variance": 0.1, "samples": 1000}}
    training = {"batch_size": batch_size, "held_out": 0.1}
    return red_flags(results, training, cohort, stability)


def test_a_cohort_without_problems_has_no_flags() -> None:
    assert flags(cell(0.5), cell(0.5)) == []


def test_a_missing_verdict_says_why_once() -> None:
    (said,) = flags(cell(0.5, "without N3, nothing is sure"), cell(0.5, "the same"))
    assert said == "no verdict: without N3, nothing is sure"


def test_without_live_features_the_verdict_is_of_all_and_names_the_users_seeds() -> None:
    live = cell(None, "no live feature in 2 of 3 seeds", (0, 9, 0))
    (said,) = flags(live, cell(0.5))
    assert said.startswith("no live feature in seed 42, 456: ")
    assert "of all features" in said
    assert "no verdict" not in said, "there is one, of all features"
    assert flags(live, cell(0.5, "two seeds"))[-1] == "no verdict: two seeds"


@pytest.mark.parametrize(
    ("ev", "said"),
    [(-3.24e33, "explains −3.2e33 of"), (-0.5, "explains −.500 of"), (-5e7, "explains −5.0e7 of")],
)
def test_an_exploded_number_has_few_digits(ev: float, said: str) -> None:
    assert said in flags(cell(0.5), cell(0.5), ev)[0]


def test_a_batch_larger_than_the_training_is_told() -> None:
    (said,) = flags(cell(0.5), cell(0.5), batch_size=901)
    assert said.startswith("batch_size 901 is more than the 900 activations")


def traced(l0: list[float]) -> dict[str, Any]:
    """Return curves of two rows; the second seed's loss was called rising in the first."""
    early = {"name": "loss_rising", "message": "seed 7: the loss rises", "seed": 7}
    late = {"name": "l0_off_target", "message": "seed 3: L0 is far", "seed": 3}
    good = {"dead_fraction": [0.1] * 2, "explained_variance": [0.9] * 2}
    return {
        "seeds": [3, 7],
        "curves": [
            {"step": 100, "loss": [9.0, 9.0], "l0": [8.0, 8.0], **good, "flags": [early]},
            {"step": 900, "loss": [5.0, 5.0], "l0": l0, **good, "flags": [late]},
        ],
    }


def test_flags_of_the_curves_say_whether_they_still_hold() -> None:
    found = flags_of_training({"settings": CONFIG}, traced([25.0, 8.0]))
    assert [(flag["step"], flag["seed"], flag["holds"]) for flag in found] == [
        (100, 7, False),
        (900, 3, True),
    ]


def test_what_holds_at_the_end_is_a_warning_for_all_its_seeds_at_once() -> None:
    cohort = {"settings": CONFIG, "seeds": [3, 7]}
    assert warnings_of_training(cohort, traced([25.0, 8.0])) == [
        "seed 3: L0 is 25.0, far from its target 8"
    ]
    assert warnings_of_training(cohort, traced([25.0, 2.0])) == [
        "seed 3: L0 is 25.0, far from its target 8 (likewise seed 7)"
    ]
    assert warnings_of_training(cohort, traced([8.0, 8.0])) == []


def test_twins_that_learnt_nothing_leave_no_verdict_beyond_chance() -> None:
    def said(verdict: str, *warnings: str) -> str:
        plain = {"metrics": {"mean_max_cos": {"live": {"verdict": verdict}}}}
        return _verdict(plain, "live", list(warnings))

    unfair = "the surrogate behind N3 explains −.020 of its variance: N3 is no fair null here"
    assert said("strong", unfair) == "undetermined"
    assert said("chance", unfair) == "chance", "a lower null would only have raised κ"
    assert said("strong") == "strong"
