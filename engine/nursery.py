"""Forks workers from a process that has imported torch already: `python -P -m engine.nursery`.

Importing torch and its kin takes seconds, and a study has many short jobs. The nursery imports once, without
computing anything, and each worker is a fork of it. It reads JSON lines from standard input, `{"directory",
"attempt"}`, and writes others: `{"directory", "pid"}` for a start, `{"pid", "code"}` for an end. When standard
input closes, its workers are asked to save and leave; with `--detached` it waits until they are done.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import FrameType

from engine import worker
from engine.disk.rundir import RunDirectory

PRELOAD = (
    "engine.stages.kinds",
    "engine.stages.rehearsal",
    "threadpoolctl",
    "torch",
    "safetensors.torch",
    "engine.stages.numerics",
    "torch.utils.tensorboard",
    "engine.stages.cohort",
    "scipy.stats",
    "engine.stages.analysis",
    "engine.stages.activations",
    "engine.stages.subject",
    "engine.stages.report",
)
"""In the order in which jobs come to need them; requests are served between any two. TransformerLens is not
among them: it starts a thread."""
_PR_SET_PDEATHSIG = 1
SPEECH = 100
"""Descriptor of the protocol, away from where libraries print."""


def main() -> int:
    """Serve until standard input closes."""
    detached = "--detached" in sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, signal.SIG_IGN
        )  # who started us decides, by closing our standard input
    # A library that prints while it is imported must not talk into the protocol.
    os.dup2(1, SPEECH, inheritable=False)
    os.dup2(2, 1)
    children: set[int] = set()
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm)
    signal.signal(signal.SIGCHLD, _nothing)
    pending, left = b"", list(PRELOAD)
    while True:
        ready, _, _ = select.select([0, wake], [], [], 0.0 if left else None)
        if wake in ready:
            os.read(wake, 4096)
        _reap(children)
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for request in map(json.loads, lines):
                run = RunDirectory(Path(request["directory"]), request["attempt"])
                children.add(_start(run, detached))
        elif left:
            if len(left) == len(PRELOAD):
                # Of the code that is imported now, whatever the disk holds when a worker asks.
                worker.remember_code()
            with contextlib.suppress(ImportError):  # a worker that needs it will say so itself
                import_module(left.pop(0))
            worker.versions()
            if not left:
                gc.freeze()  # shared pages stay shared when a fork collects garbage
    if not detached:  # else another supervisor adopts them
        _ask_to_leave(children)
    _await(children)
    return 0


def _nothing(number: int, frame: FrameType | None) -> None:
    """Exist, so that the signal interrupts the wait."""


def _say(**message: object) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more; standard input will close, too
        os.write(SPEECH, json.dumps(message).encode() + b"\n")


def _reap(children: set[int]) -> None:
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            children.discard(pid)
            _say(pid=pid, code=os.waitstatus_to_exitcode(status))


def _ask_to_leave(children: set[int]) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)


def _await(children: set[int]) -> None:
    for pid in children:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _start(run: RunDirectory, detached: bool) -> int:
    """Start the worker of a run directory and return its pid: a fork, or, where other threads exist that a
    fork would cut off in the middle of something, a process of its own."""
    alone = len(os.listdir("/proc/self/task")) == 1
    pid = _fork(run, detached) if alone else _spawn(run)
    _say(directory=str(run.path), pid=pid)
    return pid


def _fork(run: RunDirectory, detached: bool) -> int:
    here = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if not detached:
            # If the nursery dies, even by kill -9, the worker is asked to save and leave.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != here:
                os._exit(130)
        os.setsid()
        signal.set_wakeup_fd(-1)
        os.close(SPEECH)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        log = os.open(run.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        code = worker.main(_arguments(run))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        # Threads of event writers and pools are not waited for: everything that counts is on the disk.
        os._exit(code)


def _arguments(run: RunDirectory) -> list[str]:
    return [str(run.path), "--attempt", str(run.attempt)]


def _spawn(run: RunDirectory) -> int:
    log = (os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "engine.worker", *_arguments(run)],
        dict(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(run.log_file), *log),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


if __name__ == "__main__":
    sys.exit(main())
