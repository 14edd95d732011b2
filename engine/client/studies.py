"""Studies: plan, run, submit, read. Loads no torch."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.client.queue import follow, read_outcome
from engine.disk.atomic import read_json
from engine.disk.failpoints import enter_role
from engine.disk.inbox import Inbox
from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.errors import CorruptArtifact, EnvironmentUnfit, InputError, JobFailed
from engine.jobs.events import Event, Named, Outcome
from engine.jobs.launch import Launcher, local_launcher, run_module
from engine.jobs.lock import holder
from engine.jobs.messages import Submission
from engine.jobs.service import serve
from engine.jobs.submission import submission_of
from engine.study.forecast import Forecast, forecast
from engine.study.machine import detect
from engine.study.plan import Job, Plan, make_plan
from engine.study.profile import (
    KNOWN_GAPS,
    Placement,
    Profile,
    fitting,
    place,
    profiles,
    read_profile,
    worker_environment,
)
from engine.study.spec import NAME, Study, presets, read_study
from engine.study.subject import is_prime
from engine.study.titles import count_saes
from engine.study.workload import find_workload


def run_directory(runs: Path, job: Named) -> RunDirectory:
    """Return the run directory of a job below a runs root."""
    return RunsRoot(runs).run(job.directory)


def is_cached(runs: Path, job: Named) -> bool:
    """Return whether a job has a sound result; changes nothing."""
    run = run_directory(runs, job)
    return run.done() and run.sound()


def open_plan(study: str, profile: str = "auto", overrides: Sequence[str] = ()) -> Plan:
    """Read a study, resolve a profile on this machine and expand both into a plan.

    Raises:
        InputError: the study or the profile is wrong.
        EnvironmentUnfit: this machine does not fit the profile.
    """
    return plan_study(read_study(study, overrides), profile)


def plan_study(study: Study, profile: str = "auto") -> Plan:
    """Resolve a profile on this machine and expand a study under it; raises what `open_plan` raises."""
    return make_plan(study, place(read_profile(profile), detect()))


def cached_jobs(plan: Plan, runs: Path) -> list[Job]:
    """Return the jobs of a plan that already have a sound result."""
    return [job for job in plan.jobs if is_cached(runs, job)]


def forecast_plan(plan: Plan, runs: Path) -> Forecast:
    """Estimate what is left to pay for a plan."""
    return forecast(plan, [job.key for job in cached_jobs(plan, runs)], runs)


def run_plan(
    plan: Plan,
    runs: Path,
    *,
    on_event: Callable[[Event], None],
    stop: Callable[[], bool],
    launcher: Launcher | None = None,
) -> Outcome:
    """Work off a plan to its end and publish its report: in this process, or, where a supervisor is up, there.

    Raises:
        InputError: the study cannot have a folder of its name there.
        EnvironmentUnfit: another process is executing in this runs root, or it cannot be written.
        Interrupted: `stop` returned true; the same call goes on where it was. A supervisor works on.
    """
    root = RunsRoot(runs)
    root.study(plan.study.name)
    root.prepare()
    submission = submission_of(plan)
    found = holder(root.lock_file)
    if found is not None and found.get("mode") == "service":
        follow(root, plan.study.name, drop(root, submission), on_event, stop)
    else:
        place_workers = launcher or local_launcher(plan.placement)
        try:
            serve(
                root,
                plan.placement,
                place_workers,
                stop=stop,
                mode="foreground",
                submission=submission,
                report=on_event,
            )
        finally:
            place_workers.close()
    return read_outcome(root, plan.study.name)


def submit_plan(plan: Plan, runs: Path, priority: int = 0) -> str:
    """Leave a plan for the supervisor, whether or not one is up; return the message's name.

    Raises:
        InputError: the study cannot have a folder of its name there.
        EnvironmentUnfit: the runs root cannot be written.
    """
    root = RunsRoot(runs)
    root.study(plan.study.name)
    root.prepare()
    return drop(root, submission_of(plan, priority))


def drop(root: RunsRoot, submission: Submission) -> str:
    """Leave a submission in the inbox."""
    enter_role("client")
    return Inbox(root.inbox).drop(submission.model_dump(mode="json"))


def check_fit(plan: Plan, cost: Forecast, runs: Path) -> None:
    """Raise EnvironmentUnfit if a plan needs more memory than the profile allows or more disk than is free."""
    allowed = plan.placement.memory_bytes
    if cost.memory_bytes > allowed:
        raise EnvironmentUnfit(
            f"profile {plan.placement.profile}: about {cost.memory_bytes >> 20} MB of memory are needed, "
            f"{allowed >> 20} MB allowed (memory_share); fewer slots, or smaller SAEs"
        )
    most = max(job.memory_bytes for job in plan.jobs)
    if plan.placement.gpus and most > plan.placement.gpu_memory_bytes:
        raise EnvironmentUnfit(
            f"profile {plan.placement.profile}: one job needs about {most >> 20} MB, the workers of one GPU "
            f"may use {plan.placement.gpu_memory_bytes >> 20} MB (memory_share); smaller SAEs"
        )
    place = runs.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if cost.disk_bytes > free:
        raise EnvironmentUnfit(
            f"--runs {runs}: about {cost.disk_bytes >> 20} MB of disk are needed, {free >> 20} MB are free"
        )


def replaced_study(plan: Plan, runs: Path) -> str:
    """Return a line if running a plan replaces the report of another study of the same name, else nothing."""
    file = runs / plan.study.name / "study.yaml"
    if not file.is_file() or not (report_folder(runs, plan.study.name) / "summary.json").is_file():
        return ""
    with contextlib.suppress(InputError):
        if read_study(str(file)) == plan.study:
            return ""
    return (
        f"replaces the report of another study named {plan.study.name}; its jobs stay in the cache"
    )


def study_name(name_or_path: str) -> str:
    """Return the name of a study given by its name or by its file; raise InputError if it is neither."""
    if name_or_path.endswith((".yaml", ".yml")):
        return read_study(name_or_path).name
    if not re.fullmatch(NAME, name_or_path):
        raise InputError(
            repr(name_or_path), "is no study name", "a name, or the path of a study file"
        )
    return name_or_path


def report_folder(runs: Path, study: str) -> Path:
    """Return where a study's report is published."""
    return RunsRoot(runs).report(study)


def read_summary(runs: Path, study: str) -> dict[str, Any]:
    """Read a study's `summary.json`.

    Raises:
        InputError: there is no such study below the runs root.
        JobFailed: the study has no report yet.
    """
    if not (runs / study).is_dir():
        known = sorted(path.parent.name for path in runs.glob("*/study.yaml"))
        have = "one of " + ", ".join(known) if known else f"`husai-engine run {study}` first"
        raise InputError(str(runs / study), "no such study here", have)
    path = report_folder(runs, study) / "summary.json"
    if not path.is_file():
        raise JobFailed(f"{path}: no report yet; `husai-engine run {study}` finishes it")
    summary = read_json(path)
    if not isinstance(summary, dict) or "cohorts" not in summary:
        raise CorruptArtifact(f"{path}: no summary; `husai-engine run {study}` writes it anew")
    return summary


def bench_sae(
    workload: str,
    profile: str = "auto",
    *,
    steps: int | None = None,
    seeds: int | None = None,
    threads: int | None = None,
    activations: Path | None = None,
) -> dict[str, Any]:
    """Measure in a process of its own how fast the SAEs of a workload train (`engine.bench`).

    None stands for the workload's own number; threads are then those of one worker of the profile.

    Raises:
        InputError: the workload, the profile or the activations are wrong.
        EnvironmentUnfit: this machine does not fit the profile, or has fewer cores than threads asked for.
        JobFailed: the measurement ended without a result.
    """
    find_workload(workload)
    machine = detect()
    placement = place(read_profile(profile), machine)
    threads = threads or placement.threads
    if threads > placement.cores:
        raise EnvironmentUnfit(f"--threads {threads}: this machine has {placement.cores} cores")
    given = {"steps": steps, "seeds": seeds, "activations": activations}
    arguments = ["--workload", workload, "--device", placement.device, "--threads", str(threads)]
    arguments += [f"--{name}={value}" for name, value in given.items() if value is not None]
    arguments += placement.numerics_options()
    settings = worker_environment(placement, threads, machine.system)
    return _measurement(run_module("engine.bench", arguments, settings))


def bench_analysis(
    profile: str = "auto",
    *,
    seeds: int | None = None,
    d_sae: int | None = None,
    modulus: int | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Measure in a process of its own what one analysis without N3 costs (`engine.analysis_bench`).

    None stands for 5 seeds of 1,024 features mod 113, and for the threads of a lone analysis: all of the
    profile's.

    Raises:
        InputError: there is no such profile, or the modulus is not a prime.
        EnvironmentUnfit: this machine does not fit the profile, or has fewer cores than threads asked for.
        JobFailed: the measurement ended without a result.
    """
    if modulus is not None and not is_prime(modulus):
        raise InputError(
            f"--modulus {modulus}", "is not a prime", "a prime from 11 on, such as 113"
        )
    machine = detect()
    placement = place(read_profile(profile), machine)
    threads = threads or placement.slots * placement.threads
    if threads > placement.cores:
        raise EnvironmentUnfit(f"--threads {threads}: this machine has {placement.cores} cores")
    given = {"threads": threads, "seeds": seeds, "d-sae": d_sae, "modulus": modulus}
    arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
    settings = worker_environment(placement, threads, machine.system)
    return _measurement(run_module("engine.analysis_bench", arguments, settings))


def _measurement(printed: str) -> dict[str, Any]:
    """Return what a measurement printed last, or raise what it says went wrong."""
    said = printed.splitlines()[-1:]
    if not said:
        raise JobFailed("the measurement ended without a result; what it said is above")
    result: dict[str, Any] = json.loads(said[0])
    if "error" in result:
        wrong_input = result["exit_code"] == InputError.exit_code
        raise InputError(result["error"], "") if wrong_input else JobFailed(result["error"])
    return result


def list_studies(runs: Path) -> list[dict[str, Any]]:
    """Return the presets and the studies below a runs root: name, description, source, has a report."""
    files = {name: ("preset", path) for name, path in presets().items()}
    for path in sorted(runs.glob("*/study.yaml")):
        files.setdefault(path.parent.name, (str(path), path))
    rows = []
    for name, (source, path) in files.items():
        row = {"name": name, "description": "", "source": source, "saes": 0, "report": False}
        try:
            study = read_study(str(path))
        except InputError as error:  # one that an older version wrote must not hide the others
            rows.append({**row, "description": f"cannot be read: {error}"})
            continue
        saes = count_saes(study)
        done = (report_folder(runs, name) / "summary.json").is_file()
        rows.append({**row, "description": study.description, "saes": saes, "report": done})
    return rows


def list_points(plan: Plan) -> list[dict[str, Any]]:
    """Return the points of a plan: the searched values, and how many SAEs each asks for."""
    return [{"point": point.values, "saes": count_saes(point.study)} for point in plan.points]


def list_placements() -> list[tuple[Profile, Placement | None, str]]:
    """Return the shipped profiles, each with what it would do on this machine, or None and why it cannot."""
    machine = detect()
    fits = fitting(machine)
    rows: list[tuple[Profile, Placement | None, str]] = []
    for name, profile in profiles().items():
        placement = None
        reason = "" if name in fits else machine.missing.get(profile.device, "")
        if name in fits:
            try:
                placement = place(profile, machine)
            except EnvironmentUnfit as error:
                reason = str(error)
        rows.append((profile, placement, reason))
    return rows


def list_profiles() -> list[dict[str, Any]]:
    """Return the shipped profiles: settings, whether each fits this machine, what it would do."""
    return [
        {
            "name": profile.name,
            "description": profile.description,
            "fits": placement is not None,
            "reason": reason,
            "device": placement.device if placement else profile.device,
            "slots": placement.slots if placement else None,
            "threads": placement.threads if placement else None,
            "gpus": list(placement.gpus) if placement else [],
            "gaps": list(KNOWN_GAPS.get(placement.device if placement else profile.device, ())),
        }
        for profile, placement, reason in list_placements()
    ]


def supervise(root: RunsRoot, profile: str, stop: Callable[[], bool]) -> None:
    """Work off the queue of a runs root in this process until asked to stop; workers survive it.

    Raises:
        InputError: there is no such profile.
        EnvironmentUnfit: this machine does not fit the profile, or a supervisor is up already.
    """
    placement = place(read_profile(profile), detect())
    root.prepare()
    launcher = local_launcher(placement, leash=False)
    try:
        serve(root, placement, launcher, stop=stop)
    finally:
        launcher.close()
