"""Gaussian data with the mean and covariance of some activations: nothing to find (null N3).

Shapes: N activations, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.errors import InputError
from engine.training import stream

_CHUNK = 65_536


def surrogate(activations_ND: Tensor, seed: int, purpose: str = "surrogate") -> Tensor:
    """Return draws from N(μ, Σ), float32 [N, D], μ and Σ those of the activations (null N3).

    Works for covariances of any rank: the draws stay in the span of the centred activations. Their
    own mean and covariance differ from μ and Σ by sampling error, as any finite sample's do.

    Raises:
        InputError: not a matrix of finite numbers with at least two rows.
    """
    if activations_ND.ndim != 2 or len(activations_ND) < 2:
        raise InputError(
            "activations", f"shape {list(activations_ND.shape)}", "[inputs ≥ 2, width]"
        )
    N, D = activations_ND.shape
    mean_D, covariance_DD = moments(activations_ND)
    if not bool(torch.isfinite(covariance_DD).all()):
        raise InputError("activations", "a value is not finite", "finite numbers")
    variances_D, axes_DD = torch.linalg.eigh(covariance_DD)
    # Rounding leaves eigenvalues of a singular covariance slightly negative.
    root_DD = (axes_DD * variances_D.clamp(min=0).sqrt()).float()
    generator = stream(purpose, seed)
    out_ND = torch.empty(N, D)
    for start in range(0, N, _CHUNK):
        rows = out_ND[start : start + _CHUNK]
        rows.copy_(torch.randn(len(rows), D, generator=generator) @ root_DD.T + mean_D.float())
    return out_ND


def moments(activations_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean [D] and covariance [D, D] (divided by N), float64, read in chunks."""
    N, D = activations_ND.shape
    mean_D = torch.zeros(D, dtype=torch.float64)
    for rows in torch.split(activations_ND, _CHUNK):
        mean_D += rows.double().sum(0) / N
    covariance_DD = torch.zeros(D, D, dtype=torch.float64)
    for rows in torch.split(activations_ND, _CHUNK):
        centred = rows.double() - mean_D
        covariance_DD += centred.T @ centred / N
    return mean_D, covariance_DD
