"""What becomes of a job whose worker has ended: done, refused, tried again, or failed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.disk.atomic import read_object
from engine.disk.rundir import RunDirectory
from engine.errors import CorruptArtifact
from engine.jobs.failures import Failure, is_full_disk, judge, may_retry
from engine.jobs.launch import UNKNOWN
from engine.jobs.queue import Queue
from engine.jobs.workers import Placed

NOTHING = Failure("bug", "")


@dataclass(frozen=True)
class Verdict:
    """The fate of one attempt."""

    what: Literal["done", "refused", "released", "again", "failed"]
    failure: Failure = NOTHING


def decide(placed: Placed, code: int, queue: Queue, *, disk_is_full: bool) -> Verdict:
    """Return what becomes of an attempt; changes nothing.

    Args:
        placed: the attempt.
        code: its worker's exit code.
        queue: for the failures it has had before.
        disk_is_full: whether too little space is left.
    """
    run, job = placed.run, placed.job
    if has_result(run, placed.attempt):
        reason = gate_refusal(run)
        return Verdict("refused", Failure("gate", reason)) if reason else Verdict("done")
    said = _said(run)
    failure = _failure(placed, code, said)
    if placed.asked and not placed.silent and failure.sort in ("lost", "bug"):
        # It was told to go; a worker that was ended while it saved has its checkpoint before.
        return Verdict("released")
    if failure.sort == "disk" and (disk_is_full or is_full_disk(failure)):
        return Verdict("again", failure)  # however often: there will be space some day
    if may_retry(failure.sort, job.kind, queue.strikes(job.directory, failure.sort) + 1):
        return Verdict("again", failure)
    return Verdict("failed", failure)


def has_result(run: RunDirectory, attempt: int) -> bool:
    """Return whether an attempt has left its result. That of another attempt is none."""
    if not run.done():
        return False
    with contextlib.suppress(CorruptArtifact):
        return bool(result_attempt(run) == attempt)
    return False


def result_attempt(run: RunDirectory) -> int:
    """Return which attempt has left the result; raise CorruptArtifact if it cannot be read."""
    provenance = read_object(run.result_file).get("provenance")
    attempt = provenance.get("attempt", 0) if isinstance(provenance, dict) else 0
    return attempt if isinstance(attempt, int) else 0


def result_seconds(run: RunDirectory) -> float | None:
    """Return how long the worker that left the result says it took; None: it does not say."""
    with contextlib.suppress(CorruptArtifact, OSError):
        provenance = read_object(run.result_file).get("provenance")
        found = provenance.get("seconds") if isinstance(provenance, dict) else None
        return float(found) if isinstance(found, int | float) else None
    return None


def gate_refusal(run: RunDirectory) -> str:
    """Return why a finished job must not be built upon: the gates that it failed, if they are enforced."""
    gates = read_object(run.result_file).get("gates")
    if gates is None or gates["passed"] or run.read_job()["policy"].get("gates") != "enforce":
        return ""
    failures = "; ".join(
        f"{g['name']} {g['title']}: {g['reason']}" for g in gates["gates"] if not g["passed"]
    )
    return f"gate failed: {failures} (`gates: warn` goes on and marks every result)"


def _said(run: RunDirectory) -> Mapping[str, Any] | None:
    with contextlib.suppress(CorruptArtifact, OSError):
        return read_object(run.error_file) if run.error_file.is_file() else None
    return None


def _failure(placed: Placed, code: int, said: Mapping[str, Any] | None) -> Failure:
    if placed.silent:
        return Failure("lost", "its worker gave no sign of life; it was ended")
    known = None if code == UNKNOWN else code
    return judge(known, said, placed.run.log_file, placed.out_of_memory())
