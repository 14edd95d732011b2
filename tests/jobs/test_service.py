"""Whole studies under a supervisor with fake workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.client.queue import jobs as jobs_of
from engine.client.queue import read_outcome
from engine.client.studies import is_cached, run_directory
from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.errors import Interrupted
from engine.jobs.events import Event, Outcome
from engine.jobs.queue import Queue
from engine.jobs.service import serve
from engine.jobs.submission import submission_of
from engine.jobs.supervisor import Supervisor
from engine.study.plan import Plan, make_plan
from engine.study.profile import place, read_profile
from engine.study.spec import check_study
from tests.jobs.conftest import MACHINE, QUICK, FakeHandle, FakeLauncher


def never() -> bool:
    return False


def work_off(
    plan: Plan, runs: Path, launcher: FakeLauncher, stop: Callable[[], bool] = never
) -> tuple[Outcome, list[Event]]:
    events: list[Event] = []
    root = RunsRoot(runs)
    root.prepare()
    serve(
        root,
        plan.placement,
        launcher,
        stop=stop,
        mode="foreground",
        submission=submission_of(plan),
        report=events.append,
        limits=QUICK,
    )
    return read_outcome(root, plan.study.name), events


Run = Callable[..., tuple[Any, list[Event]]]


@pytest.fixture
def execute(plan: Plan, tmp_path: Path) -> Run:
    def run(launcher: FakeLauncher, stop: Callable[[], bool] = never) -> tuple[Any, list[Event]]:
        return work_off(plan, tmp_path, launcher, stop)

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
        def start(self, run: RunDirectory, attempt: int, gpu: str = "") -> FakeHandle:
            said = '{"sort": "diverged", "message": "seed 3 at step 7"}'
            run.error_file.write_text(said)
            return super().start(run, attempt, gpu)

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
    study_data["training"]["warmup_steps"] = 1
    study_data["subject"] = {"kind": "modular", "modulus": 7, "gates": "warn"}
    study_data["hooks"] = ["blocks.0.hook_resid_post"]
    plan = make_plan(check_study(study_data, "x"), place(read_profile("cpu"), MACHINE))
    launcher = FakeLauncher(results={"subject": {"gates": {"passed": False, "gates": []}}})
    outcome, _ = work_off(plan, tmp_path, launcher)
    assert not outcome.failed


def test_a_stop_asks_workers_to_save_and_the_next_call_goes_on(
    execute: Run, tmp_path: Path
) -> None:
    launcher = FakeLauncher()
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        execute(launcher, stop=lambda: next(calls) > 5)
    assert launcher.handles[-1].code == 130
    jobs = jobs_of(RunsRoot(tmp_path))
    assert {job["state"] for job in jobs} <= {"done", "paused"}, "no supervisor takes it up unasked"
    outcome, events = execute(FakeLauncher())
    assert not outcome.failed
    assert "subject" in happened(events, "cached")


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.what, event.job.name) for event in events if event.what != "running"]


def test_a_failed_cohort_is_tried_once_more(execute: Run) -> None:
    outcome, events = execute(FakeLauncher({"topk 12 k2": [1, 0]}))
    assert outcome.exit_code == 0
    assert not outcome.failed
    note = next(event for event in events if event.what == "note")
    assert note.job.name == "topk 12 k2"
    assert note.message.startswith("failed (its worker left with exit code 1")
    assert note.message.endswith("; trying once more")
    own = [what for what, name in told(events) if name == "topk 12 k2"]
    assert own == ["started", "note", "started", "done"]


def test_a_second_failure_is_final(execute: Run) -> None:
    codes: dict[str, int | list[int]] = {"topk 12 k2": [1, 1, 0]}
    outcome, events = execute(FakeLauncher(codes))
    assert codes["topk 12 k2"] == [0], "it was not started a third time"
    assert list(outcome.failed) == ["topk 12 k2"]
    assert happened(events, "failed") == ["cohort"]


@pytest.mark.parametrize(("code", "ends"), [(2, 2), (3, 3)])
def test_what_would_fail_again_is_not_tried_again(execute: Run, code: int, ends: int) -> None:
    outcome, events = execute(FakeLauncher({"cohort": code}))
    assert happened(events, "note") == []
    assert outcome.exit_code == ends


@pytest.mark.parametrize("kind", ["subject", "activations", "analysis", "report"])
def test_only_cohorts_are_tried_again(execute: Run, kind: str) -> None:
    _, events = execute(FakeLauncher({kind: 1}))
    assert happened(events, "note") == []
    assert happened(events, "failed") == [kind]


@pytest.fixture
def sweep(study_data: dict[str, Any]) -> Plan:
    """Two subjects by two widths, without surrogates."""
    study_data["training"]["warmup_steps"] = 1
    study_data["subject"] = {"kind": "modular", "modulus": 7}
    study_data["hooks"] = ["blocks.0.hook_resid_post"]
    study_data["analysis"] = {"surrogate": False}
    over = {"subject.transformer.layers": [1, 2], "saes.0.d_sae": [12, 24]}
    study_data["search"] = {"kind": "grid", "over": over}
    return make_plan(check_study(study_data, "x"), place(read_profile("cpu"), MACHINE))


def run_sweep(plan: Plan, runs: Path, launcher: FakeLauncher) -> tuple[Any, list[Event]]:
    return work_off(plan, runs, launcher)


def test_the_report_is_made_without_the_cohorts_that_failed(sweep: Plan, tmp_path: Path) -> None:
    outcome, events = run_sweep(sweep, tmp_path, FakeLauncher({"topk 24 k2 layers 1": 1}))
    assert outcome.exit_code == 1
    assert list(outcome.failed) == ["topk 24 k2 layers 1"]
    assert happened(events, "skipped") == ["analysis"]
    assert outcome.report is not None
    config = run_directory(tmp_path, outcome.report).read_job()["config"]
    (failed,) = config["failed"].items()
    assert failed[0] == "topk 24 k2 layers 1"
    assert failed[1].startswith("its worker left with exit code 1")
    assert [c["title"] for c in config["cohorts"]] == [
        "topk 12 k2 layers 1",
        "topk 12 k2 layers 2",
        "topk 24 k2 layers 2",
    ]
    assert is_cached(tmp_path, outcome.report)
    assert not is_cached(tmp_path, sweep.report), "the full report is still to be made"
    outcome, _ = run_sweep(sweep, tmp_path, FakeLauncher())
    assert outcome.report.key == sweep.report.key
    assert outcome.exit_code == 0


def test_a_subject_that_fails_its_gate_loses_only_its_own_points(
    sweep: Plan, tmp_path: Path
) -> None:
    gate = {"name": "G1", "title": "grokked", "passed": False, "reason": "never"}
    refused = {"subject layers 1": {"gates": {"passed": False, "gates": [gate]}}}
    outcome, _ = run_sweep(sweep, tmp_path, FakeLauncher(results=refused))
    assert outcome.exit_code == 1
    assert outcome.report is not None
    config = run_directory(tmp_path, outcome.report).read_job()["config"]
    assert [one["title"] for one in config["subjects"]] == ["subject layers 2"]
    assert [c["point"] for c in config["cohorts"]] == [
        {"subject.transformer.layers": 2, "saes.0.d_sae": 12},
        {"subject.transformer.layers": 2, "saes.0.d_sae": 24},
    ]
    why = config["failed"]
    assert set(why) == {"topk 12 k2 layers 1", "topk 24 k2 layers 1"}
    assert all(text.startswith("subject layers 1: gate failed: G1") for text in why.values())


def test_a_subject_lost_after_its_analyses_takes_them_out_of_the_report(
    sweep: Plan, tmp_path: Path
) -> None:
    run_sweep(sweep, tmp_path, FakeLauncher({"topk 24 k2 layers 2": 1}))
    root = RunsRoot(tmp_path)
    queue = Queue(root.database)
    reports = [job for job in queue.members(sweep.study.name) if job.kind == "report"]
    (partial,) = (job for job in reports if job.state == "done")
    subject = next(job for job in sweep.jobs if job.name == "subject layers 1")
    queue.redo([subject.directory, partial.directory])
    queue.refuse(subject.directory, "bug", "broken")
    supervisor = Supervisor(root, queue, sweep.placement, FakeLauncher(), limits=QUICK)
    for _ in range(20):
        supervisor.careful_tick()
    assert not [job.name for job in queue.members(sweep.study.name) if job.state == "queued"]
    queue.close()
    report = read_outcome(root, sweep.study.name).report
    assert report is not None
    config = run_directory(tmp_path, report).read_job()["config"]
    assert [one["title"] for one in config["cohorts"]] == ["topk 12 k2 layers 2"]
    assert config["failed"]["topk 12 k2 layers 1"] == "subject layers 1: broken"
    assert set(config["failed"]) == {
        "topk 12 k2 layers 1",
        "topk 24 k2 layers 1",
        "topk 24 k2 layers 2",
    }


def test_nothing_left_is_no_report(sweep: Plan, tmp_path: Path) -> None:
    outcome, events = run_sweep(sweep, tmp_path, FakeLauncher({"cohort": 1}))
    assert outcome.report is None
    assert happened(events, "skipped") == [*["analysis"] * 4, "report"]


def test_the_partial_report_waits_for_all_that_can_still_come(sweep: Plan, tmp_path: Path) -> None:
    _, events = run_sweep(sweep, tmp_path, FakeLauncher({"topk 12 k2 layers 1": 1}))
    names = [name for what, name in told(events) if what == "done"]
    assert names[-1] == "report"
    assert sum(name.startswith("analysis") for name in names) == 3


def test_a_worker_that_is_killed_again_and_again_is_given_up(execute: Run) -> None:
    """Eleven attempts that come no further; a kill is no fault of the job's own."""
    outcome, events = execute(FakeLauncher({"subject": -9}))
    assert happened(events, "started") == ["subject"] * 11
    assert "signal 9" in outcome.failed["subject"]


def test_a_job_that_comes_further_each_time_is_never_given_up(execute: Run) -> None:
    class Further(FakeLauncher):
        """Each attempt leaves a checkpoint that the one before did not reach."""

        def start(self, run: RunDirectory, attempt: int, gpu: str = "") -> FakeHandle:
            if run.read_job()["kind"] == "subject":
                run.begin_checkpoint(attempt)
                run.publish_checkpoint(attempt)
            return super().start(run, attempt, gpu)

    outcome, events = execute(Further({"subject": [-9] * 25 + [0]}))
    assert happened(events, "started").count("subject") == 26
    assert not outcome.failed
