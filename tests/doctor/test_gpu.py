from __future__ import annotations

from typing import Any

import pytest

from engine.doctor.finding import Finding
from engine.doctor.gpu import gpus, has_kernels
from engine.study.machine import Machine

CUDA13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
CUDA12 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
CARDS = {"V100": (7, 0), "H100": (9, 0), "L4": (8, 9), "new": (13, 0)}


def box(**devices: str) -> Machine:
    missing = {name: "is not here" for name in ("cuda", "mps") if name not in devices}
    known = {"cuda": 80 << 30} if "cuda" in devices else {}
    return Machine(8, 64 << 30, "Linux", {"cpu": "x", **devices}, missing, known)


def look(
    *cards: str,
    archs: list[str] | None = None,
    works: bool = True,
    driver: str = "580.65.06",
    built: str = "13.0",
) -> dict[str, Finding]:
    loaded: dict[str, Any] = {
        "archs": CUDA13 if archs is None else archs,
        "cuda": works,
        "gpus": [[name, *CARDS[name]] for name in cards],
        "mps": False,
    }
    found = gpus(box(cuda="CUDA 13"), ("2.13.0", built), loaded, driver)
    return {one.topic: one for one in found}


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (["sm_80"], (8, 0), True),
        (["sm_80"], (8, 9), True),
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["sm_80", "compute_80"], (9, 0), True),
        (["compute_90"], (8, 0), False),
        (["sm_90a"], (9, 0), True),
        (["sm_100a"], (10, 3), False),
        (["sm_120"], (12, 1), True),
        ([], (9, 0), False),
    ],
)
def test_kernels_run_on_later_gpus_of_their_kind(
    archs: list[str], capability: tuple[int, int], runs: bool
) -> None:
    """CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility"."""
    assert has_kernels(archs, *capability) is runs


def test_a_gpu_that_the_wheel_dropped_needs_the_older_build() -> None:
    found = look("V100")["cuda"]
    assert found.state == "error"
    assert "V100, compute capability 7.0: this torch has no kernels for it" in found.what
    assert "CUDA 12.6" in found.remedy
    assert "cu126" in found.remedy
    assert look("V100", archs=CUDA12)["cuda"].state == "ok"


def test_a_gpu_newer_than_the_wheel_needs_a_newer_torch() -> None:
    assert look("new")["cuda"].state == "ok", "compute_120 is translated for it"
    found = look("new", archs=CUDA12)["cuda"]
    assert (found.state, found.remedy) == ("error", "install a newer torch")


def test_several_gpus_of_a_kind_are_one_finding() -> None:
    loaded = {
        "archs": CUDA13,
        "cuda": True,
        "gpus": [["H100", 9, 0]] * 2 + [["L4", 8, 9]],
        "mps": False,
    }
    found = [
        one
        for one in gpus(box(cuda="CUDA 13"), ("2.13.0", "13.0"), loaded, "580.1")
        if one.topic == "cuda"
    ]
    assert [one.what.split(",")[0] for one in found] == ["2 × H100", "L4"]


@pytest.mark.parametrize(
    ("driver", "built", "state", "remedy"),
    [
        ("580.65.06", "13.0", "ok", ""),
        (
            "570.133.20",
            "13.0",
            "error",
            "update the driver to 580 or newer, or install torch's build",
        ),
        ("570.133.20", "12.6", "ok", ""),
        ("470.57.02", "12.6", "error", "update the driver to 525.60 or newer"),
    ],
)
def test_the_driver_must_know_the_cuda_of_the_wheel(
    driver: str, built: str, state: str, remedy: str
) -> None:
    found = look("H100", driver=driver, built=built)["driver"]
    assert found.state == state
    assert found.remedy.startswith(remedy)
    assert bool(found.remedy) == (state == "error")


def test_a_driver_that_tells_no_version_is_not_judged() -> None:
    assert "driver" not in look("H100", driver="")


def test_a_gpu_that_torch_cannot_use_is_an_error_with_a_remedy() -> None:
    found = look(works=False)["cuda"]
    assert found.state == "error"
    assert "nvidia-smi" in found.remedy


def test_a_driver_without_a_build_for_it_is_told() -> None:
    machine = Machine(
        8, 64 << 30, "Linux", {"cpu": "x"}, {"cuda": "a driver is here, but torch is a CPU build", "mps": "no"}
    )  # fmt: skip
    found = next(gpus(machine, ("2.13.0", None), {"archs": [], "cuda": False, "mps": False}, ""))
    assert (found.state, found.remedy) == ("note", "install a build of torch for CUDA")


def test_what_metal_lacks_is_told() -> None:
    loaded = {"archs": [], "cuda": False, "gpus": [], "mps": True}
    found = [
        one for one in gpus(box(mps="Metal"), ("2.13.0", None), loaded, "") if one.topic == "mps"
    ]
    assert [one.state for one in found] == ["ok", "note"]
    assert "no float64" in found[1].what
    assert "deterministic" in found[1].what
    assert "mps_fallback" in found[1].what


def test_nothing_is_told_of_gpus_without_torch() -> None:
    assert list(gpus(box(), None, {}, "580")) == []
    assert list(gpus(box(), ("2.13.0", None), "bad magic", "580")) == []
