from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest

from engine.report.canvas import Drawing, house_style, to_csv, to_svg
from engine.report.cohort_figures import draw_overlap
from engine.report.feature_figures import draw_density, draw_distribution
from engine.report.figures import draw_figures
from engine.report.wording import headline

Record = dict[str, Any]


def material_of(twin: bool = True) -> Record:
    """Eight features of two seeds, one dead; cosines .1 and .9, densities .01 and .1."""
    found: Record = {
        "seed": np.repeat([1, 2], 4),
        "live": np.array([True] * 7 + [False]),
        "density": np.array([0.01] * 4 + [0.1] * 3 + [0.0]),
        "stability": np.array([0, 0, 0, 0, 1, 1, 1, 0.0]),
        "median_best_cosine": np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.99]),
    }
    if twin:
        found["surrogate_match"] = np.array([0.1] * 8 + [0.5] * 2, dtype=np.float32)
        found["surrogate_stability"] = np.zeros(10, dtype=np.float32)
        found["surrogate_density"] = np.full(10, 0.0101, dtype=np.float32)
    return found


def rows(drawing: Drawing | None) -> list[dict[str, str]]:
    assert drawing is not None
    assert to_svg(drawing.figure).startswith("<?xml")
    return list(csv.DictReader(io.StringIO(to_csv(drawing))))


@pytest.fixture(autouse=True)
def style() -> Any:
    with house_style():
        yield


def test_the_distribution_is_in_shares_of_live_features_with_the_surrogate_beside() -> None:
    found = rows(draw_distribution(material_of(), "distribution-1-x", "x"))
    cosines = [row for row in found if row["measure"] == "median_best_cosine"]
    ours = {round(float(r["low"]), 2): float(r["features"]) for r in cosines}
    theirs = {round(float(r["low"]), 2): float(r["surrogate"]) for r in cosines}
    assert sum(ours.values()) == pytest.approx(1)
    assert [share for share in ours.values() if share] == pytest.approx([4 / 7, 3 / 7])
    assert [share for share in theirs.values() if share] == pytest.approx([0.8, 0.2])
    stable = {
        r["low"]: (r["features"], r["surrogate"]) for r in found if r["measure"] == "stability"
    }
    assert float(stable["0.0"][0]) == pytest.approx(4 / 7)
    assert float(stable["1.0"][0]) == pytest.approx(3 / 7)
    assert (float(stable["0.0"][1]), float(stable["1.0"][1])) == (1.0, 0.0)


def test_without_a_surrogate_its_columns_are_empty() -> None:
    found = rows(draw_distribution(material_of(twin=False), "distribution-1-x", "x"))
    assert {row["surrogate"] for row in found} == {""}


def test_density_counts_each_live_feature_once_over_the_band_of_its_density() -> None:
    found = rows(draw_density(material_of(), "density-1-x", "x"))
    assert sum(int(row["features"]) for row in found) == 7
    low = next(row for row in found if float(row["cosine_low"]) < 0.5)
    assert float(low["density_low"]) <= 0.01 < float(low["density_high"]) * 1.05
    assert [float(low[f"surrogate_{name}"]) for name in ("q05", "median")] == pytest.approx(
        [0.1, 0.1]
    )
    high = next(row for row in found if float(row["cosine_low"]) > 0.5)
    assert high["surrogate_median"] == "", "no feature of the surrogate fires so often"


def test_nothing_live_gives_no_figure() -> None:
    dead = {**material_of(), "live": np.zeros(8, dtype=bool)}
    assert draw_distribution(dead, "n", "x") is None
    assert draw_density(dead, "n", "x") is None


def titles(drawing: Drawing | None) -> str:
    assert drawing is not None
    return " · ".join(axes.get_title("left") for axes in drawing.figure.axes)


def beside(drawing: Drawing | None) -> tuple[float, str]:
    """The null of one pair of seeds, and its name."""
    found = {(row["seed_a"], row["seed_b"]): row for row in rows(drawing)}["42", "456"]
    return float(found["null"]), found["null_name"]


def test_the_pairs_of_the_null_stand_beside_those_of_the_features(summary: Record) -> None:
    cohort = summary["cohorts"][0]
    alone = draw_overlap(cohort, "overlap-1-x", "x")
    assert {(row["null"], row["null_name"]) for row in rows(alone)} == {("", "")}
    pairs = [[None if i == j else 0.3 + 0.01 * (i + j) for j in range(5)] for i in range(5)]
    cohort["surrogate_pairs"] = {"metric": "mean_max_cos", "live": pairs}
    both = draw_overlap(cohort, "overlap-1-x", "x")
    assert alone is not None
    assert both is not None
    assert beside(both) == (pytest.approx(0.32), "N3")
    assert len(both.figure.axes) == len(alone.figure.axes) + 1
    # With fewer features than the cohort's the surrogate is raised: what is shown has the null as its mean.
    raised = [[None if value is None else value + 0.1 for value in row] for row in pairs]
    headline(cohort).update(null_name="N3", null_pairs=raised)
    shown = draw_overlap(cohort, "overlap-1-x", "x")
    assert beside(shown) == (pytest.approx(0.42), "N3")
    assert "Surrogate's features (N3)" in titles(shown)
    # What is shown belongs to the null in the title.
    turned = [[None if value is None else value + 0.2 for value in row] for row in pairs]
    headline(cohort).update(null_name="N6", null_pairs=turned)
    shown = draw_overlap(cohort, "overlap-1-x", "x")
    assert beside(shown) == (pytest.approx(0.52), "N6")
    assert "Planes turned at random (N6)" in titles(shown)
    assert "Surrogate" not in titles(shown)
    # N1 is one number for all pairs.
    headline(cohort).update(null_name="N1", null_pairs=None)
    assert beside(draw_overlap(cohort, "overlap-1-x", "x")) == (pytest.approx(0.32), "N3")


def test_figures_of_features_are_drawn_where_their_numbers_are(
    summary: Record, material: Record
) -> None:
    drawn = draw_figures(summary, {**material, "features": [material_of(), material_of()]})
    names = [d.name for d in drawn]
    assert names[4:8] == [
        "distribution-1-topk-1024-k32", "distribution-2-relu-1024-l1-0.001",
        "density-1-topk-1024-k32", "density-2-relu-1024-l1-0.001",
    ]  # fmt: skip
