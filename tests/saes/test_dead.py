"""Dead latents: the counter, and AuxK by hand."""

import pytest
import torch

from engine.saes.architectures import Weights, initial_weights
from engine.saes.dead import DeadTracker, auxk_loss
from engine.saes.kernels import affine

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
    loss = auxk_loss(x, reconstruction, pre, weights, dead, 1, sparse)
    assert loss.tolist() == pytest.approx([4.5 / (14 / 3)])
    torch.autograd.backward(loss.sum())
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
    assert auxk_loss(x, reconstruction, pre, weights, none, 2, sparse).tolist() == [0.0]
    loss = auxk_loss(x, x.clone(), pre, weights, all_dead, 2, sparse)
    assert loss.tolist() == [0.0]
    torch.autograd.backward(loss.sum())
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
        weights = initial_weights([0, 1, 2], 15, 6)
        for tensor in weights.named().values():
            tensor.requires_grad_()
        pre = affine(x, weights.b_dec, weights.W_enc, weights.b_enc).detach()
        loss = auxk_loss(x, reconstruction, pre, weights, dead, 4, sparse)
        torch.autograd.backward(loss.sum())
        grads = [weights.W_enc.grad, weights.b_enc.grad, weights.W_dec.grad]
        results.append([loss.detach(), *(grad for grad in grads if grad is not None)])
    assert results[0][0][1] == 0.0
    assert len(results[0]) == 4
    for ours, reference in zip(*results, strict=True):
        assert torch.allclose(ours, reference, atol=1e-5)
