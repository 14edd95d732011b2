"""Places the worker of a run directory somewhere: here, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from engine.disk.rundir import RunDirectory


class Handle(Protocol):
    """A placed worker."""

    def poll(self) -> int | None:
        """Return the exit code once the worker has ended, None before."""

    def terminate(self) -> None:
        """Ask the worker to save and leave."""

    def kill(self) -> None:
        """End the worker at once; what it did since its last checkpoint is lost."""


class Launcher(Protocol):
    """Starts workers."""

    def start(self, run: RunDirectory) -> Handle:
        """Start the worker of a run directory that holds a `job.json`."""


class LocalHandle:
    """A worker process in a session of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Return the exit code (negative: the signal that ended it), None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the worker and what it started."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)


class LocalLauncher:
    """Starts workers on this machine.

    A worker has its own session, so a Ctrl-C in the terminal reaches only us and we decide; and it
    holds a pipe from us as a leash: if we are killed, it saves and leaves.
    """

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python

    def start(self, run: RunDirectory) -> LocalHandle:
        """Start `python -P -m engine.worker DIR`; its output is appended to the run's log.

        -P keeps the user's current folder out of the worker's imports.
        """
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        with open(run.log_file, "ab") as log:
            process = subprocess.Popen(
                [self._python, "-P", "-m", "engine.worker", str(run.path), "--leash"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        return LocalHandle(process)
