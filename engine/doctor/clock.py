"""The clock, which no lease depends on, but file times, logs and certificates do."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from engine.doctor.finding import Finding

EARLIEST = 1_735_689_600.0
"""2025-01-01 in UTC: this program is younger."""
TOLERANCE_SECONDS = 120.0
MOST_FILES = 5_000
REMEDY = "set the clock: `timedatectl set-ntp true`, or the host's clock where this is a container"


def clock(runs: Path, now: float | None = None) -> Finding:
    """Judge the clock against the newest file below the runs root and the year.

    Args:
        runs: runs root; it need not exist yet.
        now: seconds since 1970; None: ask the system.
    """
    now = time.time() if now is None else now
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < EARLIEST:
        return Finding("clock", "warning", f"{said} is before this program was written", REMEDY)
    newest, name = max(islice(_times(runs), MOST_FILES), default=(0.0, ""))
    if newest > now + TOLERANCE_SECONDS:
        behind = _span(newest - now)
        what = f"{said} is {behind} before the time of {name}: the clock was set back, or the file is foreign"
        return Finding("clock", "warning", what, REMEDY)
    return Finding("clock", "ok", said)


def _times(runs: Path) -> Iterator[tuple[float, str]]:
    """Yield time and name of what lies in the runs root and in its folder of jobs."""
    for folder in (runs, runs / "jobs"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    yield entry.stat(follow_symlinks=False).st_mtime, entry.name


def _span(seconds: float) -> str:
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.0f} days"
    return f"{seconds / 3_600:.1f} hours" if seconds >= 7_200 else f"{seconds / 60:.0f} minutes"
