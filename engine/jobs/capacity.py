"""What there is room for now: slots, memory, accelerator memory, disk."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from engine.jobs.entry import Entry
from engine.study.profile import Placement

RESERVE_BYTES = 64 << 20
"""Space on disk that is never planned for: checkpoints, logs and the queue need some to end well."""


class Capacity:
    """The room of one profile on this machine."""

    def __init__(
        self, placement: Placement, runs: Path, reserve_bytes: int = RESERVE_BYTES
    ) -> None:
        self.slots, self.threads = placement.slots, placement.threads
        self.memory_bytes = placement.memory_bytes
        self._runs, self._reserve = runs, reserve_bytes

    def slots_of(self, job: Entry) -> int:
        """Return how many slots a job takes here; it may have been planned under another profile."""
        wanted = self.slots if job.alone else job.slots
        if job.device == "cpu":
            wanted = max(wanted, -(-job.threads // self.threads))
        return min(self.slots, wanted)

    def fits(self, job: Entry, running: Collection[Entry]) -> bool:
        """Return whether a job can start beside those that run."""
        if sum(map(self.slots_of, running)) + self.slots_of(job) > self.slots:
            return False
        if running and sum(r.memory_bytes for r in running) + job.memory_bytes > self.memory_bytes:
            return False
        free = free_accelerator_bytes() if job.device == "cuda" else None
        return free is None or not running or job.memory_bytes <= free

    def short_of_disk(self, job: Entry | None = None) -> str:
        """Return why there is too little space for a job, or for anything; nothing if there is enough."""
        free = shutil.disk_usage(self._runs).free
        need = self._reserve + (job.disk_bytes if job else 0)
        if free >= need:
            return ""
        return f"{free >> 20} MB of disk are free below {self._runs}, {need >> 20} MB are needed"


def free_accelerator_bytes() -> int | None:
    """Return the free memory of the emptiest NVIDIA device, None where nobody can say (extra `cuda`)."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        devices = range(pynvml.nvmlDeviceGetCount())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in devices]
        return max((int(pynvml.nvmlDeviceGetMemoryInfo(h).free) for h in handles), default=None)
    except pynvml.NVMLError:
        return None
