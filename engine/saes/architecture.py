"""What all architectures of SAEs have in common, for several seeds as stacked tensors.

Shapes: S seeds, B inputs, D width of the activations (d_in), F latents (d_sae), P pinned rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.saes import kernels
from engine.saes.weights import Weights


@dataclass(frozen=True)
class Pass:
    """One forward pass, differentiable in the weights."""

    reconstruction: Tensor
    """x̂ [S, B, D]."""
    error: Tensor
    """Squared error summed over D, mean over inputs, per seed [S]; with all its reconstructions where an
    architecture has several."""
    penalty: Tensor
    """What the architecture adds to it, per seed [S]."""
    mass: Tensor
    """Sum of each latent's activation over the batch [S, F]; above 0 where it fired."""
    pre: Tensor
    """Pre-activations [S, B, F], detached; the next forward pass may overwrite them."""


class Architecture(ABC):
    """Stacked SAEs of one kind. A new kind says how it encodes and what its forward pass is."""

    trained_extra: tuple[str, ...] = ()
    """Names of `weights.extra` that the optimizer moves."""
    lr_factors: dict[str, float]
    """Learning rates in multiples of the common one, by name of the weight."""
    half: bool
    """Whether dense products of the training run in bfloat16; their results are float32 again."""

    def __init__(self, weights: Weights, sparse: bool | None = None) -> None:
        """Wrap weights in place; `sparse` None: the sparse kernels where they are the faster way."""
        self.weights = weights
        self.sparse = weights.W_dec.device.type == "cpu" if sparse is None else sparse
        self.pinned_PD = weights.W_dec.new_zeros(0, weights.W_dec.shape[-1])
        self.lr_factors = {}
        self.half = False

    @abstractmethod
    def encode(self, x_SBD: Tensor) -> Tensor:
        """Return the latents [S, B, F] of inference, dense, without gradients."""

    @abstractmethod
    def forward(self, x_SBD: Tensor, step: int) -> Pass:
        """Return the forward pass of training step `step` (schedules of sparsity read it)."""

    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that the optimizer moves, by name, in a fixed order."""
        fixed = set(self.weights.extra) - set(self.trained_extra)
        return {name: t for name, t in self.weights.named().items() if name not in fixed}

    def constants_at(self, step: int) -> tuple[float, ...]:
        """Return the numbers of a step's forward pass that schedules change: equal ones, equal work."""
        del step
        return ()

    def schedule_state(self) -> dict[str, Tensor]:
        """Return the tensors beside weights that decide the future of the training, by name."""
        return {}

    def held_out_penalty(self, l0: float, l1: float) -> float:
        """Return the penalty at full strength of a seed with these mean norms of its latents."""
        del l0, l1
        return 0.0

    @torch.no_grad()
    def decode(self, z_SBF: Tensor) -> Tensor:
        """Return the reconstruction [S, B, D] of dense latents, without gradients."""
        return torch.baddbmm(self.weights.b_dec.unsqueeze(1), z_SBF, self.weights.W_dec)

    @torch.no_grad()
    def before_step(self) -> None:
        """Take what is parallel to the rows out of the decoder's gradient: it moves norms only."""
        if self.weights.W_dec.grad is None:
            return
        # Seed by seed: what one step reads is still in the cache when the next one does.
        for rows_FD, grad_FD in zip(self.weights.W_dec, self.weights.W_dec.grad, strict=True):
            grad_FD.addcmul_(
                rows_FD, torch.linalg.vecdot(grad_FD, rows_FD).unsqueeze(1), value=-1.0
            )
            grad_FD[: len(self.pinned_PD)] = 0.0

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Bring the decoder's rows back to norm 1, after step `step`."""
        del step
        rows = self.weights.W_dec
        rows.div_(torch.linalg.vector_norm(rows, dim=-1, keepdim=True))
        rows[:, : len(self.pinned_PD)] = self.pinned_PD

    def _affine(self, x_SBD: Tensor) -> Tensor:
        w = self.weights
        if self.half and torch.is_grad_enabled():
            centred_SBD = x_SBD - w.b_dec.unsqueeze(1)
            return half_product(centred_SBD, w.W_enc.mT) + w.b_enc.unsqueeze(1)
        return kernels.affine(x_SBD, w.b_dec, w.W_enc, w.b_enc)

    def _decode_dense(self, z_SBF: Tensor) -> Tensor:
        w = self.weights
        if self.half:
            return half_product(z_SBF, w.W_dec) + w.b_dec.unsqueeze(1)
        return torch.baddbmm(w.b_dec.unsqueeze(1), z_SBF, w.W_dec)


def half_product(a_SXY: Tensor, b_SYZ: Tensor) -> Tensor:
    """Return the product [S, X, Z], computed in bfloat16, as float32; gradients likewise."""
    with torch.autocast(a_SXY.device.type, torch.bfloat16):
        return torch.bmm(a_SXY, b_SYZ).float()


def squared_error(x_SBD: Tensor, reconstruction_SBD: Tensor) -> Tensor:
    """Return Σ_D (x − x̂)², mean over inputs, per seed [S]."""
    return (x_SBD - reconstruction_SBD).square().sum((1, 2)) / x_SBD.shape[1]


def rise(step: int, steps: int) -> float:
    """Return the share of a weight at step `step` that rises linearly over `steps`; 1 afterwards."""
    return min(1.0, (step + 1) / steps) if steps else 1.0
