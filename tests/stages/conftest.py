"""Stages run in this process, without starting workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.client.studies import run_directory, run_plan
from engine.disk.rundir import RunDirectory
from engine.errors import HusaiError
from engine.jobs.events import Outcome
from engine.jobs.failures import sort_of
from engine.stages.context import Context
from engine.stages.kinds import stage_of
from engine.study.machine import Machine
from engine.study.plan import Plan, make_plan
from engine.study.profile import place, read_profile
from engine.study.spec import Study, check_study

MACHINE = Machine(2, 8 << 30, "Linux", {"cpu": "x"}, {"cuda": "", "mps": ""})


class Finished:
    """A worker that has ended."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class InProcess:
    """Does a job at once, here."""

    def start(self, run: RunDirectory, attempt: int) -> Finished:
        job = run.read_job()
        inputs = {
            role: RunDirectory(run.path.parent / name) for role, name in job["inputs"].items()
        }
        context = Context(run, job["config"], job["policy"], inputs, "cpu", lambda: False)
        provenance = {
            "seconds": 1.0, "peak_memory_bytes": 1, "warnings": [], "versions": {}, "environment": {},
            "threads": 1, "placement": job["placement"], "thread_pools": [], "attempt": attempt,
        }  # fmt: skip
        try:
            run.finish({**stage_of(job["kind"])(context), "provenance": provenance})
        except HusaiError as error:
            said = {"sort": sort_of(error), "message": str(error)}
            run.error_file.write_text(json.dumps(said))
            return Finished(error.exit_code)
        return Finished(0)

    def wait(self, seconds: float) -> None: ...

    def close(self) -> None: ...


Execute = Callable[[dict[str, Any]], tuple[Plan, Outcome]]


@pytest.fixture
def execute(tmp_path: Path) -> Execute:
    """Run a whole study, given as plain data, below tmp_path."""

    def run(data: dict[str, Any]) -> tuple[Plan, Outcome]:
        study: Study = check_study(data, "study")
        plan = make_plan(study, place(read_profile("cpu"), MACHINE))
        outcome = run_plan(
            plan, tmp_path, on_event=lambda event: None, stop=lambda: False, launcher=InProcess()
        )
        return plan, outcome

    return run


@pytest.fixture
def result_of(tmp_path: Path) -> Callable[[Plan, str], dict[str, Any]]:
    """Read the result of the first job of a kind."""

    def read(plan: Plan, kind: str) -> dict[str, Any]:
        job = next(job for job in plan.jobs if job.kind == kind)
        return run_directory(tmp_path, job).read_result()

    return read
