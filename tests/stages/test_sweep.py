"""Searches from the plan to the report, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.jobs.events import Outcome
from engine.report.summary import faults
from engine.study.plan import Plan

Execute = Callable[[dict[str, Any]], tuple[Plan, Outcome]]


@pytest.fixture
def sweep(study_data: dict[str, Any]) -> dict[str, Any]:
    study_data["analysis"] = {"surrogate": False}
    return study_data


def summary_of(folder: Path) -> Any:
    return json.loads((folder / "tiny" / "report" / "summary.json").read_text())


def test_a_search_over_the_subject_gives_one_report(
    sweep: dict[str, Any], execute: Execute, tmp_path: Path
) -> None:
    sweep["search"] = {
        "kind": "grid",
        "over": {"subject.noise": [0.0, 0.5], "saes.*.d_sae": [12, 16]},
    }
    _, outcome = execute(sweep)
    assert not outcome.failed
    summary = summary_of(tmp_path)
    assert [(cohort["title"], cohort["point"]) for cohort in summary["cohorts"]] == [
        (f"topk {width} k2 noise {noise:g}", {"subject.noise": noise, "saes.*.d_sae": width})
        for noise in (0.0, 0.5)
        for width in (12, 16)
    ]
    assert [cohort["d_sae"] for cohort in summary["cohorts"]] == [12, 16, 12, 16]
    assert faults(summary) == [], "engine/report/summary.yaml says otherwise"
    assert [(one["title"], one["point"]) for one in summary["subjects"]] == [
        ("subject noise 0", {"subject.noise": 0.0}),
        ("subject noise 0.5", {"subject.noise": 0.5}),
    ]
    assert summary["subject"]["kind"] == summary["subjects"][0]["kind"] == "planted"
    assert summary["failed"] == []
    report = tmp_path / "tiny" / "report"
    told = pq.read_table(report / "features.parquet").column("cohort").unique().to_pylist()
    assert told == [cohort["title"] for cohort in summary["cohorts"]]
    assert (report / "figures" / "sweep-noise.csv").is_file()
    assert (report / "figures" / "sweep-d_sae.csv").is_file()


def test_the_rest_is_reported_when_a_cohort_diverges(
    sweep: dict[str, Any], execute: Execute, tmp_path: Path
) -> None:
    sweep["search"] = {"kind": "grid", "over": {"training.lr": [1e-3, 1e38]}}
    _, outcome = execute(sweep)
    assert outcome.exit_code == 1
    summary = summary_of(tmp_path)
    assert [cohort["title"] for cohort in summary["cohorts"]] == ["topk 12 k2 lr 0.001"]
    (failed,) = summary["failed"]
    assert failed["title"] == "topk 12 k2 lr 1e+38"
    assert "not finite" in failed["reason"]
    assert summary["warnings"][0] == f"{failed['title']} is missing: {failed['reason']}"
    assert "subjects" not in summary


def test_without_a_search_points_are_empty(
    sweep: dict[str, Any], execute: Execute, tmp_path: Path
) -> None:
    execute(sweep)
    summary = summary_of(tmp_path)
    assert [cohort["point"] for cohort in summary["cohorts"]] == [{}]
    assert summary["provenance"]["settings"]["search"] is None


def test_several_failed_cohorts_leave_no_report(
    sweep: dict[str, Any], execute: Execute, tmp_path: Path
) -> None:
    sweep["training"]["lr"] = 1e38
    _, outcome = execute(sweep)
    assert list(outcome.failed) == ["analysis topk 12 k2"]
    assert not (tmp_path / "tiny" / "report").exists()
