"""Cohorts side by side: what is shown of a summary, worked by hand in `summary.json`."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.client.look import Snapshot
from engine.disk.root import RunsRoot
from engine.errors import CorruptArtifact, InputError
from husai_tui.state.compare import COLUMNS, Cohorts, Comparison, signed, sparsity
from husai_tui.state.contrasts import contrast_lines
from husai_tui.state.evidence import (
    Line,
    described,
    evidence,
    ladder,
    row_text,
    subject_line,
    title,
    warning_lines,
)
from husai_tui.state.heat import figure, layout, make_heat
from husai_tui.state.intervals import Axis, axis_of, draw, scale
from husai_tui.state.summaries import Summaries, unfinished

SUMMARY = Path(__file__).parents[1] / "summary.json"
TOPK, RELU, DRAWN = "topk 8 k2", "relu 8 l1 0.1", "topk 8 k2 consistency 0.1"


@pytest.fixture
def summary() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SUMMARY.read_text())
    return found


@pytest.fixture
def cohorts(summary: dict[str, Any]) -> Cohorts:
    made = Cohorts()
    made.set_comparison(Comparison(summary))
    return made


def shown(cohorts: Cohorts, label: str) -> dict[str, str]:
    row = cohorts.find(label)
    assert row is not None
    cells = [cell if isinstance(cell, str) else cell[0] for cell in cohorts.cells(row)]
    return dict(zip(COLUMNS, cells, strict=True))


def text(lines: list[Line]) -> str:
    return "\n".join("".join(part for part, _ in line) for line in lines)


def test_features_found_again_stand_below_the_pairs_of_live_features(cohorts: Cohorts) -> None:
    assert cohorts.comparison is not None
    cohorts.comparison.cohorts[TOPK]["discoveries"] = {
        "level": 0.05,
        "tested": [8, 8],
        "isotropic": {"per_seed": [4, 5]},
        "surrogate": {"per_seed": [0, 0]},
    }
    said = "None of 16 live features is found again by most other seeds beyond the surrogate (N3)"
    cohorts.subset = "live"
    assert said in text(evidence(cohorts, TOPK, 160, brief=True))
    assert "found again" not in text(evidence(cohorts, RELU, 160)), "of it nothing was tested"
    cohorts.subset = "all"
    assert "found again" not in text(evidence(cohorts, TOPK, 160)), "live features were tested"


def test_a_cohort_is_a_row_at_the_metric_of_its_verdict(cohorts: Cohorts) -> None:
    row = shown(cohorts, TOPK)
    assert row["explained_variance"] == ".950"
    assert row["l0"] == "2"
    assert row["dead"] == "25 %"
    assert row["observed"] == ".750"
    assert row["null"] == ".500 N3"
    assert row["kappa"] == ".50"
    assert row["verdict"] == "moderate"
    assert row["warnings"] == "!1"
    assert (row["sparsity"], row["seeds"], row["width"]) == ("k 2", "3", "8")


def test_what_was_measured_elsewhere_says_so_where_the_verdict_rests_there(
    cohorts: Cohorts,
) -> None:
    row = shown(cohorts, DRAWN)
    assert (row["verdict"], row["observed"]) == ("strong (all)", ".900")


def test_metrics_and_subsets_are_walked(cohorts: Cohorts) -> None:
    assert (cohorts.metric, cohorts.subset) == ("mean_max_cos", "live")
    cohorts.flip_subset()
    assert shown(cohorts, TOPK)["observed"] == ".600"
    assert shown(cohorts, TOPK)["verdict"] == "weak"
    cohorts.next_metric()
    assert cohorts.metric == "shared_fraction@0.7"
    assert shown(cohorts, TOPK)["null"] == ".100 N0"
    missing = shown(cohorts, DRAWN)
    assert (missing["verdict"], missing["observed"], missing["kappa"]) == ("not measured", "–", "–")
    cohorts.flip_subset()
    assert shown(cohorts, TOPK)["verdict"] == "undetermined"
    cohorts.next_metric()
    assert cohorts.metric == "mean_max_cos"


def test_differences_to_the_pinned_cohort(cohorts: Cohorts) -> None:
    cohorts.pin(TOPK)
    cohorts.delta = True
    row = shown(cohorts, RELU)
    assert row["explained_variance"] == "−.050"
    assert row["l0"] == "+3.5"
    assert row["dead"] == "−25 pp"
    assert row["observed"] == "–", "another number of live features: only κ compares"
    assert row["kappa"] == "−.50"
    assert row["verdict"] == "apart"
    base = shown(cohorts, TOPK)
    assert (base["cohort"], base["verdict"], base["kappa"]) == (f"◆ {TOPK}", "baseline", ".50")
    assert cohorts.comparison is not None
    cells = [cohorts.comparison.cell(name, cohorts.metric, "live")[0] for name in (TOPK, RELU)]
    assert "features per seed" in cohorts.refused(RELU)[0]
    cells[1]["n_per_seed"] = cells[0]["n_per_seed"]
    assert cohorts.refused(RELU) == []
    assert shown(cohorts, RELU)["observed"] == "−.250"
    cohorts.next_metric()
    assert shown(cohorts, RELU)["kappa"] == "–"
    assert shown(cohorts, RELU)["verdict"] == "no interval"
    cohorts.pin(TOPK)
    assert (cohorts.pinned, cohorts.delta) == ("", False)


def test_rows_are_filtered_and_sorted_with_what_is_missing_last(cohorts: Cohorts) -> None:
    cohorts.filter = "topk !consistency"
    cohorts.arrange()
    assert [cohorts.key(row) for row in range(len(cohorts))] == [TOPK]
    cohorts.filter = "chance"
    cohorts.arrange()
    assert [cohorts.key(row) for row in range(len(cohorts))] == [RELU]
    cohorts.filter, cohorts.sort = "", (COLUMNS.index("kappa"), True)
    cohorts.arrange()
    assert [cohorts.key(row) for row in range(len(cohorts))] == [DRAWN, TOPK, RELU]
    cohorts.flip_subset()
    cohorts.next_metric()
    assert cohorts.key(2) == DRAWN
    for column in COLUMNS:
        cohorts.sort = (COLUMNS.index(column), False)
        cohorts.arrange()
        assert len(cohorts) == 3


def test_a_pinned_cohort_that_is_gone_is_let_go(cohorts: Cohorts, summary: dict[str, Any]) -> None:
    cohorts.pin(DRAWN)
    cohorts.delta = True
    summary["cohorts"].pop()
    cohorts.set_comparison(Comparison(summary))
    assert (cohorts.pinned, cohorts.delta) == ("", False)


def test_the_interval_is_drawn_on_an_axis_with_zero() -> None:
    axis = axis_of([0.5, 0.4, 0.6, -0.2, None])
    assert axis == Axis(-0.2, 0.6)
    assert draw(0.2, 0.0, 0.4, axis, 9) == "  ├─●─┤  "
    assert draw(0.5, 0.4, 0.6, axis, 9) == "  ┊   ├●┤"
    assert draw(0.1, -0.1, 0.3, axis, 9) == " ├┼●─┤   "
    assert draw(0.5, None, None, axis, 9) == "  ┊    ● "
    assert draw(None, None, None, axis, 9) == "  ┊      "
    assert scale(axis, 9) == "−.2    .6"
    assert scale(axis, 17) == "−.2 0          .6"
    assert scale(axis_of([0.03]), 9) == "0     .03"


def test_what_exploded_is_drawn_at_the_edge() -> None:
    axis = axis_of([-35.0, -90.0, 20.0])
    assert axis == Axis(-1.0, 1.0)
    assert draw(-35.0, -90.0, 20.0, axis, 9) == "○───┼───▸"
    assert axis_of([]).low < 0 < axis_of([]).high


def test_the_colour_scale_holds_all_and_is_never_narrow() -> None:
    heat = make_heat(["1", "2"], [[None, 0.338], [0.338, None]], 0.338, 0.322, "N3")
    assert heat.high - heat.low >= 0.2
    assert heat.low <= 0.322 <= 0.338 <= heat.high
    assert heat.share(heat.low) == 0.0
    assert heat.share(5.0) == 1.0
    assert heat.pairs == [0.338]
    assert make_heat(["1"], [[None]], None, None, "").high == 1.0
    pairs = [[None, 0.1], [0.1, None]]
    told = make_heat(["1", "2"], [[None, 0.6], [0.6, None]], 0.6, 0.1, "N3", pairs)
    assert told.low <= 0.1
    assert (told.null_at(0, 1), told.null_at(1, 1), heat.null_at(0, 1)) == (0.1, None, 0.322)
    edge = make_heat(["1", "2"], [[None, 0.99], [0.99, None]], 0.99, 1.0, "N3")
    assert (edge.low, edge.high) == (0.8, 1.0)
    zero = make_heat(["1", "2"], [[None, 0.0], [0.0, None]], 0.0, 0.01, "N0")
    assert (zero.low, zero.high) == (0.0, 0.2)


@pytest.mark.parametrize(
    ("size", "width", "height", "wanted"),
    [
        (5, 78, 12, (6, 3, False, True)),
        (5, 60, 12, (5, 2, False, True)),
        (5, 40, 12, (6, 3, False, False)),
        (10, 78, 16, (6, 3, False, False)),
        (20, 78, 16, (1, 0, True, True)),
        (20, 78, 30, (1, 0, False, True)),
    ],
)
def test_a_matrix_is_drawn_as_tellingly_as_the_room_allows(
    size: int, width: int, height: int, wanted: tuple[int, int, bool, bool]
) -> None:
    labels = [str(seed) for seed in range(size)]
    heat = make_heat(labels, [[0.5] * size] * size, 0.5, 0.3, "N3")
    made = layout(heat, width, height)
    assert (made.cell, made.digits, made.halves, made.both) == wanted
    assert made.width(size) * (2 if made.both else 1) <= width


def test_large_cells_where_there_is_room() -> None:
    heat = make_heat(["1", "2"], [[None, 0.5], [0.5, None]], 0.5, 0.3, "N3")
    made = layout(heat, 150, 40, roomy=True)
    assert (made.cell, made.lines, made.height(2)) == (8, 2, 4)


@pytest.mark.parametrize(
    ("value", "said"), [(0.3384, ".338"), (0.9998, "1.00"), (-0.1234, "−.12"), (None, "–")]
)
def test_figures_keep_their_width(value: float | None, said: str) -> None:
    assert figure(value) == said


def test_differences_carry_their_sign() -> None:
    assert (signed(0.12, 2), signed(-0.03, 2), signed(None, 2)) == ("+.12", "−.03", "–")
    assert sparsity({"k": None, "l1": 0.001}) == "l1 0.001"
    assert sparsity({"k": None, "l1": None, "target_l0": 32}) == "L0 32"
    assert sparsity({}) == "–"


def test_the_evidence_says_what_the_colours_show(cohorts: Cohorts) -> None:
    said = text(evidence(cohorts, TOPK, 120))
    assert "more alike than chance, but far from the same (κ .50, 95 % CI .40 to" in said
    assert "All 3 pairs of seeds lie above the null (.500): .700–.800." in said
    assert "! 1 warning: w reads them" in said
    assert "EV .950 ± .001   L0 2   dead 25 %   live 75 %" in said
    assert "▸ mean max cosine, live" in said
    assert "  +.60  consistency 0.1" in said
    assert "None of the 3" not in said
    assert "1 of the 3 pairs" in text(evidence(cohorts, RELU, 76))
    brief = text(evidence(cohorts, TOPK, 76, brief=True))
    assert "nulls   N0 .300  N1 .900 (unfit) ▸N3 .500" in brief
    assert "every metric" not in brief


def test_the_ladder_marks_the_null_in_force_and_why_others_are_not(cohorts: Cohorts) -> None:
    assert cohorts.comparison is not None
    cell, _ = cohorts.comparison.cell(TOPK, "mean_max_cos", "live")
    lines = text(ladder(cell, 50)).splitlines()
    assert lines[1] == "  N0    .300     .64  yes: closed form"
    assert lines[2] == "  N1    .900   −1.50  no: its draws lie elsewhere"
    assert lines[3] == "▸ N3    .500     .50  yes"


def test_another_metric_tells_where_the_verdict_rests(cohorts: Cohorts) -> None:
    cohorts.next_metric()
    said = text(evidence(cohorts, TOPK, 120))
    assert "is open: every seed gives the same value" in said
    assert "rests on mean max cosine, live: moderate" in said
    assert "was not measured here" in text(evidence(cohorts, DRAWN, 76))


def test_contrasts_are_told_and_refused_with_their_reason(summary: dict[str, Any]) -> None:
    said = text(contrast_lines(Comparison(summary), 76))
    assert "against topk 8 k2" in said
    assert "κ .20 [.10, .30] → .80 [.70, .90];  EV .950 → .940" in said
    refused = copy.deepcopy(summary)
    refused["contrasts"][0]["kappa"] |= {"variant": None, "difference": None}
    said = text(contrast_lines(Comparison(refused), 76))
    assert "none: κ of the variant was not measured" in said
    assert "no contrasts" in text(contrast_lines(Comparison({**summary, "contrasts": []}), 76))


def test_the_subject_is_told_with_its_gates(summary: dict[str, Any]) -> None:
    said = text([subject_line(Comparison(summary))])
    assert said == (
        "tiny  ✗ gates failed: G2 fourier  test acc. .875  freq. 1 2  FVE .400  ! 1 cohort missing"
    )
    summary["subject"]["gates"] = {"passed": True, "gates": []}
    assert "✓ gates passed" in text([subject_line(Comparison(summary))])
    summary["subject"] = {"kind": "planted"}
    both = [{**summary["subject"], "title": title} for title in ("one", "two")]
    assert "2 subjects" in text([subject_line(Comparison({**summary, "subjects": both}))])
    job = {"state": "running", "name": "x"}
    said = text([subject_line(Comparison(summary), (job,))])
    assert "planted, no gates" in said
    assert "◐ an earlier report; 1 job to do" in said


def test_warnings_are_read_with_what_is_missing(summary: dict[str, Any]) -> None:
    lines = warning_lines(Comparison(summary), TOPK, 60)
    said = text(lines)
    assert said.startswith("! undertrained")
    assert "✗ topk 8 k4 is missing: seed 1: the loss is not finite" in said
    assert "✗ gate G2 fourier: FVE .40 is below .5" in said
    assert max(len("".join(part for part, _ in line)) for line in lines) <= 60


def test_the_title_and_the_sentence_name_what_is_measured(cohorts: Cohorts) -> None:
    assert text([title(cohorts, TOPK)]) == (
        f"{TOPK}   mean max cosine of live features, 5–7 per seed"
    )
    said = described(cohorts, TOPK)
    assert said.startswith("tiny: 3 cohorts (1 moderate, 1 chance, 1 strong) at mean max cosine")
    assert row_text(cohorts, TOPK) == "tiny/topk 8 k2: moderate, κ .50 [.40, .60] against N3"
    assert row_text(cohorts, "gone") == ""


def write(root: Path, study: str, summary: object) -> Path:
    path = root / study / "report" / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(summary if isinstance(summary, str) else json.dumps(summary))
    return path


def test_the_newest_study_with_a_report_comes_first(
    tmp_path: Path, summary: dict[str, Any]
) -> None:
    root = RunsRoot(tmp_path)
    os.utime(write(tmp_path, "old", {**summary, "study": "old"}), (1, 1))
    write(tmp_path, "new", {**summary, "study": "new"})
    snapshot = Snapshot(studies=({"name": "queued"},), jobs=())
    reader = Summaries(root)
    found = reader.find("", snapshot)
    assert (found.study, found.studies) == ("new", ("new", "old", "queued"))
    assert reader.find("", snapshot).comparison is found.comparison
    assert reader.find("queued", snapshot).comparison is None
    with pytest.raises(InputError):
        reader.find("nowhere", snapshot)
    with pytest.raises(InputError):
        reader.find("../etc", snapshot)
    assert Summaries(RunsRoot(tmp_path / "empty")).find("", Snapshot()).study == ""


@pytest.mark.parametrize("torn", ['{"cohorts": [', "[]", '{"cohorts": [{}], "study": "new"}'])
def test_a_torn_or_foreign_summary_is_told(tmp_path: Path, torn: str) -> None:
    write(tmp_path, "new", torn)
    with pytest.raises(CorruptArtifact):
        Summaries(RunsRoot(tmp_path)).find("new", Snapshot())


@pytest.mark.parametrize(
    "path", [("pairs",), ("nulls",), ("kappa",), ("null",)], ids=lambda path: str(path[0])
)
def test_a_cell_of_another_shape_is_told_before_it_is_shown(
    tmp_path: Path, summary: dict[str, Any], path: tuple[str]
) -> None:
    summary["cohorts"][0]["stability"]["mean_max_cos"]["live"][path[0]] = [[1.0]]
    write(tmp_path, "new", summary)
    with pytest.raises(CorruptArtifact):
        Summaries(RunsRoot(tmp_path)).find("new", Snapshot())


def test_an_unfinished_study_shows_its_jobs(tmp_path: Path) -> None:
    base = {"study": "s", "steps": 0, "step": None, "failure": "", "reason": "", "seconds": None}
    jobs = (
        {**base, "name": "one", "state": "done"},
        {**base, "name": "two", "state": "running", "steps": 100, "step": 50},
        {**base, "name": "three", "state": "failed", "failure": "memory", "reason": "too large"},
    )
    (tmp_path / "s").mkdir()
    snapshot = Snapshot(jobs=jobs, studies=({"name": "s"},))
    said = text(unfinished(Summaries(RunsRoot(tmp_path)).find("s", snapshot)))
    assert said.startswith("s  has no report yet\n1 of 3 jobs done   ● 1 running   ✗ 1 failed")
    assert "50%" in said
    assert "memory: too large" in said
    nothing = unfinished(Summaries(RunsRoot(tmp_path / "none")).find("", Snapshot()))
    assert text(nothing).startswith("no study has a report here")
