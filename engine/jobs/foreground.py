"""Executes a plan from one process: ready jobs go to free slots until all are done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.disk.atomic import read_object
from engine.disk.rundir import RunDirectory
from engine.errors import CorruptArtifact, EnvironmentUnfit, InputError, Interrupted
from engine.jobs.launch import Handle, Launcher
from engine.study.machine import detect
from engine.study.partial import partial_report
from engine.study.plan import Job, Plan
from engine.study.profile import Placement, worker_environment

What = Literal["cached", "started", "running", "done", "failed", "skipped", "note"]
GRACE_SECONDS = 30.0
POLL_SECONDS = 0.05
FINAL = (EnvironmentUnfit.exit_code, InputError.exit_code, Interrupted.exit_code)
"""Exit codes after which a second attempt would end the same."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a job."""

    what: What
    job: Job
    seconds: float = 0.0
    """Since the job started."""
    message: str = ""


@dataclass
class Outcome:
    """How a plan ended."""

    done: list[Job] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Name → why."""
    exit_code: int = 0
    report: Job | None = None
    """The finished report: the plan's own, or the one over what is left of it."""


def run_directory(runs: Path, job: Job) -> RunDirectory:
    """Return the run directory of a job below a runs root."""
    return RunDirectory(runs / "jobs" / job.directory)


def is_cached(runs: Path, job: Job) -> bool:
    """Return whether a job has a sound result; changes nothing."""
    run = run_directory(runs, job)
    return run.done() and run.sound()


class Foreground:
    """Runs one plan to its end, or to the first request to stop."""

    def __init__(
        self, plan: Plan, runs: Path, launcher: Launcher, report: Callable[[Event], None]
    ) -> None:
        self.plan, self.runs, self.launcher, self.report = plan, runs, launcher, report
        self._waiting = list(plan.jobs)
        self._running: dict[str, tuple[Job, Handle, float]] = {}
        self._finished: set[str] = set()
        self._retried: set[str] = set()
        self._lost: dict[str, str] = {}
        """Directory of each job that will never have a result → why."""
        self._outcome = Outcome()

    def execute(self, stop: Callable[[], bool]) -> Outcome:
        """Run until every job is done, failed or skipped.

        Raises:
            Interrupted: `stop` returned true; running workers have saved and left.
        """
        try:
            while self._waiting or self._running:
                if stop():
                    raise Interrupted("stopped; the same command goes on where it was")
                self._collect()
                self._skip_orphans()
                self._start_ready()
                time.sleep(POLL_SECONDS)
        finally:
            self._drain()
        return self._outcome

    def _start_ready(self) -> None:
        free = self.plan.placement.slots - sum(job.slots for job, _, _ in self._running.values())
        for job in list(self._waiting):
            if any(other.key not in self._finished for other in self.plan.waiting_for(job)):
                continue
            if is_cached(self.runs, job):
                self._waiting.remove(job)
                self._finish(job, Event("cached", job))
            elif job.slots <= free:
                self._waiting.remove(job)
                free -= job.slots
                self._start(job)

    def _start(self, job: Job) -> None:
        run = run_directory(self.runs, job)
        run.create(job_file(job, self.plan.placement))
        if run.done() and not run.sound():
            run.discard()
        run.error_file.unlink(missing_ok=True)
        self._running[job.key] = (job, self.launcher.start(run), time.monotonic())
        self.report(Event("started", job))

    def _collect(self) -> None:
        for key, (job, handle, started) in list(self._running.items()):
            seconds = time.monotonic() - started
            code = handle.poll()
            if code is None:
                self.report(Event("running", job, seconds))
                continue
            del self._running[key]
            run = run_directory(self.runs, job)
            if code == 0 and run.done():
                self._finish(job, Event("done", job, seconds))
            elif job.kind == "cohort" and code not in FINAL and key not in self._retried:
                self._retried.add(key)
                said = f"failed ({_reason(run, code)}); trying once more"
                self.report(Event("note", job, seconds, said))
                self._start(job)
            else:
                self._fail(job, code, seconds, _reason(run, code))

    def _finish(self, job: Job, event: Event) -> None:
        refusal = gate_refusal(job, run_directory(self.runs, job))
        if refusal:
            self._fail(job, 1, event.seconds, refusal)
            return
        self._finished.add(job.key)
        self._outcome.done.append(job)
        if job.kind == "report":
            self._outcome.report = job
        self.report(event)

    def _fail(self, job: Job, code: int, seconds: float, reason: str) -> None:
        self._outcome.failed[job.name] = reason
        self._lost[job.directory] = f"{job.name}: {reason}"
        fatal = code if code in (EnvironmentUnfit.exit_code, InputError.exit_code) else 1
        self._outcome.exit_code = max(self._outcome.exit_code, fatal)
        self.report(Event("failed", job, seconds, reason))

    def _skip_orphans(self) -> None:
        """Give up jobs whose inputs will never come; of a report, only what lacks them."""
        for job in list(self._waiting):
            lost = {r: self._lost[made] for r, made in job.inputs.items() if made in self._lost}
            if not lost:
                continue
            if job.kind == "report":
                open_ends = (self._finished | set(self._lost)).isdisjoint
                if any(open_ends((o.key, o.directory)) for o in self.plan.waiting_for(job)):
                    continue  # one that is still to end may be lost, too
                self._waiting.remove(job)
                if (rest := self._rest(lost)) is not None:
                    self._waiting.append(rest)
                    continue
            else:
                self._waiting.remove(job)
            self._lost[job.directory] = next(iter(lost.values()))
            names = [o.name for o in self.plan.waiting_for(job) if o.directory in self._lost]
            self.report(Event("skipped", job, message=f"needs {', '.join(names)}"))

    def _rest(self, lost: dict[str, str]) -> Job | None:
        """Return the report over the analyses that are there, None without any."""
        cohorts = self.plan.report.config["cohorts"]
        titles = {cohort["role"]: cohort["title"] for cohort in cohorts if cohort["role"] in lost}
        # What failed is named, unless it is the cohort itself.
        return partial_report(
            self.plan, {r: lost[r].removeprefix(f"{title}: ") for r, title in titles.items()}
        )

    def _drain(self) -> None:
        """Ask running workers to save and leave; end those that do not."""
        handles = [handle for _, handle, _ in self._running.values()]
        for handle in handles:
            handle.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        while any(handle.poll() is None for handle in handles) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for handle in handles:
            handle.kill()


def gate_refusal(job: Job, run: RunDirectory) -> str:
    """Return why a finished job must not be built upon: the gates that it failed, if they are enforced."""
    gates = read_object(run.result_file).get("gates")
    if gates is None or gates["passed"] or job.policy.get("gates") != "enforce":
        return ""
    failures = "; ".join(
        f"{g['name']} {g['title']}: {g['reason']}" for g in gates["gates"] if not g["passed"]
    )
    return f"gate failed: {failures} (`gates: warn` goes on and marks every result)"


def job_file(job: Job, placement: Placement) -> dict[str, object]:
    """Return the content of `job.json`."""
    return {
        "kind": job.kind,
        "name": job.name,
        "key": job.key,
        "config": job.config,
        "policy": job.policy,
        "inputs": job.inputs,
        "work": job.work,
        "threads": job.threads,
        "placement": {**placement.numerics(), "profile": placement.profile},
        "environment": worker_environment(placement, job.threads, detect().system),
    }


def _reason(run: RunDirectory, code: int) -> str:
    if run.error_file.is_file():
        with contextlib.suppress(CorruptArtifact, KeyError):
            return str(read_object(run.error_file)["message"])
    if code < 0:
        return f"its worker was ended by signal {-code}; log: {run.log_file}"
    return f"its worker left with exit code {code} and no result; log: {run.log_file}"
