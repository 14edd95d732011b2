"""What is compared: one training step of one SAE, from the same weights on the same batch.

Shapes: B inputs, D width, F latents. Weights and gradients have the names and layout of `engine.saes`:
W_enc and W_dec are rows [F, D]. The decoder's gradient is without what is parallel to its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor
from torch.nn.functional import normalize

B, D, F, K = 64, 16, 48, 4
INPUTS = 400
TOLERANCE = 1e-5
"""Of the largest entry of a tensor: float32 sums of some thousand terms in another order."""

DEAD = torch.arange(F) % 4 == 0
"""Latents that count as dead where dead latents are compared."""

Named = dict[str, Tensor]


@dataclass
class Side:
    """One implementation's step; None where it does not say."""

    loss: Tensor | None = None
    """`error` plus `penalty`; without the loss of dead latents."""
    gradients: Named = field(default_factory=dict)
    """Of the whole objective."""
    latents: Tensor | None = None
    """[B, F], as they are used after the training."""
    reconstruction: Tensor | None = None
    """[B, D], of these latents."""
    aux: Tensor | None = None
    """Loss of dead latents, before its weight."""
    error: Tensor | None = None
    """Mean squared norm of the error; with those of all reconstructions where there are several."""
    penalty: Tensor | None = None
    """What sparsity costs, with its weight."""
    mass: Tensor | None = None
    """[F], the latents of the training summed over the batch."""
    trained: Tensor | None = None
    """[B, D], the reconstruction of the training."""
    threshold: Tensor | None = None
    """What the step made of a threshold that is learnt as a running mean."""


VALUES = tuple(field.name for field in fields(Side) if field.name != "gradients")


def agree(ours: Side, theirs: Side, *, without: tuple[str, ...] = ()) -> None:
    """Assert that ours has everything that theirs says, the same within the tolerance.

    `without` names values and weights (their gradients) that are meant to differ.
    """
    for name in VALUES:
        mine, other = getattr(ours, name), getattr(theirs, name)
        if other is not None and name not in without:
            assert mine is not None, f"nothing to compare {name} with"
            assert_near(mine, other, name)
    shared = set(theirs.gradients) - set(without)
    assert shared, "no gradient is compared"
    for name in sorted(shared):
        assert theirs.gradients[name].any(), f"gradient of {name}: all of it is zero"
        assert_near(ours.gradients[name], theirs.gradients[name], f"gradient of {name}")


def assert_near(mine: Tensor, other: Tensor, name: str) -> None:
    """Assert equality within the tolerance, relative to the largest entry."""
    mine, other = mine.detach().double(), other.detach().double()
    scale = float(other.abs().max())
    torch.testing.assert_close(
        mine, other, rtol=0.0, atol=TOLERANCE * scale, msg=lambda text: f"{name}: {text}"
    )


def make_weights(seed: int = 0, **extra: Tensor) -> Named:
    """Return weights of one SAE, none of them special: untied, biases not zero, decoder rows of norm 1."""
    numbers = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=numbers)

    return {
        "W_enc": normal(F, D) / 4,
        "b_enc": normal(F) / 10,
        "W_dec": normalize(normal(F, D), dim=-1),
        "b_dec": normal(D) / 10,
        **extra,
    }


def with_dead_latents(bias: float) -> Named:
    """Return weights whose latents in DEAD are never among the largest; with a bias high enough above 0."""
    weights = make_weights(2)
    weights["W_enc"][DEAD] /= 50
    weights["b_enc"][DEAD] = bias
    return weights


def make_activations() -> Tensor:
    """Return what both train on, raw."""
    return torch.randn(INPUTS, D, generator=torch.Generator().manual_seed(99))


def make_batch() -> Tensor:
    """Return a batch for tests of the libraries alone."""
    return torch.randn(B, D, generator=torch.Generator().manual_seed(98))


def orthogonal_to(rows_FD: Tensor, gradient_FD: Tensor) -> Tensor:
    """Return a gradient without what is parallel to the rows, as all libraries take it out."""
    unit = normalize(rows_FD.detach(), dim=-1)
    return gradient_FD - torch.linalg.vecdot(gradient_FD, unit).unsqueeze(-1) * unit
