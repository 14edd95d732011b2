"""Whole studies through the command line, in processes as a user has them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.numpy import load_file

from engine.report.summary import faults
from engine.study.fingerprint import code_fingerprint
from tests.conftest import timeless

Write = Callable[[dict[str, Any]], Path]


def heed_signals() -> None:
    """Undo what nohup or a background shell around the tests may have set: it is inherited."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "engine", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=heed_signals,
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def weights_digest(runs: Path) -> dict[str, str]:
    """Return the sha256 of every cohort's weights, by job."""
    return {
        path.parents[1].name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in runs.glob("jobs/cohort-*/artifacts/cohort.safetensors")
    }


def test_a_study_runs_reports_and_is_then_cached(
    study_data: dict[str, Any], write_study: Write, tmp_path: Path
) -> None:
    study, runs = str(write_study(study_data)), tmp_path / "runs"
    code, out, err = finish(start("run", study, "--runs", str(runs), "--json"))
    assert code == 0, err
    summary = json.loads(out)
    assert summary["schema"] == 1
    assert set(summary) == {
        "schema", "study", "description", "profile", "warnings", "subject", "cohorts", "failed", "contrasts",
        "contrasts_left_out", "trends", "claims", "timings", "provenance",
    }  # fmt: skip
    assert faults(summary) == [], "engine/report/summary.yaml says otherwise"
    cohort = summary["cohorts"][0]
    agreement = cohort["stability"]["mean_max_cos"]["live"]
    assert {"observed", "null", "null_name", "kappa", "ci_low", "ci_high", "verdict"} <= set(
        agreement
    )
    names = [null["name"] for null in agreement["nulls"]]
    assert names == ["N0", "N1", "N2", "N3", "N4 step 0", "N4 untrained", "N6"]
    assert set(cohort["ground_truth"]["baselines"]) == {"pca", "random"}
    assert json.loads((runs / "tiny" / "report" / "summary.json").read_text()) == summary
    report = {path.name for path in (runs / "tiny" / "report").iterdir()}
    assert {"report.html", "features.parquet", "figures", "summary.json"} <= report

    started = time.monotonic()
    code, out, err = finish(start("run", study, "--runs", str(runs)))
    assert code == 0, err
    assert "started" not in err
    assert time.monotonic() - started < 10
    assert str(runs / "tiny" / "report" / "report.html") in out.replace("\n", "")


def test_every_seed_is_a_separately_loadable_sae(
    study_data: dict[str, Any], write_study: Write, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    code, _, err = finish(
        start("run", str(write_study(study_data)), "--runs", str(runs), "--quiet")
    )
    assert code == 0, err
    jobs = [json.loads(path.read_text()) for path in runs.glob("jobs/cohort-*/job.json")]
    assert sorted(job["config"]["surrogate"] is not None for job in jobs) == [False, True]
    for folder in runs.glob("jobs/cohort-*/artifacts"):
        stacked = load_file(folder / "cohort.safetensors")
        for number, seed in enumerate(study_data["seeds"]):
            single = load_file(folder / f"seed-{seed}" / "sae.safetensors")
            assert single["W_dec"].shape == (12, 8)
            assert (single["W_dec"] == stacked["W_dec"][number]).all()


def test_ctrl_c_saves_and_the_same_command_ends_bitwise_the_same(
    study_data: dict[str, Any], write_study: Write, tmp_path: Path
) -> None:
    study_data["training"] = {
        "epochs": 400,
        "batch_size": 20,
        "checkpoint_every": 100,
        "measure_every": 100,
    }
    study_data["analysis"] = {"surrogate": False}
    study = str(write_study(study_data))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert finish(start("run", study, "--runs", str(whole), "--quiet"))[0] == 0

    process = start("run", study, "--runs", str(cut))
    deadline = time.monotonic() + 60
    while not list(cut.glob("jobs/cohort-*/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert not list(cut.glob("jobs/cohort-*/result.json")), "it was stopped in the middle"
    (log,) = cut.glob("jobs/cohort-*/log.txt")
    assert "saved" in log.read_text()

    code, _, err = finish(start("run", study, "--runs", str(cut)))
    assert code == 0, err
    assert "resumed at step" in log.read_text()
    assert weights_digest(cut) == weights_digest(whole)
    curves = [timeless(next(runs.glob("jobs/cohort-*/curves.jsonl"))) for runs in (whole, cut)]
    assert curves[0] == curves[1], "every step once, with the same values"


def test_workers_leave_when_their_runner_is_killed(
    study_data: dict[str, Any], write_study: Write, tmp_path: Path
) -> None:
    study_data["training"] = {"epochs": 100_000, "batch_size": 20}
    runs = tmp_path / "runs"
    process = start("run", str(write_study(study_data)), "--runs", str(runs))
    deadline = time.monotonic() + 60
    while not list(runs.glob("jobs/cohort-*/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    logs = list(runs.glob("jobs/cohort-*/log.txt"))
    while (
        not all("Interrupted" in log.read_text() for log in logs)
        and time.monotonic() < deadline + 30
    ):
        time.sleep(0.1)
    assert any("Interrupted: stopped at step" in log.read_text() for log in logs), "it saved"
    assert all("Interrupted: stopped" in log.read_text() for log in logs), "none went on"


def test_the_workers_of_a_killed_nursery_are_started_once_more(
    study_data: dict[str, Any], write_study: Write, tmp_path: Path
) -> None:
    study_data["training"] = {"epochs": 100_000, "batch_size": 20}
    runs = tmp_path / "runs"
    process = start("run", str(write_study(study_data)), "--runs", str(runs))
    deadline = time.monotonic() + 180
    while not list(runs.glob("jobs/cohort-*/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    nurseries = find_nurseries(process)
    workers = [worker for nursery in nurseries for worker in nursery.children()]
    for nursery in nurseries:
        nursery.kill()
    if not nurseries:  # elsewhere than on Linux workers are processes of their own
        process.kill()
        process.communicate()
        pytest.skip("no nursery on this platform")
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    logs = list(runs.glob("jobs/cohort-*/log.txt"))
    while (
        not any("resumed at step" in log.read_text() for log in logs)
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "trying once more" in err
    assert any("resumed at step" in log.read_text() for log in logs)


def find_nurseries(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if "engine.nursery" in child.cmdline()]


def test_a_second_runner_in_the_same_folder_is_refused(
    study_data: dict[str, Any], write_study: Write, tmp_path: Path
) -> None:
    study_data["training"] = {"epochs": 100_000, "batch_size": 20}
    study, runs = str(write_study(study_data)), tmp_path / "runs"
    first = start("run", study, "--runs", str(runs))
    deadline = time.monotonic() + 60
    while not list(runs.glob("jobs/subject-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    code, _, err = finish(start("run", study, "--runs", str(runs), "--quiet"))
    assert code == 3
    assert f"process {first.pid} is executing there" in err
    first.send_signal(signal.SIGTERM)
    assert finish(first)[0] == 130


def test_a_job_can_be_repeated_by_hand(
    study_data: dict[str, Any], write_study: Write, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    assert (
        finish(start("run", str(write_study(study_data)), "--runs", str(runs), "--quiet"))[0] == 0
    )
    before = weights_digest(runs)
    for path in runs.glob("jobs/cohort-*"):
        (path / "result.json").unlink()
        worker = [sys.executable, "-m", "engine.worker", str(path)]
        done = subprocess.run(worker, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert weights_digest(runs) == before


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        (None, 1, "no job.json"),
        ("{", 1, "not JSON"),
        ('{"kind": "video", "policy": {}, "environment": {}}', 2, "one of subject"),
    ],
)
def test_a_folder_that_is_no_job_is_refused_in_one_line(
    tmp_path: Path, content: str | None, code: int, text: str
) -> None:
    if content is not None:
        (tmp_path / "job.json").write_text(content)
    worker = [sys.executable, "-m", "engine.worker", str(tmp_path)]
    done = subprocess.run(worker, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert text in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_worker_of_other_code_than_the_plans_refuses_it(tmp_path: Path) -> None:
    job = {
        "kind": "rehearsal",
        "name": "one",
        "key": "0" * 64,
        "code": "0123456789abcdef",
        "config": {},
        "policy": {},
        "inputs": {},
        "threads": 1,
        "placement": {"device": "cpu", "precision": "float32", "deterministic": True},
        "environment": {},
    }
    said = []
    for code in ("0123456789abcdef", code_fingerprint("rehearsal")):
        (tmp_path / "job.json").write_text(json.dumps({**job, "code": code}))
        worker = [sys.executable, "-m", "engine.worker", str(tmp_path)]
        said.append(subprocess.run(worker, capture_output=True, text=True, check=False))
    assert said[0].returncode == 3
    assert "planned by another version of husai" in said[0].stdout
    assert said[1].returncode == 0, said[1].stdout
