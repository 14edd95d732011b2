"""Whether dictionaries span the same directions, and codes arrange inputs alike: of spaces, not of features.

Any rotation of the features within a space leaves these measures as they are, so a high value says nothing
about single features. Definitions: science.md §2. On the CPU in float64.

Shapes: F features (rows of a dictionary), D input dimension, K dimension of a subspace, N inputs, A latents
of a code.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from torch import Tensor

from engine.errors import InputError
from engine.metrics.similarity import unit_rows

Floats = NDArray[np.float64]

MIN_INPUTS = 4
"""The debiased HSIC averages over four different inputs."""
_ORTHONORMAL = 1e-6


class Gram(NamedTuple):
    """Linear similarities of N inputs under one code, prepared for `debiased_cka`."""

    off_NN: Tensor
    """Products of centred codes [N, N], float64, with a diagonal of zeros."""
    scale: float
    """Their debiased HSIC with themselves."""


def leading_directions(dictionary_FD: Tensor) -> Tensor:
    """Return the right singular vectors of the unit rows as columns [D, R], the strongest first.

    Zero rows are dropped; R is the rank. Rows are not centred: the mean direction counts as one.

    Raises:
        InputError: not a finite [F, D] tensor, or every row is zero.
    """
    rows_MD = unit_rows(dictionary_FD).rows.cpu()
    if not len(rows_MD):
        raise InputError("dictionary", "every row is zero", "at least one non-zero feature")
    # Of DᵀD: a tenth of the time of the decomposition of D, and its leading spaces are the same.
    squares_D, axes_DD = torch.linalg.eigh(rows_MD.T @ rows_MD)
    rank = int((squares_D > 1e-12 * squares_D[-1]).sum())
    axes_DR: Tensor = axes_DD.flip(1)[:, :rank]
    return axes_DR


def subspace_overlap(u_DK: Tensor, v_DK: Tensor) -> float:
    """Return ‖UᵀV‖²_F / K of two orthonormal bases: 1 for the same space, 0 for orthogonal ones.

    Raises:
        InputError: the bases are not of one shape [D, K], or not orthonormal columns.
    """
    _check_bases(u_DK, v_DK)
    return float((u_DK.double().T @ v_DK.double()).square().sum()) / u_DK.shape[1]


def principal_angles(u_DK: Tensor, v_DK: Tensor) -> Floats:
    """Return the K angles between two spaces in radians, the smallest first (Björck & Golub 1973).

    Raises:
        InputError: the bases are not of one shape [D, K], or not orthonormal columns.
    """
    _check_bases(u_DK, v_DK)
    angles = subspace_angles(u_DK.double().numpy(), v_DK.double().numpy())
    return np.asarray(angles, dtype=np.float64)[::-1].copy()


def overlap_null(k: int, d: int) -> float:
    """Return E ‖UᵀV‖²_F / k of independent random k-dimensional spaces in d dimensions: k/d, at most 1."""
    _check_dimensions(k, d)
    return min(1.0, k / d)


@lru_cache(maxsize=256)
def principal_angles_null(k: int, d: int, draws: int = 64) -> Floats:
    """Return the mean principal angles [K] of independent random spaces, in radians; read-only (cached)."""
    _check_dimensions(k, d)
    if k >= d:
        angles_K = np.zeros(k)
    else:
        rng = np.random.default_rng(0)
        # One of both may stand still: only their relation is random.
        bases = (np.linalg.qr(rng.standard_normal((d, k)))[0] for _ in range(draws))
        cosines = [np.linalg.svd(basis[:k], compute_uv=False) for basis in bases]
        angles_K = np.mean([np.arccos(np.clip(c, 0, 1)) for c in cosines], axis=0)
    angles_K.setflags(write=False)
    return angles_K


def gram(code_NA: Tensor) -> Gram:
    """Return the similarities of inputs under a code [N, A], prepared for `debiased_cka`.

    Raises:
        InputError: not a finite matrix with at least four rows and one column.
    """
    if code_NA.ndim != 2 or len(code_NA) < MIN_INPUTS or not code_NA.shape[1]:
        raise InputError("code", f"has shape {list(code_NA.shape)}", "[inputs ≥ 4, latents ≥ 1]")
    if not bool(torch.isfinite(code_NA).all()):
        raise InputError("code", "holds a value that is not finite", "finite codes")
    rows_NA = code_NA.detach().cpu().double()
    # The debiased HSIC does not see the mean; taking it away first saves its digits.
    rows_NA = rows_NA - rows_NA.mean(0)
    off_NN = (rows_NA @ rows_NA.T).fill_diagonal_(0.0)
    return Gram(off_NN, debiased_hsic(off_NN, off_NN))


def debiased_hsic(k_NN: Tensor, l_NN: Tensor) -> float:
    """Return the unbiased HSIC of two symmetric kernels with zero diagonals [N, N] (Song et al. 2012, eq. 5).

    [tr(KL) + 1ᵀK1·1ᵀL1 / ((N−1)(N−2)) − 2/(N−2)·1ᵀKL1] / (N(N−3)).

    Raises:
        InputError: the kernels differ in shape, or have fewer than four inputs.
    """
    n = len(k_NN)
    if k_NN.shape != l_NN.shape or k_NN.shape != (n, n) or n < MIN_INPUTS:
        shapes = f"have shapes {list(k_NN.shape)} and {list(l_NN.shape)}"
        raise InputError("kernels", shapes, "two square ones over the same inputs, at least four")
    k_N, l_N = k_NN.sum(1), l_NN.sum(1)
    trace = float(torch.dot(k_NN.flatten(), l_NN.flatten()))
    means = float(k_N.sum()) * float(l_N.sum()) / ((n - 1) * (n - 2))
    return (trace + means - 2 / (n - 2) * float(k_N @ l_N)) / (n * (n - 3))


def debiased_cka(a: Gram, b: Gram) -> float:
    """Return the debiased linear CKA of two codes of the same inputs; 0 is expected of independent ones.

    The biased estimate grows with the number of latents over that of inputs: .037 for independent codes of
    20 latents and 500 inputs, where this one has −.001. NaN where a code does not vary.

    Raises:
        InputError: the codes are of different numbers of inputs.
    """
    if a.scale <= 0 or b.scale <= 0:
        return math.nan
    return debiased_hsic(a.off_NN, b.off_NN) / math.sqrt(a.scale * b.scale)


def _check_bases(u_DK: Tensor, v_DK: Tensor) -> None:
    if u_DK.ndim != 2 or u_DK.shape != v_DK.shape or 0 in u_DK.shape:
        shapes = f"have shapes {list(u_DK.shape)} and {list(v_DK.shape)}"
        raise InputError("bases", shapes, "two of one shape [d_in, k]")
    for basis_DK in (u_DK.double(), v_DK.double()):
        identity_KK = torch.eye(basis_DK.shape[1], dtype=torch.float64)
        if not float((basis_DK.T @ basis_DK - identity_KK).abs().max()) < _ORTHONORMAL:
            raise InputError("bases", "are not orthonormal", "orthonormal columns [d_in, k]")


def _check_dimensions(k: int, d: int) -> None:
    if k < 1 or d < 1:
        raise InputError("subspace", f"{k} dimensions of {d}", "at least one of each")
