from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from engine.report.canvas import to_csv, to_svg
from engine.report.figures import draw_figures
from engine.report.page import render_page
from engine.report.plan_tables import jobs_table
from engine.report.sweep_figures import draw_sweeps, sweep_lines
from engine.report.sweeps import (
    closing_lines,
    counts,
    family,
    identity,
    other_warnings,
    search_text,
    searched,
)
from engine.report.tables import summary_tables

Record = dict[str, Any]
EMPTY = {"subject_curves": [], "spectrum": None}


def render(parts: list[RenderableType], width: int) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False)
    for part in parts:
        console.print(part)
    return file.getvalue().splitlines()


def material_of(summary: Record) -> Record:
    return {**EMPTY, "cohorts": [{"curves": []} for _ in summary["cohorts"]]}


@pytest.mark.parametrize(
    ("title", "point", "rest"),
    [
        ("topk 64 k16", {"saes.*.d_sae": 64}, "topk k16"),
        ("topk 64 k64", {"saes.*.k": 64}, "topk 64"),
        ("topk 16 k16", {"saes.*.k": 16, "saes.*.d_sae": 16}, "topk"),
        ("topk 64 k16 lr 0.001", {"training.lr": 0.001}, "topk 64 k16"),
        ("relu 64 l1 0.001 lr 0.001", {"saes.*.l1": 0.001}, "relu 64 lr 0.001"),
        ("topk 64 k16 ghost", {"saes.*.dead.method": "ghost"}, "topk 64 k16"),
        ("relu 64 l1 1 dead none lr 0.1", {"saes.*.dead.method": "none"}, "relu 64 l1 1 lr 0.1"),
        ("topk 64 k16 lr 0.01", {"training.lr": 0.0}, "topk 64 k16 lr 0.01"),
        ("topk 64 k16 seeds 1,2", {"seeds": [1, 2]}, "topk 64 k16"),
        ("jumprelu 64 target 8 lr 0.1", {"saes.*.target_l0": 8.0}, "jumprelu 64 lr 0.1"),
        ("topk 64 k16 somewhere", {"hooks": ["somewhere"]}, "topk 64 k16"),
        ("topk 64 k16", {}, "topk 64 k16"),
    ],
)
def test_a_family_is_a_title_without_the_searched_values(
    title: str, point: Record, rest: str
) -> None:
    assert family({"title": title, "point": point, "hook": "somewhere"}) == rest


def test_columns_have_short_names_unless_two_would_be_the_same(sweep: Record) -> None:
    assert list(searched(sweep).values()) == ["d_sae", "lr"]
    assert identity(sweep, sweep["cohorts"][0]) == [
        ("SAE", "topk k16"), (">d_sae", "64"), (">lr", "0.001"),
    ]  # fmt: skip
    for cohort in sweep["cohorts"]:
        cohort["point"]["subject.training.lr"] = "x"
    assert list(searched(sweep).values()) == ["d_sae", "training.lr", "subject.training.lr"]
    assert identity(sweep, sweep["cohorts"][0])[-1] == ("subject.training.lr", "x")


def test_many_cohorts_are_counted(sweep: Record, summary: Record) -> None:
    said = "30 cohorts: 6 strong, 6 moderate, 6 weak, 6 chance, 6 undetermined"
    assert counts(sweep) == said
    assert closing_lines(sweep) == [said]
    assert closing_lines(summary)[0].startswith("topk 1024 k32: chance, κ .01")


def test_warnings_of_a_kind_are_said_once(sweep: Record) -> None:
    sweep["warnings"].append("the study as a whole is odd")
    first = sweep["cohorts"][0]["title"]
    assert other_warnings(sweep) == [
        f"30 cohorts such as {first}: explained variance is 0.0, below .7",
        "the study as a whole is odd",
    ]


def test_what_several_cohorts_share_is_said_once(summary: Record) -> None:
    topk, relu = (str(one["title"]) for one in summary["cohorts"])
    said = "loss recovered says nothing here: an untrained SAE recovers"
    summary["warnings"] = [f"{topk}: {said} 0.97", f"{relu}: {said} 0.98", f"{relu}: other 0.97"]
    assert other_warnings(summary) == [
        f"{topk}, {relu}: {said} 0.97; the others alike",
        f"{relu}: other 0.97",
    ]
    assert "each of them" in render_page(summary, {})
    summary["warnings"] = summary["warnings"][1:]
    summary["failed"] = [{"title": "topk 8 k2", "reason": "seed 1"}]
    summary["warnings"].append("topk 8 k2 is missing: seed 1")
    page = render_page(summary, {})
    assert "2 warnings<" in page
    assert "each of them" not in page, "they are all there already"


def test_the_legend_explains_the_columns_that_are_shown(sweep: Record) -> None:
    wide, narrow = (" ".join(render(summary_tables(sweep), width)) for width in (120, 68))
    assert "EV explained variance" in wide
    assert "EV explained variance" not in narrow
    assert "κ: agreement of the seeds" in narrow


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_tables_of_a_sweep_fit(sweep: Record, width: int) -> None:
    lines = render(summary_tables(sweep), width)
    assert max(cell_len(line) for line in lines) <= width
    assert not any("…" in line for line in lines)


def test_a_row_of_a_sweep_has_the_searched_values_and_the_verdict(sweep: Record) -> None:
    lines = [" ".join(line.split()) for line in render(summary_tables(sweep), 100)]
    assert "SAE d_sae lr EV L0 dead cos null κ [95 % CI] verdict" in lines
    row = "batch_topk k16 1024 0.01 .987 41.7 12 % .500 .153 N3 .41 [.39, .43] undetermined"
    assert row in lines
    narrow = [" ".join(line.split()) for line in render(summary_tables(sweep), 68)]
    assert "batch_topk k16 1024 0.01 .41 [.39, .43] undetermined" in narrow
    assert lines[0] == counts(sweep)


def test_what_failed_is_shown_and_not_twice(summary: Record) -> None:
    summary["failed"] = [{"title": "topk 8 k2", "reason": "seed 1: not finite"}]
    summary["warnings"].insert(0, "topk 8 k2 is missing: seed 1: not finite")
    text = "\n".join(render(summary_tables(summary), 120))
    assert "✗ missing  topk 8 k2: seed 1: not finite" in text
    assert "is missing:" not in text
    page = render_page(summary, {})
    assert "1 cohort failed and is missing below" in page
    assert "topk 8 k2: seed 1: not finite" in page
    assert "1 warning<" in page


def test_the_page_of_a_sweep_folds_what_is_long(sweep: Record) -> None:
    page = render_page(sweep, {})
    assert counts(sweep) in page
    assert page.count('<div class="verdict') == 1
    assert page.count("<details>") == 30 + 4, (
        "a ladder each, all warnings, what would change each, columns, settings"
    )
    for head in ("SAE", "d_sae", "lr"):
        assert f">{head}</th>" in page
    assert (
        "Every combination of saes.*.d_sae over 64, 128, 256, 512, 1024; training.lr over" in page
    )


def test_every_subject_is_told_and_its_gates_mark_the_page(
    summary: Record, fail_gates: Record
) -> None:
    good, bad = summary["subject"], fail_gates["subject"]
    summary["subjects"] = [
        {"title": "subject layers 1", "point": {}, **good},
        {"title": "subject layers 2", "point": {}, **bad},
    ]
    page = render_page(summary, {})
    assert "<summary>subject layers 2</summary>" in page
    assert "✗ gates failed: G1, G2" in page
    assert "subject layers 2: test accuracy .412" in page
    text = "\n".join(render(summary_tables(summary), 120))
    assert "subject layers 2" in text
    assert "and 1 variant of it" in text


def test_lines_of_a_figure_join_what_differs_in_one_number(sweep: Record) -> None:
    lines = sweep_lines(sweep, "saes.*.d_sae")
    assert next(iter(lines)) == "topk k16 lr 0.001"
    assert len(lines) == 6
    assert [value for value, _ in lines["relu l1 0.001 lr 0.01"]] == [64, 128, 256, 512, 1024]


def test_the_figure_holds_the_numbers_of_the_cohorts(sweep: Record) -> None:
    (drawing,) = draw_sweeps(sweep)  # along the rate there would be fifteen lines
    assert drawing.name == "sweep-d_sae"
    rows = list(csv.DictReader(io.StringIO(to_csv(drawing))))
    assert len(rows) == 30
    last = next(row for row in rows if row["cohort"] == "relu 1024 l1 0.001 lr 0.01")
    cell = sweep["cohorts"][28]["stability"]["mean_max_cos"]["live"]
    assert float(last["d_sae"]) == 1024
    assert [float(last[name]) for name in ("kappa", "ci_low", "ci_high")] == [
        cell[name] for name in ("kappa", "ci_low", "ci_high")
    ]
    assert float(last["explained_variance"]) == 0.9871
    kappas, qualities = drawing.figure.axes
    assert kappas.get_xscale() == qualities.get_xscale() == "log", "from 64 to 1,024"
    assert to_svg(drawing.figure).startswith("<?xml")


def test_a_narrow_range_is_linear_and_one_value_is_no_figure(
    sweep: Record, make_cohort: Callable[..., Record]
) -> None:
    sweep["cohorts"] = [
        {**make_cohort(f"topk 64 k{k}", 0.5, 0.1, "weak", [1, 2, 3]), "point": {"saes.*.k": k}}
        for k in (2, 4, 20)
    ]
    (drawing,) = draw_sweeps(sweep)
    assert drawing.figure.axes[0].get_xscale() == "linear", "a factor of ten is not more than ten"
    sweep["cohorts"] = sweep["cohorts"][:1]
    assert draw_sweeps(sweep) == []
    sweep["cohorts"][0]["point"] = {"analysis.surrogate": True}
    assert draw_sweeps(sweep) == []


def test_a_crowd_has_figures_of_the_whole_alone(sweep: Record) -> None:
    drawn = draw_figures(sweep, material_of(sweep))
    assert [drawing.name for drawing in drawn] == ["sweep-d_sae", "quality"]
    legend = drawn[1].figure.legends[0]
    assert len(legend.get_texts()) == 3, "one for each architecture"


@pytest.mark.parametrize(
    ("search", "text"),
    [
        (None, ""),
        (
            {"kind": "grid", "over": {"seeds": [[1, 2], [3, 4]]}},
            "Every combination of seeds over 1,2, 3,4.",
        ),
        (
            {
                "kind": "random",
                "samples": 5,
                "seed": 7,
                "over": {"training.lr": {"log_uniform": [0.1, 1]}},
            },
            "5 samples (seed 7) of training.lr over log-uniform 0.1,1; repeated points are one.",
        ),
    ],
)
def test_a_search_in_words(search: Record | None, text: str) -> None:
    assert search_text({"search": search}) == text


def test_the_plan_of_a_search_shows_points_instead_of_jobs() -> None:
    jobs = [
        {
            "name": f"topk {n}",
            "kind": "cohort",
            "cached": n < 2,
            "slots": 1,
            "threads": 1,
            "key": "0" * 64,
        }
        for n in range(5)
    ]
    points = [{"point": {"saes.*.d_sae": n, "training.lr": 0.1}, "saes": 3} for n in range(5)]
    totals = {"seconds": 1.0, "memory_bytes": 1, "disk_bytes": 1, "basis": "x"}
    for width in (30, 80):
        lines = render([jobs_table("mine", jobs, totals, points, 15)], width)
        assert max(cell_len(line) for line in lines) <= width
    said = [" ".join(line.split()) for line in lines]
    assert said[0] == "mine 5 jobs, 3 to do 5 points, 15 SAEs"
    assert "saes.*.d_sae training.lr SAEs" in said
    assert "4 0.1 3" in said
    assert "cohort 5 2 3" in said
