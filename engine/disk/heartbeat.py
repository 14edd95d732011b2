"""A worker's sign of life: who it is, and a count that grows while it is well.

Whoever watches judges by its own clock whether the count still grows; the worker's clock is never read.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

BEAT_SECONDS = 2.0
_WIDTH = 256
"""Bytes of the file: a beat overwrites it in place, which a full disk allows."""


@dataclass(frozen=True)
class Sign:
    """One sign of life."""

    attempt: int
    """Attempt of the job that the worker makes."""
    pid: int
    started: str
    """When the process started, in units of the kernel: with the pid it names one process."""
    boot: str
    """Which boot of the machine that was."""
    beat: int = 0
    gpu: str = ""
    """The GPU that the worker was given, of several."""


def boot_id() -> str:
    """Return what is different after each boot."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


def start_of(pid: int) -> str | None:
    """Return when a process started, None if there is none or only its remains.

    On Linux in ticks since the boot: psutil's time of day moves when somebody sets the clock.
    """
    if sys.platform == "linux":
        try:
            # Bytes: the kernel cuts the name of a process after 15, maybe in the middle of a letter.
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        fields = stat.rpartition(b")")[2].decode().split()
        return None if fields[0] in "ZX" else fields[19]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None


def effort_of(pid: int) -> float:
    """Return the seconds of computing that a process has had; 0 if there is none."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def lives(sign: Sign) -> bool:
    """Return whether the process that gave a sign still exists."""
    return sign.boot == boot_id() and start_of(sign.pid) == sign.started


def read_sign(path: Path) -> Sign | None:
    """Read a sign of life; None if there is none, or a torn one."""
    try:
        return Sign(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


class Heartbeat:
    """Gives signs of life from a thread of its own for as long as it is open."""

    def __init__(
        self, path: Path, attempt: int, every: float = BEAT_SECONDS, gpu: str = ""
    ) -> None:
        self._path, self._every = path, every
        started = start_of(os.getpid()) or ""
        self._sign = Sign(attempt, os.getpid(), started, boot_id(), gpu=gpu)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")

    def __enter__(self) -> Self:
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        aside.write_bytes(self._text(0))
        # Kept open, so that it goes on writing to its own file when a later attempt has put another there.
        self._file = os.open(aside, os.O_WRONLY)
        os.replace(aside, self._path)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._file)

    def _text(self, beat: int) -> bytes:
        return json.dumps({**asdict(self._sign), "beat": beat}).encode().ljust(_WIDTH)

    def _run(self) -> None:
        beat = 0
        while not self._stop.wait(self._every):
            beat += 1
            with contextlib.suppress(OSError):
                os.pwrite(self._file, self._text(beat), 0)
