from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine import doctor
from engine.study.machine import Machine

SOUND = {"pools": [], "archs": [], "cuda": False, "mps": False}


def probe(**facts: object) -> Sequence[str]:
    """Return a command that prints what torch would report on some machine."""
    return (sys.executable, "-c", f"print({json.dumps(json.dumps({**SOUND, **facts}))})")


def states(findings: Sequence[doctor.Finding]) -> dict[str, str]:
    return {finding.topic: finding.state for finding in findings}


def test_a_sound_machine_has_no_error(tmp_path: Path) -> None:
    found = doctor.examine(tmp_path, probe())
    assert "error" not in states(found).values()
    assert {"python", "torch", "openmp", "sqlite", "cores", "memory", "disk"} <= set(states(found))


def test_every_problem_has_a_remedy(tmp_path: Path) -> None:
    clash = [
        {
            "user_api": "openmp",
            "internal_api": "openmp",
            "prefix": "libomp",
            "filepath": f"/{n}/libomp.dylib",
        }
        for n in "ab"
    ]
    found = doctor.examine(tmp_path / "no" / "such", probe(pools=clash))
    problems = [finding for finding in found if finding.state in ("warning", "error")]
    assert problems
    assert all(finding.remedy for finding in problems)


@pytest.mark.parametrize(
    ("known", "state", "what"),
    [({"cuda": 24 << 30}, "ok", "24.0 GB"), ({}, "note", "for the memory of the computer")],
)
def test_the_memory_of_the_gpu_is_told_or_said_to_be_unknown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: dict[str, int],
    state: str,
    what: str,
) -> None:
    box = Machine(2, 8 << 30, "Linux", {"cpu": "x", "cuda": "CUDA 13"}, {"mps": "no"}, known)
    monkeypatch.setattr(doctor, "detect", lambda: box)
    found = {finding.topic: finding for finding in doctor.examine(tmp_path, probe(cuda=True))}
    assert found["GPU memory"].state == state
    assert what in found["GPU memory"].what


@pytest.mark.parametrize(
    ("prefixes", "state"),
    [
        (["libomp", "libomp"], "warning"),
        (["libomp", "libiomp"], "warning"),
        (["libgomp", "libgomp"], "ok"),
    ],
)
def test_two_runtimes_clash_unless_they_are_gnus(
    tmp_path: Path, prefixes: list[str], state: str
) -> None:
    pools = [
        {"user_api": "openmp", "internal_api": "openmp", "prefix": p, "filepath": f"/{n}"}
        for n, p in enumerate(prefixes)
    ]
    assert states(doctor.examine(tmp_path, probe(pools=pools)))["openmp"] == state


def test_a_broken_torch_is_told_in_its_own_words(tmp_path: Path) -> None:
    broken = (sys.executable, "-c", "raise ImportError('libtorch_cpu.so: bad magic')")
    (torch,) = [f for f in doctor.examine(tmp_path, broken) if f.topic == "torch"]
    assert torch.state == "error"
    assert "bad magic" in torch.what


def test_kmp_in_the_shell_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "TRUE")
    found = [f for f in doctor.examine(tmp_path, probe()) if "KMP" in f.what]
    assert [f.state for f in found] == ["warning"]


def test_the_real_probe_reads_this_machine(tmp_path: Path) -> None:
    found = states(doctor.examine(tmp_path))
    assert found["torch"] == "ok"
