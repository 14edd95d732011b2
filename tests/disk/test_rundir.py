from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.disk.rundir import RunDirectory
from engine.errors import CorruptArtifact

JOB: dict[str, Any] = {"kind": "cohort", "threads": 1, "policy": {"gates": "enforce"}}


def test_a_directory_with_a_result_is_done(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "r")
    run.create(JOB)
    assert not run.done()
    with pytest.raises(CorruptArtifact, match="no result"):
        run.read_result()
    (run.begin_artifacts() / "w").write_text("1")
    run.finish({"x": 1})
    assert run.done()
    assert run.read_result()["x"] == 1
    assert run.sound()
    (run.artifacts / "w").write_text("2")
    with pytest.raises(CorruptArtifact, match="sha256"):
        run.read_result()
    run.discard()
    assert not run.done()


def test_an_attempt_that_resumes_keeps_its_threads_but_follows_the_policy(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "r")
    other = {"kind": "cohort", "threads": 8, "policy": {"gates": "warn"}}
    run.create(JOB)
    run.create(other)
    assert run.read_job() == other, "nothing is there to resume"
    (run.begin_checkpoint(3) / "state").write_text("weights")
    run.publish_checkpoint(3)
    run.create(JOB)
    assert run.read_job() == {**other, "policy": JOB["policy"]}


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_a_damaged_job_file_is_written_anew(tmp_path: Path, text: str) -> None:
    run = RunDirectory(tmp_path / "r")
    run.create(JOB)
    run.job_file.write_text(text)
    with pytest.raises(CorruptArtifact):
        run.read_job()
    run.create(JOB)
    assert run.read_job() == JOB


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.result_file.write_text(run.result_file.read_text().replace("0.25", "0.75")),
        lambda run: run.result_file.write_text("[]"),
        lambda run: run.result_file.write_text("{}"),
        lambda run: (run.artifacts / "manifest.json").write_text("{}"),
        lambda run: (run.artifacts / "manifest.json").write_text("[]"),
        lambda run: (run.artifacts / "manifest.json").write_text('{"w": 3}'),
        lambda run: (run.artifacts / "w").unlink(),
        lambda run: run.job_file.unlink(),
    ],
)
def test_a_result_that_was_tampered_with_is_not_sound(
    tmp_path: Path, change: Callable[[RunDirectory], object]
) -> None:
    run = RunDirectory(tmp_path / "r")
    run.create(JOB)
    (run.begin_artifacts() / "w").write_text("1")
    run.finish({"kappa": 0.25})
    assert run.sound()
    change(run)
    assert not run.sound()


def test_only_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.newest_checkpoint() is None
    for step in (5, 100, 20):
        (run.begin_checkpoint(step) / "state").write_text(str(step))
        run.publish_checkpoint(step)
    found = run.newest_checkpoint()
    assert found is not None
    assert found[0] == 100
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["step-100", "step-20"]


def test_a_damaged_checkpoint_falls_back_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path)
    for step in (1, 2):
        (run.begin_checkpoint(step) / "state").write_text("weights")
        run.publish_checkpoint(step)
    (run.checkpoints / "step-2" / "state").write_text("Weights")
    found = run.newest_checkpoint()
    assert found is not None
    assert found[0] == 1
    assert "step 2 is damaged" in capsys.readouterr().out
    assert (run.checkpoints / "damaged-step-2").is_dir()


def test_a_half_written_checkpoint_does_not_count(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    (run.begin_checkpoint(7) / "state").write_text("half")
    assert run.newest_checkpoint() is None


def test_a_folder_without_a_job_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact, match=r"no job\.json"):
        RunDirectory(tmp_path).read_job()
