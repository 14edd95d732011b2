"""The section on other measures: every number with its null, what is missing with its reason."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from engine.report.canvas import house_style
from engine.report.cohort_figures import draw_overlap
from engine.report.page import render_page
from engine.report.similarity import CANNOT, similarity_section

Record = dict[str, Any]
SEEDS = [42, 123, 456, 789, 1011]


def null(name: str, value: float | None, admissible: bool = True, reason: str = "") -> Record:
    return {"name": name, "value": value, "admissible": admissible, "reason": reason}


def cell(observed: float | None, *nulls: Record, **more: Any) -> Record:
    known = observed is not None
    return {
        "observed": observed,
        "ci_low": observed - 0.01 if known else None,  # type: ignore[operator]
        "ci_high": observed + 0.01 if known else None,  # type: ignore[operator]
        "nulls": list(nulls),
        "pairs": [[None if i == j else observed for j in range(5)] for i in range(5)]
        if known
        else None,
        "reason": "",
        **more,
    }


OUTSIDE = null("N0r", 0.889, False, "atoms lie outside")


def counts(clusters: int, share: float) -> Record:
    return {
        "clusters": {"all": clusters, "most": 2, "some": 1, "total": clusters + 3, "by_size": {}},
        "features": {"all": share, "most": 0.1, "some": 0.05, "alone": 0.85 - share, "total": 900},
    }


def similarity() -> Record:
    told = {"mean": 0.321, "sd": 0.01, "per_seed": [0.321] * 5}
    distance = {"definition": "d", "warning": ""}
    return {
        "subset": "live",
        "sign": "signed",
        "n_per_seed": [1024, 1017, 1010, 1003, 996],
        "mmcs": {
            "live": cell(0.611, null("N0", 0.283), null("N3", 0.577), largest_asymmetry=0.004),
            "all": cell(0.588, null("N0", 0.283), null("N1", 0.93, False, "outside")),
        },
        "enc_dec_alignment": {**told, "all": told, "nulls": [null("untrained", 1.0)]},
        "subspace": [
            cell(0.417, null("N0", 0.0625), OUTSIDE, k=8, effective_rank=9, with_pca=told)
        ],
        "principal_angles": {
            "k": 2, "effective_rank": 9, "reason": "",
            "angles": [cell(12.3, null("N0", 80.1)), cell(45.6, null("N0", 87.9))],
        },
        "cka": {
            "inputs": 512, "of": 12769,
            "codes": cell(0.951, null("untrained", 0.913), with_inputs=told),
            "reconstructions": cell(None, reason="too many latents"),
        },
        "distances": {
            name: cell(0.25, null("N0", 0.727), **distance)
            for name in ("cosine", "angular", "correlation", "decoder_correlation", "l2", "l1", "linf")
        },
        "consensus": {
            "tau": 0.7, "definition": "features that are near", "mean_cosine": 0.9,
            "artifact": "consensus.safetensors", "null": {"counts": counts(7, 0.035), "reason": ""},
            **counts(123, 0.61),
        },
        "seed_order": {
            "order": [456, 42, 1011, 123, 789], "length": 1.2, "exact": True, "reason": "",
            "purpose": "order of seeds for reading only",
        },
    }  # fmt: skip


@pytest.fixture
def study(summary: Record) -> Record:
    found = copy.deepcopy(summary)
    found["cohorts"][0]["similarity"] = similarity()
    found["cohorts"][0]["similarity"]["distances"]["l1"]["warning"] = "depends on the basis"
    return found


def test_every_number_stands_beside_its_null(study: Record) -> None:
    html = similarity_section(study)
    for observed, chance in (
        (".611", ".577"),
        (".417", ".062"),
        (".250", ".727"),
        ("12.3°", "80.1°"),
    ):
        row = next(row for row in html.split("<tr>") if observed in row)
        assert chance in row
    assert 'class="n out">.889' in html, "what is not admissible is struck out"
    assert ".930" not in html, "N1 of MMCS stands in the table of every metric and null"
    assert "untrained .913, with the inputs .321" in html
    row = next(row for row in html.split("<tr>") if "all seeds (5)" in row)
    assert all(text in row for text in ("123", "61.0 %", ">7<", "3.5 %"))


def test_what_is_missing_and_what_warns_is_said(study: Record) -> None:
    html = similarity_section(study)
    assert "Too many latents." in html
    assert "N0r is not admissible: atoms lie outside." in html
    assert "⚠ L1: depends on the basis." in html
    assert all(text[:40] in html for text in CANNOT)
    consensus = study["cohorts"][0]["similarity"]["consensus"]
    consensus["null"] = {"counts": None, "reason": "no surrogate was given"}
    study["cohorts"][0]["similarity"]["enc_dec_alignment"]["nulls"].append(null("N3", None))
    assert "N3 is missing: no surrogate was given." in similarity_section(study)


def test_the_section_is_on_the_page_and_left_out_without_measures(
    study: Record, summary: Record
) -> None:
    assert 'id="similarity"' in render_page(study, {})
    assert 'id="similarity"' not in render_page(summary, {})
    assert similarity_section(summary) == ""


def test_the_overlap_figure_keeps_each_value_with_its_seeds(study: Record) -> None:
    cohort = study["cohorts"][0]
    pairs = cohort["stability"]["mean_max_cos"]["live"]["pairs"]
    for i, a in enumerate(SEEDS):
        for j, b in enumerate(SEEDS):
            pairs[i][j] = None if i == j else (a + b) / 10_000
    with house_style():
        drawing = draw_overlap(cohort, "overlap-1", "label")
    assert drawing is not None
    axes = drawing.figure.axes[0]
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["456", "42", "1011", "123", "789"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == labels
    shown = axes.collections[0].get_array()
    assert shown is not None
    places = [int(label) for label in labels]
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            if i != j:
                assert shown[i][j] == pytest.approx((a + b) / 10_000)
    assert {(row[0], row[1]): row[2] for row in drawing.rows}[42, 789] == pytest.approx(0.0831)


def test_an_order_of_other_seeds_is_not_used(study: Record) -> None:
    cohort = study["cohorts"][0]
    cohort["similarity"]["seed_order"]["order"] = [1, 2, 3]
    with house_style():
        drawing = draw_overlap(cohort, "overlap-1", "label")
    assert drawing is not None
    labels = [tick.get_text() for tick in drawing.figure.axes[0].get_yticklabels()]
    assert labels == [str(seed) for seed in SEEDS]
