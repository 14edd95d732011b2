from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.disk.rundir import RunDirectory
from engine.errors import Interrupted
from engine.jobs.foreground import Event, Foreground, is_cached, run_directory
from engine.study.machine import Machine
from engine.study.plan import Plan, make_plan
from engine.study.profile import place, read_profile
from engine.study.spec import check_study

MACHINE = Machine(2, 8 << 30, "Linux", {"cpu": "x"}, {"cuda": "", "mps": ""})


class FakeHandle:
    """A worker that ends after a few polls; asked to stop, it leaves with 130."""

    def __init__(self, run: RunDirectory, polls: int, code: int, result: dict[str, Any]) -> None:
        self.run, self.left, self.code, self.result = run, polls, code, result
        self.ended, self.killed = False, False

    def poll(self) -> int | None:
        if self.ended:
            return self.code
        self.left -= 1
        if self.left > 0:
            return None
        self.ended = True
        if self.code == 0:
            self.run.finish(self.result)
        return self.code

    def terminate(self) -> None:
        if not self.ended:
            self.ended, self.code = True, 130

    def kill(self) -> None:
        self.killed = True


class FakeLauncher:
    """Starts fake workers; `codes` and `results` say how the job of a kind ends."""

    def __init__(
        self, codes: dict[str, int] | None = None, results: dict[str, dict[str, Any]] | None = None
    ):
        self.codes, self.results = codes or {}, results or {}
        self.handles: list[FakeHandle] = []
        self.at_once = 0

    def start(self, run: RunDirectory) -> FakeHandle:
        kind = run.read_job()["kind"]
        handle = FakeHandle(run, 3, self.codes.get(kind, 0), self.results.get(kind, {}))
        self.handles.append(handle)
        self.at_once = max(self.at_once, sum(not handle.ended for handle in self.handles))
        return handle

    def close(self) -> None: ...


@pytest.fixture
def plan(study_data: dict[str, Any]) -> Plan:
    return make_plan(check_study(study_data, "x"), place(read_profile("cpu"), MACHINE))


def never() -> bool:
    return False


Run = Callable[..., tuple[Any, list[Event]]]


@pytest.fixture
def execute(plan: Plan, tmp_path: Path) -> Run:
    def run(launcher: FakeLauncher, stop: Callable[[], bool] = never) -> tuple[Any, list[Event]]:
        events: list[Event] = []
        return Foreground(plan, tmp_path, launcher, events.append).execute(stop), events

    return run


def happened(events: list[Event], what: str) -> list[str]:
    return [event.job.kind for event in events if event.what == what]


def test_every_job_runs_once_inputs_first_and_then_all_is_cached(execute: Run, plan: Plan) -> None:
    launcher = FakeLauncher()
    outcome, events = execute(launcher)
    order = ["subject", "activations", "cohort", "cohort", "analysis", "report"]
    assert happened(events, "started") == order
    assert len(outcome.done) == len(plan.jobs)
    assert outcome.exit_code == 0
    assert launcher.at_once == 2, "two slots are used, never more"
    _, events = execute(FakeLauncher())
    assert happened(events, "cached") == order
    assert happened(events, "started") == []


def test_a_damaged_result_is_done_again(execute: Run, plan: Plan, tmp_path: Path) -> None:
    execute(FakeLauncher())
    subject = run_directory(tmp_path, plan.jobs[0])
    (subject.artifacts / "manifest.json").write_text('{"weights": {"bytes": 1, "sha256": "0"}}')
    assert not is_cached(tmp_path, plan.jobs[0])
    _, events = execute(FakeLauncher())
    assert happened(events, "started") == ["subject"]


def test_a_failure_skips_what_needs_it_and_completes_the_rest(execute: Run) -> None:
    outcome, events = execute(FakeLauncher({"cohort": 1}))
    assert happened(events, "failed") == ["cohort", "cohort"]
    assert happened(events, "skipped") == ["analysis", "report"]
    assert outcome.exit_code == 1
    assert "exit code 1" in next(iter(outcome.failed.values()))


@pytest.mark.parametrize(("code", "text"), [(-9, "signal 9"), (3, "exit code 3")])
def test_the_reason_of_a_failure_is_told(execute: Run, code: int, text: str) -> None:
    outcome, _ = execute(FakeLauncher({"subject": code}))
    assert text in outcome.failed["subject"]


def test_the_workers_own_reason_wins(execute: Run, plan: Plan, tmp_path: Path) -> None:
    class Says(FakeLauncher):
        def start(self, run: RunDirectory) -> FakeHandle:
            run.error_file.write_text('{"error": "Diverged", "message": "seed 3 at step 7"}')
            return super().start(run)

    outcome, _ = execute(Says({"subject": 1}))
    assert outcome.failed == {"subject": "seed 3 at step 7"}


def test_a_failed_gate_stops_the_study_even_from_the_cache(execute: Run) -> None:
    gate = {
        "name": "G1",
        "title": "grokked",
        "passed": False,
        "reason": "test accuracy .41, wanted .99",
    }
    failed = {"subject": {"gates": {"passed": False, "gates": [gate]}}}
    for _ in range(2):
        outcome, events = execute(FakeLauncher(results=failed))
        assert "G1 grokked: test accuracy .41, wanted .99" in outcome.failed["subject"]
        assert "activations" in happened(events, "skipped")
        assert outcome.exit_code == 1


def test_with_warn_a_failed_gate_lets_the_study_go_on(
    study_data: dict[str, Any], tmp_path: Path
) -> None:
    study_data["subject"] = {"kind": "modular", "modulus": 7, "gates": "warn"}
    study_data["hooks"] = ["blocks.0.hook_resid_post"]
    plan = make_plan(check_study(study_data, "x"), place(read_profile("cpu"), MACHINE))
    launcher = FakeLauncher(results={"subject": {"gates": {"passed": False, "gates": []}}})
    outcome = Foreground(plan, tmp_path, launcher, lambda event: None).execute(never)
    assert not outcome.failed


def test_a_stop_asks_workers_to_save_and_the_next_call_goes_on(execute: Run) -> None:
    launcher = FakeLauncher()
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        execute(launcher, stop=lambda: next(calls) > 5)
    assert launcher.handles[-1].code == 130
    outcome, events = execute(FakeLauncher())
    assert not outcome.failed
    assert "subject" in happened(events, "cached")
