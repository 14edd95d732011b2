from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.jobs.capacity import Beside, Capacity
from engine.jobs.entry import Entry
from engine.study.gpus import free_memory
from engine.study.machine import Machine
from engine.study.profile import place, read_profile
from tests.jobs.conftest import MACHINE

JOB = Entry(
    directory="cohort-1", key="1", kind="cohort", name="one", state="queued", held=0, alone=0, priority=0,
    attempt=0, failure="", reason="", device="cpu", slots=1, threads=1, memory_bytes=1 << 30, disk_bytes=0,
    steps=0, submitted=0.0, started=None, ended=None, seconds=None,
)  # fmt: skip


@pytest.fixture
def room(tmp_path: Path) -> Capacity:
    """Two slots of one thread and 6.4 GB."""
    return Capacity(place(read_profile("cpu"), MACHINE), tmp_path, 0)


def test_slots_are_taken_as_planned_as_threads_demand_or_all_by_one_that_must_be_alone(
    room: Capacity,
) -> None:
    assert room.slots_of(JOB) == 1
    assert room.slots_of(replace(JOB, threads=2)) == 2, "planned under a profile with fewer slots"
    assert room.slots_of(replace(JOB, slots=8)) == 2, "planned on a larger machine"
    assert room.slots_of(replace(JOB, alone=1)) == 2
    assert room.slots_of(replace(JOB, device="cuda", threads=2)) == 1, "its threads mostly wait"


def test_jobs_run_beside_each_other_while_slots_and_memory_last(room: Capacity) -> None:
    one = Beside(JOB)
    assert room.room(JOB, [one]) == ""
    assert room.room(JOB, [one, one]) is None
    assert room.room(replace(JOB, memory_bytes=6 << 30), [one]) is None
    assert room.room(replace(JOB, memory_bytes=60 << 30), []) == "", (
        "alone it may try: it is only a forecast"
    )


class FakeNvml:
    """Two devices with so much free memory each."""

    NVMLError = RuntimeError

    def __init__(self, free: list[int]) -> None:
        self.free = free

    def nvmlInit(self) -> None:
        if not self.free:
            raise self.NVMLError("no driver")

    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetUUID(self, number: int) -> str:
        return f"GPU-{number}"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.free)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        return number

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(free=self.free[handle])


def test_a_device_that_others_have_filled_takes_no_second_job(
    room: Capacity, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(JOB, device="cuda")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([100, 2 << 30]))
    assert free_memory() == 2 << 30
    assert room.room(job, [Beside(job)]) == ""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([100, 100]))
    assert room.room(job, [Beside(job)]) is None
    assert room.room(JOB, [Beside(job)]) == "", "a job of the CPU does not ask"


BOX = Machine(
    16, 64 << 30, "Linux", {"cpu": "x", "cuda": "CUDA 13"}, {"mps": ""}, {"cuda": 40 << 30}, ("GPU-0", "GPU-1")
)  # fmt: skip
ON_CUDA = replace(JOB, device="cuda", memory_bytes=10 << 30)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Capacity:
    """Two slots on each of two GPUs of 40 GB, of which 32 may be planned."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    capacity = Capacity(place(read_profile("cuda"), BOX), tmp_path, 0)
    assert capacity.slots == 4
    return capacity


def test_a_job_gets_the_gpu_with_the_fewest_workers(box: Capacity) -> None:
    beside: list[Beside] = []
    for _ in range(4):
        gpu = box.room(ON_CUDA, beside)
        assert gpu is not None
        beside.append(Beside(ON_CUDA, gpu))
    assert [one.gpu for one in beside] == ["GPU-0", "GPU-1", "GPU-0", "GPU-1"]
    assert box.room(ON_CUDA, beside) is None, "no slot is left"
    assert box.room(ON_CUDA, [beside[0], beside[2], beside[1]]) == "GPU-1"
    assert box.room(JOB, beside[:1]) == "", "a job of the CPU needs none"


def test_memory_is_planned_for_each_gpu(box: Capacity) -> None:
    large, small = (replace(ON_CUDA, memory_bytes=size << 30) for size in (25, 4))
    assert box.room(large, [Beside(small, "GPU-0"), Beside(large, "GPU-1")]) == "GPU-0"
    assert box.room(large, [Beside(large, "GPU-0"), Beside(large, "GPU-1")]) is None
    assert box.room(small, [Beside(large, "GPU-0"), Beside(large, "GPU-1")]) == "GPU-0"


def test_a_gpu_that_others_have_filled_is_passed_over(
    box: Capacity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([1 << 30, 30 << 30]))
    there = [Beside(ON_CUDA, "GPU-0"), Beside(ON_CUDA, "GPU-1"), Beside(ON_CUDA, "GPU-1")]
    assert box.room(ON_CUDA, there) == "GPU-1"


def test_without_a_driver_nobody_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([]))
    assert free_memory() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert free_memory() is None


def test_what_is_short_is_told_in_megabytes(room: Capacity, tmp_path: Path) -> None:
    assert room.short_of_disk(JOB) == ""
    huge = replace(JOB, disk_bytes=1 << 50)
    assert f"MB of disk are free below {tmp_path}, {1 << 30} MB are needed" in room.short_of_disk(
        huge
    )
