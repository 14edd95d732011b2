"""The queue: look, follow, command. Light: answers at once, with ten thousand jobs in it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from engine.disk.atomic import read_object
from engine.disk.curves import Row, read_curves, read_last_row
from engine.disk.failpoints import enter_role
from engine.disk.inbox import Inbox
from engine.disk.root import RunsRoot, is_name
from engine.errors import CorruptArtifact, EnvironmentUnfit, InputError, Interrupted
from engine.jobs.entry import ENDED
from engine.jobs.events import Event, Named, Outcome, What
from engine.jobs.lock import holder
from engine.jobs.reading import list_jobs, list_studies, reading, referred
from engine.jobs.targets import select

Job = dict[str, Any]
ENDS: dict[str, What] = {
    "done": "done",
    "failed": "failed",
    "cancelled": "failed",
    "skipped": "skipped",
}
OPEN = ("queued", "running", "paused")
MEANT = {
    "cancel": OPEN,
    "pause": ("queued", "running"),
    "resume": ("paused",),
    "retry": ("failed", "cancelled", "skipped", "paused"),
    "priority": OPEN,
}
"""Order → states of the jobs that it changes."""
EXIT_CODES = {"input": InputError.exit_code, "environment": EnvironmentUnfit.exit_code}
"""Sort of a failure → exit code of a command that met it; 1 for the others."""
FOLLOW_SECONDS = 0.3
STALE_SECONDS = 15.0
"""Age of a supervisor's last sign at which it counts as stuck."""


def supervisor(root: RunsRoot) -> dict[str, Any] | None:
    """Return what the supervisor of a runs root says of itself, None if none is up.

    At least `pid` and `mode`; once it works also `profile`, `slots`, `state`, `running`, `trouble`, and
    `silent`, the seconds since its last sign.
    """
    found = holder(root.lock_file)
    if found is None:
        return None
    try:
        said = read_object(root.state_file)
    except (CorruptArtifact, OSError):
        return found
    if said.get("pid") != found.get("pid"):
        return found
    return {**said, "silent": round(max(0.0, time.time() - float(said.get("beat", 0.0))), 1)}


def jobs(root: RunsRoot, study: str | None = None) -> list[Job]:
    """Return the jobs of the queue, or of one study, inputs first; running ones with their `step`.

    Raises:
        InputError: there is no such study.
    """
    with reading(root.database) as connection:
        found = [] if connection is None else list_jobs(connection, study)
    if study is not None and not found:
        raise InputError(study, "no such study in the queue", "`husai-engine status` lists them")
    for job in found:
        job["step"] = step_of(root, job)
    return found


def step_of(root: RunsRoot, job: Job) -> int | None:
    """Return the step that a job has come to; None: it has none, or does not run."""
    if job["state"] != "running" or not job["steps"]:
        return int(job["steps"]) if job["state"] == "done" else None
    row = read_last_row(root.run(job["directory"]).curves_file)
    return int(row["step"]) if row else 0


def chosen(root: RunsRoot, target: str) -> list[Job]:
    """Return the jobs that a target names; for targets and errors see `engine.jobs.targets`."""
    with reading(root.database) as connection:
        if connection is None:
            raise InputError(target, "the queue is empty", "`husai-engine submit STUDY` fills it")
        return list_jobs(connection, directories=select(connection, target))


def newest_row(root: RunsRoot, job: Named) -> Row | None:
    """Return the newest row of a job's curves, None before the first."""
    return read_last_row(root.run(job.directory).curves_file)


def order(root: RunsRoot, command: str, target: str, value: int = 0) -> list[Job]:
    """Leave an order for the supervisor and return the jobs that it changes, as far as the queue can tell now.

    Of a submission that still waits in the inbox no jobs are known yet.

    Raises:
        InputError: the target names nothing.
    """
    try:
        found = chosen(root, target)
    except InputError:
        if target.partition("/")[0] not in waiting_studies(root):
            raise
        found = []
    enter_role("client")
    Inbox(root.inbox).drop({"command": command, "target": target, "value": value})
    return [job for job in found if job["state"] in MEANT[command]]


def waiting_studies(root: RunsRoot) -> list[str]:
    """Return the studies whose submission no supervisor has taken yet."""
    inbox, found = Inbox(root.inbox), []
    for path in inbox.waiting():
        try:
            study = inbox.read(path).get("study")
        except (InputError, OSError):
            continue
        if isinstance(study, str) and is_name(study):
            found.append(study)
    return found


def status(root: RunsRoot) -> dict[str, Any]:
    """Return the whole picture: supervisor, studies with their counts, running jobs, what still waits."""
    with reading(root.database) as connection:
        studies = [] if connection is None else list_studies(connection)
        found = [] if connection is None else list_jobs(connection)
    running = [job for job in found if job["state"] == "running"]
    for job in running:
        job["step"] = step_of(root, job)
    counts: dict[str, int] = {}
    for job in found:
        counts[job["state"]] = counts.get(job["state"], 0) + 1
    return {
        "supervisor": supervisor(root),
        "counts": counts,
        "studies": studies,
        "running": running,
        "waiting": waiting_studies(root),
    }


def health(root: RunsRoot) -> dict[str, Any]:
    """Return whether the supervisor is up, answers and can work: `healthy`, and in `problems` what is not."""
    found, problems = supervisor(root), []
    if found is None:
        problems.append("no supervisor is up: `husai-engine up` starts one")
    elif found.get("silent", 0.0) > STALE_SECONDS and found.get("state") != "draining":
        problems.append(f"the supervisor has been silent for {found['silent']:.0f} s")
    if found is not None and found.get("trouble"):
        problems.append(str(found["trouble"]))
    probe = root.path / f".health.{os.getpid()}"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        problems.append(f"{root.path}: {error.strerror}")
    return {"healthy": not problems, "problems": problems, "supervisor": found}


def follow(
    root: RunsRoot,
    study: str,
    message: str,
    on_event: Callable[[Event], None],
    stop: Callable[[], bool],
) -> None:
    """Tell what happens to a study until it has ended.

    Args:
        root: runs root with a supervisor.
        study: name.
        message: submission to wait for first; empty: the study is there, or waits for a supervisor that is up.
        on_event: told of every event.
        stop: asked all the time; true: stop telling.

    Raises:
        InputError: the submission was refused, or the study is not there.
        Interrupted: `stop` returned true; the study goes on.
    """
    inbox, states = Inbox(root.inbox), dict[str, str]()
    while True:
        if stop():
            raise Interrupted(f"{study} goes on; `husai-engine watch {study}` shows it again")
        if (inbox.refused / message).is_file() and message:
            raise InputError(study, "its submission was refused", f"see {root.log_file}")
        comes = not message and study in waiting_studies(root) and supervisor(root) is not None
        if not comes and (not message or not (inbox.path / message).exists()):
            found = jobs(root, study)
            for job in found:
                _tell(job, states, on_event)
            if all(job["state"] in (*ENDED, "paused") for job in found):
                return
        time.sleep(FOLLOW_SECONDS)


def _tell(job: Job, states: dict[str, str], on_event: Callable[[Event], None]) -> None:
    before, now = states.get(job["directory"]), job["state"]
    states[job["directory"]] = now
    named = SimpleNamespace(**job)
    if now == "running":
        if before != "running":
            on_event(Event("started", named))
        on_event(Event("running", named, max(0.0, time.time() - (job["started"] or time.time()))))
    elif before != now and now in ENDS:
        what = "cached" if before is None and now == "done" else ENDS[now]
        on_event(Event(what, named, job["seconds"] or 0.0, job["reason"]))
    elif before == "running" and now == "queued":
        on_event(Event("note", named, message=job["reason"] or "waits for another attempt"))


def read_outcome(root: RunsRoot, study: str) -> Outcome:
    """Return how a study stands: its finished jobs, what failed and why, its report."""
    with reading(root.database) as connection:
        if connection is None:
            raise InputError(study, "no such study in the queue")
        found = list_jobs(connection, study)
        reports = {row["name"]: row["report"] for row in list_studies(connection)}
    outcome = Outcome()
    for job in found:
        named = SimpleNamespace(**job)
        if job["state"] == "done":
            outcome.done.append(named)
            if job["directory"] == reports.get(study):
                outcome.report = named
        elif job["state"] in ("failed", "cancelled"):
            outcome.failed[job["name"]] = job["reason"]
            outcome.exit_code = max(outcome.exit_code, EXIT_CODES.get(job["failure"], 1))
    return outcome


def log_lines(
    root: RunsRoot, target: str, *, follow_on: bool, stop: Callable[[], bool]
) -> Iterator[str]:
    """Yield the lines of one job's log; to follow means: until the job has ended.

    Raises:
        InputError: the target names no job, or several.
    """
    found = chosen(root, target)
    if len(found) != 1:
        raise InputError(target, f"names {len(found)} jobs", "one, as study/job")
    directory = found[0]["directory"]
    path = root.run(directory).log_file
    place, torn = 0, b""
    while True:
        ended = _ended(root, directory) or not follow_on
        if path.is_file():
            with open(path, "rb") as file:
                file.seek(place)
                data = file.read()
            place += len(data)
            *lines, torn = (torn + data).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
        if ended or stop():
            if torn:
                yield torn.decode("utf-8", "replace")
            return
        time.sleep(FOLLOW_SECONDS)


def _ended(root: RunsRoot, directory: str) -> bool:
    with reading(root.database) as connection:
        return (
            connection is None
            or list_jobs(connection, directories=[directory])[0]["state"] in ENDED
        )


def eta(root: RunsRoot, job: Job) -> float | None:
    """Return the seconds that a running job will still take, by the pace of its last attempt; None: unknown."""
    if job["state"] != "running" or not job["steps"] or not job["started"]:
        return None
    rows = read_curves(root.run(job["directory"]).curves_file)
    passed = time.time() - job["started"]
    done = rows[-1]["step"] if rows else 0
    return passed * (job["steps"] - done) / done if done and passed > 0 else None


def garbage(root: RunsRoot) -> dict[str, Any]:
    """Return what no study refers to, biggest first: `garbage` with `path`, `bytes`, `what`.

    A study whose folder was removed refers to nothing. `unknown` names studies that the queue does not know
    (yet): while there are any, no run directory counts as garbage.
    """
    with reading(root.database) as connection:
        rows = [] if connection is None else list_studies(connection)
        studies = [
            row["name"] for row in rows if (root.study(row["name"]) / "study.yaml").is_file()
        ]
        kept = set() if connection is None else referred(connection, studies)
        found = [] if connection is None else list_jobs(connection)
    unknown = {path.parent.name for path in root.path.glob("*/study.yaml")} - set(studies)
    unknown |= set(waiting_studies(root))
    active = {job["directory"] for job in found if job["state"] == "running"}
    parts: list[tuple[Path, str]] = []
    for folder in sorted(root.jobs.iterdir()) if root.jobs.is_dir() else []:
        if folder.is_symlink() or not folder.is_dir() or folder.name in active:
            continue
        if folder.name not in kept and not unknown:
            parts.append((folder, "no study refers to it"))
        else:
            parts += [(part, "left behind by a kill, or damaged") for part in _leftovers(folder)]
    rows = [{"path": str(path), "bytes": _size(path), "what": what} for path, what in parts]
    return {"garbage": sorted(rows, key=lambda row: -row["bytes"]), "unknown": sorted(unknown)}


def remove_garbage(found: dict[str, Any]) -> int:
    """Remove what `garbage` found; return the bytes."""
    for row in found["garbage"]:
        path = Path(row["path"])
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return sum(row["bytes"] for row in found["garbage"])


def _leftovers(folder: Path) -> Iterator[Path]:
    yield from folder.glob(".*.tmp")
    yield from folder.glob(".*.old")
    yield from folder.glob("checkpoints/damaged-step-*")
    if (folder / "result.json").is_file():
        yield from (
            path for path in (folder / ".artifacts", folder / "checkpoints") if path.is_dir()
        )


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if not p.is_symlink()]
    return sum(file.stat().st_size for file in files if file.is_file())
