"""Places the worker of a run directory somewhere: here, as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from engine.disk.heartbeat import Sign, lives
from engine.disk.rundir import RunDirectory
from engine.study.gpus import gpu_environment
from engine.study.profile import Placement, worker_environment

LOST = -9
"""Exit code of workers whose nursery is gone: it was killed, and they with it."""


ANSWER_SECONDS = 10.0
"""How long a nursery may take to tell that a worker has ended which was killed."""
UNKNOWN = 1 << 16
"""Exit code of a worker that ended while nobody who could know it was there."""


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

    def start(self, run: RunDirectory, attempt: int, gpu: str = "") -> Handle:
        """Start the worker of a run directory that holds a `job.json`, for one attempt, on one GPU of several
        if it is named."""

    def wait(self, seconds: float) -> None:
        """Return after some seconds, or sooner when a worker may have ended."""

    def close(self) -> None:
        """Let go of everything; workers that still run are asked to save and leave."""


class LocalHandle:
    """A worker process in a session of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self.pid = process, process.pid

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
    """Starts each worker on this machine as a fresh process.

    A worker has its own session, so a Ctrl-C in the terminal reaches only us and we decide. On a leash it
    holds a pipe from us: if we are killed, it saves and leaves. Without one it goes on.
    """

    def __init__(self, python: str = sys.executable, *, leash: bool = True) -> None:
        self._command = [python, "-P", "-m", "engine.worker"]
        self._leash = leash

    def start(self, run: RunDirectory, attempt: int, gpu: str = "") -> LocalHandle:
        """Start `python -P -m engine.worker DIR`; its output is appended to the run's log.

        -P keeps the user's current folder out of the worker's imports.
        """
        words = [*self._command, str(run.path), "--attempt", str(attempt)]
        with _private_log(run) as log:
            process = subprocess.Popen(
                [*words, "--leash"] if self._leash else words,
                stdin=subprocess.PIPE if self._leash else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=module_environment(gpu_environment(gpu)),
            )
        return LocalHandle(process)

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def close(self) -> None:
        """Do nothing: workers are on a leash of their own, or on none."""


def _private_log(run: RunDirectory) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return open(os.open(run.log_file, flags, 0o600), "ab")


class AdoptedHandle:
    """A worker that another process has started."""

    def __init__(self, sign: Sign) -> None:
        self._sign, self.gpu = sign, sign.gpu

    def poll(self) -> int | None:
        """Return None while it runs, then `UNKNOWN`: only its parent is told the code."""
        return None if lives(self._sign) else UNKNOWN

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the worker and what it started."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if lives(self._sign):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._sign.pid, number)


def module_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with settings, and this package importable whatever the current folder."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, **settings, "PYTHONPATH": path}


def run_module(module: str, arguments: Sequence[str], settings: Mapping[str, str]) -> str:
    """Run `python -m module` to its end, under settings that libraries read while they are imported.

    Returns what it printed; its errors go where ours go.
    """
    command = [sys.executable, "-P", "-m", module, *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, env=module_environment(settings), text=True, check=False
    )
    return done.stdout


class ForkedHandle:
    """A worker that a nursery forked."""

    def __init__(
        self, nursery: NurseryLauncher, directory: str, process: subprocess.Popen[bytes]
    ) -> None:
        self._nursery, self._directory, self._process = nursery, directory, process

    def poll(self) -> int | None:
        """Return the exit code once the worker has ended, None before."""
        return self._nursery.exit_code(self._directory, self._process)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._nursery.signal(self._directory, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the worker and what it started."""
        self._nursery.signal(self._directory, signal.SIGKILL)


class NurseryLauncher:
    """Starts workers as forks of a process that has torch imported (`engine.nursery`).

    Not for accelerators (a driver does not survive a fork) and not on macOS (neither do its frameworks).
    """

    def __init__(
        self, settings: Mapping[str, str], python: str = sys.executable, *, leash: bool = True
    ) -> None:
        """Prepare; the nursery is started with the first worker.

        Args:
            settings: environment that the libraries read while they are imported.
            python: interpreter.
            leash: whether workers save and leave when we are killed.
        """
        self._command = [python, "-P", "-m", "engine.nursery", *([] if leash else ["--detached"])]
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._torn = b""
        self._pids: dict[str, int] = {}
        self._codes: dict[int, int] = {}
        self._killed: dict[str, float] = {}

    def start(
        self,
        run: RunDirectory,
        attempt: int,
        gpu: str = "",  # noqa: ARG002  forks compute on the CPU
    ) -> ForkedHandle:
        """Ask for the worker of a run directory; its output is appended to the run's log."""
        directory = str(run.path.resolve())
        self._pids.pop(directory, None)
        self._killed.pop(directory, None)
        if self._process is None or self._process.poll() is not None:
            self._listen()  # the last words of the one before
            self._open()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the next poll finds the nursery dead
            request = json.dumps({"directory": directory, "attempt": attempt})
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        return ForkedHandle(self, directory, self._process)

    def _open(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=module_environment(self._settings),
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._torn = b""

    def exit_code(self, directory: str, parent: subprocess.Popen[bytes]) -> int | None:
        """Return the exit code of a directory's worker, None while it runs; a worker whose nursery is gone
        is lost, though another nursery may have taken its place."""
        self._listen()
        pid = self._pids.get(directory)
        if pid is not None and pid in self._codes:
            return self._codes[pid]
        if parent.poll() is not None:
            return LOST
        killed = self._killed.get(directory)
        if killed is not None and time.monotonic() - killed > ANSWER_SECONDS:
            parent.kill()  # stopped, or stuck in an import: it would never tell
            return LOST
        return None

    def signal(self, directory: str, number: signal.Signals) -> None:
        """Send a signal to a directory's worker and what it started, if it runs."""
        self._listen()
        pid = self._pids.get(directory)
        if number == signal.SIGKILL:
            self._killed.setdefault(directory, time.monotonic())
        if pid is not None and pid not in self._codes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    def wait(self, seconds: float) -> None:
        """Return after some seconds, or when the nursery has something to say."""
        stdout = self._process.stdout if self._process else None
        if self._process is None or stdout is None or self._process.poll() is not None:
            time.sleep(seconds)
        else:
            select.select([stdout], [], [], seconds)

    def close(self) -> None:
        """End the nursery once its workers have saved and left."""
        if self._process is None:
            return
        self._listen()
        if set(self._pids.values()) <= set(self._codes):
            self._process.kill()  # it has no worker, only imports that nobody needs any more
        self._process.communicate()

    def _listen(self) -> None:
        """Take in what the nursery has said; the last line may be torn."""
        if self._process is None or self._process.stdout is None or self._process.stdout.closed:
            return
        data = self._process.stdout.read()
        if not data:
            return
        *lines, self._torn = (self._torn + data).split(b"\n")
        for message in map(json.loads, lines):
            if "directory" in message:
                self._pids[message["directory"]] = message["pid"]
                self._codes.pop(message["pid"], None)  # of an earlier worker with this number
            else:
                self._codes[message["pid"]] = message["code"]


def local_launcher(placement: Placement, *, leash: bool = True) -> Launcher:
    """Return the fastest launcher that is sound for a placement on this machine; on a leash, workers save and
    leave when we are killed."""
    if sys.platform == "linux" and placement.device == "cpu":
        settings = worker_environment(placement, placement.threads, "Linux")
        return NurseryLauncher(settings, leash=leash)
    return LocalLauncher(leash=leash)
