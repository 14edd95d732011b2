from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from engine.report.plan_tables import jobs_table
from engine.report.tables import summary_tables

Record = dict[str, Any]
JOBS = [
    {
        "name": name,
        "kind": kind,
        "cached": cached,
        "slots": 1,
        "threads": 1,
        "key": "5f1d2ab39c77e0aa" * 4,
    }
    for name, kind, cached in (
        ("subject", "subject", True),
        ("activations blocks.0.hook_resid_post", "activations", True),
        ("relu 1024 l1 0.001 blocks.0.hook_resid_post surrogate", "cohort", False),
        ("report", "report", False),
    )
]
TOTALS = {
    "seconds": 272.0,
    "memory_bytes": 1_240_000_000,
    "disk_bytes": 130e6,
    "basis": "reference machine",
}


def render(parts: list[RenderableType], width: int = 80, color: bool = False) -> str:
    file = io.StringIO()
    system = "truecolor" if color else None
    console = Console(
        file=file, width=width, highlight=False, force_terminal=color, color_system=system
    )
    for part in parts:
        console.print(part)
    return file.getvalue()


def words(text: str) -> str:
    """Join wrapped lines, so that a sentence can be looked for."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_cut_off_and_no_line_is_too_long(
    summary: Record,
    fail_gates: Record,
    planted: Record,
    make_cohort: Callable[..., Record],
    width: int,
) -> None:
    widest = make_cohort(
        "relu 16384 l1 0.0003", -0.487, -0.22, "undetermined", [1, 2, 3], "blocks.1.hook_mlp_out"
    )
    summary["cohorts"].append(widest)
    for found in (summary, fail_gates, planted):
        text = render(summary_tables(found), width)
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert "…" not in text
    text = render([jobs_table("topk-vs-relu", JOBS, TOTALS)], width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text


def test_the_verdict_comes_first_and_every_number_of_the_row_is_there(summary: Record) -> None:
    text = render(summary_tables(summary))
    assert words(text).startswith("topk 1024 k32 The features of 5 seeds are")
    row = next(
        line for line in text.splitlines() if line.startswith("topk 1024 k32") and ".996" in line
    )
    assert words(row) == "topk 1024 k32 .996 31.9 36 % .487 .482 N3 .01 [−.01, .03] chance"


def test_the_subject_and_the_ground_truth_are_told(summary: Record) -> None:
    text = words(render(summary_tables(summary)))
    assert "training pairs at steps 400–500, test pairs at steps 1,100–1,200" in text
    assert "key frequencies 11, 36, 38, 56 (FVE .988)" in text
    assert "4 of 4 hold: G0 no leakage" in text
    assert "recall .12 ± .11 .50 .00 .00" in text
    assert "precision .32 ± .02 .75 .02 –" in text


def test_what_could_not_be_measured_is_a_dash(summary: Record) -> None:
    first = summary["cohorts"][0]
    for cell in first["stability"]["mean_max_cos"].values():
        cell.update(observed=None, null=None, null_name=None, kappa=None, ci_low=None, ci_high=None)
    first.update(verdict="undetermined", quality=dict.fromkeys(first["quality"]), ground_truth=None)
    summary["subject"].update(
        fve=None,
        test_accuracy=None,
        steps=None,
        grokked={"train": [None, None], "test": [None, None]},
    )
    text = render(summary_tables(summary))
    row = next(
        line
        for line in text.splitlines()
        if line.startswith("topk 1024 k32") and "undetermined" in line
    )
    assert row.split()[3:] == ["–"] * 6 + ["undetermined"]
    assert "None" not in text
    assert "(FVE –)" in text


def test_warnings_and_failed_gates_are_marked_on_every_table(fail_gates: Record) -> None:
    text = render(summary_tables(fail_gates))
    assert "! warning" in text
    assert "step-0 similarity is above its closed form" in words(text)
    assert "G1 grokked: test accuracy .412 is below .99" in words(text)
    for heading in ("Stability", "Ground truth", "Subject"):
        assert f"{heading}  ✗ gates failed: G1, G2" in text
    coloured = render(summary_tables(fail_gates), color=True)
    assert "\x1b[1;31m" in coloured
    assert "\x1b[33m" in coloured


def test_without_colour_the_text_is_the_same(
    fail_gates: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = render(summary_tables(fail_gates))
    monkeypatch.setenv("NO_COLOR", "1")
    bare = render(summary_tables(fail_gates), color=True)
    assert "\x1b[31m" not in bare
    assert "38;" not in bare
    assert words(plain)[:60] in words(bare.replace("\x1b[1m", "").replace("\x1b[0m", ""))


def test_planted_data_have_no_gates_but_a_matched_cosine(planted: Record) -> None:
    text = words(render(summary_tables(planted)))
    assert "planted sparse data, 64 features in 32 dimensions" in text
    assert "matched cosine .97 ± .01 – – –" in text
    assert "gates" not in text


def test_markup_in_names_stays_text(summary: Record) -> None:
    summary["warnings"] = ["[red]not red[/red] [/]"]
    assert "[red]not red[/red] [/]" in render(summary_tables(summary))


def test_the_plan_says_what_is_left_to_pay() -> None:
    text = render([jobs_table("mine", JOBS, TOTALS)], 200)
    assert "mine  4 jobs, 2 to do" in text
    assert "about 4:32, 1.2 GB memory, 130 MB disk (reference machine)" in text
    assert "5f1d2ab3" in text
    done = [{**job, "cached": True} for job in JOBS]
    assert "nothing to do" in render([jobs_table("mine", done, TOTALS)])
