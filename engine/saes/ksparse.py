"""SAEs with a given number of latents per input: TopK, BatchTopK, Matryoshka BatchTopK.

Beyond the encoder product their forward pass and gradients cost in proportion to k (see `kernels`).

Shapes: S seeds, B inputs, D width, F latents, K latents kept; N entries, R = S·B inputs of all seeds.
"""

from __future__ import annotations

from abc import abstractmethod
from itertools import accumulate

import torch
from torch import Tensor

from engine.saes import kernels
from engine.saes.architecture import Architecture, Pass, squared_error
from engine.saes.kernels import Code
from engine.saes.selection import largest
from engine.saes.weights import Weights
from engine.study.sae import BatchTopK, Matryoshka, TopK

START_FACTOR = 10
"""Latents at the start of a warm-up of k, in multiples of k."""


class KSparseSaes(Architecture):
    """What the three have in common: a choice of entries, and what is made of it."""

    def __init__(
        self, config: TopK | BatchTopK | Matryoshka, weights: Weights, sparse: bool | None = None
    ) -> None:
        super().__init__(weights, sparse)
        self.k, self.warmup = config.k, config.k_warmup_steps
        self.k_start = config.k_start or min(START_FACTOR * config.k, config.d_sae)
        self._pre_SBF: Tensor | None = None

    def latents_at(self, step: int) -> int:
        """Return k at a step of the training: it falls linearly from `k_start` over the warm-up."""
        if step >= self.warmup:
            return self.k
        return round(self.k_start + (self.k - self.k_start) * step / self.warmup)

    def constants_at(self, step: int) -> tuple[float, ...]:
        """Return k."""
        return (self.latents_at(step),)

    def forward(self, x_SBD: Tensor, step: int) -> Pass:
        """Return the forward pass; nothing is penalised."""
        k = self.latents_at(step)
        return self._forward_sparse(x_SBD, k) if self.sparse else self._forward_dense(x_SBD, k)

    def _forward_sparse(self, x_SBD: Tensor, k: int) -> Pass:
        w = self.weights
        with torch.no_grad():
            pre_SBF, values_N, code = self._encode_seeds(x_SBD, k)
        values_N = kernels.link(values_N, x_SBD, w.b_dec, w.W_enc, w.b_enc, code).relu()
        mass_L = torch.zeros_like(w.b_enc).view(-1).index_add_(0, code.latents, values_N.detach())
        reconstruction, error_S = self._reconstruct_sparse(x_SBD, values_N, code)
        return Pass(
            reconstruction, error_S, torch.zeros_like(error_S), mass_L.view_as(w.b_enc), pre_SBF
        )

    def _forward_dense(self, x_SBD: Tensor, k: int) -> Pass:
        pre_SBF = self._affine(x_SBD)
        z_SBF = pre_SBF.where(self._chosen(pre_SBF.detach(), k), 0.0).relu()
        reconstruction, error_S = self._reconstruct_dense(x_SBD, z_SBF)
        penalty_S, mass_SF = torch.zeros_like(error_S), z_SBF.detach().sum(1)
        return Pass(reconstruction, error_S, penalty_S, mass_SF, pre_SBF.detach())

    def _encode_seeds(self, x_SBD: Tensor, k: int) -> tuple[Tensor, Tensor, Code]:
        """Return pre-activations, those that are kept [N], and where they are.

        Seed by seed, because the choice then reads what the product has just left in the cache.
        """
        w, shape = self.weights, (*x_SBD.shape[:2], self.weights.b_enc.shape[1])
        if self._pre_SBF is None or self._pre_SBF.shape != shape:
            self._pre_SBF = x_SBD.new_empty(shape)
        picked = []
        for seed, pre_BF in enumerate(self._pre_SBF):
            centred_BD = x_SBD[seed] - w.b_dec[seed]
            torch.addmm(w.b_enc[seed], centred_BD, w.W_enc[seed].mT, out=pre_BF)
            picked.append(self._pick(pre_BF, k))
        values, places = (torch.stack(part) for part in zip(*picked, strict=True))
        values_N, code = self._code(values, places)
        return self._pre_SBF, values_N, code

    @abstractmethod
    def _pick(self, pre_BF: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the pre-activations of one seed that are kept, and where they are; `_code` reads both."""

    @abstractmethod
    def _code(self, values: Tensor, places: Tensor) -> tuple[Tensor, Code]:
        """Return the kept pre-activations [N] and their code, from what was picked for each seed."""

    @abstractmethod
    def _chosen(self, pre_SBF: Tensor, k: int) -> Tensor:
        """Return the same choice as a mask [S, B, F]."""

    def _reconstruct_sparse(
        self, x_SBD: Tensor, values_N: Tensor, code: Code
    ) -> tuple[Tensor, Tensor]:
        w = self.weights
        decoded_RD = kernels.decode(values_N, w.W_dec, code)
        reconstruction = decoded_RD.view(x_SBD.shape) + w.b_dec.unsqueeze(1)
        return reconstruction, squared_error(x_SBD, reconstruction)

    def _reconstruct_dense(self, x_SBD: Tensor, z_SBF: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction = self._decode_dense(z_SBF)
        return reconstruction, squared_error(x_SBD, reconstruction)


class TopKSaes(KSparseSaes):
    """Keeps the k largest pre-activations of an input, after ReLU (Gao et al. 2024)."""

    @torch.no_grad()
    def encode(self, x_SBD: Tensor) -> Tensor:
        """Return the latents [S, B, F]: at most k above zero per input."""
        pre_SBF = self._affine(x_SBD)
        S, B, F = pre_SBF.shape
        values, places = (
            kept.view(S, B, self.k) for kept in largest(pre_SBF.view(S * B, F), self.k)
        )
        # Few are kept: to clear all and put those back takes less time than a mask.
        return pre_SBF.zero_().scatter_(2, places, values.relu_())

    def _pick(self, pre_BF: Tensor, k: int) -> tuple[Tensor, Tensor]:
        return largest(pre_BF, k)

    def _code(self, values: Tensor, places: Tensor) -> tuple[Tensor, Code]:
        return values.view(-1), kernels.top_code(places, self.weights.b_enc.shape[1])

    def _chosen(self, pre_SBF: Tensor, k: int) -> Tensor:
        S, B, F = pre_SBF.shape
        indices = largest(pre_SBF.reshape(S * B, F), k)[1].view(S, B, k)
        return torch.zeros_like(pre_SBF, dtype=torch.bool).scatter_(2, indices, True)


class BatchTopKSaes(KSparseSaes):
    """Keeps the k·B largest of a batch in training, those above a threshold in inference.

    The threshold is the running mean of the smallest latent kept in a batch (Bussmann et al. 2024 take
    the mean over the training set; the running mean is that of SAELens and dictionary_learning).
    """

    def __init__(
        self, config: BatchTopK | Matryoshka, weights: Weights, sparse: bool | None = None
    ) -> None:
        super().__init__(config, weights, sparse)
        self.decay = config.threshold_decay
        self._smallest_S = weights.b_enc.new_full((len(weights.b_enc),), torch.inf)

    @torch.no_grad()
    def encode(self, x_SBD: Tensor) -> Tensor:
        """Return the latents [S, B, F] above the threshold; before any training step, those that training
        would keep of these inputs."""
        pre_SBF = self._affine(x_SBD)
        threshold_S11 = self.weights.extra["threshold"].view(-1, 1, 1)
        kept = pre_SBF > threshold_S11
        if bool((threshold_S11 < 0).any()):
            kept = torch.where(threshold_S11 < 0, self._chosen(pre_SBF, self.k), kept)
        return pre_SBF.where(kept, 0.0).relu_()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Bring rows back to norm 1 and move the threshold; a batch without a latent moves none."""
        super().after_step(step)
        threshold_S, smallest_S = self.weights.extra["threshold"], self._smallest_S
        moved_S = torch.lerp(smallest_S, threshold_S, self.decay)
        moved_S = torch.where(threshold_S < 0, smallest_S, moved_S)
        threshold_S.copy_(torch.where(torch.isfinite(smallest_S), moved_S, threshold_S))

    def _pick(self, pre_BF: Tensor, k: int) -> tuple[Tensor, Tensor]:
        values, places = largest(pre_BF.view(1, -1), k * len(pre_BF))
        places, order = places.sort(1)  # entries of one input side by side
        inputs, latents = places // pre_BF.shape[1], places % pre_BF.shape[1]
        return values.gather(1, order)[0], torch.cat([inputs, latents])

    def _code(self, values: Tensor, places: Tensor) -> tuple[Tensor, Code]:
        assert self._pre_SBF is not None, "the product comes first"
        S, B, F = self._pre_SBF.shape
        self._note(values)
        first_S1 = torch.arange(S).unsqueeze(1)
        inputs_N, latents_N = (
            (places[:, part] + first_S1 * size).view(-1) for part, size in ((0, B), (1, F))
        )
        ends_R = kernels.ends_of(inputs_N, S * B)
        return values.view(-1), kernels.make_code(latents_N, ends_R, S * F)

    def _chosen(self, pre_SBF: Tensor, k: int) -> Tensor:
        S, B, F = pre_SBF.shape
        values_SN, places_SN = largest(pre_SBF.reshape(S, B * F), k * B)
        if torch.is_grad_enabled():
            self._note(values_SN)
        mask = torch.zeros(S, B * F, dtype=torch.bool, device=pre_SBF.device)
        return mask.scatter_(1, places_SN, True).view(S, B, F)

    def _note(self, values_SN: Tensor) -> None:
        positive_SN = values_SN.where(values_SN > 0, torch.inf)
        self._smallest_S = positive_SN.amin(1)


class MatryoshkaSaes(BatchTopKSaes):
    """BatchTopK over nested dictionaries: the error is the mean over those of all prefixes of groups
    (Bussmann et al. 2025; equal weights as in dictionary_learning)."""

    def __init__(self, config: Matryoshka, weights: Weights, sparse: bool | None = None) -> None:
        super().__init__(config, weights, sparse)
        self.ends = list(accumulate(config.sizes()))

    def _reconstruct_sparse(
        self, x_SBD: Tensor, values_N: Tensor, code: Code
    ) -> tuple[Tensor, Tensor]:
        W_dec = self.weights.W_dec
        F = W_dec.shape[1]
        latent_N = code.latents % F
        inputs = len(code.ends) - 1
        inputs_N = torch.arange(inputs).repeat_interleave(code.ends.diff())
        parts, start = [], 0
        for end in self.ends:
            picked = ((latent_N >= start) & (latent_N < end)).nonzero().view(-1)
            ends_R = kernels.ends_of(inputs_N[picked], inputs)
            own = kernels.make_code(code.latents[picked], ends_R, W_dec.shape[0] * F)
            parts.append(kernels.decode(values_N[picked], W_dec, own).view(x_SBD.shape))
            start = end
        return self._nested(x_SBD, parts)

    def _reconstruct_dense(self, x_SBD: Tensor, z_SBF: Tensor) -> tuple[Tensor, Tensor]:
        W_dec = self.weights.W_dec
        starts = [0, *self.ends[:-1]]
        parts = [
            torch.bmm(z_SBF[:, :, start:end], W_dec[:, start:end])
            for start, end in zip(starts, self.ends, strict=True)
        ]
        return self._nested(x_SBD, parts)

    def _nested(self, x_SBD: Tensor, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        reconstruction = self.weights.b_dec.unsqueeze(1).expand(x_SBD.shape)
        errors = []
        for part_SBD in parts:
            reconstruction = reconstruction + part_SBD
            errors.append(squared_error(x_SBD, reconstruction))
        return reconstruction, torch.stack(errors).mean(0)
