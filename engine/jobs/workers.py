"""The workers that a supervisor has placed or taken over: their ends, their silences."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field

from engine.disk.heartbeat import effort_of, lives, read_sign
from engine.disk.rundir import RunDirectory
from engine.jobs.entry import Entry
from engine.jobs.failures import oom_kills
from engine.jobs.launch import LOST, UNKNOWN, AdoptedHandle, Handle

LEASE_SECONDS = 30.0
"""Silence after which a worker is given up: one of 1 s ran out under mere load of the disk."""
ASK_SECONDS = 0.5
LOOK_SECONDS = 1.0
LONGEST_LOOK_SECONDS = 2.0
"""Silence that counts at most between two looks: when it was we who slept, the worker is not to blame."""


class Lease:
    """How long a worker has been silent, by the watcher's monotonic clock alone."""

    def __init__(self, seconds: float = LEASE_SECONDS) -> None:
        self._seconds, self._silent = seconds, 0.0
        self._beat: object = None

    def look(self, beat: object, elapsed: float) -> bool:
        """Take in the newest sign of life and the seconds since the last look; return whether the lease has
        run out."""
        if beat != self._beat:
            self._beat, self._silent = beat, 0.0
        else:
            self._silent += min(elapsed, LONGEST_LOOK_SECONDS)
        return self._silent > self._seconds


@dataclass
class Placed:
    """One running attempt."""

    job: Entry
    attempt: int
    run: RunDirectory
    handle: Handle
    lease: Lease
    started: float = field(default_factory=time.monotonic)
    adopted: bool = False
    gpu: str = ""
    """The GPU that it was given, of several."""
    asked: bool = False
    """Whether we have asked it to leave."""
    _asked_at: float = -math.inf
    silent: bool = False
    """Whether we have ended it because it gave no sign of life."""
    _looked: float = field(default_factory=time.monotonic)
    _oom_kills: int = field(default_factory=oom_kills)

    @property
    def seconds(self) -> float:
        """Time since it was placed, or taken over."""
        return time.monotonic() - self.started

    def poll(self) -> int | None:
        """Return the exit code once the worker has ended, None before.

        A worker outlives the process that forked it: while it gives signs of life, it is watched by them.
        """
        code = self.handle.poll()
        if code == LOST and not self.adopted and (adopted := adopt(self.run, self.attempt)):
            self.handle, self.adopted = adopted, True
            return adopted.poll()
        return code

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed for lack of memory since the worker was placed."""
        return oom_kills() > self._oom_kills

    def ask_to_leave(self) -> None:
        """Let it save and leave. A worker that is only being born hears nothing: it is asked again."""
        self.asked = True
        if time.monotonic() - self._asked_at > ASK_SECONDS:
            self._asked_at = time.monotonic()
            self.handle.terminate()

    def watch(self) -> None:
        """End it if it has neither given a sign nor computed for longer than its lease: stopped, or stuck.

        A library may hold Python's lock for minutes, so that no sign comes from a worker that is well.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        sign, elapsed, self._looked = read_sign(self.run.sign_file), now - self._looked, now
        effort = effort_of(sign.pid) if sign is not None and lives(sign) else 0.0
        if self.lease.look((sign, effort), elapsed) and not self.silent:
            self.silent = True
            self.handle.kill()


def adopt(run: RunDirectory, attempt: int) -> AdoptedHandle | None:
    """Return a handle on the worker that makes an attempt, whoever started it; None if there is none."""
    with contextlib.suppress(OSError):
        sign = read_sign(run.sign_file)
        if sign is not None and sign.attempt == attempt and lives(sign):
            return AdoptedHandle(sign)
    return None


class Gone:
    """A worker that is no more."""

    gpu = ""

    def poll(self) -> int:
        """Return the code of an end that nobody saw."""
        return UNKNOWN

    def terminate(self) -> None:
        """Do nothing."""

    def kill(self) -> None:
        """Do nothing."""
