"""The section on activations and single features: every number beside its null, nothing passed over."""

from __future__ import annotations

from typing import Any

from engine.report.recurrence import activation_table, discoveries_table

CELL = {
    "observed": 0.461, "null": 0.429, "null_sd": 0.008, "kappa": 0.056, "ci_low": 0.033, "ci_high": 0.078,
    "pairs": [[None, 0.461], [0.461, None]], "reason": "",
}  # fmt: skip
BLANK = {
    **dict.fromkeys(CELL),
    "reason": "no latent fires on 10 of the inputs used in 2 of 5 seeds",
}


def summary(**found: Any) -> dict[str, Any]:
    return {"cohorts": [{"title": "topk 64 k4", "hook": "h", **found}]}


def activations(cell: dict[str, Any], **changes: Any) -> dict[str, Any]:
    names = ("pearson", "pearson_matched", "jaccard", "jaccard_matched")
    return {
        "inputs": {"used": 2048, "of": 12769}, "n_per_seed": [1200, 1201], "least_count": 10,
        "shift": "torus", **dict.fromkeys(names, cell), **changes,
    }  # fmt: skip


def test_activations_stand_beside_their_null_and_interval() -> None:
    html = activation_table(summary(activation_match=activations(CELL)))
    for text in (".461", ".429", "[.03, .08]", "2,048 of 12,769 inputs", "1,200, 1,201", "torus"):
        assert text in html
    assert html.count("<tr>") == 5


def test_all_inputs_and_planted_rows_are_said_so() -> None:
    found = activations(CELL, inputs={"used": 500, "of": 500}, shift="rows")
    html = activation_table(summary(activation_match=found))
    assert "all 500 inputs" in html
    assert "cyclically over the inputs" in html


def test_what_could_not_be_measured_says_why() -> None:
    html = activation_table(summary(activation_match=activations(BLANK)))
    assert html.count(BLANK["reason"]) == 4


def test_discoveries_are_counted_by_null_and_a_lacking_one_is_a_dash() -> None:
    found = {
        "level": 0.05, "rule": "", "tested": [700, 300], "isotropic": {"per_seed": [200, 50]},
        "surrogate": {"per_seed": [0, 0]},
    }  # fmt: skip
    html = discoveries_table(summary(discoveries=found))
    assert "250 of 1,000" in html
    assert "25.0 %" in html
    assert "0 of 1,000" in html
    assert html.count("–</td>") == 3, "no effective dimensions: nothing is claimed"
    assert "at most 5\u00a0%" in html


def test_older_summaries_have_no_such_section() -> None:
    assert activation_table(summary()) == ""
    assert discoveries_table(summary()) == ""
