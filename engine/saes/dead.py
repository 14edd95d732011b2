"""Latents that stopped firing: how they are noticed, and the losses that bring them back.

Shapes: S seeds, B inputs, D width, F latents; R = S·B inputs across seeds, N entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.saes import kernels
from engine.saes.weights import Weights

LARGEST_EXPONENT = 40.0
EPSILON = 1e-6


class DeadTracker:
    """Counts, per latent of each seed, the inputs since it last fired."""

    def __init__(self, seeds: int, d_sae: int, after: int, device: torch.device) -> None:
        """Start with every latent alive; one is dead after `after` inputs without firing."""
        self.after = after
        self.seen = 0
        self.since_SF = torch.zeros(seeds, d_sae, dtype=torch.int64, device=device)

    def update(self, mass_SF: Tensor, inputs: int) -> None:
        """Take note of a batch of `inputs`: a latent with mass above zero fired in it."""
        self.seen += inputs
        self.since_SF.add_(inputs).masked_fill_(mass_SF > 0, 0)

    def revive(self, chosen_SF: Tensor) -> None:
        """Count these latents as alive from now on."""
        self.since_SF.masked_fill_(chosen_SF, 0)

    def dead(self) -> Tensor:
        """Return which latents are dead, bool [S, F]."""
        return self.since_SF >= self.after

    def possible(self) -> bool:
        """Return whether any latent can be dead yet; asked to spare waiting for a device."""
        return self.seen >= self.after


def auxk_loss(
    x_SBD: Tensor,
    reconstruction_SBD: Tensor,
    pre_SBF: Tensor,
    weights: Weights,
    dead_SF: Tensor,
    k_aux: int,
    sparse: bool = True,
) -> Tensor:
    """Return the AuxK loss of each seed, [S] (Gao et al. 2024, §A.2).

    For each input, the k_aux dead latents with the largest pre-activations (all of them where there
    are fewer) reconstruct, after ReLU, the detached residual x − x̂; no bias is added. The squared
    error is divided by the residual's variance about its batch mean: 1 is what a constant explains.
    A seed without dead latents, or without residual, has loss 0. Only dead rows get gradients.

    Without the ReLU, latents with a negative product are trained towards −f, which never fires: on
    planted data (d 32, 64 features, k 4) ground-truth MCC is then .955 instead of .970.

    Args:
        x_SBD: the batch.
        reconstruction_SBD: what the live latents make of it; detached here.
        pre_SBF: pre-activations, detached.
        weights: the parameters.
        dead_SF: which latents are dead, bool.
        k_aux: dead latents per input.
        sparse: use the sparse kernels (CPU, CUDA) or dense products.
    """
    if not bool(dead_SF.any()):
        return x_SBD.new_zeros(len(pre_SBF))
    residual_SBD = (x_SBD - reconstruction_SBD).detach()
    explain = _explain_sparse if sparse else _explain_dense
    explained_SBD = explain(x_SBD, pre_SBF, weights, dead_SF, k_aux)
    error_S = (residual_SBD - explained_SBD).square().sum((1, 2))
    variance_S = (residual_SBD - residual_SBD.mean(1, keepdim=True)).square().sum((1, 2))
    usable_S = dead_SF.any(1) & (variance_S > 0)
    return torch.where(usable_S, error_S / variance_S.where(usable_S, 1.0), 0.0)


def _explain_sparse(
    x_SBD: Tensor, pre_SBF: Tensor, w: Weights, dead_SF: Tensor, k_aux: int
) -> Tensor:
    S, B, F = pre_SBF.shape
    device = pre_SBF.device
    values, latents, lengths = [], [], []
    for seed in range(S):
        dead = dead_SF[seed].nonzero().view(-1)
        lengths.append(min(k_aux, len(dead)))
        if lengths[-1]:
            picked, columns = kernels.largest(pre_SBF[seed].index_select(1, dead), lengths[-1])
            values.append(picked.reshape(-1))
            latents.append((dead[columns] + seed * F).view(-1))
    lengths_R = torch.tensor(lengths, device=device).repeat_interleave(B)
    inputs_N = torch.arange(S * B, device=device).repeat_interleave(lengths_R)
    bags_R = torch.cumsum(lengths_R, 0) - lengths_R
    code = kernels.make_code(torch.cat(latents), inputs_N, bags_R, S * F)
    z_N = kernels.link(torch.cat(values), x_SBD, w.b_dec.detach(), w.W_enc, w.b_enc, code).relu()
    return kernels.decode(z_N, w.W_dec, code).view(S, B, -1)


def _explain_dense(
    x_SBD: Tensor, pre_SBF: Tensor, w: Weights, dead_SF: Tensor, k_aux: int
) -> Tensor:
    del pre_SBF  # computed again, with gradients
    pre_SBF = kernels.affine(x_SBD, w.b_dec.detach(), w.W_enc, w.b_enc)
    dead_S1F = dead_SF.unsqueeze(1)
    ranked = pre_SBF.detach().masked_fill(~dead_S1F, -torch.inf)
    top = ranked.topk(min(k_aux, pre_SBF.shape[-1]), sorted=False).indices
    chosen = torch.zeros_like(ranked, dtype=torch.bool).scatter(2, top, True) & dead_S1F
    return torch.bmm(pre_SBF.where(chosen, 0.0).relu(), w.W_dec)


def ghost_loss(
    x_SBD: Tensor,
    reconstruction_SBD: Tensor,
    weights: Weights,
    dead_SF: Tensor,
    error_S: Tensor,
) -> Tensor:
    """Return the ghost-gradient loss of each seed, [S] (Jermyn & Templeton 2024).

    Dead latents act through exp instead of ReLU, so that their gradient is never zero. What they write is
    scaled, per input, to half the norm of the detached residual; its squared distance to the residual is
    scaled to the size of the main loss. A seed without dead latents, or without residual, has loss 0. Only
    dead rows get gradients.

    Args:
        x_SBD: the batch.
        reconstruction_SBD: what the live latents make of it; detached here.
        weights: the parameters.
        dead_SF: which latents are dead, bool.
        error_S: squared error of the batch; detached here.
    """
    if not bool(dead_SF.any()):
        return torch.zeros_like(error_S)
    residual_SBD = (x_SBD - reconstruction_SBD).detach()
    pre_SBF = kernels.affine(x_SBD, weights.b_dec.detach(), weights.W_enc, weights.b_enc)
    # exp overflows far out, where the scale below would leave 0·inf.
    ghost_SBF = torch.where(dead_SF.unsqueeze(1), pre_SBF.clamp_max(LARGEST_EXPONENT).exp(), 0.0)
    written_SBD = torch.bmm(ghost_SBF, weights.W_dec)
    size_SB1 = torch.linalg.vector_norm(residual_SBD, dim=2, keepdim=True)
    norm_SB1 = torch.linalg.vector_norm(written_SBD.detach(), dim=2, keepdim=True)
    written_SBD = written_SBD * (size_SB1 / (2.0 * norm_SB1 + EPSILON))
    ghost_S = (residual_SBD - written_SBD).square().sum((1, 2)) / x_SBD.shape[1]
    scaled_S = ghost_S * (error_S / (ghost_S + EPSILON)).detach()
    return torch.where(dead_SF.any(1), scaled_S, 0.0)
