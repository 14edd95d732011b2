"""SAEs whose number of latents is learnt: ReLU with an L1 penalty, JumpReLU, Gated.

Shapes: S seeds, B inputs, D width, F latents.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.saes.architecture import Architecture, Pass, rise, squared_error
from engine.saes.weights import Weights
from engine.study.sae import Gated, JumpReLU, PAnneal, ReLU

TINY = 1e-8
"""Keeps the derivative of |z|^p finite where z is all but 0."""


class ReLUSaes(Architecture):
    """ReLU with an L1 penalty; rows of norm 1 keep it from shrinking latents into the decoder."""

    def __init__(
        self, config: ReLU, weights: Weights, sparse: bool | None = None, steps: int = 1
    ) -> None:
        super().__init__(weights, sparse)
        self.l1, self.warmup = config.l1, config.l1_warmup_steps
        self.falls = _falls(config.p_anneal, steps)
        self._p = 1.0
        # Weight of the norm in multiples of l1, per seed: it keeps the penalty's size when p falls.
        self.factor_S = torch.ones_like(weights.b_enc[:, 0], requires_grad=False)
        self._sums_S: Tensor | None = None

    @torch.no_grad()
    def encode(self, x_SBD: Tensor) -> Tensor:
        """Return the latents [S, B, F]."""
        return self._affine(x_SBD).relu_()

    def exponent_at(self, step: int) -> float:
        """Return p of step `step`."""
        return next((p for at, p in reversed(self.falls) if step >= at), 1.0)

    def constants_at(self, step: int) -> tuple[float, ...]:
        """Return the share of the penalty, p, and the next p."""
        p, after = self.exponent_at(step), self.exponent_at(step + 1)
        return (rise(step, self.warmup), p, after)

    def forward(self, x_SBD: Tensor, step: int) -> Pass:
        """Return the forward pass; the penalty is l1 times the mean over inputs of Σ|z|^p."""
        pre_SBF = self._affine(x_SBD)
        z_SBF = pre_SBF.relu()
        reconstruction = self._decode_dense(z_SBF)
        mass_SF = z_SBF.sum(1)
        p = self.exponent_at(step)
        norm_S = mass_SF.sum(1) if p == 1.0 else _powers(z_SBF, p)
        if self.exponent_at(step + 1) != p:
            self._refit(z_SBF.detach(), norm_S.detach(), step)
        weight_S = self.factor_S * (self.l1 * rise(step, self.warmup) / x_SBD.shape[1])
        return Pass(
            reconstruction,
            squared_error(x_SBD, reconstruction),
            norm_S * weight_S,
            mass_SF.detach(),
            pre_SBF.detach(),
        )

    def _refit(self, z_SBF: Tensor, norm_S: Tensor, step: int) -> None:
        """Prepare the weight of the next step, whose p is smaller: the penalty of this batch stays."""
        self._sums_S = self.factor_S * norm_S / _powers(z_SBF, self.exponent_at(step + 1))

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Bring rows back to norm 1; when p falls, take over the new weight of the penalty."""
        super().after_step(step)
        if self._sums_S is not None:
            self.factor_S.copy_(self._sums_S.where(torch.isfinite(self._sums_S), self.factor_S))
            self._sums_S = None

    def schedule_state(self) -> dict[str, Tensor]:
        """Return the weight of the penalty, which depends on past batches once p fell."""
        return {"penalty_factor": self.factor_S} if self.falls else {}

    def held_out_penalty(self, l0: float, l1: float) -> float:
        """Return l1 times the L1 norm (p-annealing is left out: figures of all steps compare)."""
        del l0
        return self.l1 * l1


class JumpReLUSaes(Architecture):
    """z = pre where pre is above a threshold of each latent; the penalty counts latents.

    Both are steps in the threshold; their derivatives are taken with a rectangle kernel of width
    `bandwidth` (Rajamanoharan et al. 2024b, eq. 11 and 12).
    """

    trained_extra = ("threshold",)

    def __init__(self, config: JumpReLU, weights: Weights, sparse: bool | None = None) -> None:
        super().__init__(weights, sparse)
        self.config = config
        self.lr_factors = {"threshold": config.threshold_lr}

    @torch.no_grad()
    def encode(self, x_SBD: Tensor) -> Tensor:
        """Return the latents [S, B, F] above their thresholds."""
        pre_SBF = self._affine(x_SBD)
        return pre_SBF.where(pre_SBF > self.weights.extra["threshold"].unsqueeze(1), 0.0).relu_()

    def constants_at(self, step: int) -> tuple[float, ...]:
        """Return the share of the penalty."""
        return (rise(step, self.config.l0_warmup_steps),)

    def forward(self, x_SBD: Tensor, step: int) -> Pass:
        """Return the forward pass; the penalty is w·L0, or w·(L0/target − 1)²."""
        pre_SBF = self._affine(x_SBD)
        threshold_SF = self.weights.extra["threshold"]
        z_SBF, l0_S = jump(pre_SBF, threshold_SF, self.config.bandwidth)
        reconstruction = self._decode_dense(z_SBF)
        penalty_S = self._penalty(l0_S) * rise(step, self.config.l0_warmup_steps)
        return Pass(
            reconstruction,
            squared_error(x_SBD, reconstruction),
            penalty_S,
            z_SBF.detach().sum(1),
            pre_SBF.detach(),
        )

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Bring rows back to norm 1; no threshold is negative."""
        super().after_step(step)
        self.weights.extra["threshold"].clamp_min_(0.0)

    def held_out_penalty(self, l0: float, l1: float) -> float:
        """Return the penalty of a mean L0."""
        del l1
        return float(self._penalty(torch.tensor(l0)))

    def _penalty(self, l0_S: Tensor) -> Tensor:
        if self.config.target_l0 is None:
            assert self.config.l0 is not None, "the settings ask for one of the two"
            return l0_S * self.config.l0
        return (l0_S / self.config.target_l0 - 1.0).square() * self.config.target_weight


class GatedSaes(Architecture):
    """A gate decides which latents are on, a magnitude that shares its directions how strong they are.

    The gates alone must reconstruct, too, through a decoder that this leaves as it is; the L1 penalty is
    on the gates (Rajamanoharan et al. 2024a, eq. 5 to 8).
    """

    trained_extra = ("b_mag", "r_mag")

    def __init__(self, config: Gated, weights: Weights, sparse: bool | None = None) -> None:
        super().__init__(weights, sparse)
        self.l1, self.warmup = config.l1, config.l1_warmup_steps

    @torch.no_grad()
    def encode(self, x_SBD: Tensor) -> Tensor:
        """Return the latents [S, B, F]: magnitudes where the gate is open."""
        pre_SBF = self._affine(x_SBD)
        return self._magnitudes(pre_SBF).mul_(pre_SBF > 0)

    def constants_at(self, step: int) -> tuple[float, ...]:
        """Return the share of the penalty."""
        return (rise(step, self.warmup),)

    def forward(self, x_SBD: Tensor, step: int) -> Pass:
        """Return the forward pass; the error is that of the latents plus that of the gates."""
        w = self.weights
        pre_SBF = self._affine(x_SBD)
        z_SBF = self._magnitudes(pre_SBF) * (pre_SBF > 0)
        gate_SBF = pre_SBF.relu()
        reconstruction = self._decode_dense(z_SBF)
        of_gates = torch.baddbmm(w.b_dec.detach().unsqueeze(1), gate_SBF, w.W_dec.detach())
        error_S = squared_error(x_SBD, reconstruction) + squared_error(x_SBD, of_gates)
        weight = self.l1 * rise(step, self.warmup) / x_SBD.shape[1]
        penalty_S = gate_SBF.sum((1, 2)) * weight
        return Pass(reconstruction, error_S, penalty_S, z_SBF.detach().sum(1), pre_SBF.detach())

    def _magnitudes(self, pre_SBF: Tensor) -> Tensor:
        # (W x)·exp(r) + b_mag, where W x is the gate's pre-activation without its bias.
        w = self.weights
        product_SBF = pre_SBF - w.b_enc.unsqueeze(1)
        return (
            product_SBF * w.extra["r_mag"].exp().unsqueeze(1) + w.extra["b_mag"].unsqueeze(1)
        ).relu()


def jump(pre_SBF: Tensor, threshold_SF: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
    """Return the latents [S, B, F] above the thresholds, and their mean number per seed [S]."""
    out: tuple[Tensor, Tensor] = _Jump.apply(pre_SBF, threshold_SF, bandwidth)  # type: ignore[no-untyped-call]
    return out


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pre_SBF: Tensor, threshold_SF: Tensor, bandwidth: float
    ) -> tuple[Tensor, Tensor]:
        kept = pre_SBF > threshold_SF.unsqueeze(1)
        ctx.save_for_backward(pre_SBF, threshold_SF, kept)
        ctx.bandwidth = bandwidth
        return pre_SBF.where(kept, 0.0), kept.sum((1, 2)) / pre_SBF.shape[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_z_SBF, grad_l0_S = grads
        pre_SBF, threshold_SF, kept = ctx.saved_tensors
        near = (pre_SBF - threshold_SF.unsqueeze(1)).abs_() < ctx.bandwidth / 2
        of_z_SF = grad_z_SBF.where(near, 0.0).sum(1) * threshold_SF
        of_l0_SF = near.sum(1) * (grad_l0_S / pre_SBF.shape[1]).unsqueeze(1)
        return grad_z_SBF.where(kept, 0.0), (of_z_SF + of_l0_SF) / -ctx.bandwidth, None


def _falls(anneal: PAnneal | None, steps: int) -> list[tuple[int, float]]:
    """Return from which step on which p holds.

    From start to end 1 and every value after it hold equally long, so that the last is trained with even
    where the end is that of the training; the first fall has a batch before it to weigh the penalty by.
    """
    if anneal is None:
        return []
    first, last, n = anneal.start * steps, anneal.end * steps, anneal.updates
    return [
        (max(1, int(first + (last - first) * i / (n + 1))), 1.0 + (anneal.p - 1.0) * i / n)
        for i in range(1, n + 1)
    ]


def _powers(z_SBF: Tensor, p: float) -> Tensor:
    """Return Σ |z|^p over inputs and latents, per seed [S]; a latent that is off adds nothing."""
    on = z_SBF > 0
    return z_SBF.clamp_min(TINY).pow(p).where(on, 0.0).sum((1, 2))
