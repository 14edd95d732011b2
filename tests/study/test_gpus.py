"""GPUs by a driver's library that is a fake: it divides some cards and numbers them by their place."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from engine.study.gpus import (
    driver_version,
    free_memory,
    gpu_environment,
    least_memory,
    visible_gpus,
)
from engine.study.machine import Machine
from engine.study.profile import place, read_profile


class Driver(ModuleType):
    """pynvml on a box with these cards: UUID → bytes; `slices` names the parts of divided ones."""

    class NVMLError(Exception):
        pass

    def __init__(
        self, cards: dict[str, int], slices: dict[str, list[str]] | None = None, works: bool = True
    ) -> None:
        super().__init__("pynvml")
        self.cards, self.parts, self.works = cards, slices or {}, works

    def nvmlInit(self) -> None:
        if not self.works:
            raise self.NVMLError("driver and library do not fit")

    def nvmlShutdown(self) -> None: ...

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return list(self.cards)[index]

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
        if name not in {*self.cards, *(one for found in self.parts.values() for one in found)}:
            raise self.NVMLError("not found")
        return name

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return handle

    def nvmlDeviceGetMigMode(self, handle: str) -> tuple[int, int]:
        if handle not in self.parts:
            raise self.NVMLError("not supported")
        return (1, 1)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, number: int) -> str:
        if number == 0 or number > len(self.parts[handle]):  # the first place is free
            raise self.NVMLError("not found")
        return self.parts[handle][number - 1]

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        size = self.cards.get(handle, 10 << 30)
        return SimpleNamespace(total=size, free=size // 2)


TWO = {"GPU-aa": 80 << 30, "GPU-bb": 24 << 30}


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("0", ("0",)),
        ("2, 0,2", ("2", "0")),
        ("GPU-aa,MIG-cc", ("GPU-aa", "MIG-cc")),
        ("MIG-GPU-aa/1/0", ("MIG-GPU-aa/1/0",)),
        ("1,-1,0", ("1",)),
        ("0,none,1", ("0",)),
        ("", ()),
        ("-1", ()),
    ],
)
def test_the_users_list_counts_to_its_first_wrong_word(
    monkeypatch: pytest.MonkeyPatch, listed: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    monkeypatch.setitem(sys.modules, "pynvml", Driver(TWO))
    assert visible_gpus() == names


def test_without_a_list_the_driver_names_cards_and_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver(TWO))
    assert visible_gpus() == ("GPU-aa", "GPU-bb")
    monkeypatch.setitem(sys.modules, "pynvml", Driver(TWO, {"GPU-aa": ["MIG-1", "MIG-2"]}))
    assert visible_gpus() == ("MIG-1", "MIG-2", "GPU-bb")
    assert least_memory(visible_gpus()) == 10 << 30


def test_without_its_library_device_files_are_counted(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus(tmp_path) == ("0", "1")
    assert least_memory(("0", "1")) == 0
    assert free_memory("0") is None


@pytest.mark.parametrize(
    ("order", "gpu", "least", "free"),
    [
        (None, "0", 24 << 30, 40 << 30),  # it may be either: CUDA's order is not the driver's
        ("PCI_BUS_ID", "0", 80 << 30, 40 << 30),
        ("PCI_BUS_ID", "1", 24 << 30, 12 << 30),
        ("PCI_BUS_ID", "7", 0, None),
        (None, "GPU-b", 24 << 30, 12 << 30),
        (None, "GPU-zz", 0, None),
        (None, "MIG-zz", 0, None),
    ],
)
def test_the_memory_of_a_gpu_by_the_name_that_cuda_takes(
    monkeypatch: pytest.MonkeyPatch, order: str | None, gpu: str, least: int, free: int | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver(TWO))
    if order:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    assert least_memory((gpu,)) == least
    assert free_memory(gpu) == free


def test_a_driver_that_does_not_work_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver(TWO, works=False))
    assert least_memory(("GPU-aa",)) == 0
    assert free_memory() is None


def test_the_drivers_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver(TWO))
    assert driver_version() == "580.65.06"


def box(gigabytes: int, gpus: tuple[str, ...], cores: int = 16) -> Machine:
    known = {"cuda": gigabytes << 30} if gigabytes else {}
    devices = {"cpu": "x", "cuda": "CUDA 13"}
    return Machine(cores, 64 << 30, "Linux", devices, {"mps": ""}, known, gpus)


@pytest.mark.parametrize(
    ("machine", "slots", "own", "per_slot"),
    [
        (box(24, ("GPU-aa",)), 1, (), 0.8 * 24),
        (box(80, ("GPU-aa",)), 4, (), 0.8 * 80 / 4),
        (box(640, ("GPU-aa",)), 4, (), 0.8 * 640 / 4),
        (box(80, ("0", "1")), 8, ("0", "1"), 0.8 * 80 / 4),
        (box(80, ("0", "1"), cores=3), 3, ("0", "1"), 0.8 * 80 / 2),
        (box(0, ("0", "1")), 2, ("0", "1"), 0.8 * 64 / 2),
    ],
)
def test_slots_follow_memory_and_number_of_the_gpus(
    machine: Machine, slots: int, own: tuple[str, ...], per_slot: float
) -> None:
    placement = place(read_profile("cuda"), machine)
    assert (placement.slots, placement.gpus) == (slots, own)
    assert placement.slots * placement.threads <= machine.cores
    assert placement.slot_memory_bytes / 2**30 == pytest.approx(per_slot, abs=0.01)


def test_cores_have_no_gpus() -> None:
    assert place(read_profile("cpu"), box(80, ("0", "1"))).gpus == ()


def test_one_worker_sees_one_gpu() -> None:
    assert gpu_environment("MIG-1") == {"CUDA_VISIBLE_DEVICES": "MIG-1"}
    assert gpu_environment("") == {}
