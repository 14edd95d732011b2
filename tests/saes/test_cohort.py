"""Cohorts: seeds alone and together, resume, orders, divergence."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.saes.cohort import Cohort, clip_gradients
from engine.saes.weights import initial_decoder
from engine.study.sae import (
    BatchTopK,
    Dead,
    Gated,
    JumpReLU,
    Matryoshka,
    PAnneal,
    ReLU,
    Sae,
    Stability,
    TopK,
)
from tests.saes.conftest import TRAINING, activations

TOPK = TopK(d_sae=48, k=4, dead=Dead(after_tokens=100))
RELU = ReLU(d_sae=48, l1=0.05, l1_warmup_steps=10)
ANNEALED = ReLU(d_sae=48, l1=0.05, p_anneal=PAnneal(updates=4))
RESAMPLED = Dead(method="resample", after_tokens=100, every=10)
COUPLED = Stability(consistency=0.05, orthogonality=0.01, pinned=0.1, start=0.3)
ALL: list[Sae] = [
    TOPK,
    RELU,
    ANNEALED,
    BatchTopK(d_sae=48, k=4, k_warmup_steps=20, dead=Dead(after_tokens=100)),
    Matryoshka(
        d_sae=48, k=4, groups=(0.25, 0.25, 0.5), dead=Dead(method="ghost", after_tokens=100)
    ),
    JumpReLU(d_sae=48, target_l0=4.0),
    Gated(d_sae=48, l1=0.5),
    ReLU(d_sae=48, l1=2.0, dead=RESAMPLED),
]
COUPLED_TOPK = TopK(d_sae=48, k=4, stability=COUPLED)
NAMES = [
    "topk", "relu", "annealed", "batch_topk", "matryoshka ghost", "jumprelu", "gated", "resampled",
]  # fmt: skip
EACH = pytest.mark.parametrize("config", ALL, ids=NAMES)


def cohort(config: Sae = TOPK, seeds: tuple[int, ...] = (3, 7), **options: Any) -> Cohort:
    return Cohort(config, options.pop("training", TRAINING), seeds, activations(), **options)


def run_steps(task: Cohort, steps: int | None = None) -> Cohort:
    for index in range(task.steps if steps is None else steps):
        task.step(index)
    return task


def test_steps_are_the_epochs_over_the_training_part() -> None:
    assert cohort().steps == 45  # 4 passes over 360 inputs, 32 at a time
    assert len(cohort().batches.held_out) == 40


def test_normalisation_is_of_the_training_part() -> None:
    batches = cohort().batches
    x = batches.take(batches.train)
    assert torch.allclose(x.mean(0), torch.zeros(12), atol=1e-5)
    assert x.square().sum(1).mean().item() == pytest.approx(12, rel=1e-5)
    assert batches.spread == pytest.approx(12)
    plain = cohort(training=TRAINING.model_copy(update={"normalize": False})).batches
    assert plain.scale == 1.0
    back = plain.take(plain.train) + plain.mean_D
    assert torch.allclose(back, activations()[plain.train], atol=1e-5)


def test_split_follows_its_seed_and_is_disjoint() -> None:
    one, same = cohort().batches, cohort(seeds=(9,)).batches
    other = cohort(training=TRAINING.model_copy(update={"split_seed": 1})).batches
    assert torch.equal(one.held_out, same.held_out)
    assert not torch.equal(one.held_out, other.held_out)
    assert sorted([*one.held_out.tolist(), *one.train.tolist()]) == list(range(400))


@EACH
def test_training_learns_and_rows_stay_unit(config: Sae) -> None:
    task = cohort(config)
    before = task.measure(0)["explained_variance"]
    for index in range(task.steps):
        task.step(index)
        assert (task.saes.weights.W_dec.norm(dim=-1) - 1).abs().max() < 1e-6
    quality = task.quality()
    assert isinstance(before, list)
    assert min(quality.explained_variance) > max(before) + 0.05
    assert all(
        alive == round(48 * (1 - dead))
        for alive, dead in zip(quality.n_live, quality.dead_fraction, strict=True)
    )
    if config is TOPK:
        assert max(quality.l0) <= 4


@EACH
@pytest.mark.parametrize("vary", [("init",), ("init", "order")])
def test_a_seed_alone_equals_itself_in_a_cohort(config: Sae, vary: tuple[str, ...]) -> None:
    """To 1e-4 after 45 steps: only matrix products may sum in another order; on the CPU that was
    tried (torch 2.13, one thread) they do not: the difference is 0, after 300 steps at F = 512 too.
    """
    together = run_steps(cohort(config, seeds=(3, 7, 11), vary=vary))
    alone = run_steps(cohort(config, seeds=(7,), vary=vary))
    for name, tensor in alone.saes.weights.named().items():
        other = together.saes.weights.named()[name][1]
        assert (tensor[0] - other).abs().max() < 1e-4, name


def test_sparse_and_dense_training_agree() -> None:
    sparse, dense = (run_steps(cohort(sparse=sparse), 20) for sparse in (True, False))
    for name, tensor in sparse.saes.weights.named().items():
        assert (tensor - dense.saes.weights.named()[name]).abs().max() < 1e-4, name


def test_vary() -> None:
    shared = cohort().batches.batch(3)
    assert torch.equal(shared[0], shared[1])
    own = cohort(vary=("order",))
    first, second = own.batches.batch(3)
    assert not torch.equal(first, second)
    assert torch.equal(own.saes.weights.W_dec[0], own.saes.weights.W_dec[1])
    assert torch.equal(own.saes.weights.W_dec[0], initial_decoder(TRAINING.init_seed, 48, 12))
    both = cohort(vary=("init", "order"))
    assert torch.equal(both.batches.batch(3)[0], first)
    assert torch.equal(both.saes.weights.W_dec[1], initial_decoder(7, 48, 12))
    alone = cohort(seeds=(7,), vary=("order",))
    assert torch.equal(alone.batches.batch(3)[0], second)


def test_curves_hold_a_value_per_seed() -> None:
    task = cohort(RELU)
    start = task.measure(0)
    names = {"loss", "explained_variance", "l0", "dead_fraction", "train_loss", "aux_loss"}
    assert set(start) == names
    run_steps(task, 3)
    values = task.measure(3)
    assert all(isinstance(value, list) and len(value) == 2 for value in values.values())
    again = task.measure(3)
    assert values == again, "measuring changes nothing"


def test_loss_is_squared_error_plus_penalty() -> None:
    task = cohort(RELU)
    x = task.batches.take(task.batches.held_out).expand(2, -1, -1)
    done = task.saes.forward(x, step=99)
    error = (x - done.reconstruction).square().sum((1, 2)) / x.shape[1]
    assert task.measure(0)["loss"] == pytest.approx((error + done.penalty).tolist(), rel=1e-5)


def test_fires_counts_all_activations() -> None:
    task = run_steps(cohort(), 5)
    fires, inputs = task.fires()
    z = task.saes.encode(task.batches.take(torch.arange(400)).expand(2, -1, -1))
    assert inputs == 400
    assert torch.equal(fires, (z > 0).sum(1))


@pytest.mark.parametrize("tight", [True, False])
def test_clipping_is_per_seed(tight: bool) -> None:
    """Gradients (3, 4) and (.3, .4) over two tensors: norms 5 and .5; a limit of 1 scales the first only."""
    one, two = torch.zeros(2, 1), torch.zeros(2, 1, 1)
    one.grad, two.grad = torch.tensor([[3.0], [0.3]]), torch.tensor([[[4.0]], [[0.4]]])
    clip_gradients({"one": one, "two": two}, 1.0 if tight else 9.0)
    assert one.grad.view(-1).tolist() == pytest.approx([0.6 if tight else 3.0, 0.3])
    assert two.grad.view(-1).tolist() == pytest.approx([0.8 if tight else 4.0, 0.4])


def test_a_tight_clip_changes_the_training() -> None:
    free = run_steps(cohort(), 3)
    clipped = run_steps(cohort(training=TRAINING.model_copy(update={"clip_norm": 1e-3})), 3)
    assert not torch.equal(free.saes.weights.W_enc, clipped.saes.weights.W_enc)


def test_agreement_is_measured_at_its_own_pace() -> None:
    asked: list[tuple[int, ...]] = []

    def agreement(W_dec: Tensor, alive: Tensor) -> list[float]:
        asked.append(tuple(alive.shape))
        return [0.25, 0.75]

    own = TRAINING.model_copy(update={"measure_every": 4, "stability_every": 10})
    task = cohort(training=own, agreement=agreement)
    due = [step for step in (0, 4, 8, 12, 16, 20, 24, 45) if "mean_max_cos" in task.measure(step)]
    assert due == [0, 12, 20, 45]
    assert task.measure(0)["mean_max_cos"] == [0.25, 0.75]
    assert asked[0] == (2, 48)
    never = TRAINING.model_copy(update={"stability_every": 0})
    assert "mean_max_cos" not in cohort(training=never, agreement=agreement).measure(0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(5), "floats"),
        (torch.zeros(5, 3, dtype=torch.int64), "floats"),
        (torch.ones(1, 3), "at least 2"),
        (torch.ones(50, 3), "all rows are equal"),
        (torch.full((50, 3), torch.inf), "not finite"),
    ],
)
def test_activations_that_cannot_be_trained_on(data: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Cohort(TOPK, TRAINING, [0], data)


def test_half_precision_activations_are_read_as_they_are() -> None:
    task = Cohort(TOPK, TRAINING, [0], activations().half())
    run_steps(task, 2)
    assert task.saes.weights.W_dec.dtype == torch.float32
