"""Killed and resumed: bitwise the same end, whatever was being trained."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.disk.curves import read_curves
from engine.disk.rundir import RunDirectory
from engine.errors import Interrupted
from engine.saes.cohort import Cohort
from engine.study.sae import Sae
from engine.training import checkpoint_rule, train
from tests.conftest import timeless
from tests.saes.conftest import TRAINING, activations
from tests.saes.test_cohort import ALL, COUPLED_TOPK, NAMES, TOPK

STEPS = 40


class Killed(Exception):
    """The worker is gone; nothing was saved."""


class Mortal(Cohort):
    """A cohort whose process is killed in the middle of a step."""

    dies_at = -1

    def step(self, index: int) -> None:
        super().step(index)
        if index == self.dies_at:
            raise Killed


class StopAt:
    """Asks to stop at the n-th question."""

    def __init__(self, question: int) -> None:
        self.left = question

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def never() -> bool:
    return False


def agreement(W_dec_SFD: Tensor, alive_SF: Tensor) -> list[float]:
    return [float(value) for value in (W_dec_SFD[:, :, 0] * alive_SF).sum(1)]


def cohort(config: Sae, **options: Any) -> Mortal:
    own = TRAINING.model_copy(update={"stability_every": 10, "measure_every": 7})
    return Mortal(config, own, (3, 7), activations(), agreement=agreement, **options)


def drive(folder: Path, task: Cohort, stop: Callable[[], bool] = never) -> None:
    run = RunDirectory(folder)
    run.create({"kind": "cohort"})
    train(task, run, steps=STEPS, measure_every=7, checkpoint=checkpoint_rule(9, 0), stop=stop)


def assert_equal_ends(folder: Path, ours: Cohort, reference: Cohort) -> None:
    ours_state, state = ours.state(), reference.state()
    assert ours_state[1] == state[1]
    assert ours_state[0].keys() == state[0].keys()
    for name, tensor in state[0].items():
        assert torch.equal(ours_state[0][name].nan_to_num(), tensor.nan_to_num()), name
    curves = [timeless(folder / name / "curves.jsonl") for name in ("whole", "killed")]
    assert curves[0] == curves[1]
    assert [row["step"] for row in curves[0]] == [0, 7, 14, 21, 28, 35, 40]


@pytest.mark.parametrize("config", [*ALL, COUPLED_TOPK], ids=[*NAMES, "coupled"])
def test_a_run_killed_twenty_times_ends_bitwise_equal(config: Sae, tmp_path: Path) -> None:
    whole = cohort(config, vary=("init", "order"))
    drive(tmp_path / "whole", whole)
    chance, last = random.Random(config.architecture), whole
    for kill in range(21):
        last = cohort(config, vary=("init", "order"))
        last.dies_at = chance.randrange(STEPS) if kill < 20 else -1
        try:
            drive(tmp_path / "killed", last)
        except Killed:
            continue
    assert_equal_ends(tmp_path, last, whole)


def test_a_stopped_run_saves_and_ends_bitwise_equal(tmp_path: Path) -> None:
    whole = cohort(TOPK)
    drive(tmp_path / "whole", whole)
    for stop in (13, 12):
        with pytest.raises(Interrupted):
            drive(tmp_path / "killed", cohort(TOPK), StopAt(stop))
    resumed = cohort(TOPK)
    drive(tmp_path / "killed", resumed)
    assert_equal_ends(tmp_path, resumed, whole)
    rows = read_curves(tmp_path / "whole" / "curves.jsonl")
    assert max(max(row["aux_loss"]) for row in rows) > 0, "AuxK took part"
