from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from engine.errors import EnvironmentUnfit, InputError
from engine.study import machine as machine_module
from engine.study.machine import Machine, detect
from engine.study.openmp import runtimes_on_disk
from engine.study.profile import place, profiles, read_profile, worker_environment

LAPTOP = Machine(8, 16 << 30, "Darwin", {"cpu": "M9", "mps": "Metal"}, {"cuda": "no NVIDIA driver"})
SERVER = Machine(
    2, 8 << 30, "Linux", {"cpu": "x"}, {"cuda": "no NVIDIA driver", "mps": "needs macOS"}
)
GPU_BOX = Machine(16, 64 << 30, "Linux", {"cpu": "x", "cuda": "CUDA 13"}, {"mps": "needs macOS"})


def test_the_four_profiles_ship() -> None:
    assert sorted(profiles()) == ["auto", "cpu", "cuda", "mps"]


@pytest.mark.parametrize(
    ("machine", "device", "slots", "threads"),
    [(SERVER, "cpu", 2, 1), (LAPTOP, "mps", 1, 8), (GPU_BOX, "cuda", 1, 16)],
)
def test_auto_takes_the_best_device(
    machine: Machine, device: str, slots: int, threads: int
) -> None:
    placement = place(read_profile("auto"), machine)
    assert (placement.device, placement.slots, placement.threads) == (device, slots, threads)


def test_an_absent_device_is_named_with_the_profiles_that_fit() -> None:
    with pytest.raises(EnvironmentUnfit, match=r"no cuda device: no NVIDIA driver.*auto, cpu, mps"):
        place(read_profile("cuda"), LAPTOP)


def test_oversubscription_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "greedy.yaml"
    path.write_text("{name: greedy, device: cpu, slots: 4, threads: 4}")
    with pytest.raises(EnvironmentUnfit, match="oversubscribe 2 cores"):
        place(read_profile(str(path)), SERVER)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{name: x, device: tpu}", "device: got 'tpu'"),
        ("{name: x, device: cpu, slots: 0}", "slots"),
        ("{name: x, device: cpu, openmp: {wait: a}}", "openmp.wait: unknown key"),
        ("{name: x}", "device: is missing"),
    ],
)
def test_a_wrong_profile_file_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_profile(str(path))
    assert f"{path}: " in str(caught.value)
    assert what in str(caught.value)


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="auto, cpu, cuda, mps"):
        read_profile("tpu")


def test_workers_of_all_slots_together_use_each_core_once() -> None:
    placement = place(read_profile("cpu"), SERVER)
    environment = worker_environment(placement, placement.threads, "Linux")
    assert int(environment["OMP_NUM_THREADS"]) * placement.slots == SERVER.cores
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "KMP_DUPLICATE_LIB_OK" not in environment


def test_cuda_workers_can_be_deterministic() -> None:
    placement = place(read_profile("cuda"), GPU_BOX)
    assert worker_environment(placement, 1, "Linux")["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize(("device", "part_of_the_key"), [("cuda", True), ("cpu", False)])
def test_tf32_is_a_matter_of_cuda_and_of_its_keys_alone(
    tmp_path: Path, device: str, part_of_the_key: bool
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"{{name: p, device: {device}, tf32: true}}")
    fast, full = place(read_profile(str(path)), GPU_BOX), place(read_profile(device), GPU_BOX)
    assert fast.tf32 is part_of_the_key
    assert not full.tf32
    assert (fast.numerics() != full.numerics()) is part_of_the_key
    assert ("--tf32" in fast.numerics_options()) is part_of_the_key
    assert full.numerics_options() == ["--deterministic"]


@pytest.mark.parametrize(("allowed", "value"), [("false", "0"), ("true", "1")])
def test_metal_falls_back_to_the_cpu_only_where_a_profile_allows_it(
    tmp_path: Path, allowed: str, value: str
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"{{name: p, device: mps, mps_fallback: {allowed}}}")
    placement = place(read_profile(str(path)), LAPTOP)
    environment = worker_environment(placement, 8, "Darwin")
    assert environment["PYTORCH_ENABLE_MPS_FALLBACK"] == value
    assert placement.numerics() == place(read_profile("mps"), LAPTOP).numerics()


class FakeNvml(ModuleType):
    """The driver's library on a machine with these GPUs: name → bytes, in the order of their places."""

    class NVMLError(Exception):
        pass

    def __init__(self, gpus: dict[str, int], broken: bool = False) -> None:
        super().__init__("pynvml")
        self.gpus, self.broken, self.open = gpus, broken, 0

    def nvmlInit(self) -> None:
        if self.broken:
            raise self.NVMLError("driver and library do not fit")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return list(self.gpus)[index]

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
        if name not in self.gpus:
            raise self.NVMLError("not found")
        return name

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(total=self.gpus[handle])

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return handle

    def nvmlDeviceGetMigMode(self, handle: str) -> tuple[int, int]:
        raise self.NVMLError("not supported")


BOTH = {"GPU-a": 80 << 30, "GPU-b": 24 << 30}


@pytest.mark.parametrize(
    ("nvml", "visible", "order", "size"),
    [
        (FakeNvml({"GPU-a": 80 << 30}), None, None, 80 << 30),
        (FakeNvml(BOTH), None, None, 24 << 30),  # CUDA's order is not the driver's
        (FakeNvml(BOTH), None, "PCI_BUS_ID", 24 << 30),  # workers use both
        (FakeNvml(BOTH), "1,0", "PCI_BUS_ID", 24 << 30),
        (FakeNvml(BOTH), "GPU-a", None, 80 << 30),
        (FakeNvml(BOTH), "GPU-c", None, None),
        (FakeNvml(BOTH), "7", "PCI_BUS_ID", None),
        (FakeNvml({}), None, None, None),
        (FakeNvml(BOTH, broken=True), None, None, None),
        (None, None, None, None),
    ],
)
def test_the_memory_of_the_gpu_is_asked_of_the_driver(
    monkeypatch: pytest.MonkeyPatch,
    nvml: FakeNvml | None,
    visible: str | None,
    order: str | None,
    size: int | None,
) -> None:
    for name, value in (("CUDA_VISIBLE_DEVICES", visible), ("CUDA_DEVICE_ORDER", order)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # None: it cannot be imported
    monkeypatch.setattr(machine_module, "_cuda", lambda: ("CUDA 13", ""))
    found = detect()
    assert found.device_memory.get("cuda") == size
    assert nvml is None or nvml.open == 0
    placement = place(read_profile("cuda"), found)
    each = size * max(1, len(placement.gpus)) if size else found.memory_bytes
    assert placement.memory_bytes == int(0.8 * each)
    assert ("nvidia-ml-py" in placement.memory_note) == (size is None)


def test_no_driver_is_asked_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(BOTH))
    monkeypatch.setattr(machine_module, "_cuda", lambda: ("", "no NVIDIA driver"))
    assert detect().device_memory == {}


@pytest.mark.parametrize("profile", ["cpu", "cuda"])
def test_only_work_on_the_gpu_is_bounded_by_its_memory(profile: str) -> None:
    box = Machine(**{**GPU_BOX.__dict__, "device_memory": {"cuda": 10 << 30}})
    own = 10 << 30 if profile == "cuda" else 64 << 30
    placement = place(read_profile(profile), box)
    assert placement.memory_bytes == int(0.8 * own)
    assert placement.memory_note == ""


@pytest.mark.parametrize(("copies", "expected"), [(1, None), (2, "TRUE")])
def test_a_duplicate_runtime_is_allowed_on_macos_only_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int, expected: str | None
) -> None:
    for number in range(copies):
        folder = tmp_path / f"package{number}" / "lib"
        folder.mkdir(parents=True)
        (folder / "libomp.dylib").touch()
    assert len(runtimes_on_disk(tmp_path)) == copies
    monkeypatch.setattr(
        "engine.study.openmp.sysconfig.get_paths", lambda: {"platlib": str(tmp_path)}
    )
    placement = place(read_profile("mps"), LAPTOP)
    assert worker_environment(placement, 8, "Darwin").get("KMP_DUPLICATE_LIB_OK") == expected
    assert "KMP_DUPLICATE_LIB_OK" not in worker_environment(placement, 8, "Linux")
    refuses = placement.openmp.model_copy(update={"duplicate_runtime": "refuse"})
    strict = type(placement)(**{**placement.__dict__, "openmp": refuses})
    assert "KMP_DUPLICATE_LIB_OK" not in worker_environment(strict, 8, "Darwin")
