from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import EnvironmentUnfit, InputError
from engine.study.machine import Machine
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
