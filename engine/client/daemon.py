"""Starts and stops the supervisor that works on when everybody has logged out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import engine
from engine.client.queue import supervisor
from engine.disk.heartbeat import start_of
from engine.disk.root import RunsRoot
from engine.errors import EnvironmentUnfit, JobFailed
from engine.jobs.lock import describe, holder

START_SECONDS = 20.0
LEAVE_SECONDS = 60.0
"""Longer than workers have to save and leave."""


def start_supervisor(root: RunsRoot, profile: str) -> dict[str, Any]:
    """Start a supervisor in a session of its own and return what it says of itself; one that is up stays.

    Raises:
        EnvironmentUnfit: a `run` is executing there, or the supervisor did not come up; the reason is told.
    """
    root.prepare()
    found = holder(root.lock_file)
    if found is not None:
        if found.get("mode") == "service":
            return {**(supervisor(root) or found), "already": True}
        raise EnvironmentUnfit(
            f"--runs {root.path}: {describe(found)} is executing there; wait for it, or give another folder"
        )
    words = [sys.executable, "-P", "-m", "engine", "up", "--foreground"]
    words += ["--runs", str(root.path.resolve()), "--profile", profile]
    said = root.path / "supervisor.out"
    with open(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        up = supervisor(root)
        if up is not None and up.get("pid") == process.pid and "profile" in up:
            return {**up, "already": False}
        if process.poll() is not None:
            last = said.read_text(errors="replace").strip().splitlines()[-1:]
            raise EnvironmentUnfit(f"the supervisor did not come up: {' '.join(last) or said}")
        time.sleep(0.02)
    raise EnvironmentUnfit(f"the supervisor did not come up in {START_SECONDS:.0f} s; see {said}")


def stop_supervisor(root: RunsRoot, wait: float = LEAVE_SECONDS) -> int | None:
    """Ask the supervisor to drain and leave, wait until it has, and return its pid; None: none was up.

    Raises:
        EnvironmentUnfit: it is a `run` in somebody's terminal, or in another container.
        JobFailed: it has not left in time.
    """
    found = holder(root.lock_file)
    if found is None:
        return None
    if found.get("mode") != "service" or "pid" not in found:
        raise EnvironmentUnfit(
            f"--runs {root.path}: {describe(found)} is a `run`; Ctrl-C in its terminal stops it"
        )
    pid = int(found["pid"])
    if "started" in found and start_of(pid) != found["started"]:
        # Its number means another process here, or none.
        raise EnvironmentUnfit(
            f"--runs {root.path}: {describe(found)} is in another container or on another machine; "
            "stop it there"
        )
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + wait
    while (left := holder(root.lock_file)) is not None and left.get("pid") == pid:
        if time.monotonic() > deadline:
            raise JobFailed(f"process {pid} has not left within {wait:.0f} s; see {root.log_file}")
        time.sleep(0.05)
    return pid


def _environment() -> dict[str, str]:
    package = str(Path(engine.__path__[0]).parent)
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}
