from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine import doctor
from engine.doctor import examination
from engine.study.machine import Machine

SOUND = {
    "pools": [], "archs": [], "cuda": False, "gpus": [], "mps": False, "encoding": "UTF-8", "locale_error": "",
}  # fmt: skip
TOPICS = {
    "python", "torch", "cuda", "mps", "openmp", "sqlite", "cores", "memory", "disk", "runs root", "terminal",
    "locale", "clock",
}  # fmt: skip


def probe(**facts: object) -> Sequence[str]:
    """Return a command that prints what torch would report on some machine."""
    return (sys.executable, "-c", f"print({json.dumps(json.dumps({**SOUND, **facts}))})")


def states(findings: Sequence[doctor.Finding]) -> dict[str, str]:
    return {finding.topic: finding.state for finding in findings}


def test_a_sound_machine_has_no_error(tmp_path: Path) -> None:
    found = doctor.examine(tmp_path, probe())
    assert "error" not in states(found).values()
    assert set(states(found)) >= TOPICS


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
    monkeypatch.setattr(examination, "detect", lambda: box)
    found = {finding.topic: finding for finding in doctor.examine(tmp_path, probe(cuda=True))}
    assert found["GPU memory"].state == state
    assert what in found["GPU memory"].what


def test_a_broken_torch_is_told_in_its_own_words(tmp_path: Path) -> None:
    broken = (sys.executable, "-c", "raise ImportError('libtorch_cpu.so: bad magic')")
    (torch,) = [f for f in doctor.examine(tmp_path, broken) if f.topic == "torch"]
    assert torch.state == "error"
    assert "bad magic" in torch.what


def test_the_real_probe_reads_this_machine(tmp_path: Path) -> None:
    found = states(doctor.examine(tmp_path))
    assert found["torch"] == "ok"
    assert found["locale"] in ("ok", "warning"), "it was examined"


def test_findings_are_plain_for_json(tmp_path: Path) -> None:
    told = doctor.as_json(doctor.examine(tmp_path, probe()))
    assert json.loads(json.dumps(told)) == told
    assert all(set(one) == {"topic", "state", "what", "remedy"} for one in told)
