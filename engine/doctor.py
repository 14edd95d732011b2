"""Findings about this machine, each with its remedy. Torch is looked at from a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from engine.study.machine import Machine, detect, torch_build
from engine.study.openmp import runtimes_on_disk

State = Literal["ok", "note", "warning", "error"]

_PROBE = """
import json, torch, numpy, scipy.linalg
from threadpoolctl import threadpool_info
print(json.dumps({
    "pools": [{k: p.get(k) for k in ("user_api", "internal_api", "prefix", "filepath")}
              for p in threadpool_info()],
    "archs": torch.cuda.get_arch_list(),
    "cuda": torch.cuda.is_available(),
    "mps": torch.backends.mps.is_available(),
}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    state: State
    what: str
    remedy: str = ""


def examine(
    runs: Path, probe: Sequence[str] = (sys.executable, "-P", "-c", _PROBE)
) -> list[Finding]:
    """Look at Python, torch, OpenMP, SQLite, cores, memory and disk.

    Args:
        runs: runs root whose disk is looked at; it need not exist yet.
        probe: command that prints what torch and its libraries report, as JSON.
    """
    machine = detect()
    loaded = _run_probe(probe)
    return [
        _python(),
        *_torch(machine, loaded),
        *_openmp(loaded, machine.system),
        _sqlite(),
        Finding("cores", "ok", f"{machine.cores} usable"),
        _memory(machine),
        *_gpu_memory(machine),
        _disk(runs),
    ]


def as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return findings as plain dicts."""
    return [asdict(finding) for finding in findings]


def _run_probe(command: Sequence[str]) -> dict[str, Any] | str:
    done = subprocess.run(list(command), capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        loaded: dict[str, Any] = json.loads(lines[-1])
        return loaded
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"ended with {done.returncode} and no message"


def _python() -> Finding:
    version = sys.version.split()[0]
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", version)
    return Finding("python", "error", version, "install Python 3.11, 3.12 or 3.13")


def _torch(machine: Machine, loaded: dict[str, Any] | str) -> Iterator[Finding]:
    build = torch_build()
    if build is None:
        yield Finding(
            "torch", "error", "not installed", "./scripts/start installs it from the lock"
        )
        return
    name = f"{build[0]}, {'CUDA ' + build[1] if build[1] else 'CPU build'}"
    if isinstance(loaded, str):
        yield Finding(
            "torch", "error", f"{name}; importing it fails: {loaded}", "remove .venv, start again"
        )
        return
    yield Finding("torch", "ok", name)
    for device in ("cuda", "mps"):
        if device not in machine.devices:
            yield Finding(device, "note", machine.missing[device])
        elif not loaded[device]:
            remedy = (
                "check the driver's version with nvidia-smi" if device == "cuda" else "update macOS"
            )
            yield Finding(device, "error", "present, but torch cannot use it", remedy)
        else:
            yield Finding(
                device, "ok", f"{machine.devices[device]} {' '.join(loaded['archs'])}".strip()
            )


def _openmp(loaded: dict[str, Any] | str, system: str) -> Iterator[Finding]:
    """Two LLVM or Intel OpenMP runtimes in one process crash or, worse, compute wrong numbers; two copies
    of GNU's libgomp are benign (threadpoolctl's documentation)."""
    if isinstance(loaded, str):
        return
    pools = [pool for pool in loaded["pools"] if pool["user_api"] == "openmp"]
    clashing = [pool["filepath"] for pool in pools if pool["prefix"] in ("libomp", "libiomp")]
    if len(clashing) > 1:
        yield Finding(
            "openmp",
            "error" if system == "Darwin" else "warning",
            f"{len(clashing)} OpenMP runtimes are loaded at once: {', '.join(clashing)}",
            "use a fresh environment without conda; profiles with `duplicate_runtime: allow-on-macos` set "
            "KMP_DUPLICATE_LIB_OK=TRUE for workers and stamp a warning into every result",
        )
    else:
        names = ", ".join(sorted({pool["prefix"] for pool in pools})) or "none"
        yield Finding("openmp", "ok", f"no duplicate runtime; loaded: {names}")
    if os.environ.get("KMP_DUPLICATE_LIB_OK"):
        yield Finding(
            "openmp",
            "warning",
            "KMP_DUPLICATE_LIB_OK is set in your shell, for every program",
            "unset it; its vendor says that results may silently be wrong",
        )
    if system == "Darwin" and len(runtimes_on_disk()) > 1:
        yield Finding("openmp", "note", "installed packages bring more than one OpenMP runtime")


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    if (3, 7, 0) <= sqlite3.sqlite_version_info < (3, 51, 3):
        return Finding("sqlite", "ok", f"{version}; write-ahead logging is avoided (its reset bug)")
    return Finding("sqlite", "ok", version)


def _gpu_memory(machine: Machine) -> Iterator[Finding]:
    if "cuda" not in machine.devices:
        return
    if "cuda" in machine.device_memory:
        gigabytes = machine.device_memory["cuda"] / 2**30
        yield Finding("GPU memory", "ok", f"{gigabytes:.1f} GB")
    else:
        yield Finding(
            "GPU memory",
            "note",
            "unknown: plans are made for the memory of the computer",
            "pip install nvidia-ml-py",
        )


def _memory(machine: Machine) -> Finding:
    gigabytes = machine.memory_bytes / 2**30
    if gigabytes < 2:
        return Finding(
            "memory", "warning", f"{gigabytes:.1f} GB", "2 GB are needed for the presets"
        )
    return Finding("memory", "ok", f"{gigabytes:.1f} GB")


def _disk(runs: Path) -> Finding:
    place = runs.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    if not os.access(place, os.W_OK):
        return Finding(
            "disk", "error", f"{runs} cannot be written", "--runs with a folder of your own"
        )
    if free < 1:
        return Finding(
            "disk", "warning", f"{free:.1f} GB free for {runs}", "1 GB is needed for the presets"
        )
    return Finding("disk", "ok", f"{free:.0f} GB free for {runs}")
