"""A study on activations in files, from the file to the report."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from engine.client.studies import cached_jobs, run_directory, run_plan
from engine.disk.rundir import RunDirectory
from engine.errors import Interrupted
from engine.jobs.events import Outcome
from engine.report.page import render_page
from engine.report.recording import UNMEASURED
from engine.report.tables import summary_tables
from engine.stages import external
from engine.stages.context import Context
from engine.stages.external import looked_at
from engine.stages.kinds import stage_of
from engine.study.plan import Plan, make_plan
from engine.study.profile import place, read_profile
from engine.study.spec import check_study
from engine.study.subject import External, Modular
from tests.stages.conftest import MACHINE, InProcess

DATA: dict[str, Any] = {
    "name": "mine",
    "subject": {"kind": "external"},
    "hooks": ["layer.3"],
    "saes": [{"architecture": "topk", "d_sae": 16, "k": 2}],
    "seeds": [1, 2, 3],
    "training": {"epochs": 8, "batch_size": 64, "warmup_steps": 5, "lr": 1e-2},
}


def planted(count: int = 3000) -> np.ndarray[Any, Any]:
    """Inputs of width 8 with 16 directions, two at a time."""
    rng = np.random.default_rng(0)
    on = rng.random((count, 16)).argsort(1) < 2
    return (on * rng.uniform(0.5, 1.5, on.shape) @ rng.standard_normal((16, 8))).astype(np.float16)


def study_of(path: Path, **changes: Any) -> dict[str, Any]:
    return {**DATA, "subject": {"kind": "external", "path": str(path)}, **changes}


def plan_of(data: dict[str, Any]) -> Plan:
    return make_plan(check_study(data, "study"), place(read_profile("cpu"), MACHINE))


def execute(plan: Plan, runs: Path) -> Outcome:
    return run_plan(
        plan, runs, on_event=lambda event: None, stop=lambda: False, launcher=InProcess()
    )


def job_run(plan: Plan, runs: Path, kind: str) -> RunDirectory:
    return run_directory(runs, next(job for job in plan.jobs if job.kind == kind))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `acts.npy` and, in `runs`, a study of it; not to be changed."""
    folder = tmp_path_factory.mktemp("external")
    np.save(folder / "acts.npy", planted())
    outcome = execute(plan_of(study_of(folder / "acts.npy")), folder / "runs")
    assert not outcome.failed, outcome.failed
    return folder


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (folder / "runs" / "mine" / "report" / "summary.json").read_text()
    )
    return found


def test_a_study_ends_with_a_verdict_against_the_surrogate(finished: Path) -> None:
    summary = summary_of(finished)
    (cohort,) = summary["cohorts"]
    cell = cohort["stability"]["mean_max_cos"]["live"]
    assert cell["null_name"] == "N3"
    assert cell["kappa"] > 0
    assert cohort["verdict"] in ("weak", "moderate", "strong")
    assert cohort["hook"] == "layer.3"
    assert {null["name"] for null in cell["nulls"]} >= {"N0", "N1", "N2", "N3"}
    assert cohort["ground_truth"] is None
    assert cohort["quality"]["loss_recovered"] is None
    subject = summary["subject"]
    assert (subject["kind"], subject["samples"], subject["d_in"]) == ("external", 3000, 8)
    assert subject["dtypes"] == ["float16"]
    table = pq.read_table(finished / "runs" / "mine" / "report" / "features.parquet")
    assert table.num_rows == 3 * 16


def test_saes_are_trained_on_the_numbers_of_the_file(finished: Path) -> None:
    plan = plan_of(study_of(finished / "acts.npy"))
    result = job_run(plan, finished / "runs", "activations").read_result()
    array = planted().astype(np.float64)
    assert result["samples"] == 3000
    assert result["variance"] == pytest.approx(array.var(0).sum(), rel=1e-6)
    assert result["mean_norm"] == pytest.approx(np.linalg.norm(array.mean(0)), rel=1e-5)


def test_terminal_and_page_say_what_cannot_be_measured_and_why(finished: Path) -> None:
    summary = summary_of(finished)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(*summary_tables(summary))
    told = " ".join(console.export_text().split())
    page = render_page(summary, {})
    for text in (told, page):
        assert UNMEASURED in text
        assert "recorded activations acts.npy, 3,000 of width 8" in text.replace(
            "Recorded", "recorded"
        )
        assert summary["subject"]["sha256"] in text.replace(" ", "")
        assert "planted" not in text.split("Columns of features.parquet")[0]
    assert "files hold no model that could be left untrained" in page
    assert "nan" not in told.lower()


def test_the_same_study_again_costs_nothing_and_a_moved_file_neither(
    finished: Path, tmp_path: Path
) -> None:
    plan = plan_of(study_of(finished / "acts.npy"))
    assert len(cached_jobs(plan, finished / "runs")) == len(plan.jobs)
    np.save(tmp_path / "moved.npy", planted())
    moved = plan_of(study_of(tmp_path / "moved.npy"))
    left = {job.kind for job in moved.jobs} - {
        job.kind for job in cached_jobs(moved, finished / "runs")
    }
    assert left == {"report"}, "which names the file"
    np.save(tmp_path / "moved.npy", planted() + np.float16(1))
    changed = plan_of(study_of(tmp_path / "moved.npy"))
    assert cached_jobs(changed, finished / "runs") == []


def test_a_file_that_changes_after_the_plan_ends_the_study_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "acts.npy"
    np.save(file, planted(200))
    plan = plan_of(study_of(file))
    np.save(file, planted(200) * np.float16(2))
    outcome = execute(plan, tmp_path / "runs")
    said = " ".join(map(str, outcome.failed.values()))
    assert "acts.npy has changed since the study was planned" in said
    assert not job_run(plan, tmp_path / "runs", "subject").done(), "by the first that reads it"
    assert "\n" not in said


def test_a_file_that_changes_between_two_jobs_is_seen_by_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "acts.npy"
    np.save(file, planted(200))
    plan = plan_of(study_of(file))
    check = external.check_files

    def check_and_change(context: Context) -> dict[str, Any]:
        result = check(context)
        np.save(file, planted(200) * np.float16(2))
        return result

    monkeypatch.setattr("engine.stages.subject.check_files", check_and_change)
    outcome = execute(plan, tmp_path / "runs")
    assert outcome.failed
    assert job_run(plan, tmp_path / "runs", "subject").done()
    assert not job_run(plan, tmp_path / "runs", "activations").done()


def test_a_file_that_is_gone_after_the_plan_is_named(tmp_path: Path) -> None:
    file = tmp_path / "acts.npy"
    np.save(file, planted(200))
    plan = plan_of(study_of(file))
    file.unlink()
    said = " ".join(map(str, execute(plan, tmp_path / "runs").failed.values()))
    assert "acts.npy: no such file or folder (since the plan)" in said


def test_odd_inputs_are_warnings_of_the_result(tmp_path: Path) -> None:
    array = planted(400)
    array[200:] = array[:200]
    np.save(tmp_path / "acts.npy", array)
    data = study_of(tmp_path / "acts.npy", analysis={"surrogate": False})
    assert not execute(plan_of(data), tmp_path / "runs").failed
    (cohort,) = summary_of(tmp_path)["cohorts"]
    assert any(text.startswith("50% of the recorded inputs equal") for text in cohort["warnings"])


def test_a_cohort_that_was_stopped_goes_on_to_the_same_weights(
    finished: Path, tmp_path: Path
) -> None:
    plan = plan_of(study_of(finished / "acts.npy"))
    runs = finished / "runs"
    source = job_run(plan, runs, "cohort")
    job = source.read_job()
    job["config"] = {
        **job["config"],
        "training": {**job["config"]["training"], "checkpoint_every": 50},
    }
    inputs = {"activations": job_run(plan, runs, "activations")}
    again = RunDirectory(tmp_path / "cohort")
    again.create(job)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 120

    stage = stage_of("cohort")
    with pytest.raises(Interrupted):
        stage(Context(again, job["config"], {}, inputs, "cpu", stop))
    assert again.newest_checkpoint() is not None
    result = stage(Context(again, job["config"], {}, inputs, "cpu", lambda: False))
    again.finish({**result, "provenance": {}})
    files = [run.artifacts / "cohort.safetensors" for run in (source, again)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_of_millions_of_inputs_some_are_looked_at() -> None:
    x_ND = torch.arange(10_000.0)[:, None].expand(-1, 2)
    mine = External.model_validate({"kind": "external", "path": "a.npy"})
    some = looked_at(mine, x_ND, d_sae=2**20)
    assert len(some) == 4096
    assert torch.equal(some, some.sort(0).values)
    assert len(some.unique(dim=0)) == 4096
    assert looked_at(mine, x_ND, d_sae=64) is x_ND
    assert looked_at(Modular(), x_ND, d_sae=2**20) is x_ND
