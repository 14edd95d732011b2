"""The NVIDIA GPUs that workers may use, found without importing torch.

Torch would know them, but takes seconds to import, and holds a part of a GPU from then on. The driver's library
is asked through the package nvidia-ml-py, which is optional.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAME = re.compile(r"\d+|GPU-[\w-]+|MIG-[\w/-]+")


def gpu_environment(gpu: str) -> dict[str, str]:
    """Return the environment of a worker that gets one GPU; empty: it sees those that we see."""
    return {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}


def visible_gpus(devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the visible GPUs, each by a name that CUDA_VISIBLE_DEVICES takes.

    The user's own list comes first; like CUDA, we end it at the first word that names nothing. Without one,
    the driver names GPUs and slices of GPUs (MIG) by UUID: CUDA numbers GPUs from the fastest on, the driver
    by their place. Without nvidia-ml-py their device files are counted.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        names: list[str] = []
        for word in map(str.strip, listed.split(",")):
            if not _NAME.fullmatch(word):
                break
            names.append(word)
        return tuple(dict.fromkeys(names))
    with driver() as nvml:
        if nvml is not None:
            return tuple(_uuid(nvml, one) for gpu in _every(nvml) for one in _slices(nvml, gpu))
    count = sum(path.name[6:].isdigit() for path in devices.glob("nvidia*"))
    return tuple(map(str, range(count)))


def least_memory(gpus: tuple[str, ...]) -> int:
    """Return the bytes of the smallest of some GPUs; 0 where they are not known."""
    with driver() as nvml:
        if nvml is None:
            return 0
        found = [_memory(nvml, handle).total for gpu in gpus for handle in _candidates(nvml, gpu)]
        return int(min(found, default=0))
    return 0


def free_memory(gpu: str = "") -> int | None:
    """Return the free bytes of a GPU, or of the emptiest that it may be; None where nobody can say."""
    with driver() as nvml:
        if nvml is None:
            return None
        handles = _candidates(nvml, gpu) if gpu else _every(nvml)
        return max((int(_memory(nvml, handle).free) for handle in handles), default=None)
    return None


def driver_version() -> str:
    """Return the version of NVIDIA's driver, from its library or the kernel; empty where neither tells."""
    with driver() as nvml:
        if nvml is not None:
            said = nvml.nvmlSystemGetDriverVersion()
            return said.decode() if isinstance(said, bytes) else str(said)
    with contextlib.suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text()
        if found := re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text):
            return found.group(1)
    return ""


@contextlib.contextmanager
def driver() -> Iterator[Any]:
    """Open the driver's library (pynvml); None without the package or a driver, and what fails inside is
    passed over."""
    try:
        import pynvml  # of the package nvidia-ml-py
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    except (pynvml.NVMLError, ValueError):  # a GPU that has vanished, or that no name fits
        pass
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _every(nvml: Any) -> list[Any]:
    return [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())]


def _slices(nvml: Any, handle: Any) -> list[Any]:
    """Return the slices of a GPU that is divided, else the GPU."""
    try:
        if not nvml.nvmlDeviceGetMigMode(handle)[0]:
            return [handle]
        most = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:  # most cards cannot be divided
        return [handle]
    found = []
    for number in range(most):
        with contextlib.suppress(nvml.NVMLError):  # places need not be taken in order
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number))
    return found


def _uuid(nvml: Any, handle: Any) -> str:
    said = nvml.nvmlDeviceGetUUID(handle)
    return said.decode() if isinstance(said, bytes) else str(said)


def _candidates(nvml: Any, gpu: str) -> list[Any]:
    """Return the GPUs that a name of CUDA's may stand for: one, or all where its numbers are not the
    driver's."""
    if gpu.startswith("MIG-"):
        return [nvml.nvmlDeviceGetHandleByUUID(gpu)]
    every = _every(nvml)
    if gpu.startswith("GPU-"):  # CUDA takes the beginning of a UUID, too
        return [handle for handle in every if _uuid(nvml, handle).startswith(gpu)]
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return every[int(gpu) :][:1]
    return every


def _memory(nvml: Any, handle: Any) -> Any:
    return nvml.nvmlDeviceGetMemoryInfo(handle)
