"""Runs of Weights & Biases, offline, read from the file that `wandb sync` would send."""

from __future__ import annotations

import builtins
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main as cli
from engine.client import wandb_runs
from engine.client.queue import jobs
from engine.client.wandb_runs import write_runs
from engine.disk.curves import NOT_VALUES, read_curves
from engine.disk.root import RunsRoot
from engine.errors import EnvironmentUnfit, InputError
from scripts.pretend import Pretence

wandb = pytest.importorskip("wandb")
BLOCK, HEADER, MAGIC = 32768, 7, 7


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a file of wandb: LevelDB's log format after seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, part = path.read_bytes(), MAGIC, b""
    assert data.startswith(b":W&B")
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        part += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            yield record


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody answers there


def test_a_run_holds_the_curves_the_settings_and_the_result(finished: Path, tmp_path: Path) -> None:
    root = RunsRoot(finished)
    folders = write_runs(root, "tiny", tmp_path / "out")
    trained = [job for job in jobs(root, "tiny") if job["kind"] == "cohort"]
    assert len(folders) == len(trained) == 2
    (file,) = Path(folders[0]).glob("run-*.wandb")
    found = list(records(file))
    (run,) = [one.run for one in found if one.WhichOneof("record_type") == "run"]
    directory = root.run(trained[0]["directory"])
    key = directory.read_job()["key"]
    assert (run.display_name, run.run_group, run.run_id) == (
        "topk 12 k2",
        "tiny",
        f"tiny-{key[:16]}",
    )
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["seeds"] == [1, 2, 3]
    rows = read_curves(directory.curves_file)
    history = [one.history for one in found if one.WhichOneof("record_type") == "history"]
    assert [one.step.num for one in history] == [row["step"] for row in rows]
    last = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in history[-1].item}
    for name, values in rows[-1].items():
        if name not in NOT_VALUES and isinstance(values, list):
            for seed, value in zip((1, 2, 3), values, strict=True):
                if value is not None:
                    assert last[f"{name}/seed-{seed}"] == pytest.approx(value)
    told = {
        item.key or item.nested_key[0]: item.value_json
        for one in found
        if one.WhichOneof("record_type") == "summary"
        for item in one.summary.update
    }
    assert json.loads(told["verdict"]) in ("undetermined", "chance", "weak", "moderate", "strong")


def test_what_is_missing_is_said(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = RunsRoot(finished)
    with pytest.raises(InputError, match="no such study"):
        write_runs(root, "nonsense", tmp_path)
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "wandb":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentUnfit, match=r"pip install 'husai\[wandb\]'"):
        write_runs(root, "tiny", tmp_path)


def test_a_study_that_has_trained_nothing_yet_says_what_to_do(tmp_path: Path) -> None:
    pretence = Pretence(tmp_path / "runs", running=0, queued=2, rows=5)
    (study,) = {str(job["study"]) for job in jobs(pretence.root)} or {""}
    with pytest.raises(InputError) as told:
        write_runs(pretence.root, study, tmp_path / "out")
    said = str(told.value)
    assert "nothing of it has trained yet (its jobs:" in said
    assert "queued)" in said
    assert "`husai-engine status`" in said
    assert not (tmp_path / "out").exists()


def test_runs_that_are_not_finished_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretence = Pretence(tmp_path / "runs", running=1, queued=1, rows=5)
    monkeypatch.setattr(wandb_runs, "_write", lambda wandb, *rest: str(rest[2]))
    study = str(jobs(pretence.root)[0]["study"])
    assert cli.main(["wandb", study, "--runs", str(pretence.root.path)]) == 0
    assert "runs are not finished: write them again when they are" in capsys.readouterr().out


def test_the_command_names_the_runs(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(wandb_runs, "_write", lambda wandb, *rest: f"{rest[2]} at {rest[3].name}")
    given = ["wandb", "tiny", "--runs", str(finished)]
    assert cli.main([*given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "project": "husai",
        "mode": "offline",
        "runs": ["topk 12 k2 at tiny", "relu 12 l1 0.01 at tiny"],
    }
    assert cli.main([*given, "--out", str(tmp_path / "there")]) == 0
    said = capsys.readouterr().out
    assert "topk 12 k2 at there" in said
    assert "nothing was sent" in said
