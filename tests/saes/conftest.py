"""Small SAEs and data for tests."""

from __future__ import annotations

import torch

from engine.saes.batches import Batches
from engine.saes.weights import Weights, initial_weights
from engine.study.recipe import SaeTraining
from engine.study.sae import Sae, TopK

TRAINING = SaeTraining(epochs=4, batch_size=32, lr=3e-3, warmup_steps=5, schedule="cosine")


def activations(n: int = 400, d: int = 12) -> torch.Tensor:
    """Return sparse sums of 20 directions, off centre [n, d]."""
    generator = torch.Generator().manual_seed(0)
    codes = (torch.rand(n, 20, generator=generator) < 0.15).float()
    return codes @ torch.randn(20, d, generator=generator) * 3 + 5


def batches(d: int = 12, n: int = 400, seeds: tuple[int, ...] = (0,)) -> Batches:
    return Batches(
        activations(n, d), TRAINING, seeds=seeds, vary_order=False, device=torch.device("cpu")
    )


def fresh(
    config: Sae | None = None,
    seeds: tuple[int, ...] = (0, 1),
    d: int = 12,
    training: SaeTraining = TRAINING,
) -> Weights:
    """Return initial weights that ask for gradients."""
    weights = initial_weights(config or TopK(d_sae=12, k=3), training, seeds, batches(d))
    return weights.map(lambda tensor: tensor.requires_grad_())


# Latent 0 reads and writes e1, latent 1 reads e2 and writes (.6, .8); the bias shifts the origin.
W_ENC = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
W_DEC = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
X = torch.tensor([[[3.0, 2.0], [0.0, 5.0]]])


def two_latents(**extra: torch.Tensor) -> Weights:
    """Return weights whose pre-activations of X are (1.5, 1.5) and (−1.5, 4.5)."""
    b_enc, b_dec = torch.tensor([[-0.5, 0.5]]), torch.tensor([[1.0, 1.0]])
    return Weights(W_ENC.clone(), b_enc, W_DEC.clone(), b_dec, extra)
