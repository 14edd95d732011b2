"""One supervisor per runs root: a lock that the kernel lets go when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from engine.disk.heartbeat import start_of
from engine.errors import EnvironmentUnfit

PATIENCE = 10
"""Tries before somebody counts as the holder: who only looks holds it for an instant."""

Mode = Literal["service", "foreground"]


@contextmanager
def hold(path: Path, runs: Path, mode: Mode) -> Iterator[None]:
    """Hold a runs root's lock.

    Raises:
        EnvironmentUnfit: another process holds it; the message names it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "r+") as file:
        if not _lock(file.fileno()):
            raise EnvironmentUnfit(
                f"--runs {runs}: {describe(_read(file.read()))} is executing there; wait for it, or give "
                "another folder"
            )
        file.truncate(0)
        pid = os.getpid()
        json.dump({"pid": pid, "mode": mode, "started": start_of(pid)}, file)
        file.flush()
        yield
        file.truncate(0)


def _lock(descriptor: int) -> bool:
    for _ in range(PATIENCE):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


def holder(path: Path) -> dict[str, Any] | None:
    """Return who holds a runs root's lock (`pid`, `mode`, when it `started`), None if nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(descriptor) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(file.read())
    return None


def describe(found: dict[str, Any]) -> str:
    """Return the holder of a lock in words."""
    return f"process {found['pid']}" if "pid" in found else "another process"


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
