"""Dead latents: the counter, and AuxK by hand."""

import pytest
import torch

from engine.saes.dead import DeadTracker, Revival, auxk_loss, ghost_loss
from engine.saes.kernels import affine
from engine.saes.weights import Weights
from engine.study.sae import TopK
from tests.saes.conftest import fresh

CPU = torch.device("cpu")


def test_tracker_counts_inputs_since_firing_per_seed() -> None:
    tracker = DeadTracker(2, 3, after=20, device=CPU)
    tracker.update(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), 10)
    assert tracker.since_SF.tolist() == [[0, 10, 10], [10, 0, 10]]
    assert not tracker.possible()
    tracker.update(torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]), 10)
    assert tracker.since_SF.tolist() == [[10, 20, 0], [20, 10, 20]]
    assert tracker.possible()
    assert tracker.dead().tolist() == [[False, True, False], [True, False, True]]


def descend(revival: Revival) -> None:
    """Give the weights the gradient of the summed loss."""
    if revival.add_gradients is None:
        torch.autograd.backward(revival.loss.sum())
    else:
        revival.add_gradients(1.0)


def by_hand() -> tuple[torch.Tensor, torch.Tensor, Weights]:
    """One seed, D = 2, three latents; residuals (2, 1), (−1, 1), (0, 1) have variance 14/3."""
    x = torch.tensor([[[3.0, 1.0], [1.0, 1.0], [1.0, 2.0]]])
    reconstruction = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]]])
    W_enc = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    W_dec = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]])
    b_enc, b_dec = torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    weights = Weights(W_enc, b_enc, W_dec, b_dec)
    for tensor in weights.named().values():
        tensor.requires_grad_()
    return x, reconstruction, weights


@pytest.mark.parametrize("sparse", [True, False])
def test_auxk_by_hand(sparse: bool) -> None:
    """x − b_dec = (2, 0), (0, 0), (0, 1); latents 0 and 1 are dead, one of them per input.

    Pre-activations (2.5, 0), (.5, 0), (.5, 1): kept 2.5, .5 of latent 0 and 1 of latent 1, without
    b_dec: (2.5, 0), (.5, 0), (0, 1). Errors (.25 + 1), (2.25 + 1), 0.
    """
    x, reconstruction, weights = by_hand()
    reconstruction = reconstruction.requires_grad_()
    pre = affine(x, weights.b_dec, weights.W_enc, weights.b_enc).detach()
    dead = torch.tensor([[True, True, False]])
    revival = auxk_loss(x, reconstruction, pre, weights, dead, 1, sparse)
    assert revival.loss.tolist() == pytest.approx([4.5 / (14 / 3)])
    descend(revival)
    assert reconstruction.grad is None, "the residual is detached"
    assert weights.b_dec.grad is None, "no bias takes part"
    for tensor in (weights.W_enc, weights.b_enc, weights.W_dec):
        assert tensor.grad is not None
        assert tensor.grad[0, :2].abs().sum() > 0
        assert not tensor.grad[0, 2].any(), "live latents are left alone"
    # ∂/∂W_dec[0] = Σ z·2(ê − r)/variance = (2.5·2·(.5, −1) + .5·2·(1.5, −1)) / (14/3)
    assert weights.W_dec.grad is not None
    want = torch.tensor([4.0, -6.0]) / (14 / 3)
    assert torch.allclose(weights.W_dec.grad[0, 0], want)


@pytest.mark.parametrize("sparse", [True, False])
def test_auxk_is_zero_without_dead_latents_or_residual(sparse: bool) -> None:
    x, reconstruction, weights = by_hand()
    pre = affine(x, weights.b_dec, weights.W_enc, weights.b_enc).detach()
    none, all_dead = torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    assert auxk_loss(x, reconstruction, pre, weights, none, 2, sparse).loss.tolist() == [0.0]
    revival = auxk_loss(x, x.clone(), pre, weights, all_dead, 2, sparse)
    assert revival.loss.tolist() == [0.0]
    descend(revival)
    assert weights.W_dec.grad is not None
    assert torch.isfinite(weights.W_dec.grad).all()


def test_sparse_and_dense_auxk_agree_where_seeds_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    x, reconstruction = (torch.randn(3, 20, 6, generator=generator) for _ in range(2))
    dead = torch.rand(3, 15, generator=generator) < 0.5
    dead[1] = False
    dead[2, 3:] = False  # fewer dead than k_aux
    results = []
    for sparse in (True, False):
        weights = fresh(TopK(d_sae=15, k=1), (0, 1, 2), 6)
        pre = affine(x, weights.b_dec, weights.W_enc, weights.b_enc).detach()
        revival = auxk_loss(x, reconstruction, pre, weights, dead, 4, sparse)
        descend(revival)
        grads = [weights.W_enc.grad, weights.b_enc.grad, weights.W_dec.grad]
        results.append([revival.loss.detach(), *(grad for grad in grads if grad is not None)])
    assert results[0][0][1] == 0.0
    assert len(results[0]) == 4
    for ours, reference in zip(*results, strict=True):
        assert torch.allclose(ours, reference, atol=1e-5)


def test_ghost_gradients_by_hand() -> None:
    """Latent 0 is dead: exp of its pre-activations (2.5, .5, .5) along e1, whatever their size, becomes
    half the residual's norm: (√5/2, 0), (√2/2, 0), (1/2, 0). Distances to the residuals (2, 1), (−1, 1),
    (0, 1): (2 − √5/2)² + 1, (1 + √2/2)² + 1, 1/4 + 1; the loss is scaled to the main error, 6.
    """
    x, reconstruction, weights = by_hand()
    dead = torch.tensor([[True, False, False]])
    loss = ghost_loss(x, reconstruction, weights, dead, torch.tensor([6.0]))
    assert loss.item() == pytest.approx(6.0, rel=1e-5)
    torch.autograd.backward(loss.sum())
    assert weights.b_dec.grad is None, "no bias takes part"
    for tensor in (weights.W_enc, weights.b_enc, weights.W_dec):
        assert tensor.grad is not None
        assert tensor.grad[0, 0].abs().sum() > 0
        assert not tensor.grad[0, 1:].any(), "live latents are left alone"
    r5, r2 = 5**0.5, 2**0.5
    ghost = ((2 - r5 / 2) ** 2 + 1 + (1 + r2 / 2) ** 2 + 1 + 0.25 + 1) / 3
    # ∂/∂b_enc = 6/ghost · Σ 2(written − residual)·written / 3: the scales are constants
    slope = 2 * ((r5 / 2 - 2) * r5 / 2 + (r2 / 2 + 1) * r2 / 2 + 0.25) / 3
    assert weights.b_enc.grad is not None
    assert weights.b_enc.grad[0, 0].item() == pytest.approx(6 / ghost * slope, rel=1e-4)


def test_ghosts_far_out_stay_finite_and_the_living_have_none() -> None:
    x, reconstruction, weights = by_hand()
    nobody = ghost_loss(
        x, reconstruction, weights, torch.zeros(1, 3, dtype=torch.bool), x.sum((1, 2))
    )
    assert nobody.tolist() == [0.0]
    far = ghost_loss(
        1e4 * x, reconstruction, weights, torch.ones(1, 3, dtype=torch.bool), x.sum((1, 2))
    )
    torch.autograd.backward(far.sum())
    assert weights.W_dec.grad is not None
    assert torch.isfinite(weights.W_dec.grad).all()


def test_a_revived_latent_is_alive() -> None:
    tracker = DeadTracker(1, 2, after=5, device=CPU)
    tracker.update(torch.zeros(1, 2), 5)
    tracker.revive(torch.tensor([[True, False]]))
    assert tracker.dead().tolist() == [[False, True]]
