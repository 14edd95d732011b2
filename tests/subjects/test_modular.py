"""Training: what a step does, what is measured, when it may end, and that it resumes bitwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.errors import Diverged, Interrupted
from engine.study.subject import Modular
from engine.subjects.modular import Grokking, Row
from engine.subjects.transformer import weights
from engine.training import BatchOrder, checkpoint_rule, train
from tests.conftest import timeless


def config(**training: object) -> Modular:
    fast: dict[str, object] = {"batch_size": 16, "steps": 24, "measure_every": 4, "lr": 1e-2}
    return Modular.model_validate(
        {
            "modulus": 7,
            "split": {"train": 0.5, "validation": 0.2},
            "transformer": {"d_model": 12, "heads": 3, "d_mlp": 20},
            "training": {**fast, "checkpoint_every": 10, **training},
        }
    )


def run(task: Grokking, folder: Path, stop: Callable[[], bool] = lambda: False) -> int:
    settings = task.config.training
    directory = RunDirectory(folder)
    directory.create({"kind": "subject", "policy": {}})
    return train(
        task,
        directory,
        steps=settings.steps,
        measure_every=settings.measure_every,
        checkpoint=checkpoint_rule(settings.checkpoint_every, 0),
        stop=stop,
    )


def snapshot(task: Grokking) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in task.state()[0].items()}


class StopAt:
    """Asks to stop before one step of the loop."""

    def __init__(self, step: int) -> None:
        self.step, self.asked = step, -1

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked == self.step


class ConfirmedFrom:
    """Confirms from one step on, except at some."""

    def __init__(self, step: int, but: Sequence[int] = ()) -> None:
        self.step, self.but = step, but

    def __call__(self, rows: Sequence[Row]) -> bool:
        newest = rows[-1]["step"]
        return newest >= self.step and newest not in self.but


class CertainReader:
    """Gives every right answer a lead of 20 nats."""

    def __init__(self, task: Grokking) -> None:
        lead = 20.0 * F.one_hot(task.problem.answers_N, 7).float()
        self.table_NC = torch.nn.Parameter(lead)

    def logits(self, rows_N: Tensor) -> Tensor:
        return self.table_NC[rows_N]


class Recorder:
    """A progress that returns NaN and remembers the shapes it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[torch.Size, torch.Size]] = []

    def __call__(self, grid_PPP: Tensor, embedding_PD: Tensor) -> Mapping[str, float]:
        self.shapes.append((grid_PPP.shape, embedding_PD.shape))
        return {"fve": math.nan, "gini": 0.25, "test_loss": -1.0}


def test_a_step_is_adamw_on_the_float64_loss_of_its_batch() -> None:
    """The first step of Adam moves each weight by rate·sign(gradient), after decoupled decay."""
    task = Grokking(config(lr=1e-2, weight_decay=0.5, warmup_steps=4))
    name = "layers.0.mlp.fc_in.weight"
    before = weights(task.model)[name].detach().clone()
    rows = task.problem.split.train[task._order.batch(0)]
    out = task.model(task.problem.tokens_NT[rows])[:, 2]  # type: ignore[operator]
    loss = F.cross_entropy(out.double(), task.problem.answers_N[rows])
    (gradient,) = torch.autograd.grad(loss, [weights(task.model)[name]])
    task.step(0)
    rate = 1e-2 / 4
    clear = gradient.abs() > 1e-5
    expected = before * (1 - rate * 0.5) - rate * gradient.sign()
    torch.testing.assert_close(
        weights(task.model)[name].detach()[clear], expected[clear], rtol=1e-3, atol=1e-5
    )


def test_a_certain_answer_still_has_a_gradient() -> None:
    """1 - softmax is 6·exp(-20) = 1.2e-8, which float32 rounds to nothing."""
    task = Grokking(config())
    reader = CertainReader(task)
    task._reader = reader  # type: ignore[assignment]
    task.step(0)
    assert reader.table_NC.grad is not None
    rows = task.problem.split.train[task._order.batch(0)]
    gradients = reader.table_NC.grad[rows, task.problem.answers_N[rows]]
    assert gradients.tolist() == pytest.approx([-6 * math.exp(-20) / 16] * 16, rel=1e-3)


def test_biases_stay_at_zero() -> None:
    task = Grokking(config())
    for index in range(3):
        task.step(index)
    assert not any(w.any() for name, w in weights(task.model).items() if name.endswith(".bias"))


def test_batches_are_training_pairs_only() -> None:
    task = Grokking(config())
    seen = torch.cat([task.problem.split.train[task._order.batch(i)] for i in range(9)])
    assert not torch.isin(seen, task.problem.split.test).any()
    assert not torch.isin(seen, task.problem.split.validation).any()


def test_orders_of_all_seeds_and_passes_differ() -> None:
    """Two numbers side by side in one seed would not do: the generator reads 32 bits of it."""
    first = {
        tuple(BatchOrder(40, 40, seed).batch(step).tolist())
        for seed in range(6)
        for step in range(6)
    }
    assert len(first) == 36


def test_a_measurement_is_loss_and_accuracy_of_each_part() -> None:
    task = Grokking(config())
    with torch.no_grad():
        out = task.model(task.problem.tokens_NT)[:, 2].double()  # type: ignore[operator]
    row = task.measure(0)
    for name in ("train", "validation", "test"):
        rows = getattr(task.problem.split, name)
        answers = task.problem.answers_N[rows]
        assert row[f"{name}_loss"] == pytest.approx(float(F.cross_entropy(out[rows], answers)))
        right = float((out[rows].argmax(1) == answers).double().mean())
        assert row[f"{name}_accuracy"] == pytest.approx(right)
    assert row["train_loss"] == pytest.approx(math.log(7), abs=0.3)


def test_without_validation_pairs_there_is_no_such_curve() -> None:
    settings = Modular.model_validate({**config().model_dump(), "split": {"train": 0.5}})
    assert set(Grokking(settings).measure(0)) == {
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
    }


def test_progress_gets_the_grid_and_the_numbers_embedding_and_cannot_overwrite() -> None:
    progress = Recorder()
    task = Grokking(config(), progress=progress)
    row = task.measure(0)
    assert progress.shapes == [((7, 7, 7), (7, 12))]
    assert row["gini"] == 0.25
    assert row["test_loss"] > 0.0
    assert task.rows[0]["step"] == 0.0


def test_measuring_changes_no_weight() -> None:
    task = Grokking(config())
    task.step(0)
    before = snapshot(task)
    task.measure(1)
    after = snapshot(task)
    assert all(torch.equal(before[n], after[n]) for n in before if n != "history")


def test_the_grid_is_indexed_by_a_b_answer() -> None:
    task = Grokking(config())
    tokens = torch.tensor([[2, 5, 7]])
    out = task.model(tokens)[0, 2].detach()  # type: ignore[operator]
    torch.testing.assert_close(task.grid()[2, 5], out, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stop_at", [0, 1, 7, 10, 12, 23])
def test_interrupted_and_resumed_is_bitwise_the_same(tmp_path: Path, stop_at: int) -> None:
    settings = config(schedule="cosine")
    straight = Grokking(settings, progress=Recorder(), confirmed=ConfirmedFrom(8))
    assert run(straight, tmp_path / "straight") == 24
    first = Grokking(settings, progress=Recorder(), confirmed=ConfirmedFrom(8))
    with pytest.raises(Interrupted, match=f"step {stop_at} of 24"):
        run(first, tmp_path / "cut", StopAt(stop_at))
    second = Grokking(settings, progress=Recorder(), confirmed=ConfirmedFrom(8))
    assert run(second, tmp_path / "cut") == 24
    expected, found = snapshot(straight), snapshot(second)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor.nan_to_num(-7.0), found[name].nan_to_num(-7.0)), name
    assert second.confirmed_since == straight.confirmed_since == 8
    curves = [timeless(RunDirectory(tmp_path / n).curves_file) for n in ("straight", "cut")]
    assert curves[0] == curves[1]
    assert [row["step"] for row in curves[0]] == [0, 4, 8, 12, 16, 20, 24]
    assert [row["step"] for row in second.rows] == [0, 4, 8, 12, 16, 20, 24]


def test_it_learns_its_training_pairs(tmp_path: Path) -> None:
    task = Grokking(config(steps=300, measure_every=100, checkpoint_every=500, weight_decay=0.1))
    run(task, tmp_path)
    assert task.rows[-1]["train_accuracy"] == 1.0
    assert task.rows[-1]["train_loss"] < 0.05


def test_it_ends_once_confirmed_for_the_settling_time(tmp_path: Path) -> None:
    settings = config(early_stopping={"settle": 8})
    task = Grokking(settings, confirmed=ConfirmedFrom(8))
    assert run(task, tmp_path) == 16
    assert task.confirmed_since == 8


def test_a_lapse_starts_the_settling_time_again(tmp_path: Path) -> None:
    settings = config(early_stopping={"settle": 8})
    task = Grokking(settings, confirmed=ConfirmedFrom(8, but=[12]))
    assert run(task, tmp_path) == 24
    assert task.confirmed_since == 16


@pytest.mark.parametrize("settle", [1, 4, 9])
@pytest.mark.parametrize("from_step", [4, 11, 99])
def test_it_never_ends_before_it_is_confirmed(tmp_path: Path, settle: int, from_step: int) -> None:
    task = Grokking(config(early_stopping={"settle": settle}), confirmed=ConfirmedFrom(from_step))
    done = run(task, tmp_path)
    assert done == 24 or done >= from_step + settle


def test_without_early_stopping_or_a_judge_it_uses_the_whole_budget(tmp_path: Path) -> None:
    off = config(early_stopping={"enabled": False, "settle": 1})
    assert run(Grokking(off, confirmed=ConfirmedFrom(0)), tmp_path / "off") == 24
    assert run(Grokking(config(early_stopping={"settle": 1})), tmp_path / "none") == 24


def test_divergence_names_the_step(tmp_path: Path) -> None:
    task = Grokking(config(lr=1e30, warmup_steps=0))
    with pytest.raises(Diverged, match=r"(nan|inf) at step [1-9]"):
        run(task, tmp_path)


def test_a_poisoned_weight_is_noticed_by_step_and_measurement() -> None:
    task = Grokking(config())
    with torch.no_grad():
        weights(task.model)["head.weight"][0, 0] = math.nan
    before = weights(task.model)["tok_embed.weight"].detach().clone()
    with pytest.raises(Diverged, match=r"nan at step 3: lower training\.lr"):
        task.step(3)
    assert torch.equal(weights(task.model)["tok_embed.weight"], before)
    with pytest.raises(Diverged, match="nan at step 4"):
        task.measure(4)
