"""Accelerators: whether this torch can drive them, with which driver, and with how much memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.doctor.finding import Finding
from engine.doctor.libraries import Loaded
from engine.study.machine import Machine
from engine.study.profile import KNOWN_GAPS

OLDER = "install torch's build for CUDA 12.6, from PyTorch's index of that name (cu126)"
OLDEST_DRIVER = {13: (580, "580"), 12: (525, "525.60"), 11: (450, "450.80")}
"""CUDA's main version → NVIDIA's oldest driver for it on Linux (minor versions are compatible)."""


def gpus(
    machine: Machine, build: tuple[str, str | None] | None, loaded: Loaded, driver: str
) -> Iterator[Finding]:
    """Judge CUDA and MPS.

    Args:
        machine: this machine.
        build: torch's version and the CUDA that it was built for.
        loaded: what torch reports.
        driver: version of NVIDIA's driver; empty: there is none, or it does not say.
    """
    if build is None or isinstance(loaded, str):
        return
    yield from _cuda(machine, build[1], loaded, driver)
    yield from _mps(machine, loaded)


def _cuda(
    machine: Machine, built: str | None, loaded: dict[str, object], driver: str
) -> Iterator[Finding]:
    if "cuda" not in machine.devices:
        missing = machine.missing.get("cuda", "")
        remedy = "install a build of torch for CUDA" if "CPU build" in missing else ""
        yield Finding("cuda", "note", missing, remedy)
        return
    yield from _driver(built, driver)
    archs, cards = loaded["archs"], loaded.get("gpus", [])
    assert isinstance(archs, list)
    assert isinstance(cards, list)
    if not loaded["cuda"]:
        remedy = "`nvidia-smi` tells whether the driver works; in a container: --gpus all"
        yield Finding("cuda", "error", "present, but torch cannot use it", remedy)
        return
    known = ", ".join(archs) or "no architecture"
    if not cards:
        yield Finding("cuda", "ok", f"{machine.devices['cuda']}, kernels for {known}")
    for name, major, minor in dict.fromkeys(map(tuple, cards)):
        count = sum(tuple(card) == (name, major, minor) for card in cards)
        told = f"{f'{count} × ' if count > 1 else ''}{name}, compute capability {major}.{minor}"
        if has_kernels(archs, major, minor):
            yield Finding("cuda", "ok", f"{told}; torch has kernels for {known}")
        else:
            remedy = OLDER if (major, minor) < _oldest(archs) else "install a newer torch"
            what = f"{told}: this torch has no kernels for it, only for {known}"
            yield Finding("cuda", "error", what, remedy)
    yield _memory(machine)


def has_kernels(archs: Sequence[str], major: int, minor: int) -> bool:
    """Return whether a build for some architectures runs on a GPU of a compute capability.

    `sm_XY` runs where X is equal and Y not larger; `compute_XY` is translated for anything newer; one with a
    letter (`sm_90a`) runs on its own capability alone.
    """
    for arch in archs:
        kind, _, number = arch.partition("_")
        own = _capability(number)
        if number[-1:].isalpha():
            fits = own == (major, minor)
        elif kind == "compute":
            fits = own <= (major, minor)
        else:
            fits = own[0] == major and own[1] <= minor
        if fits:
            return True
    return False


def _capability(number: str) -> tuple[int, int]:
    digits = number.rstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits[:-1]), int(digits[-1])


def _oldest(archs: Sequence[str]) -> tuple[int, int]:
    return min((_capability(arch.partition("_")[2]) for arch in archs), default=(0, 0))


def _driver(built: str | None, driver: str) -> Iterator[Finding]:
    """Judge the driver's version against the CUDA that torch was built for."""
    if not built or not driver:
        return
    main = int(built.split(".")[0])
    oldest, name = OLDEST_DRIVER.get(main, (0, ""))
    if int(driver.split(".")[0]) >= oldest:
        yield Finding("driver", "ok", f"{driver}, torch was built for CUDA {built}")
        return
    remedy = f"update the driver to {name} or newer"
    if main > 12:
        remedy += f", or {OLDER}"
    what = f"{driver} is too old for CUDA {built}, which needs {name} or newer"
    yield Finding("driver", "error", what, remedy)


def _memory(machine: Machine) -> Finding:
    if "cuda" not in machine.device_memory:
        what = "unknown: plans are made for the memory of the computer"
        return Finding("GPU memory", "note", what, "pip install nvidia-ml-py")
    gigabytes = machine.device_memory["cuda"] / 2**30
    if len(machine.gpus) > 1:
        what = f"{gigabytes:.1f} GB on the smallest of {len(machine.gpus)} GPUs"
        return Finding("GPU memory", "ok", what)
    return Finding("GPU memory", "ok", f"{gigabytes:.1f} GB")


def _mps(machine: Machine, loaded: dict[str, object]) -> Iterator[Finding]:
    if "mps" not in machine.devices:
        yield Finding("mps", "note", machine.missing.get("mps", ""))
    elif not loaded["mps"]:
        yield Finding("mps", "error", "present, but torch cannot use it", "update macOS")
    else:
        yield Finding("mps", "ok", machine.devices["mps"])
        yield Finding(
            "mps",
            "note",
            "; ".join(KNOWN_GAPS["mps"]),
            "--profile cpu where digits must repeat",
        )
