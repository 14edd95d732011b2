"""Trained SAEs taken out of a finished study, through the command line, and back into a comparison."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main as cli
from engine.client import export as module
from engine.client.comparison import compare_saes
from engine.client.queue import chosen
from engine.disk.root import RunsRoot
from engine.saes.exchange import write_folder
from engine.study.sizes import CohortSize
from tests.client.conftest import TINY, execute

JOB = "tiny/topk 12 k2"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    execute(TINY, folder)
    return folder


def export(runs: Path, *words: str) -> int:
    return cli.main(["export", *words, "--runs", str(runs)])


def test_every_seed_has_a_folder_and_json_says_where(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "saes"
    assert export(runs, JOB, "--format", "sae_lens", "--out", str(out), "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(told) == {
        "jobs", "format", "architecture", "written_as", "d_in", "d_sae", "out", "saes", "notes",
    }  # fmt: skip
    assert (told["architecture"], told["written_as"], told["d_in"]) == ("topk", "topk", 8)
    assert told["saes"] == [{"seed": s, "folder": str(out / f"seed-{s}")} for s in (1, 2, 3)]
    for one in told["saes"]:
        assert {path.name for path in Path(one["folder"]).iterdir()} == {
            "cfg.json", "sae_weights.safetensors", "fires.safetensors",
        }  # fmt: skip
    metadata = json.loads((out / "seed-1" / "cfg.json").read_text())["metadata"]
    assert (metadata["hook_name"], metadata["husai_job"]) == ("planted", "topk 12 k2")
    assert [path.name for path in out.parent.iterdir()] == ["saes"], "nothing is left beside it"


def test_what_was_exported_compares_as_the_same(runs: Path, tmp_path: Path) -> None:
    for format in ("sae_lens", "sparsify", "safetensors"):
        out = tmp_path / format
        assert export(runs, JOB, "--format", format, "--out", str(out), "--seed", "2") == 0
        assert [path.name for path in out.iterdir()] == ["seed-2"]
    folders = [str(tmp_path / name / "seed-2") for name in ("sae_lens", "sparsify", "safetensors")]
    found = compare_saes([*folders, f"{JOB}:2"], runs)
    for pair in found["pairs"]:
        assert pair["observed"]["mean_max_cos"] == pytest.approx(1, abs=1e-6)
        assert pair["observed"]["matched_mcc"] == pytest.approx(1, abs=1e-6)
    assert len({one["live"] for one in found["saes"]}) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tiny/relu 12 l1 0.01", "--format", "sparsify"], 2, "holds topk, not relu"),
        ([JOB, "--format", "gguf"], 2, "no such format: one of sae_lens, sparsify, safetensors"),
        ([JOB, "--format", "dictionary_learning"], 2, "a pickle"),
        ([JOB, "--format", "sae_lens", "--seed", "9"], 2, "--seed 9: is not there: one of [1, 2, 3]"),
        (["tiny", "--format", "sae_lens"], 2, "names 2 cohorts: one of tiny/topk 12 k2, tiny/relu"),
        (["tiny/subject", "--format", "sae_lens"], 2, "a job of kind subject: a cohort"),
        (["nothing", "--format", "sae_lens"], 2, "no such study or job here"),
        ([JOB], 2, "--format"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_one_line(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    assert export(runs, *words, "--out", str(tmp_path / "out")) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("precious")
    for name in ("", "mine"):
        words = [JOB, "--format", "sae_lens", "--out", str(tmp_path / name)]
        assert export(runs, *words) == 2
        assert "exists: the name of a new folder" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_damaged_weights_are_not_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    execute({**TINY, "saes": TINY["saes"][:1]}, runs)
    (job,) = (job for job in chosen(RunsRoot(runs), "tiny") if job["kind"] == "cohort")
    file = runs / "jobs" / job["directory"] / "artifacts" / "seed-2" / "sae.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert export(runs, JOB, "--format", "safetensors", "--out", str(tmp_path / "out")) == 1
    assert "differs from its recorded sha256" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (runs / "jobs" / job["directory"] / "result.json").unlink()
    assert export(runs, JOB, "--format", "safetensors", "--out", str(tmp_path / "out")) == 1
    assert "nothing to export: its result was removed" in capsys.readouterr().err


class Full:
    """A disk that is full once the first SAE is written."""

    def __init__(self) -> None:
        self.written = 0

    def __call__(self, *given: Any) -> None:
        self.written += 1
        if self.written > 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(given[0]))
        write_folder(*given)


def test_a_full_disk_leaves_nothing_behind(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "write_folder", Full())
    assert export(runs, JOB, "--format", "sae_lens", "--out", str(tmp_path / "out")) == 3
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_cohort_in_parts_is_exported_as_one(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(CohortSize, "width", lambda self, budget: 2)
    split = tmp_path / "split"
    execute({**TINY, "saes": TINY["saes"][:1]}, split)
    names = {job["name"] for job in chosen(RunsRoot(split), "tiny") if job["kind"] == "cohort"}
    assert names == {"topk 12 k2 seed 1", "topk 12 k2 seeds 2-3"}
    capsys.readouterr()
    out = tmp_path / "whole"
    words = [JOB, "--format", "safetensors", "--out", str(out), "--json"]
    assert export(split, *words) == 0
    assert len(json.loads(capsys.readouterr().out)["jobs"]) == 2
    assert {path.name for path in out.iterdir()} == {"seed-1", "seed-2", "seed-3"}
    words = [
        "tiny/topk 12 k2 seeds 2-3",
        "--format",
        "safetensors",
        "--out",
        str(tmp_path / "part"),
    ]
    assert export(split, *words) == 0
    assert {path.name for path in (tmp_path / "part").iterdir()} == {"seed-2", "seed-3"}
