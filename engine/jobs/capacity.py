"""What there is room for now: slots, memory, accelerator memory, disk."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from engine.jobs.entry import Entry
from engine.study.gpus import free_memory
from engine.study.profile import Placement

RESERVE_BYTES = 64 << 20
"""Space on disk that is never planned for: checkpoints, logs and the queue need some to end well."""


class Beside(NamedTuple):
    """A job that runs, or is about to."""

    job: Entry
    gpu: str = ""
    """The GPU that it was given, of several."""


class Capacity:
    """The room of one profile on this machine."""

    def __init__(
        self, placement: Placement, runs: Path, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self.slots, self.threads = placement.slots, placement.threads
        self.memory_bytes = placement.memory_bytes
        self._gpus, self._gpu_memory_bytes = placement.gpus, placement.gpu_memory_bytes
        self._runs, self._reserve = runs, reserve_bytes

    def slots_of(self, job: Entry) -> int:
        """Return how many slots a job takes here; it may have been planned under another profile."""
        wanted = self.slots if job.alone else job.slots
        if job.device == "cpu":
            wanted = max(wanted, -(-job.threads // self.threads))
        return min(self.slots, wanted)

    def room(self, job: Entry, beside: Collection[Beside]) -> str | None:
        """Return the GPU on which a job can start beside those that run, of several the one with the fewest
        workers; empty where it needs none or all see the same, None where there is no room."""
        if sum(self.slots_of(one.job) for one in beside) + self.slots_of(job) > self.slots:
            return None
        if not _planned(job, beside, self.memory_bytes):
            return None
        if job.device != "cuda":
            return ""
        if not self._gpus:
            return "" if _free(job, beside, "") else None
        workers = Counter(one.gpu for one in beside)
        for gpu in sorted(self._gpus, key=lambda name: workers[name]):
            there = [one for one in beside if one.gpu == gpu]
            if _planned(job, there, self._gpu_memory_bytes) and _free(job, there, gpu):
                return gpu
        return None

    def short_of_disk(self, job: Entry | None = None) -> str:
        """Return why there is too little space for a job, or for anything; nothing if there is enough."""
        free = shutil.disk_usage(self._runs).free
        need = self._reserve + (job.disk_bytes if job else 0)
        if free >= need:
            return ""
        return f"{free >> 20} MB of disk are free below {self._runs}, {need >> 20} MB are needed"


def _planned(job: Entry, beside: Collection[Beside], allowed: int) -> bool:
    """Return whether a job is planned to find memory; alone it may try, for a plan is only a forecast."""
    used = sum(one.job.memory_bytes for one in beside)
    return not beside or used + job.memory_bytes <= allowed


def _free(job: Entry, beside: Collection[Beside], gpu: str) -> bool:
    """Return whether a GPU has the memory of a job now; alone it may try."""
    free = free_memory(gpu) if beside else None
    return free is None or job.memory_bytes <= free
