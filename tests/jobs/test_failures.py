from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import get_args

import pytest

from engine.errors import (
    CorruptArtifact,
    Diverged,
    EnvironmentUnfit,
    GateFailed,
    InputError,
    Interrupted,
)
from engine.jobs.failures import ADVICE, Sort, backoff, judge, may_retry, sort_of

LOG = Path("log.txt")


def system_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "sort"),
    [
        (InputError("a", "b"), "input"),
        (EnvironmentUnfit("no GPU"), "environment"),
        (Diverged("seed 1"), "diverged"),
        (GateFailed("G1"), "gate"),
        (CorruptArtifact("damaged"), "damaged"),
        (Interrupted("stopped"), "lost"),
        (MemoryError(), "memory"),
        (system_error(errno.ENOMEM), "memory"),
        (system_error(errno.ENOSPC), "disk"),
        (system_error(errno.EDQUOT), "disk"),
        (system_error(errno.EFBIG), "disk"),
        # What torch 2.13 and safetensors 0.8 were seen to raise.
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: not enough"),
            "memory",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory"),
        (
            RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
            "disk",
        ),
        (
            RuntimeError(
                "Error while serializing: I/O error: No space left on device (os error 28)"
            ),
            "disk",
        ),
        (RuntimeError("File too large (os error 27)"), "disk"),
        (KeyError("x"), "bug"),
        (system_error(errno.EACCES), "bug"),
    ],
)
def test_errors_are_sorted(error: Exception, sort: str) -> None:
    assert sort_of(error) == sort


@pytest.mark.parametrize(
    ("code", "starved", "sort"),
    [
        (-signal.SIGKILL, False, "lost"),
        (-signal.SIGKILL, True, "memory"),
        (-signal.SIGTERM, True, "lost"),
        (-signal.SIGSEGV, True, "bug"),
        (-signal.SIGXFSZ, False, "disk"),
        (None, False, "lost"),
        (1, False, "bug"),
        (2, False, "input"),
        (3, False, "environment"),
        (130, False, "lost"),
        (71, False, "memory"),
        (74, False, "disk"),
    ],
)
def test_ends_without_a_word_are_judged_by_their_code(
    code: int | None, starved: bool, sort: str
) -> None:
    assert judge(code, None, LOG, starved).sort == sort


def test_a_workers_own_word_counts_unless_it_makes_no_sense() -> None:
    assert judge(1, {"sort": "disk", "message": "full"}, LOG, False).message == "full"
    assert judge(1, {"sort": "nonsense"}, LOG, False).sort == "bug"


def test_every_sort_has_advice() -> None:
    assert set(ADVICE) == set(get_args(Sort))


@pytest.mark.parametrize(
    ("sort", "kind", "tries"),
    [
        ("bug", "cohort", 2), ("bug", "subject", 1), ("memory", "subject", 2), ("disk", "report", 4),
        ("lost", "cohort", 11), ("damaged", "analysis", 3), ("diverged", "cohort", 1), ("input", "cohort", 1),
        ("gate", "subject", 1), ("environment", "cohort", 1),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(sort: Sort, kind: str, tries: int) -> None:
    failures = next(count for count in range(1, 50) if not may_retry(sort, kind, count))
    assert failures == tries


def test_the_wait_doubles_up_to_a_minute() -> None:
    assert [backoff(count) for count in (1, 2, 3, 6, 7, 20)] == [1, 2, 4, 32, 60, 60]
