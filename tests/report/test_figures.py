from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from engine.report.canvas import Drawing, to_csv, to_svg
from engine.report.cohort_figures import FLOOR, draw_curves
from engine.report.figures import draw_figures, figure_name
from engine.report.study_figures import LOWEST_SHOWN, draw_kappa

Record = dict[str, Any]
NAMES = [
    "overlap-1-topk-1024-k32",
    "overlap-2-relu-1024-l1-0.001",
    "kappa",
    "quality",
    "grokking",
    "spectrum",
    "curves-1-topk-1024-k32",
    "curves-2-relu-1024-l1-0.001",
]


def by_name(drawings: list[Drawing]) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in drawings}


def rows(drawing: Drawing) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(drawing))))


def test_every_figure_is_drawn_in_order(summary: Record, material: Record) -> None:
    assert [drawing.name for drawing in draw_figures(summary, material)] == NAMES


def test_the_same_numbers_give_the_same_bytes(summary: Record, material: Record) -> None:
    first = [to_svg(drawing.figure) for drawing in draw_figures(summary, material)]
    second = [to_svg(drawing.figure) for drawing in draw_figures(summary, material)]
    assert first == second
    for svg in first:
        assert "<image" not in svg
        assert "<metadata" not in svg


def test_csv_holds_every_digit_of_the_input(summary: Record, material: Record) -> None:
    drawn = by_name(draw_figures(summary, material))
    cell = summary["cohorts"][0]["stability"]["mean_max_cos"]["live"]
    pairs = {
        (row["seed_a"], row["seed_b"]): float(row["mean_max_cos"]) for row in rows(drawn[NAMES[0]])
    }
    assert len(pairs) == 20
    assert pairs["42", "1011"] == cell["pairs"][0][4]
    forest = rows(drawn["kappa"])
    assert len(forest) == 2 * 5 * 2
    live = next(
        row for row in forest if row["metric"] == "mean_max_cos" and row["subset"] == "live"
    )
    assert [float(live[name]) for name in ("observed", "null", "kappa", "ci_low")] == [
        cell[name] for name in ("observed", "null", "kappa", "ci_low")
    ]
    grokking = rows(drawn["grokking"])
    assert float(grokking[7]["test_loss"]) == material["subject_curves"][7]["test_loss"]
    assert grokking[0]["restricted_loss"] == ""
    spectrum = rows(drawn["spectrum"])
    assert [float(row["logits"]) for row in spectrum] == material["spectrum"]["logits"]
    assert [row["frequency"] for row in spectrum if row["key"] == "1"] == ["11", "36", "38", "56"]
    curves = rows(drawn[NAMES[6]])
    losses = [
        float(row["value"]) for row in curves if row["measure"] == "loss" and row["seed"] == "456"
    ]
    assert losses == [row["loss"][2] for row in material["cohorts"][0]["curves"]]
    quality = rows(drawn["quality"])
    assert float(quality[1]["l0"]) == summary["cohorts"][1]["quality"]["l0"]["mean"]


def test_the_heatmap_states_null_kappa_and_interval(summary: Record, material: Record) -> None:
    svg = to_svg(draw_figures(summary, material)[0].figure)
    assert "observed .487, null .482 (N3), κ .01 [−.01, .03]" in svg


def test_failed_gates_are_marked_on_every_figure(fail_gates: Record, material: Record) -> None:
    for drawing in draw_figures(fail_gates, material):
        assert "✗ gates failed: G1, G2" in to_svg(drawing.figure)


@pytest.mark.parametrize("count", [1, 2, 15])
def test_any_number_of_seeds_can_be_drawn(
    summary: Record, make_cohort: Callable[..., Record], count: int
) -> None:
    summary["cohorts"] = [make_cohort("topk 8 k2", 0.9, 0.7, "strong", list(range(count)))]
    drawn = by_name(
        draw_figures(summary, {"subject_curves": [], "spectrum": None, "cohorts": [{"curves": []}]})
    )
    assert set(drawn) == ({"kappa"} if count == 1 else {"kappa", "overlap-1-topk-8-k2"})
    for drawing in drawn.values():
        assert to_svg(drawing.figure).startswith("<?xml")


def test_nothing_measured_gives_no_figure(summary: Record, material: Record) -> None:
    for cohort in summary["cohorts"]:
        for subsets in cohort["stability"].values():
            for cell in subsets.values():
                cell.update(
                    kappa=None, ci_low=None, ci_high=None, null=None, pairs=[[None] * 5] * 5
                )
    drawn = by_name(draw_figures(summary, {**material, "spectrum": None, "subject_curves": []}))
    assert set(drawn) == set(NAMES[6:])


def test_long_titles_wrap_and_their_files_have_short_names(
    summary: Record, material: Record
) -> None:
    title = "relu 1024 l1 0.001 dead.method resample dead.every 200 dead.after_tokens 4000 lr 0.003"
    summary["cohorts"][0]["title"] = title
    drawing = draw_figures(summary, material)[0]
    assert drawing.name == "overlap-1-relu-1024-l1-0.001-dead.method"
    heading = drawing.figure.get_suptitle()
    assert heading.split() == title.split(), "nothing is lost"
    assert len(heading.splitlines()) > 1
    drawing.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in drawing.figure.texts]
    assert max(box.x1 for box in boxes) <= drawing.figure.bbox.x1


def test_every_panel_of_the_curves_has_its_steps(summary: Record, material: Record) -> None:
    curves = by_name(draw_figures(summary, material))["curves-1-topk-1024-k32"].figure
    assert all(axes.xaxis.get_tick_params()["labelbottom"] for axes in curves.axes)


def test_names_are_safe_for_files() -> None:
    assert figure_name("overlap", 0, {"title": "a/../b $x$ <i>"}) == "overlap-1-a-..-b-x-i"


def curves_axes(cohort: Record, values: list[list[float]]) -> Any:
    rows = [{"step": 10 * n, "explained_variance": row} for n, row in enumerate(values)]
    drawing = draw_curves(cohort, {"curves": rows, "seeds": [1, 2]}, "curves", "c")
    assert drawing is not None
    return drawing.figure.axes[0]


def test_a_bad_start_does_not_hide_the_rest_of_the_explained_variance(summary: Record) -> None:
    cohort = summary["cohorts"][0]
    axes = curves_axes(cohort, [[-9.8, -3.0], [0.5, 0.4], [0.9, 0.91]])
    assert axes.get_ylim() == (FLOOR, 1.02)
    assert "cut off below: down to −9.80" in [text.get_text() for text in axes.texts]
    whole = curves_axes(cohort, [[-0.05, 0.1], [0.5, 0.4], [0.9, 0.91]])
    assert not whole.texts
    exploded = curves_axes(cohort, [[0.5, 0.4], [-3.0, -2.0], [-9.8, -9.0]])
    assert exploded.get_ylim()[0] < -9, "what ends there is shown there"
    assert not exploded.texts


def test_strict_shares_do_not_stretch_the_axis_of_kappa(summary: Record) -> None:
    cell = summary["cohorts"][0]["stability"]["matched_mcc"]
    low = {"kappa": -0.76, "ci_low": -0.9, "ci_high": -0.6}
    strict = {subset: {**found, **low} for subset, found in cell.items()}
    summary["cohorts"][0]["stability"]["strict_shared_fraction@0.7"] = strict
    before = draw_kappa({**summary, "cohorts": [summary["cohorts"][1]]})
    after = draw_kappa(summary)
    assert before is not None
    assert after is not None
    assert after.figure.axes[0].get_xlim()[0] > -0.4
    assert after.figure.axes[0].get_xlim()[1] < 0.6, "the largest bound is .25 or so"
    arrows = [line for line in after.figure.axes[0].lines if line.get_marker() == "<"]
    assert len(arrows) == 2, "live and all lie further below"
    cell["live"].update(low)
    stretched = draw_kappa(summary)
    assert stretched is not None
    assert stretched.figure.axes[0].get_xlim()[0] == pytest.approx(LOWEST_SHOWN, abs=0.06)
