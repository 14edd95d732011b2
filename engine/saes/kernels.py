"""Sparse arithmetic: what TopK costs beyond the encoder product is in proportion to k.

On a CPU, `torch.topk` over 1,024 latents takes three times as long as the encoder product, and
dense autograd multiplies five [B, F] × [F, D] matrices of which 97 % is zero. Here the k largest
are found by partitioning 64-bit keys; all other products run over the nonzero entries alone.

Shapes: S seeds, B inputs per seed, D width of the activations, F latents per seed, K latents kept;
L = S·F latents numbered across seeds, R = S·B inputs likewise, N nonzero entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_LOW_32 = 0xFFFFFFFF
_SIGN_FREE = 0x7FFFFFFF


@dataclass(frozen=True)
class Code:
    """Which latents are on for which inputs, readable by input and by latent."""

    latents: Tensor
    """Latent of each entry, int64, entries of one input side by side."""
    bags: Tensor
    """First entry of each input, int64; an input may have none."""
    order: Tensor
    """The entries sorted by latent, and by input within one, int64."""
    inputs: Tensor
    """Input of each entry in that order, int64."""
    starts: Tensor
    """First entry of each latent in that order, int64."""


def make_code(latents_N: Tensor, inputs_N: Tensor, bags_R: Tensor, latents: int) -> Code:
    """Return the code of N entries; `inputs_N` is the input of each, rising, `latents` is L."""
    # The stable order makes the sums of a seed independent of its company.
    order_N = torch.sort(latents_N.to(torch.int32), stable=True).indices
    counts_L = torch.bincount(latents_N, minlength=latents)
    starts_L = torch.cumsum(counts_L, 0) - counts_L
    return Code(latents_N, bags_R, order_N, inputs_N[order_N], starts_L)


def top_code(indices_SBK: Tensor, latents: int) -> Code:
    """Return the code of K latents per input, given by their numbers 0..F-1; `latents` is F."""
    S, B, K = indices_SBK.shape
    device = indices_SBK.device
    first_S = torch.arange(S, device=device).view(S, 1, 1) * latents
    entries = torch.arange(S * B * K, device=device)
    return make_code((indices_SBK + first_S).view(-1), entries // K, entries[::K], S * latents)


def largest(values_RF: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest values of each row and their columns, [R, k] each, in no order.

    Exact; a NaN counts as larger than every number. On the CPU (float32) this is ten times as fast
    as `torch.topk` at F = 1,024, k = 32.
    """
    if values_RF.device.type != "cpu" or values_RF.dtype != torch.float32:
        top = torch.topk(values_RF, k, sorted=False)
        return top.values, top.indices
    rows, columns = values_RF.shape
    groups = _groups(columns, k)
    if groups == 1:
        return _partition(values_RF, k)
    # The k largest lie in the k groups (strided columns) with the largest maxima.
    width = columns // groups
    grouped = values_RF.reshape(rows, groups, width)
    best_Rk = _partition(grouped.amax(1), k)[1]
    candidates = grouped.gather(2, best_Rk.unsqueeze(1).expand(-1, groups, -1)).view(
        rows, groups * k
    )
    values_Rk, place_Rk = _partition(candidates, k)
    lane_Rk = place_Rk // k
    return values_Rk, best_Rk.gather(1, place_Rk - lane_Rk * k).add_(lane_Rk, alpha=width)


def _groups(columns: int, k: int) -> int:
    return next((g for g in (8, 4, 2) if columns % g == 0 and columns >= 4 * k * g), 1)


def _partition(values_RF: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # A float's bits, sign folded, order as an integer does; the column rides in the low half, so
    # one partition of int64 keys (vectorised in numpy, not in torch) yields values and columns.
    bits = values_RF.contiguous().view(torch.int32)
    folded = bits ^ ((bits >> 31) & _SIGN_FREE)
    folded.masked_fill_(values_RF.isnan(), _SIGN_FREE)  # NaN has a sign too; none may hide
    columns = torch.arange(values_RF.shape[1])
    keys = folded.to(torch.int64).bitwise_left_shift_(32).bitwise_or_(columns)
    keys.numpy().partition(values_RF.shape[1] - k, axis=1)
    top = keys[:, values_RF.shape[1] - k :]
    folded = (top >> 32).to(torch.int32)
    return (folded ^ ((folded >> 31) & _SIGN_FREE)).view(torch.float32), top & _LOW_32


def affine(x_SBD: Tensor, b_dec_SD: Tensor, W_enc_SFD: Tensor, b_enc_SF: Tensor) -> Tensor:
    """Return pre-activations (x − b_dec)·W_encᵀ + b_enc, [S, B, F], differentiable in the weights.

    The gradient of b_dec comes from that of b_enc: a matrix times a vector, no third product.
    """
    out: Tensor = _Affine.apply(x_SBD, b_dec_SD, W_enc_SFD, b_enc_SF)  # type: ignore[no-untyped-call]
    return out


def link(
    values_N: Tensor,
    x_SBD: Tensor,
    b_dec_SD: Tensor,
    W_enc_SFD: Tensor,
    b_enc_SF: Tensor,
    code: Code,
) -> Tensor:
    """Return pre-activations picked from `affine`'s values, made differentiable in the weights."""
    out: Tensor = _Link.apply(values_N, x_SBD, b_dec_SD, W_enc_SFD, b_enc_SF, code)  # type: ignore[no-untyped-call]
    return out


def decode(values_N: Tensor, W_dec_SFD: Tensor, code: Code) -> Tensor:
    """Return Σ value · decoder row for each input, [R, D], differentiable in values and decoder."""
    out: Tensor = _Decode.apply(values_N, W_dec_SFD, code)  # type: ignore[no-untyped-call]
    return out


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_SBD: Tensor, b_dec_SD: Tensor, W_enc_SFD: Tensor, b_enc_SF: Tensor
    ) -> Tensor:
        centred_SBD = x_SBD - b_dec_SD.unsqueeze(1)
        ctx.save_for_backward(centred_SBD, W_enc_SFD)
        return torch.baddbmm(b_enc_SF.unsqueeze(1), centred_SBD, W_enc_SFD.mT)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_SBF,) = grads
        centred_SBD, W_enc_SFD = ctx.saved_tensors
        grad_b_SF = grad_SBF.sum(1)
        grad_b_dec_SD = torch.bmm(grad_b_SF.unsqueeze(1), W_enc_SFD).squeeze(1).neg()
        return None, grad_b_dec_SD, torch.bmm(grad_SBF.mT, centred_SBD), grad_b_SF


class _Link(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values_N: Tensor,
        x_SBD: Tensor,
        b_dec_SD: Tensor,
        W_enc_SFD: Tensor,
        b_enc_SF: Tensor,
        code: Code,
    ) -> Tensor:
        del b_enc_SF  # its gradient needs no value
        ctx.save_for_backward(x_SBD, b_dec_SD, W_enc_SFD)
        ctx.code = code
        return values_N.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_N,) = grads
        x_SBD, b_dec_SD, W_enc_SFD = ctx.saved_tensors
        code: Code = ctx.code
        S, F, D = W_enc_SFD.shape
        centred_RD = (x_SBD - b_dec_SD.unsqueeze(1)).reshape(-1, D)
        grad_W = _by_latent(grad_N, centred_RD, code).view(S, F, D)
        grad_b_SF = grad_N.new_zeros(S * F).index_add_(0, code.latents, grad_N).view(S, F)
        grad_b_dec_SD = torch.bmm(grad_b_SF.unsqueeze(1), W_enc_SFD).squeeze(1).neg()
        return None, None, grad_b_dec_SD, grad_W, grad_b_SF, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values_N: Tensor, W_dec_SFD: Tensor, code: Code) -> Tensor:
        ctx.save_for_backward(values_N, W_dec_SFD)
        ctx.code = code
        return _by_input(values_N, W_dec_SFD.view(-1, W_dec_SFD.shape[-1]), code)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_RD = grads[0].contiguous()
        values_N, W_dec_SFD = ctx.saved_tensors
        code: Code = ctx.code
        rows_LD = W_dec_SFD.detach().view(-1, W_dec_SFD.shape[-1])
        with torch.enable_grad():
            # Only the bag's weights ask for a gradient: torch then runs N dot products, no more.
            weights_N = values_N.detach().requires_grad_()
            (grad_N,) = torch.autograd.grad(_by_input(weights_N, rows_LD, code), weights_N, grad_RD)
        return grad_N, _by_latent(values_N, grad_RD, code).view_as(W_dec_SFD), None


def _by_input(values_N: Tensor, rows_LD: Tensor, code: Code) -> Tensor:
    return embedding_bag(code.latents, rows_LD, code.bags, mode="sum", per_sample_weights=values_N)


def _by_latent(values_N: Tensor, rows_RD: Tensor, code: Code) -> Tensor:
    return embedding_bag(
        code.inputs, rows_RD, code.starts, mode="sum", per_sample_weights=values_N[code.order]
    )
