"""A seed whose loss or weights are not finite: frozen at its last good state; the others do not notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.disk.curves import read_curves
from engine.disk.rundir import RunDirectory
from engine.saes.cohort import Cohort
from engine.saes.freeze import intact
from engine.saes.weights import Weights
from engine.stages.cohort import agreement_of_each
from engine.study.sae import ReLU, Sae, Stability, TopK
from engine.training import checkpoint_rule, train
from tests.saes.conftest import TRAINING, activations
from tests.saes.test_cohort import ALL, COUPLED_TOPK, NAMES, RESAMPLED, TOPK
from tests.saes.test_graphs import Tape

SEEDS = (3, 7, 11)
OWN = TRAINING.model_copy(update={"measure_every": 5})


class Poisoned(Cohort):
    """Feeds some seeds a batch with a NaN at one step."""

    poisoned: tuple[int, ...] = (1,)
    at = 12

    def step(self, index: int) -> None:
        whole = self.batches.batch

        def batch(step: int) -> Tensor:
            x_SBD = whole(step).clone()
            if step == self.at:
                for place in self.poisoned:
                    x_SBD[place, 0, 0] = torch.nan
            return x_SBD

        self.batches.batch = batch  # type: ignore[method-assign]
        try:
            super().step(index)
        finally:
            self.batches.batch = whole  # type: ignore[method-assign]


class Torn(Cohort):
    """Gives the second seed a gradient that is not finite at one step, of which its loss says nothing."""

    at = 14
    now = -1

    def step(self, index: int) -> None:
        self.now = index  # a replay calls what follows with the index of its recording
        super().step(index)

    def _descend(self, index: int) -> None:
        if self.now == self.at:
            for parameter in self.saes.parameters().values():
                if parameter.grad is not None:
                    parameter.grad[1] = torch.nan
        super()._descend(index)


def cohort(
    config: Sae, kind: type[Cohort] = Poisoned, seeds: tuple[int, ...] = SEEDS, **options: Any
) -> Cohort:
    return kind(config, OWN, seeds, activations(), **options)


def drive(folder: Path, task: Cohort, steps: int = 40) -> RunDirectory:
    run = RunDirectory(folder)
    run.create({"kind": "cohort"})
    rule = checkpoint_rule(9, 0)
    train(task, run, steps=steps, measure_every=5, checkpoint=rule, stop=lambda: False)
    return run


@pytest.mark.parametrize("config", ALL, ids=NAMES)
def test_the_others_stay_bitwise_the_same(config: Sae, tmp_path: Path) -> None:
    sick, well = cohort(config), cohort(config, Cohort)
    run = drive(tmp_path / "sick", sick)
    drive(tmp_path / "well", well)
    for name, tensor in well.state()[0].items():
        ours = sick.state()[0][name]
        if tensor.ndim and len(tensor) == 3 and name not in ("bad", "train_loss", "aux_loss"):
            assert torch.equal(ours[[0, 2]], tensor[[0, 2]]), name
    for row, reference in zip(
        read_curves(run.curves_file), read_curves(tmp_path / "well" / "curves.jsonl"), strict=True
    ):
        assert [row["loss"][0], row["loss"][2]] == [reference["loss"][0], reference["loss"][2]]


def test_the_seed_is_held_at_its_last_measured_state_and_reported_once(tmp_path: Path) -> None:
    task = cohort(TOPK)
    steps = cohort(TOPK, Cohort)
    for index in range(10):
        steps.step(index)
    run = drive(tmp_path, task)
    for name, tensor in task.saes.weights.named().items():
        assert torch.equal(tensor[1], steps.saes.weights.named()[name][1]), name
        assert torch.isfinite(tensor).all()
    assert task.freeze.diverged() == {7: {"step": 12, "held_at": 10}}
    rows = read_curves(run.curves_file)
    flagged = [(row["step"], flag) for row in rows for flag in row.get("flags", ())]
    diverged = [(step, flag) for step, flag in flagged if flag["name"] == "diverged"]
    assert len(diverged) == 1
    assert diverged[0][0] == 15
    assert diverged[0][1]["seed"] == 7
    assert "not finite at step 12; held as it was at step 10" in diverged[0][1]["message"]
    gaps = {row["step"]: row["loss"][1] is None for row in rows}
    assert [step for step, gap in gaps.items() if gap] == [15, 20, 25, 30, 35, 40]


def test_a_frozen_seed_stays_frozen_after_a_resume(tmp_path: Path) -> None:
    whole = cohort(TOPK)
    drive(tmp_path / "whole", whole)
    drive(tmp_path / "part", cohort(TOPK), steps=20)
    assert RunDirectory(tmp_path / "part").newest_checkpoint() is not None
    resumed = cohort(TOPK, Cohort)  # its data is sound: only the checkpoint knows
    drive(tmp_path / "part", resumed)
    assert resumed.freeze.diverged() == whole.freeze.diverged()
    for name, tensor in whole.saes.weights.named().items():
        assert torch.equal(resumed.saes.weights.named()[name], tensor), name


def test_a_coupled_cohort_goes_on_without_the_seed(tmp_path: Path) -> None:
    task = cohort(COUPLED_TOPK)
    task.at = 25  # type: ignore[attr-defined]
    drive(tmp_path, task)
    assert torch.isfinite(task.saes.weights.W_dec).all()
    assert task.freeze.sound().tolist() == [True, False, True]


def test_weights_that_overflow_are_set_back_too(tmp_path: Path) -> None:
    """The loss of a step judges the weights of the one before: those of that moment are of no use."""
    task = cohort(TOPK, Cohort)
    for index in range(10):
        if index % 5 == 0:
            task.measure(index)
        task.step(index)
    with torch.no_grad():
        task.saes.weights.W_enc[2] = torch.inf
    task.step(10)
    assert task.freeze.diverged() == {11: {"step": 10, "held_at": 5}}
    assert torch.isfinite(task.saes.weights.W_enc).all()


def test_a_seed_is_left_alone_and_goes_on(tmp_path: Path) -> None:
    task, well = cohort(TOPK), cohort(TOPK, Cohort)
    task.poisoned = (0, 2)  # type: ignore[attr-defined]
    drive(tmp_path / "sick", task)
    drive(tmp_path / "well", well)
    assert task.freeze.sound().tolist() == [False, True, False]
    assert torch.equal(task.saes.weights.W_enc[1], well.saes.weights.W_enc[1])


def test_a_cohort_without_a_sound_seed_rests_until_its_end(tmp_path: Path) -> None:
    """Its curves are as long as those of other parts of the cohort; the last step done is that of index 12."""
    task = cohort(TOPK)
    task.poisoned = (0, 1, 2)  # type: ignore[attr-defined]
    run = drive(tmp_path, task)
    assert [row["step"] for row in read_curves(run.curves_file)] == [
        0,
        5,
        10,
        15,
        20,
        25,
        30,
        35,
        40,
    ]
    assert task.dead.seen == 13 * 32
    assert task.quality().l0, "it can be measured all the same"
    assert list(task.freeze.diverged()) == [3, 7, 11]


@pytest.mark.parametrize("at", [14, 39], ids=["before a measurement", "at the end"])
@pytest.mark.parametrize("config", ALL, ids=NAMES)
def test_weights_are_judged_where_they_are_measured(config: Sae, at: int, tmp_path: Path) -> None:
    task = cohort(config, Torn, agreement=agreement_of_each)
    task.at = at  # type: ignore[attr-defined]
    run = drive(tmp_path, task)
    assert task.freeze.diverged() == {7: {"step": at + 1, "held_at": at - 4}}
    assert all(torch.isfinite(tensor).all() for tensor in task.saes.weights.named().values())
    row = next(row for row in read_curves(run.curves_file) if row["step"] == at + 1)
    for name in ("loss", "explained_variance", "dead_fraction"):
        assert [value is None for value in row[name]] == [False, True, False], name
    assert [flag["name"] for flag in row["flags"] if flag["seed"] == 7] == ["diverged"]


def test_weights_that_nothing_can_be_compared_with_are_not_intact() -> None:
    """Seeds: sound, NaN, norm beyond float32 (1e20² = 1e40), a zero row; a pinned zero row is what it was."""
    rows = torch.ones(4, 3, 2)
    weights = Weights(rows.clone(), torch.zeros(4, 3), rows.clone(), torch.zeros(4, 2))
    weights.extra["threshold"] = torch.zeros(4)
    assert intact(weights, 0).all()
    weights.b_enc[1, 2] = torch.nan
    weights.W_enc[2, 0, 0] = 1e20
    weights.W_dec[3, 1] = 0.0
    assert intact(weights, 0).tolist() == [True, False, False, False]
    assert intact(weights, 2).tolist() == [True, False, False, True]
    weights.extra["threshold"][0] = torch.inf
    assert not intact(weights, 0)[0]


def test_weights_are_judged_even_where_the_loss_does_not_read_them() -> None:
    """A latent with a bias of −∞ never fires."""
    task = cohort(RESAMPLING, Cohort)
    task.measure(0)
    with torch.no_grad():
        task.saes.weights.b_enc[1, 0] = -torch.inf
    task.measure(5)
    assert task.freeze.diverged() == {7: {"step": 5, "held_at": 0}}
    assert torch.isfinite(task.saes.weights.b_enc).all()


def test_the_whole_held_out_part_judges_at_the_end() -> None:
    task = cohort(TOPK, Cohort)
    with torch.no_grad():
        task.saes.weights.b_dec[2] = 1e30
    task.quality()
    assert task.freeze.diverged() == {11: {"step": 45, "held_at": 0}}


def test_moments_of_a_frozen_seed_are_zero_and_stay_so(tmp_path: Path) -> None:
    task = cohort(TOPK)
    drive(tmp_path, task)
    for state in task.optimizer.state.values():
        for name in ("exp_avg", "exp_avg_sq"):
            assert not state[name][1].any()
            assert state[name][0].any()


def test_agreement_is_that_of_the_sound_seeds(tmp_path: Path) -> None:
    asked: list[int] = []

    def agreement(W_dec_SFD: Tensor, alive_SF: Tensor) -> list[float]:
        asked.append(len(W_dec_SFD))
        assert alive_SF.shape == W_dec_SFD.shape[:2]
        return [0.5 + place for place in range(len(W_dec_SFD))]

    task = Poisoned(
        TOPK,
        OWN.model_copy(update={"stability_every": 5}),
        SEEDS,
        activations(),
        agreement=agreement,
    )
    run = drive(tmp_path, task, steps=15)
    assert asked == [3, 3, 3, 2]
    assert read_curves(run.curves_file)[-1]["mean_max_cos"] == [0.5, None, 1.5]


def test_a_frozen_seed_draws_no_other(tmp_path: Path) -> None:
    """Of three seeds one diverges before the consistency loss joins, at step 14: two seeds train alike."""
    config = TopK(d_sae=48, k=4, stability=Stability(consistency=0.5, start=0.3))
    task, pair = cohort(config), cohort(config, Cohort, (3, 11))
    drive(tmp_path / "three", task)
    drive(tmp_path / "two", pair)
    for name, tensor in pair.saes.weights.named().items():
        assert torch.allclose(task.saes.weights.named()[name][[0, 2]], tensor, atol=1e-6), name


RESAMPLING = ReLU(d_sae=48, l1=2.0, dead=RESAMPLED)


def test_a_frozen_seed_is_not_resampled() -> None:
    """Resampling is due after step index 9."""
    task = cohort(RESAMPLING)
    task.at = 5  # type: ignore[attr-defined]
    with torch.no_grad():
        task.saes.weights.b_enc[:, :5] = -40.0
    task.measure(0)
    for index in range(10):
        task.step(index)
    assert torch.equal(task.saes.weights.W_dec[1], task.start.W_dec[1])
    assert task.dead.since_SF[:, :5].tolist() == [[0] * 5, [320] * 5, [0] * 5], "sound ones are"


@pytest.mark.parametrize(("kind", "at"), [(Poisoned, 6), (Torn, 9)], ids=["loss", "gradient"])
def test_a_seed_that_nobody_judged_yet_stops_no_resampling(kind: type[Cohort], at: int) -> None:
    """A recorded step leaves judging to the next measurement; resampling is due after step index 9."""
    task, well = (cohort(RESAMPLING, one, recorder=Tape()) for one in (kind, Cohort))
    task.at = at  # type: ignore[attr-defined]
    with torch.no_grad():
        for one in (task, well):
            one.saes.weights.b_enc[:, :5] = -40.0  # latents that are to be resampled
    for index in range(10):
        task.step(index)
        well.step(index)
    assert task.freeze.sound().tolist() == [True, kind is Torn, True], "what was noted is settled"
    for name, tensor in well.saes.weights.named().items():
        assert torch.equal(task.saes.weights.named()[name][[0, 2]], tensor[[0, 2]]), name
    task.measure(10)
    assert task.freeze.sound().tolist() == [True, False, True]


def test_steps_with_a_frozen_seed_are_not_replayed() -> None:
    """A recording knows nothing of whom to hold."""
    tape = Tape()
    task = cohort(TOPK, recorder=tape)
    for index in range(15):
        task.step(index)
    before = (tape.warmed, tape.replayed)
    assert sum(before) == 15
    task.measure(15)
    for index in range(15, 20):
        task.step(index)
    assert (tape.warmed, tape.replayed) == before
    assert torch.equal(task.saes.weights.W_enc[1], task.start.W_enc[1])
