"""Fakes of what a supervisor deals with, and plans that it works off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from engine.disk.rundir import RunDirectory
from engine.jobs.messages import AskedJob, JobFile, Submission
from engine.jobs.supervisor import Limits
from engine.study.machine import Machine
from engine.study.plan import Plan, make_plan
from engine.study.profile import place, read_profile
from engine.study.spec import check_study

MACHINE = Machine(2, 8 << 30, "Linux", {"cpu": "x"}, {"cuda": "", "mps": ""})
QUICK = Limits(backoff_seconds=0.0, grace_seconds=5.0, reserve_bytes=0)


class FakeHandle:
    """A worker that ends after a few polls; asked to stop, it leaves with 130."""

    def __init__(
        self, run: RunDirectory, attempt: int, polls: int, code: int, result: dict[str, Any]
    ) -> None:
        self.run, self.attempt, self.left, self.code = run, attempt, polls, code
        self.result = result
        self.ended, self.killed = False, False

    def poll(self) -> int | None:
        if self.ended:
            return self.code
        self.left -= 1
        if self.left > 0:
            return None
        self.ended = True
        if self.code == 0:
            self.run.finish({**self.result, "provenance": {"attempt": self.attempt}})
        return self.code

    def terminate(self) -> None:
        if not self.ended:
            self.ended, self.code = True, 130

    def kill(self) -> None:
        self.killed = True


class FakeLauncher:
    """Starts fake workers; `codes` and `results` say how a job ends, by kind or by name; of a list of codes
    each start takes the next."""

    def __init__(
        self,
        codes: dict[str, int | list[int]] | None = None,
        results: dict[str, dict[str, Any]] | None = None,
        polls: int = 3,
    ):
        self.codes, self.results, self.polls = codes or {}, results or {}, polls
        self.handles: list[FakeHandle] = []
        self.at_once = 0

    def start(self, run: RunDirectory, attempt: int, gpu: str = "") -> FakeHandle:
        job = run.read_job()
        code = self.codes.get(job["name"], self.codes.get(job["kind"], 0))
        result = self.results.get(job["name"], self.results.get(job["kind"], {}))
        now = code.pop(0) if isinstance(code, list) else code
        handle = FakeHandle(run, attempt, self.polls, now, result)
        self.handles.append(handle)
        self.at_once = max(self.at_once, sum(not handle.ended for handle in self.handles))
        return handle

    def wait(self, seconds: float) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def plan(study_data: dict[str, Any]) -> Plan:
    return make_plan(check_study(study_data, "x"), place(read_profile("cpu"), MACHINE))


def asked(name: str, needs: Sequence[AskedJob] = (), **values: Any) -> AskedJob:
    """A job that computes nothing; `config` and `kind` may be given, and whatever a submission holds."""
    config = {"name": name, **values.pop("config", {})}
    file = JobFile(
        kind=values.pop("kind", "rehearsal"),
        name=name,
        key=hashlib.sha256(json.dumps(config).encode()).hexdigest(),
        config=config,
        policy={},
        inputs={need.file.name: need.directory for need in needs},
        work=0.0,
        threads=values.pop("threads", 1),
        placement={
            "device": values.pop("device", "cpu"),
            "precision": "float32",
            "deterministic": True,
        },
        environment={},
    )
    return AskedJob(file=file, **values)


def study_of(*jobs: AskedJob, name: str = "s", **values: Any) -> Submission:
    """A study of such jobs."""
    return Submission(study=name, jobs=list(jobs), **values)
