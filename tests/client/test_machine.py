"""What the machine does at the moment, its GPUs by a fake of the driver's library."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from engine.client.machine import GpuReader, Probe, bytes_below
from engine.disk.heartbeat import Sign, boot_id, start_of
from engine.disk.root import RunsRoot

GB = 1 << 30


class FakeNvml(ModuleType):
    """Two cards: one tells all, the other is a slice that knows only its memory."""

    class NVMLError(Exception):
        """What the driver refuses."""

    gone = False

    def __init__(self) -> None:
        super().__init__("pynvml")

    def nvmlInit(self) -> None:
        if self.gone:
            raise self.NVMLError("driver not loaded")

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        return number

    def nvmlDeviceGetName(self, handle: int) -> Any:
        return b"H100" if handle == 0 else "MIG 1g"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        if self.gone:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(used=3 * GB, total=80 * GB)

    def _only_first(self, handle: int, value: Any) -> Any:
        if handle:
            raise self.NVMLError("not supported")
        return value

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return self._only_first(handle, SimpleNamespace(gpu=93, memory=10))

    def nvmlDeviceGetPowerUsage(self, handle: int) -> Any:
        return self._only_first(handle, 402_000)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> Any:
        return self._only_first(handle, 61)


def test_gpus_tell_what_they_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    (card, piece), note = GpuReader().read()
    assert (card.name, card.busy, card.used, card.total) == ("H100", 0.93, 3 * GB, 80 * GB)
    assert (card.celsius, card.watts, note) == (61, 402.0, "")
    assert (piece.name, piece.busy, piece.celsius, piece.watts) == ("MIG 1g", None, None, None)


def test_a_driver_that_goes_away_is_told_and_one_that_is_not_there_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    reader = GpuReader()
    fake.gone = True
    assert reader.read() == ((), "the GPU's driver does not answer: GPU is lost")
    assert GpuReader().read() == ((), "")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuReader().read()[0] == ()


def test_the_machine_is_looked_at_and_workers_are_found_by_their_signs(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    root.prepare()
    mine = Sign(1, os.getpid(), start_of(os.getpid()) or "", boot_id())
    jobs = [{"directory": f"cohort-{n}", "name": f"job {n}"} for n in range(4)]
    for number, sign in enumerate((mine, Sign(1, os.getpid(), "another start", boot_id()))):
        run = root.run(f"cohort-{number}")
        run.path.mkdir()
        run.sign_file.write_text(json.dumps(asdict(sign)))
    torn = root.run("cohort-2")
    torn.path.mkdir()
    torn.sign_file.write_text('{"att')
    load = Probe(root).look(jobs)
    assert [worker.name for worker in load.workers] == ["job 0"]
    assert load.workers[0].pid == os.getpid()
    assert load.workers[0].memory > 1 << 20
    assert len(load.cores) >= 1
    assert 0 < load.memory[0] <= load.memory[1]
    assert 0 < load.disk[0] <= load.disk[1]
    assert 0 <= load.cpu <= 1


def test_a_root_that_is_not_there_yet_has_the_disk_of_its_parent(tmp_path: Path) -> None:
    assert Probe(RunsRoot(tmp_path / "a" / "b")).look().disk[1] > 0
    assert bytes_below(tmp_path / "a") == 0


def test_bytes_are_those_of_all_files_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"12345")
    (tmp_path / "y").write_bytes(b"123")
    (tmp_path / "z").symlink_to("/usr")
    assert bytes_below(tmp_path) == 8
