"""Recorded steps: what is replayed is what would have been done. (On a CPU; CUDA only records kernels.)"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.saes.cohort import Cohort
from engine.saes.graphs import WARM, Outcome, StepGraphs, Work
from engine.study.sae import Dead, JumpReLU, ReLU, Sae, TopK
from tests.saes.conftest import TRAINING, activations
from tests.saes.test_cohort import ALL, COUPLED_TOPK, NAMES, TOPK


class Tape:
    """Replays by doing the recorded work again, with the step number of the recording."""

    def __init__(self) -> None:
        self.warmed, self.recorded, self.replayed = 0, 0, 0

    def warm(self, work: Work) -> Outcome:
        self.warmed += 1
        return work()

    def record(self, work: Work) -> Work:
        self.recorded += 1

        def replay() -> Outcome:
            self.replayed += 1
            return work()

        return replay


def trained(
    config: Sae, tape: Tape, vary: tuple[str, ...] = ("init",), replay: bool = True
) -> Cohort:
    task = Cohort(config, TRAINING, (3, 7), activations(), vary=vary, recorder=tape)
    if not replay:
        task.graphs = None
    for index in range(task.steps):
        task.step(index)
    return task


@pytest.mark.parametrize("vary", [("init",), ("init", "order")])
@pytest.mark.parametrize("config", ALL, ids=NAMES)
def test_recorded_training_equals_plain_training(config: Sae, vary: tuple[str, ...]) -> None:
    tape = Tape()
    recorded, plain = trained(config, tape, vary), trained(config, Tape(), vary, replay=False)
    ours, reference = recorded.state()[0], plain.state()[0]
    for name, tensor in reference.items():
        assert torch.equal(ours[name].nan_to_num(), tensor.nan_to_num()), name
    assert recorded.measure(45) == plain.measure(45)
    assert tape.replayed > 0


def test_each_kind_of_step_is_warmed_and_recorded_once() -> None:
    """45 steps of 32 inputs: latents can be dead (100 inputs) from step 4 on, so there are two kinds."""
    tape = Tape()
    trained(TOPK, tape)
    assert (tape.warmed, tape.recorded, tape.replayed) == (2 * WARM, 2, 45 - 2 * WARM)


def test_steps_of_a_warmup_are_never_recorded() -> None:
    tape = Tape()
    trained(ReLU(d_sae=48, l1=0.05, l1_warmup_steps=60), tape)
    assert (tape.warmed, tape.recorded) == (45, 0)


def test_coupled_steps_run_as_usual() -> None:
    tape = Tape()
    trained(COUPLED_TOPK, tape)  # the objectives join at .3 of the training
    assert tape.warmed + tape.replayed == 14


def test_the_batch_of_a_replay_is_the_new_one() -> None:
    seen: list[float] = []

    def step(x_SBD: Tensor) -> Outcome:
        seen.append(float(x_SBD.sum()))
        one = x_SBD.sum((1, 2))
        return Outcome(one, one, one, one)

    graphs = StepGraphs(Tape())
    batches = [torch.full((1, 2, 2), float(n)).expand(3, -1, -1) for n in range(6)]
    found = [float(graphs.run("kind", batch, step).total[0]) for batch in batches]
    assert found == [4.0 * n for n in range(6)]
    assert seen == [12.0 * n for n in range(6)]


@pytest.mark.parametrize(
    "config",
    [TopK(d_sae=48, k=4, dead=Dead(after_tokens=100)), JumpReLU(d_sae=48, target_l0=4.0)],
    ids=["topk", "jumprelu"],
)
def test_half_precision_products_move_float32_weights(config: Sae) -> None:
    half = Cohort(config, TRAINING, (3, 7), activations(), precision="bfloat16")
    full = Cohort(config, TRAINING, (3, 7), activations(), sparse=False)
    for index in range(half.steps):
        half.step(index)
        full.step(index)
    for name, tensor in half.saes.weights.named().items():
        assert tensor.dtype == torch.float32, name
    assert not torch.equal(half.saes.weights.W_enc, full.saes.weights.W_enc)
    gaps = [
        abs(ours - reference)
        for ours, reference in zip(
            half.quality().explained_variance, full.quality().explained_variance, strict=True
        )
    ]
    assert max(gaps) < 0.02
