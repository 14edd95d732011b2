"""Faults of the app: kept in a file, without the values of variables, which may hold secrets."""

from __future__ import annotations

import time
from pathlib import Path

LARGEST = 1 << 20
"""Bytes of the file from which it begins anew; the one before is kept beside it."""


def faults_file(folder: Path) -> Path:
    """Return where faults are kept, beside settings and memory."""
    return folder / "faults.log"


def keep_fault(folder: Path, trace: str) -> str:
    """Keep the traceback of a fault where it can be found, and return one line about it."""
    said = f"a fault of husai: {last_line(trace)}"
    path = faults_file(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and path.stat().st_size >= LARGEST:
            path.replace(path.with_suffix(".log.1"))
        with open(path, "a", encoding="utf-8", errors="replace") as file:
            file.write(f"{time.strftime('%F %T')}\n{trace.rstrip()}\n\n")
    except OSError:
        return said
    return f"{said}; {path} has it"


def last_line(trace: str) -> str:
    """Return the line of a traceback that names the error, shortened."""
    lines = [line for line in trace.splitlines() if line.strip() and not line.startswith(" ")]
    last = lines[-1] if lines else "unknown"
    return last if len(last) <= 200 else f"{last[:199]}…"
