"""What this machine does at the moment: cores, memory, disk, GPUs, and the engine's workers."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from engine.client.queue import Job
from engine.disk.heartbeat import lives, read_sign
from engine.disk.root import RunsRoot


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver sees it; None: it does not say."""

    name: str
    busy: float | None
    """Share of the time in which it computed, 0 to 1."""
    used: int
    """Bytes of its memory in use."""
    total: int
    """Bytes of its memory."""
    celsius: float | None
    watts: float | None


@dataclass(frozen=True)
class WorkerLoad:
    """One worker process of the engine on this machine."""

    pid: int
    directory: str
    """Run directory that it fills."""
    name: str
    """Its job."""
    cores: float
    """Cores that it keeps busy; 0 when it is seen for the first time."""
    memory: int
    """Bytes of its own and of what it shares with others."""


@dataclass(frozen=True)
class Load:
    """One look at the machine."""

    cores: tuple[float, ...] = ()
    """Share of the time since the last look in which each core was busy, 0 to 1."""
    load: tuple[float, ...] = ()
    """Load average over 1, 5 and 15 minutes; empty where the system has none."""
    memory: tuple[int, int] = (0, 0)
    """Bytes in use, and bytes there are: those of the container where it has a limit."""
    swap: tuple[int, int] = (0, 0)
    """Bytes in use, and bytes there are."""
    disk: tuple[int, int] = (0, 0)
    """Bytes in use, and bytes there are, of the disk of the runs root."""
    gpus: tuple[Gpu, ...] = ()
    gpu_note: str = ""
    """Why GPUs cannot be read, where that could be mended."""
    workers: tuple[WorkerLoad, ...] = ()

    @property
    def cpu(self) -> float:
        """Share of all cores that is busy."""
        return sum(self.cores) / len(self.cores) if self.cores else 0.0


class Probe:
    """Looks at the machine again and again; shares of time are those since the last look."""

    def __init__(self, root: RunsRoot) -> None:
        self._root = root
        self._seen: dict[int, psutil.Process] = {}
        self._gpus = GpuReader()
        psutil.cpu_percent(percpu=True)

    def look(self, running: Iterable[Job] = ()) -> Load:
        """Return what the machine does now; `running` are the jobs whose workers are looked for."""
        cores = psutil.cpu_percent(percpu=True)
        swap = psutil.swap_memory()
        gpus, note = self._gpus.read()
        return Load(
            cores=tuple(share / 100 for share in cores),
            load=os.getloadavg() if hasattr(os, "getloadavg") else (),
            memory=_memory(),
            swap=(int(swap.used), int(swap.total)),
            disk=_disk(self._root.path),
            gpus=gpus,
            gpu_note=note,
            workers=tuple(self._workers(running)),
        )

    def _workers(self, running: Iterable[Job]) -> list[WorkerLoad]:
        found, seen = [], {}
        for job in running:
            sign = read_sign(self._root.run(job["directory"]).sign_file)
            if sign is None or not lives(sign):
                continue
            with contextlib.suppress(psutil.Error):
                process = self._seen.get(sign.pid) or psutil.Process(sign.pid)
                seen[sign.pid] = process
                busy, size = process.cpu_percent() / 100, int(process.memory_info().rss)
                found.append(WorkerLoad(sign.pid, job["directory"], job["name"], busy, size))
        self._seen = seen
        return found


class GpuReader:
    """Asks NVIDIA's driver by the package nvidia-ml-py; without it, or without a driver, there are no GPUs."""

    def __init__(self) -> None:
        self._nvml: ModuleType | None = None
        self._handles: list[Any] = []
        self._note = ""
        try:
            import pynvml  # of the package nvidia-ml-py, which is optional
        except ImportError:
            if Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists():
                self._note = "a GPU is here; `pip install nvidia-ml-py` shows what it does"
            return
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(count)]
        except pynvml.NVMLError:
            return
        self._nvml = pynvml

    def read(self) -> tuple[tuple[Gpu, ...], str]:
        """Return the GPUs, and why they cannot be read."""
        if self._nvml is None:
            return (), self._note
        try:
            return tuple(self._one(handle) for handle in self._handles), ""
        except self._nvml.NVMLError as error:
            return (), f"the GPU's driver does not answer: {error}"

    def _one(self, handle: Any) -> Gpu:
        nvml = self._nvml
        assert nvml is not None, "asked only where there is one"
        name = nvml.nvmlDeviceGetName(handle)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        busy = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        watts = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        return Gpu(
            name=name.decode() if isinstance(name, bytes) else str(name),
            busy=None if busy is None else busy.gpu / 100,
            used=int(memory.used),
            total=int(memory.total),
            celsius=self._ask(nvml.nvmlDeviceGetTemperature, handle, 0),
            watts=None if watts is None else watts / 1000,
        )

    def _ask(self, function: Any, *arguments: Any) -> Any:
        """Return what the driver says, None where a card or a slice of one does not know it."""
        assert self._nvml is not None, "asked only where there is one"
        try:
            return function(*arguments)
        except self._nvml.NVMLError:
            return None


def _memory() -> tuple[int, int]:
    whole = psutil.virtual_memory()
    total, used = int(whole.total), int(whole.total - whole.available)
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        if limit < total:
            held = int(Path("/sys/fs/cgroup/memory.current").read_text())
            return max(0, held - _reclaimable()), limit
    return used, total


def _reclaimable() -> int:
    """Return the bytes of a container's memory that are files kept for speed: given back when needed."""
    lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines).get("inactive_file", 0))


def _disk(place: Path) -> tuple[int, int]:
    place = place.resolve()
    while not place.exists() and place != place.parent:
        place = place.parent
    found = shutil.disk_usage(place)
    return found.total - found.free, found.total


def bytes_below(path: Path) -> int:
    """Return the bytes of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
