"""A seed whose loss is not finite: frozen at its last good state; the others do not notice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.disk.curves import read_curves
from engine.disk.rundir import RunDirectory
from engine.errors import Diverged
from engine.saes.cohort import Cohort
from engine.study.sae import Sae
from engine.training import checkpoint_rule, train
from tests.saes.conftest import TRAINING, activations
from tests.saes.test_cohort import ALL, COUPLED_TOPK, NAMES, TOPK

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


def cohort(config: Sae, kind: type[Cohort] = Poisoned) -> Cohort:
    return kind(config, OWN, SEEDS, activations())


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
    (tmp_path / "part" / "checkpoints").exists()
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


def test_fewer_than_two_sound_seeds_end_the_job(tmp_path: Path) -> None:
    task = cohort(TOPK)
    task.poisoned = (0, 2)  # type: ignore[attr-defined]
    with pytest.raises(Diverged, match="seed 3: the loss is not finite at step 12; seed 11"):
        drive(tmp_path, task)
