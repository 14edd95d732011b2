from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from engine.disk.curves import Flag, read_curves
from engine.disk.rundir import RunDirectory
from engine.errors import Interrupted
from engine.training import (
    BatchOrder,
    Scalars,
    TensorBoardMirror,
    checkpoint_rule,
    learning_rate,
    optimizer_tensors,
    restore_optimizer,
    stream,
    train,
)
from tests.conftest import timeless


class Descent:
    """Adam on ‖w − batch mean‖²: small enough to know, real enough to resume."""

    def __init__(self, steps_to_finish: int | None = None) -> None:
        self.w = torch.zeros(3, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.w], lr=0.1)
        self.data = torch.arange(30.0).reshape(10, 3)
        self.order = BatchOrder(10, 4, seed=5)
        self.stepped: list[int] = []
        self.end = steps_to_finish

    def step(self, index: int) -> None:
        self.stepped.append(index)
        self.optimizer.zero_grad()
        ((self.w - self.data[self.order.batch(index)].mean(0)) ** 2).sum().backward()
        self.optimizer.step()

    def measure(self, done: int) -> Mapping[str, float | list[float]]:
        return {"norm": float(self.w.detach().norm()), "w": self.w.tolist()}

    def flags(self, done: int, values: Mapping[str, Any]) -> list[Flag]:
        return [Flag("half", "half of it", 2)] if done == 10 else []

    def finished(self, done: int) -> bool:
        return self.end is not None and done >= self.end

    def state(self) -> tuple[dict[str, Tensor], Scalars]:
        return {"w": self.w, **optimizer_tensors(self.optimizer)}, {"note": "x"}

    def restore(self, tensors: Mapping[str, Tensor], scalars: Scalars) -> None:
        assert scalars == {"note": "x"}
        with torch.no_grad():
            self.w.copy_(tensors["w"])
        restore_optimizer(self.optimizer, tensors)


def go(task: Descent, run: RunDirectory, stop_at: int | None = None) -> int:
    run.path.mkdir(exist_ok=True)
    return train(
        task,
        run,
        steps=20,
        measure_every=5,
        checkpoint=checkpoint_rule(7, 0),
        stop=lambda: stop_at is not None and len(task.stepped) == stop_at,
        labels=["x", "y", "z"],
    )


def test_stopped_anywhere_and_resumed_it_ends_bitwise_the_same(tmp_path: Path) -> None:
    whole = Descent()
    assert go(whole, RunDirectory(tmp_path / "whole")) == 20
    for stop_at in (0, 1, 7, 13, 19):
        run = RunDirectory(tmp_path / str(stop_at))
        with pytest.raises(Interrupted, match=f"step {stop_at} of 20; saved"):
            go(Descent(), run, stop_at)
        resumed = Descent()
        assert go(resumed, run) == 20
        assert resumed.stepped == list(range(stop_at, 20))
        assert torch.equal(resumed.w, whole.w)
        curves = [
            timeless(RunDirectory(tmp_path / name).curves_file) for name in ("whole", str(stop_at))
        ]
        assert curves[0] == curves[1]
    assert [row["step"] for row in curves[0]] == [0, 5, 10, 15, 20]


def test_the_seconds_of_a_row_go_on_where_the_checkpoint_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(Descent):
        """Each step takes a second, each start of a process happens at another time."""

        def __init__(self, now: float) -> None:
            super().__init__()
            self.now = now
            monkeypatch.setattr("engine.training.time.monotonic", lambda: self.now)

        def step(self, index: int) -> None:
            super().step(index)
            self.now += 1

    run = RunDirectory(tmp_path)
    with pytest.raises(Interrupted):
        go(Clock(now=100.0), run, stop_at=12)
    seconds = [(row["step"], row["seconds"]) for row in read_curves(run.curves_file)]
    assert seconds == [(0, 0), (5, 5), (10, 10)]
    go(Clock(now=7.0), run)
    seconds = [(row["step"], row["seconds"]) for row in read_curves(run.curves_file)]
    assert seconds == [(0, 0), (5, 5), (10, 10), (15, 15), (20, 20)]


def test_a_kill_costs_at_most_the_steps_since_the_last_checkpoint(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Mortal(Descent):
        def step(self, index: int) -> None:
            if index == 17:
                raise Killed
            super().step(index)

    run = RunDirectory(tmp_path)
    with pytest.raises(Killed):
        go(Mortal(), run)
    resumed = Descent()
    go(resumed, run)
    assert resumed.stepped[0] == 14
    assert [row["step"] for row in read_curves(run.curves_file)] == [0, 5, 10, 15, 20]


def test_a_task_may_end_early_but_only_where_it_is_measured(tmp_path: Path) -> None:
    assert go(Descent(steps_to_finish=8), RunDirectory(tmp_path)) == 10


def test_tensorboard_has_every_step_once_after_a_resumption(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(Interrupted):
        go(Descent(), run, stop_at=12)
    go(Descent(), run)
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"norm", "w/x", "w/y", "w/z"}
    assert [event.step for event in events.Scalars("w/y")] == [0, 5, 10, 15, 20]
    curves = {row["step"]: row["norm"] for row in read_curves(run.curves_file)}
    assert all(event.value == pytest.approx(curves[event.step]) for event in events.Scalars("norm"))


def test_a_folder_that_cannot_hold_events_does_not_stop_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path)
    run.tensorboard.write_text("a file in the way")
    assert go(Descent(), run) == 20
    assert "going on without" in capsys.readouterr().out
    assert len(read_curves(run.curves_file)) == 5


def test_a_mirror_that_fails_goes_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class FullDisk:
        def add_scalar(self, name: str, value: float, step: int) -> None:
            raise OSError(28, "No space left on device")

    mirror = TensorBoardMirror(RunDirectory(tmp_path), [], purge_after=0)
    mirror.close()
    mirror._writer = FullDisk()  # type: ignore[assignment]
    mirror.write(1, {"loss": 1.0})
    mirror.write(2, {"loss": 1.0})
    mirror.close()
    assert capsys.readouterr().out.count("No space left") == 1


@pytest.mark.parametrize(
    ("step", "schedule", "rate"),
    [
        (0, "constant", 0.1),
        (4, "constant", 0.5),
        (9, "constant", 1.0),
        (10, "constant", 1.0),
        (109, "constant", 1.0),
        (60, "cosine", 0.5),
        (110, "cosine", 0.0),
        (60, "linear", 0.5),
        (85, "linear", 0.25),
        (65, "step", 1.0),
        (66, "step", 0.1),
        (94, "step", 0.01),
    ],
)
def test_schedules_by_hand(step: int, schedule: str, rate: float) -> None:
    found = learning_rate(step, steps=110, peak=1.0, warmup=10, schedule=schedule)
    assert found == pytest.approx(rate, abs=1e-12)


def test_batches_are_passes_without_repetition() -> None:
    order = BatchOrder(10, 4, seed=3)
    numbers = torch.cat([order.batch(step) for step in range(10)])
    for start in range(0, 40, 10):
        assert sorted(numbers[start : start + 10].tolist()) == list(range(10))
    assert not torch.equal(numbers[:10], numbers[10:20])


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    forward = BatchOrder(10, 4, seed=3)
    seen = [forward.batch(step) for step in range(8)]
    backward = BatchOrder(10, 4, seed=3)
    assert all(torch.equal(backward.batch(step), seen[step]) for step in reversed(range(8)))
    assert not all(torch.equal(BatchOrder(10, 4, seed=4).batch(s), seen[s]) for s in range(8))


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    assert sorted(BatchOrder(5, 64, seed=0).batch(3).tolist()) == list(range(5))


def test_streams_of_two_purposes_are_unrelated() -> None:
    one, two = (torch.randn(1000, generator=stream(name, 7)) for name in ("a", "b"))
    assert abs(float(torch.corrcoef(torch.stack([one, two]))[0, 1])) < 0.1
    assert torch.equal(one, torch.randn(1000, generator=stream("a", 7)))


def test_checkpoints_are_denser_during_the_warmup() -> None:
    due = checkpoint_rule(None, warmup=2_000)
    assert [done for done in range(1, 12_000) if due(done)] == [1_000, 2_000, 5_000, 10_000]
    own = checkpoint_rule(7, warmup=2_000)
    assert [done for done in range(1, 20) if own(done)] == [7, 14]


def test_red_flags_are_in_the_row_that_raised_them_and_in_tensorboard(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    go(Descent(), run)
    flags = {row["step"]: row["flags"] for row in read_curves(run.curves_file) if "flags" in row}
    assert flags == {10: [{"name": "half", "message": "half of it", "seed": 2}]}
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    assert [event.step for event in events.Tensors("red flags/half/text_summary")] == [10]
