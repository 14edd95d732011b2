"""Why a job ended without a result: a small set of sorts, the advice that fits each, what is tried again."""

from __future__ import annotations

import contextlib
import errno
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from engine.errors import (
    CorruptArtifact,
    Diverged,
    EnvironmentUnfit,
    GateFailed,
    HusaiError,
    InputError,
    Interrupted,
)

Sort = Literal[
    "input", "environment", "memory", "disk", "diverged", "gate", "damaged", "lost", "bug"
]

ADVICE: Mapping[Sort, str] = {
    "input": "correct the study and submit it again",
    "environment": "`husai-engine doctor` says what this machine lacks; then `retry`",
    "memory": "fewer slots, a smaller d_sae or batch, or a larger machine; then `retry`",
    "disk": "free some space (`husai-engine gc`), or raise the quota or `ulimit -f`; then `retry`",
    "diverged": "lower the learning rate or clip the gradient; the last good state is kept",
    "gate": "the subject is not what the study takes it for; `gates: warn` goes on and marks every result",
    "damaged": "a file that it reads was damaged and could not be made again; look at the disk",
    "lost": "its worker was killed again and again; look at the system's log, then `retry`",
    "bug": "look at its log; if husai is wrong, report it with that log",
}

TRIES: Mapping[Sort, int] = {"memory": 2, "disk": 4, "damaged": 3, "lost": 11}
"""Attempts that a job has in all for this sort of failure; other sorts: one. A cohort has two for a bug: its
numbers depend on the moment when an accelerator fails, and a sweep should not end for one."""

EXIT_CODES: Mapping[Sort, int] = {"disk": 74, "memory": 71}
"""What a worker leaves with, as in BSD's sysexits.h, where it may be unable to write down why."""

BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0

_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|DefaultCPUAllocator|bad_alloc",
    re.I,
)
_DISK = re.compile(
    r"no space left|disk quota|database or disk is full|file too large|unexpected pos|os error (28|27|122)|"
    r"PytorchStreamWriter failed",
    re.I,
)
_FULL = re.compile(r"errno 28|no space left|os error 28|disk is full|unexpected pos", re.I)
_DISK_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Failure:
    """One attempt's end without a result."""

    sort: Sort
    message: str


def sort_of(error: BaseException) -> Sort:
    """Return what sort of failure an exception in a worker is."""
    if isinstance(error, GateFailed):
        return "gate"
    by_type: tuple[tuple[type[BaseException], Sort], ...] = (
        (InputError, "input"),
        (EnvironmentUnfit, "environment"),
        (Diverged, "diverged"),
        (CorruptArtifact, "damaged"),
        (Interrupted, "lost"),
        (MemoryError, "memory"),
    )
    for kind, sort in by_type:
        if isinstance(error, kind):
            return sort
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "memory"
    if isinstance(error, OSError) and error.errno in _DISK_NUMBERS:
        return "disk"
    # torch and safetensors report a full disk and a full memory as errors of their own.
    if _DISK.search(text):
        return "disk"
    if not isinstance(error, HusaiError) and _MEMORY.search(text):
        return "memory"
    return "bug"


def want_of_room(error: BaseException) -> str:
    """Return what this machine lacks for now, if an error says so, else nothing."""
    if isinstance(error, OSError) and error.errno in _DISK_NUMBERS:
        return f"the disk is full: {error}"
    if isinstance(error, OSError) and error.errno in _SCARCE:
        return f"no memory, process or open file is to be had: {error}"
    return ""


def spoiled(error: HusaiError | OSError) -> Failure:
    """Return the failure of a job whose folder cannot be worked with."""
    return Failure("environment" if isinstance(error, OSError) else sort_of(error), str(error))


def judge(
    code: int | None, said: Mapping[str, Any] | None, log: Path, out_of_memory: bool
) -> Failure:
    """Return why a worker that has ended left no result.

    Args:
        code: its exit code, negative for a signal; None where nobody could know it.
        said: its `error.json`, if it wrote one.
        log: its log, for the message.
        out_of_memory: whether the kernel has killed something for lack of memory meanwhile.
    """
    if said is not None and said.get("sort") in get_args(Sort):
        return Failure(said["sort"], str(said.get("message", "")))
    if code == -signal.SIGKILL and out_of_memory:
        return Failure("memory", "the system ended its worker for lack of memory")
    by_code: dict[int, Sort] = {
        InputError.exit_code: "input",
        EnvironmentUnfit.exit_code: "environment",
        Interrupted.exit_code: "lost",
    }
    if code == EXIT_CODES["disk"]:
        return Failure("disk", "no space left on device, not even to say where")
    if code == EXIT_CODES["memory"]:
        return Failure("memory", f"its worker ran out of memory; log: {log}")
    if code in by_code:
        return Failure(by_code[code], f"its worker left with exit code {code}; log: {log}")
    if code is None or code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT):
        how = "ended" if code is None else f"was ended by signal {-code}"
        return Failure("lost", f"its worker {how}; log: {log}")
    if code == -signal.SIGXFSZ:
        return Failure("disk", "its worker was ended by the limit on the size of files")
    if code < 0:
        return Failure("bug", f"its worker was ended by signal {-code}; log: {log}")
    return Failure("bug", f"its worker left with exit code {code} and no result; log: {log}")


def is_full_disk(failure: Failure) -> bool:
    """Return whether a failure was want of space, rather than a limit on files or a quota."""
    return failure.sort == "disk" and _FULL.search(failure.message) is not None


def may_retry(sort: Sort, kind: str, failures: int) -> bool:
    """Return whether a job of a kind is tried again after so many failures of one sort, this one included."""
    tries = 2 if sort == "bug" and kind == "cohort" else TRIES.get(sort, 1)
    return failures < tries


def backoff(failures: int, first: float = BACKOFF_SECONDS) -> float:
    """Return the seconds to wait before the next attempt: doubled each time, at most a minute."""
    return min(LONGEST_BACKOFF_SECONDS, first * 2.0 ** (failures - 1))


def oom_kills() -> int:
    """Return how often the kernel has killed for lack of memory here; 0 where it does not say."""
    counted = 0
    for source in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with contextlib.suppress(OSError, ValueError):
            for line in source.read_text().splitlines():
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    counted += int(number)
    return counted
