"""Sparse arithmetic: what k-sparse SAEs cost beyond the encoder product is in proportion to k.

On a CPU, dense autograd multiplies five [B, F] × [F, D] matrices of which 97 % is zero. Here all products
but the encoder's run over the nonzero entries alone. (Where latents are chosen: `selection`.)

Shapes: S seeds, B inputs per seed, D width of the activations, F latents per seed, K latents kept;
L = S·F latents numbered across seeds, R = S·B inputs likewise, N nonzero entries.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import embedding_bag


@dataclass(frozen=True)
class Code:
    """Which latents are on for which inputs, readable by input and by latent; all int32, on the CPU."""

    latents: Tensor
    """Latent of each entry [N], entries of one input side by side."""
    ends: Tensor
    """First entry of each input [R + 1], the last one N; an input may have none."""
    order: Tensor
    """The entries sorted by latent, and by input within one [N]."""
    inputs: Tensor
    """Input of each entry in that order [N]."""
    starts: Tensor
    """First entry of each latent in that order [L]."""


def make_code(latents_N: Tensor, ends_R: Tensor, latents: int) -> Code:
    """Return the code of N entries, those of input r at `ends_R`[r] to [r + 1]; `latents` is L."""
    latents_N, ends_R = latents_N.to(torch.int32), ends_R.to(torch.int32)
    # A counting sort: within a latent inputs rise, so the sums of a seed do not depend on its company.
    entries = np.arange(len(latents_N), dtype=np.int32)
    rows = csr_array((entries, latents_N.numpy(), ends_R.numpy()), (len(ends_R) - 1, latents))
    columns = rows.tocsc()
    order, inputs, starts = (
        torch.from_numpy(part.astype(np.int32, copy=False))
        for part in (columns.data, columns.indices, columns.indptr[:-1])
    )
    return Code(latents_N, ends_R, order, inputs, starts)


def ends_of(inputs_N: Tensor, inputs: int) -> Tensor:
    """Return where the entries of each input begin and end [R + 1]; `inputs_N` rises, `inputs` is R."""
    ends_R = torch.zeros(inputs + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(inputs_N, minlength=inputs), 0, out=ends_R[1:])
    return ends_R


def top_code(columns_SBK: Tensor, latents: int) -> Code:
    """Return the code of K latents per input, given by their numbers 0..F-1; `latents` is F."""
    S, B, K = columns_SBK.shape
    first_S11 = torch.arange(0, S * latents, latents, dtype=torch.int32).view(S, 1, 1)
    latents_N = (columns_SBK.to(torch.int32) + first_S11).view(-1)
    ends_R = torch.arange(0, (S * B + 1) * K, K, dtype=torch.int32)
    return make_code(latents_N, ends_R, S * latents)


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
        grad_N = _dots(grad_RD, W_dec_SFD.detach().view(-1, W_dec_SFD.shape[-1]), code)
        return grad_N, _by_latent(values_N, grad_RD, code).view_as(W_dec_SFD), None


def _dots(rows_RD: Tensor, rows_LD: Tensor, code: Code) -> Tensor:
    """Return the product of input and latent row for each entry [N]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that compressed tensors are in beta
        pattern = torch.sparse_csr_tensor(
            code.ends,
            code.latents,
            rows_RD.new_zeros(len(code.latents)),
            (len(rows_RD), len(rows_LD)),
            check_invariants=False,
        )
    found: Tensor = torch.sparse.sampled_addmm(pattern, rows_RD, rows_LD.mT, beta=0.0).values()
    return found


def _by_input(values_N: Tensor, rows_LD: Tensor, code: Code) -> Tensor:
    return embedding_bag(
        code.latents, rows_LD, code.ends[:-1], mode="sum", per_sample_weights=values_N
    )


def _by_latent(values_N: Tensor, rows_RD: Tensor, code: Code) -> Tensor:
    return embedding_bag(
        code.inputs,
        rows_RD,
        code.starts,
        mode="sum",
        per_sample_weights=values_N.index_select(0, code.order),
    )
