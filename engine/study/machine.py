"""What this machine has, found without importing torch."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from engine.study.gpus import least_memory, visible_gpus


@dataclass(frozen=True)
class Machine:
    """Cores and memory that this process may use, and the accelerators that torch could drive."""

    cores: int
    """CPU cores: affinity mask and container quota taken into account."""
    memory_bytes: int
    """Memory: the container's limit if there is one."""
    system: str
    """`Linux`, `Darwin`, `Windows`."""
    devices: dict[str, str]
    """Usable device → its name."""
    missing: dict[str, str]
    """Unusable device → why."""
    device_memory: Mapping[str, int] = field(default_factory=dict)
    """Device with a memory of its own → its bytes, of several GPUs those of the smallest; left out where they
    are unknown."""
    gpus: tuple[str, ...] = ()
    """The NVIDIA GPUs of workers, each as CUDA_VISIBLE_DEVICES names it."""


def detect() -> Machine:
    """Look at this machine."""
    devices, missing = {"cpu": platform.processor() or platform.machine()}, {}
    for device, (name, reason) in {"cuda": _cuda(), "mps": _mps()}.items():
        if reason:
            missing[device] = reason
        else:
            devices[device] = name
    gpus = visible_gpus() if "cuda" in devices else ()
    size = least_memory(gpus) if gpus else 0
    known = {"cuda": size} if size else {}
    return Machine(_cores(), _memory(), platform.system(), devices, missing, known, gpus)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _cgroup("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def _memory() -> int:
    limit = _cgroup("memory.max")
    total = int(psutil.virtual_memory().total)
    return min(total, int(limit)) if limit.isdigit() else total


def _cgroup(name: str) -> str:
    try:
        return Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return ""


def torch_build() -> tuple[str, str | None] | None:
    """Return torch's version and the CUDA version it was built for (None: a CPU build), unimported."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text()
    version = re.search(r"__version__ = '([^']+)'", text)
    cuda = re.search(r"^cuda[^=]*= '([^']+)'", text, re.MULTILINE)
    return (version.group(1) if version else "unknown", cuda.group(1) if cuda else None)


def _cuda() -> tuple[str, str]:
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return "", "hidden by CUDA_VISIBLE_DEVICES"
    if not Path("/dev/nvidiactl").exists() and not Path("/dev/dxg").exists():
        return "", "no NVIDIA driver on this machine"
    build = torch_build()
    if build is None or build[1] is None:
        return "", "an NVIDIA driver is here, but torch is a CPU build"
    return f"CUDA {build[1]}", ""


def _mps() -> tuple[str, str]:
    if sys.platform != "darwin":
        return "", "needs macOS on Apple silicon"
    if platform.machine() != "arm64":
        return "", "needs Apple silicon"
    return "Metal", ""
