"""The section on the ground truth: every number with its baseline, and a reason for what is missing."""

from __future__ import annotations

import copy
import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from engine.report.canvas import house_style, to_csv, to_svg
from engine.report.page import render_page
from engine.report.truth_figures import draw_ablation
from engine.report.truth_section import no_truth, truth_section

Record = dict[str, Any]


def spread(mean: float | None, sd: float | None = 0.01) -> Record:
    return {"mean": mean, "sd": sd, "per_seed": [mean] * 5}


def effect(logits: float, margin: float) -> Record:
    return {"logits": spread(logits), "margin": spread(margin)}


def effects(scale: float) -> Record:
    return {
        "feature": effect(1.16 * scale, -0.87),
        "random": effect(0.41, -0.08),
        "random_covariance": effect(1.41, -0.61),
    }


def run(loss: float, recovered: float) -> Record:
    return {
        "loss": loss,
        "loss_recovered": recovered,
        "accuracy": 1.0,
        "margin": 9.84,
        "fve": 0.957,
    }


def rho(mean: float | None, **more: Any) -> Record:
    bounds = (
        {"ci_low": 0.61, "ci_high": 0.85} if mean is not None else {"ci_low": None, "ci_high": None}
    )
    return {"mean": mean, "per_seed": [mean] * 5, "p": 0.002, "permutations": 499, **bounds, **more}


def measured() -> Record:
    found = {"keys": [23, 7], "against": "the run with the SAE spliced in", "pairs": 2048,
             "group_sizes": [spread(236.0), spread(166.0)], "spliced": [spread(11.8), spread(6.9)]}  # fmt: skip
    for name, values in (
        ("matrix", [[0.12, 0.97], [0.94, None]]),
        ("control", [[0.71, 0.72], [0.73, 0.74]]),
    ):
        found[name] = values
        found[f"{name}_sd"] = [[0.01, 0.02], [0.03, None]]
        found[f"{name}_diagonal"] = spread(0.12 if name == "matrix" else 0.725)
        found[f"{name}_off_diagonal"] = spread(0.955 if name == "matrix" else 0.735)
    return {
        "causal": {
            **{name: spread(value) for name, value in run(0.00045, 0.99994).items()},
            "baselines": {
                "clean": run(0.00026, 1.0), "untrained": run(0.00063, 0.9999), "mean": run(5.37, 0.0)
            },
            "held_out": 1278, "pairs": 12769,
        },
        "ablation": {
            "against": "the run with the SAE spliced in", "features_per_seed": 4, "inputs_per_feature": 128,
            "kinds": {"stable": effects(1.0), "active": effects(2.0), "random": effects(0.5)},
        },
        "frequency_ablation": found,
        "stability_correlation": {
            "plane_energy": {
                "median_best_cosine": rho(0.73),
                "stability": rho(None, missing="fewer than four live features, or all of one value"),
            },
        },
        "classes": {
            "count": 113, "recall": spread(0.17), "precision": spread(0.02), "cosine": spread(0.56),
            "baselines": {
                "pca": {"recall": 0.0, "precision": 0.0, "cosine": 0.31},
                "random": {"recall": 0.0, "precision": 0.0, "cosine": 0.26},
                "random_covariance": {"recall": 0.24, "precision": 0.03, "cosine": 0.88},
            },
            "lookup_possible": True,
        },
        "coverage": {**spread(0.926), "rank": 9, "null": 0.0703, "pca": 0.9999, "planes": [], "warning": None},
        "clock": {
            "gradient_symmetry": 0.387, "distance_irrelevance": 0.907, "samples": 256,
            "baselines": {
                "untrained": {"gradient_symmetry": spread(0.9999), "distance_irrelevance": spread(0.998)}
            },
            "known": {"clock": {"gradient_symmetry": 0.33, "distance_irrelevance": 0.85},
                      "pizza": {"gradient_symmetry": 0.994, "distance_irrelevance": 0.17}},
        },
    }  # fmt: skip


@pytest.fixture
def told(summary: Record) -> Record:
    told = copy.deepcopy(summary)
    for cohort in told["cohorts"]:
        cohort["ground_truth"] |= measured()
    return told


def rows_of(html: str) -> list[list[str]]:
    found = re.findall(r"<tr>(.*?)</tr>", html, flags=re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in found]


def test_every_number_stands_beside_its_control(told: Record) -> None:
    rows = rows_of(truth_section(told))
    assert ["", "the mean activation", "5.37", ".0000", "1.0000", "9.84", ".957"] in rows
    stable = next(row for row in rows if row[1:2] == ["most stable"])
    assert stable[2:5] == ["1.16 ± .01", ".41 ± .01", "1.41 ± .01"]
    group = next(row for row in rows if row[-1] == "236 at 23, 166 at 7")
    assert group[1:5] == [".12 ± .01", ".72 ± .01", ".95 ± .01", ".73 ± .01"]
    energy = next(row for row in rows if row[1:3] == ["in-plane energy", "median best cosine"])
    assert energy[3:] == ["–", ".73", "[.61, .85]", ".002"], "an analysis of before has no count"
    lookup = next(row for row in rows if row[1:3] == ["recall", ".17 ± .01"])
    assert lookup[3:] == [".00", ".00", ".24"]
    assert any(row[1:5] == ["9", ".926 ± .010", "1.00", ".070"] for row in rows)
    assert ["the subject", ".387", ".907"] in rows
    assert ["untrained", "1.000", ".998"] in rows


def test_what_could_not_be_measured_says_why(told: Record) -> None:
    text = truth_section(told)
    assert "fewer than four live features" in text
    assert "lookup table" in text
    for cohort in told["cohorts"]:
        cohort["ground_truth"]["causal"] = {"missing": "planted data come from no model"}
        cohort["ground_truth"]["clock"] = {"missing": "planted data come from no model"}
        cohort["ground_truth"]["coverage"]["warning"] = "coverage is 1 whatever the atoms"
    text = truth_section(told)
    assert (
        text.count("Not measured: splices, clock or pizza: planted data come from no model.") == 1
    )
    assert ">the mean activation<" not in text
    assert "coverage is 1 whatever the atoms" in text


def test_a_summary_from_before_has_none_of_it(summary: Record) -> None:
    assert truth_section(summary) == ""


def test_the_subject_stands_once_unless_there_are_several(told: Record) -> None:
    assert truth_section(told).count("the subject") == 1 + truth_section(told).count(
        "the subject of"
    )
    told["cohorts"][1]["ground_truth"]["clock"]["gradient_symmetry"] = 0.8
    assert truth_section(told).count("the subject of") == 2


def test_the_figure_has_both_matrices_and_their_numbers(told: Record) -> None:
    with house_style():
        drawing = draw_ablation(told["cohorts"][0], "ablation-1", "topk 1024 k32")
    assert drawing is not None
    rows = list(csv.DictReader(io.StringIO(to_csv(drawing))))
    assert len(rows) == 8
    assert rows[1] == {
        "ablated": "matrix", "frequency_of_group": "23", "frequency": "7", "alpha_left": "0.97",
        "sd_over_seeds": "0.02",
    }  # fmt: skip
    assert rows[3]["alpha_left"] == ""
    svg = to_svg(drawing.figure)
    assert ">.12<" in svg
    assert "<image" not in svg


@pytest.mark.parametrize(
    "change", [lambda f: f.update(matrix=[[None, None]] * 2), lambda f: f.clear()]
)
def test_without_a_group_there_is_no_figure(told: Record, change: Callable[[Record], None]) -> None:
    cohort = told["cohorts"][0]
    change(cohort["ground_truth"]["frequency_ablation"])
    assert draw_ablation(cohort, "ablation-1", "topk") is None


def test_cohorts_without_a_truth_say_why_once(told: Record) -> None:
    why = "the model has no key frequencies"
    for cohort in told["cohorts"]:
        cohort["ground_truth"] = {"missing": why}
    page = render_page(told, {})
    assert "topk 1024 k32, relu 1024 l1 0.001: the model has no key frequencies." in page
    assert page.count(why) == 1
    assert no_truth({"cohorts": [{"ground_truth": None}]}) == ""
