"""SAEs of several seeds as stacked tensors: what each architecture computes and what it keeps true.

Shapes: S seeds, B inputs, D width of the activations (d_in), F latents (d_sae), K latents kept.
Encoder and decoder are stored as rows [S, F, D]: row f of a seed reads, and writes, latent f.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import normalize

from engine.saes import kernels
from engine.study.sae import ReLU, Sae, TopK
from engine.training import stream


@dataclass
class Weights:
    """The parameters of S SAEs of one size."""

    W_enc: Tensor
    """Encoder rows [S, F, D]."""
    b_enc: Tensor
    """Encoder bias [S, F]."""
    W_dec: Tensor
    """Decoder rows [S, F, D], of norm 1."""
    b_dec: Tensor
    """Decoder bias [S, D], subtracted before the encoder and added after the decoder."""

    def named(self) -> dict[str, Tensor]:
        """Return the tensors by name, in a fixed order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Pass:
    """One forward pass, differentiable in the weights."""

    reconstruction: Tensor
    """x̂."""
    penalty: Tensor
    """What the architecture adds to the squared error, per seed."""
    mass: Tensor
    """Sum of each latent's activation over the batch; above 0 where it fired."""
    pre: Tensor
    """Pre-activations, detached."""


def initial_decoder(seed: int, d_sae: int, d_in: int) -> Tensor:
    """Return the decoder rows [F, D] that an SAE of this seed starts from: directions at random.

    A function of its arguments alone, equal for all architectures: the step-0 check recomputes it.
    """
    rows_FD = torch.randn(d_sae, d_in, generator=stream("sae init", seed))
    return normalize(rows_FD, dim=-1)


def initial_weights(seeds: Sequence[int], d_sae: int, d_in: int) -> Weights:
    """Return fresh weights: decoder at random, encoder its transpose, biases zero.

    Training runs on centred activations, where b_dec = 0 is the data mean.
    """
    W_dec = torch.stack([initial_decoder(seed, d_sae, d_in) for seed in seeds])
    S = len(seeds)
    return Weights(W_dec.clone(), torch.zeros(S, d_sae), W_dec, torch.zeros(S, d_in))


class Architecture(ABC):
    """Stacked SAEs of one kind. A new kind says how it encodes and what its forward pass is."""

    def __init__(self, weights: Weights, sparse: bool | None = None) -> None:
        """Wrap weights in place; `sparse` None: the sparse kernels where the device has them."""
        self.weights = weights
        self.sparse = weights.W_dec.device.type in ("cpu", "cuda") if sparse is None else sparse

    @abstractmethod
    def encode(self, x_SBD: Tensor) -> Tensor:
        """Return the latents [S, B, F], dense, without gradients."""

    @abstractmethod
    def forward(self, x_SBD: Tensor, step: int) -> Pass:
        """Return the forward pass of training step `step` (schedules of penalties read it)."""

    def parameters(self) -> list[Tensor]:
        """Return the tensors that the optimizer moves, in a fixed order."""
        return list(self.weights.named().values())

    @torch.no_grad()
    def decode(self, z_SBF: Tensor) -> Tensor:
        """Return the reconstruction [S, B, D] of dense latents, without gradients."""
        return torch.baddbmm(self.weights.b_dec.unsqueeze(1), z_SBF, self.weights.W_dec)

    @torch.no_grad()
    def before_step(self) -> None:
        """Take what is parallel to the rows out of the decoder's gradient: it moves norms only."""
        rows, grad = self.weights.W_dec, self.weights.W_dec.grad
        if grad is not None:
            grad.addcmul_(rows, torch.linalg.vecdot(grad, rows).unsqueeze(-1), value=-1.0)

    @torch.no_grad()
    def after_step(self) -> None:
        """Bring the decoder's rows back to norm 1."""
        rows = self.weights.W_dec
        rows.div_(torch.linalg.vector_norm(rows, dim=-1, keepdim=True))

    def _affine(self, x_SBD: Tensor) -> Tensor:
        w = self.weights
        return kernels.affine(x_SBD, w.b_dec, w.W_enc, w.b_enc)


class TopKSaes(Architecture):
    """Keeps the k largest pre-activations, after ReLU (Gao et al. 2024)."""

    def __init__(self, config: TopK, weights: Weights, sparse: bool | None = None) -> None:
        super().__init__(weights, sparse)
        self.k = config.k

    @torch.no_grad()
    def encode(self, x_SBD: Tensor) -> Tensor:
        """Return the latents [S, B, F]: at most k above zero per input."""
        return self._keep(self._affine(x_SBD))

    def forward(self, x_SBD: Tensor, step: int) -> Pass:
        """Return the forward pass; nothing is penalised."""
        del step
        return self._forward_sparse(x_SBD) if self.sparse else self._forward_dense(x_SBD)

    def _forward_sparse(self, x_SBD: Tensor) -> Pass:
        w = self.weights
        with torch.no_grad():
            pre_SBF = self._affine(x_SBD)
            values, indices = kernels.largest(pre_SBF.view(-1, pre_SBF.shape[-1]), self.k)
            code = kernels.top_code(indices.view(*pre_SBF.shape[:2], self.k), pre_SBF.shape[-1])
        values_N = kernels.link(values.reshape(-1), x_SBD, w.b_dec, w.W_enc, w.b_enc, code).relu()
        decoded_SBD = kernels.decode(values_N, w.W_dec, code).view(*pre_SBF.shape[:2], -1)
        mass_L = torch.zeros_like(w.b_enc).view(-1).index_add_(0, code.latents, values_N.detach())
        return Pass(
            decoded_SBD + w.b_dec.unsqueeze(1),
            pre_SBF.new_zeros(len(pre_SBF)),
            mass_L.view_as(w.b_enc),
            pre_SBF,
        )

    def _forward_dense(self, x_SBD: Tensor) -> Pass:
        pre_SBF = self._affine(x_SBD)
        z_SBF = self._keep(pre_SBF)
        decoded_SBD = torch.baddbmm(self.weights.b_dec.unsqueeze(1), z_SBF, self.weights.W_dec)
        none_S = pre_SBF.new_zeros(len(pre_SBF))
        return Pass(decoded_SBD, none_S, z_SBF.detach().sum(1), pre_SBF.detach())

    def _keep(self, pre_SBF: Tensor) -> Tensor:
        with torch.no_grad():
            indices = kernels.largest(pre_SBF.detach().view(-1, pre_SBF.shape[-1]), self.k)[1]
            indices_SBK = indices.view(*pre_SBF.shape[:2], self.k)
        kept_SBK = pre_SBF.gather(2, indices_SBK).relu()
        return torch.zeros_like(pre_SBF).scatter(2, indices_SBK, kept_SBK)


class ReLUSaes(Architecture):
    """ReLU with an L1 penalty; rows of norm 1 keep it from shrinking latents into the decoder."""

    def __init__(self, config: ReLU, weights: Weights, sparse: bool | None = None) -> None:
        super().__init__(weights, sparse)
        self.l1, self.warmup = config.l1, config.l1_warmup_steps

    @torch.no_grad()
    def encode(self, x_SBD: Tensor) -> Tensor:
        """Return the latents [S, B, F]."""
        return self._affine(x_SBD).relu_()

    def forward(self, x_SBD: Tensor, step: int) -> Pass:
        """Return the forward pass; the penalty is l1 times the mean L1 norm of the latents."""
        pre_SBF = self._affine(x_SBD)
        z_SBF = pre_SBF.relu()
        decoded_SBD = torch.baddbmm(self.weights.b_dec.unsqueeze(1), z_SBF, self.weights.W_dec)
        mass_SF = z_SBF.sum(1)
        share = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        penalty_S = mass_SF.sum(1) * (self.l1 * share / x_SBD.shape[1])
        return Pass(decoded_SBD, penalty_S, mass_SF.detach(), pre_SBF.detach())


def make_architecture(config: Sae, weights: Weights, sparse: bool | None = None) -> Architecture:
    """Return the architecture that a study's settings name, around given weights."""
    if isinstance(config, TopK):
        return TopKSaes(config, weights, sparse)
    return ReLUSaes(config, weights, sparse)
