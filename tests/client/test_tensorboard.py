"""TensorBoard over a runs root, read by TensorBoard's own loader."""

from __future__ import annotations

import json
import math
import os
import socket
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine.cli import main as cli
from engine.client.queue import jobs
from engine.client.tensorboard import arrange, follow, plain, refresh, server_command
from engine.client.tunnel import free_port, tunnel
from engine.disk.curves import NOT_VALUES, CurveWriter, read_curves
from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.errors import EnvironmentUnfit, InputError
from engine.report.events import EventFile
from scripts.pretend import Pretence

TOPK, RELU = "topk 12 k2", "relu 12 l1 0.01"


def loaded(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    return events


def of_topk(root: RunsRoot) -> RunDirectory:
    return next(root.run(j["directory"]) for j in jobs(root, "tiny") if j["name"] == TOPK)


def expected(run: RunDirectory) -> dict[str, list[tuple[int, float]]]:
    """Return tag → step and value, straight from the lines of the curves file."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in run.curves_file.read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name in NOT_VALUES:
                continue
            values = (
                zip((1, 2, 3), value, strict=True) if isinstance(value, list) else [("", value)]
            )
            for seed, item in values:
                tag = f"{name}/seed-{seed}" if seed else name
                if item is not None:
                    found.setdefault(tag, []).append((row["step"], item))
    return found


def seen(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = loaded(folder)
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_every_run_has_a_name_and_every_cohort_its_row_densities_and_figures(
    finished: Path,
) -> None:
    root = RunsRoot(finished)
    arranged = arrange(root)
    assert arranged.runs == [
        f"tiny/{TOPK}",
        f"tiny/{RELU}",
        "result/tiny",
        f"result/tiny/{TOPK}",
        f"result/tiny/{RELU}",
    ]
    assert all((arranged.folder / name).is_dir() for name in arranged.runs)
    link = arranged.folder / "tiny" / TOPK
    assert link.resolve() == of_topk(root).tensorboard.resolve()
    assert not Path(link.readlink()).is_absolute()  # a runs root may be moved, or mounted elsewhere
    row = loaded(arranged.folder / "result" / "tiny" / TOPK)
    assert {"result/observed", "result/explained_variance"} <= set(row.Tags()["scalars"])
    assert row.Tags()["histograms"] == [f"log10 density/seed-{seed}" for seed in (1, 2, 3)]
    figures = sorted(path.stem for path in (finished / "tiny/report/figures").glob("*.png"))
    assert sorted(loaded(arranged.folder / "result" / "tiny").Tags()["images"]) == figures


def test_events_written_anew_hold_the_curves_and_nothing_of_before(finished: Path) -> None:
    root = RunsRoot(finished)
    run = of_topk(root)
    with EventFile(run.tensorboard) as events:
        events.scalar("of another attempt", 1.0, 999)
    arranged = arrange(root, ["tiny"], rebuild=True)
    assert arranged.rebuilt == [f"tiny/{TOPK}", f"tiny/{RELU}"]
    assert not arranged.left
    found, wanted = seen(arranged.folder / "tiny" / TOPK), expected(run)
    assert found.keys() == wanted.keys()
    for tag, points in wanted.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in points]
        assert [v for _, v in found[tag]] == pytest.approx([v for _, v in points], rel=1e-6)


def test_what_a_worker_wrote_itself_is_what_is_written_anew(finished: Path) -> None:
    root = RunsRoot(finished)
    run = of_topk(root)
    theirs = seen(run.tensorboard)
    arrange(root, ["tiny"], rebuild=True)
    known = {
        tag: [(step, value) for step, value in points if not math.isnan(value)]
        for tag, points in theirs.items()
    }
    assert known == seen(run.tensorboard)


def test_a_job_that_was_killed_and_resumed_has_every_step_once(finished: Path) -> None:
    run = of_topk(RunsRoot(finished))
    steps = [row["step"] for row in read_curves(run.curves_file)]
    with CurveWriter(run.curves_file, keep_through=steps[0]) as curves:
        for step in steps[1:]:
            curves.write(step, {"loss": [1.0, 2.0, float("nan")]})
    with open(run.curves_file, "a") as file:
        file.write('{"step": 99999, "loss": [1.0')  # torn by a kill
    arrange(RunsRoot(finished), rebuild=True)
    found = seen(run.tensorboard)
    assert [step for step, _ in found["loss/seed-2"]] == steps
    assert [step for step, _ in found["loss/seed-3"]] == steps[:1]


def test_a_running_job_is_left_alone_but_named(tmp_path: Path) -> None:
    pretence = Pretence(tmp_path / "runs", running=1, queued=1, rows=5)
    run = pretence.root.run(pretence.running[0])
    run.tensorboard.mkdir()
    arranged = arrange(pretence.root, rebuild=True)
    (left,) = arranged.left
    assert left.endswith("it runs")
    assert len(arranged.runs) == 1
    assert not any(run.tensorboard.iterdir())


def test_what_comes_later_is_added_and_a_new_report_replaces_the_old_one(
    finished: Path, tmp_path: Path
) -> None:
    root, empty = RunsRoot(finished), RunsRoot(tmp_path / "empty")
    empty.prepare()
    assert refresh(empty).runs == []
    first = refresh(root)
    written = sorted(path.name for path in (first.folder / "result/tiny").glob("events*"))
    assert refresh(root).runs == first.runs
    assert sorted(p.name for p in (first.folder / "result/tiny").glob("events*")) == written
    os.utime(finished / "tiny/report/summary.json", ns=(1, 1))
    refresh(root)
    (renewed,) = (first.folder / "result/tiny").glob("events*")
    assert renewed.name not in written


def test_the_server_goes_on_until_it_is_asked_to_stop(finished: Path) -> None:
    root, asked = RunsRoot(finished), iter([False, False, True])
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert follow(root, (), sleeper, lambda: next(asked)) == 0
    assert follow(root, (), [sys.executable, "-c", "raise SystemExit(3)"], lambda: False) == 3


def test_what_is_not_there_is_said(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such study in the queue.*one of: tiny"):
        arrange(RunsRoot(finished), ["nonsense"])
    with pytest.raises(InputError, match="no study yet"):
        arrange(RunsRoot(tmp_path / "empty"))


def test_a_runs_root_that_cannot_be_written_says_how_to_read_it(tmp_path: Path) -> None:
    pretence = Pretence(tmp_path / "runs", running=1, queued=1, rows=5)
    pretence.root.tensorboard.write_text("no folder can be made here")
    with pytest.raises(EnvironmentUnfit) as told:
        arrange(pretence.root)
    said = str(told.value)
    assert f"{pretence.root.tensorboard}: cannot be written" in said
    assert f"-m tensorboard.main --logdir {pretence.root.jobs}" in said
    assert "\n" not in said


def test_the_command_says_what_there_is_as_json(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tensorboard", "tiny", "--rebuild", "--json", "--runs", str(finished)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"folder", "runs", "rebuilt", "left"}
    assert cli.main(["tensorboard", "--rebuild", "--runs", str(finished)]) == 0
    assert capsys.readouterr().out == "events of 2 jobs written anew\n"


def test_the_server_is_for_this_machine_alone(tmp_path: Path) -> None:
    command = server_command(tmp_path, 6006)
    assert command[:3] == [sys.executable, "-m", "tensorboard.main"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "--bind_all" not in command
    port = free_port(0)
    assert tunnel(port).startswith(f"ssh -L {port}:127.0.0.1:{port} ")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EnvironmentUnfit, match="is taken"):
            free_port(taken.getsockname()[1])


def test_names_are_one_folder() -> None:
    assert plain("a/b") == "a-b"
    assert plain("..") == "unnamed"
