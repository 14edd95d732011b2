"""Stability objectives by hand, and what they do to a cohort."""

import pytest
import torch

from engine.saes.cohort import Cohort
from engine.saes.objectives import consistency_loss, orthogonality_loss, stability_loss
from engine.stages.cohort import agreement_of_each
from engine.study.sae import Stability, TopK
from tests.saes.conftest import TRAINING, activations

# Three seeds of two rows in the plane.
ROWS = torch.tensor(
    [
        [[1.0, 0.0], [0.0, 1.0]],
        [[0.6, 0.8], [-1.0, 0.0]],
        [[0.0, -1.0], [0.8, 0.6]],
    ]
)
BOTH = torch.tensor([0, 1])
ALIVE = torch.ones(3, 2, dtype=torch.bool)
ALL_SOUND = torch.ones(3, dtype=torch.bool)


def test_consistency_by_hand() -> None:
    """Shift 1. Seed 0 finds (.6, .8) for both rows: cosines .6, .8. Seed 1: (.6, .8) finds (.8, .6): .96;
    (−1, 0) finds (0, −1): 0. Seed 2: (0, −1) finds (1, 0): 0; (.8, .6) finds (1, 0): .8."""
    loss = consistency_loss(ROWS, ALIVE, BOTH, 1)
    assert loss.tolist() == pytest.approx([1 - 0.7, 1 - 0.48, 1 - 0.4], abs=1e-6)
    assert consistency_loss(ROWS, ALIVE, torch.tensor([1]), 1).tolist() == pytest.approx(
        [0.2, 1.0, 0.2], abs=1e-6
    )


def test_dead_rows_neither_seek_nor_are_found() -> None:
    """Shift 1, as above, but (.6, .8) of seed 1 is dead: seed 0 finds (−1, 0) with −1 and 0; of seed 1 only
    (−1, 0) seeks: 0; a seed whose partner is all dead, or who is, has loss 0."""
    alive = ALIVE.clone()
    alive[1, 0] = False
    loss = consistency_loss(ROWS, alive, BOTH, 1)
    assert loss.tolist() == pytest.approx([1 + 0.5, 1.0, 1 - 0.4], abs=1e-6)
    alive[1] = False
    assert consistency_loss(ROWS, alive, BOTH, 1).tolist() == pytest.approx([0, 0, 0.6], abs=1e-6)


def test_both_sides_of_a_match_are_drawn_together() -> None:
    """−½ of each match's partner: row (1, 0) of seed 0 gets −(.6, .8)/2 as finder, and −(0, −1)/2 and
    −(.8, .6)/2 as the one that both rows of seed 2 found."""
    rows = ROWS.clone().requires_grad_()
    torch.autograd.backward(consistency_loss(rows, ALIVE, BOTH, 1).sum())
    assert rows.grad is not None
    found = -0.5 * torch.tensor([0.6 + 0.0 + 0.8, 0.8 - 1.0 + 0.6])
    assert torch.allclose(rows.grad[0, 0], found, atol=1e-6)


def test_orthogonality_by_hand() -> None:
    """Seed 0 is orthogonal. Rows of seed 1 have cosine −.6, of seed 2 −.6: .36 each."""
    assert orthogonality_loss(ROWS, BOTH).tolist() == pytest.approx([0.0, 0.36, 0.36], abs=1e-6)


def test_weights_and_frozen_seeds() -> None:
    options = Stability(consistency=2.0, orthogonality=10.0)
    loss = stability_loss(options, ROWS, ALIVE, ALL_SOUND, step=0)
    orthogonal = 10.0 * orthogonality_loss(ROWS, BOTH)
    shifts = [2.0 * consistency_loss(ROWS, ALIVE, BOTH, shift) + orthogonal for shift in (1, 2)]
    assert any(torch.allclose(loss, shift, atol=1e-5) for shift in shifts)
    poisoned = ROWS.clone()
    poisoned[1] = torch.nan
    sound = torch.tensor([True, False, True])
    rest = stability_loss(options, poisoned.requires_grad_(), ALIVE, sound, step=0)
    pair = 2.0 * consistency_loss(ROWS[[0, 2]], ALIVE[:2], BOTH, 1) + orthogonal[[0, 2]]
    assert torch.allclose(rest[[0, 2]], pair, atol=1e-5)
    assert rest[1] == 0.0
    torch.autograd.backward(rest.sum())
    assert poisoned.grad is not None
    assert torch.isfinite(poisoned.grad[[0, 2]]).all(), "a spoiled seed spoils no other"
    alone = stability_loss(options, ROWS, ALIVE, torch.tensor([True, False, False]), step=0)
    assert alone.tolist() == [0.0, 0.0, 0.0], "one seed has nobody to agree with"


def trained(stability: Stability, vary: tuple[str, ...] = ("init",)) -> Cohort:
    training = TRAINING.model_copy(update={"epochs": 20})
    config = TopK(d_sae=24, k=3, stability=stability)
    task = Cohort(config, training, (3, 7, 11), activations(), vary=vary)
    for index in range(task.steps):
        task.step(index)
    return task


def agreement(task: Cohort) -> float:
    rows = task.saes.weights.W_dec.detach()
    each = agreement_of_each(rows, torch.ones(rows.shape[:2], dtype=torch.bool))
    return sum(each) / len(each)


def test_every_objective_does_what_it_is_for() -> None:
    plain = trained(Stability())
    consistent = trained(Stability(consistency=1.0))
    assert agreement(consistent) > agreement(plain) + 0.05
    orthogonal = trained(Stability(orthogonality=1.0))
    rows = torch.arange(24)

    def crossing(task: Cohort) -> float:
        return float(orthogonality_loss(task.saes.weights.W_dec.detach(), rows).mean())

    assert crossing(orthogonal) < 0.9 * crossing(plain)
    pinned = trained(Stability(pinned=0.5))
    assert torch.equal(pinned.saes.weights.W_dec[0, :12], pinned.start.W_dec[2, :12])
    assert not torch.equal(pinned.saes.weights.W_dec[0, 12:], pinned.start.W_dec[0, 12:])
    shared = trained(Stability(shared_init=True), vary=("init", "order"))
    assert agreement(shared) > agreement(plain) + 0.05


class Slope(Cohort):
    """Keeps the gradient of the decoder rows as the objective left it."""

    slope: torch.Tensor

    def _descend(self, index: int) -> None:
        assert self.saes.weights.W_dec.grad is not None
        self.slope = self.saes.weights.W_dec.grad.clone()
        super()._descend(index)


def test_objectives_are_in_units_of_the_variance() -> None:
    """Normalised activations of width 12 have a mean squared norm of 12."""
    slopes = []
    for options in (Stability(), Stability(orthogonality=0.5)):
        task = Slope(TopK(d_sae=24, k=3, stability=options), TRAINING, (3, 7), activations())
        task.step(0)
        slopes.append(task.slope)
    rows = task.start.W_dec.clone().requires_grad_()
    torch.autograd.backward(orthogonality_loss(rows, torch.arange(24)).sum())
    assert rows.grad is not None
    assert torch.allclose(slopes[1] - slopes[0], 12.0 * 0.5 * rows.grad, atol=1e-4)


def test_the_second_stage_begins_at_its_share() -> None:
    plain, late = (
        Cohort(TopK(d_sae=24, k=3, stability=options), TRAINING, (3, 7), activations())
        for options in (Stability(), Stability(consistency=1.0, start=0.5))
    )
    assert plain.steps == 45
    for index in range(24):
        if index == 23:  # the first step at or after 22.5
            assert torch.equal(plain.saes.weights.W_dec, late.saes.weights.W_dec)
        plain.step(index)
        late.step(index)
    assert not torch.equal(plain.saes.weights.W_dec, late.saes.weights.W_dec)


def test_agreement_per_seed_by_hand() -> None:
    """mean_max_cos: seeds 0 and 1: rows of 0 find .6 and .8, rows of 1 find .8 and 0 → (.7 + .4)/2 = .55."""
    alive = torch.ones(2, 2, dtype=torch.bool)
    assert agreement_of_each(ROWS[:2], alive) == pytest.approx([0.55, 0.55])
    dead = alive.clone()
    dead[1, 1] = False  # (.6, .8) alone: finders .6 and .8, found .8
    assert agreement_of_each(ROWS[:2], dead) == pytest.approx([0.75, 0.75])
    dead[1] = False
    assert all(value != value for value in agreement_of_each(ROWS[:2], dead))
