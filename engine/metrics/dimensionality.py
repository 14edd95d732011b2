"""How many dimensions a cloud of vectors fills, and how many each of its members has to itself.

All measures of a spectrum are scale-free. Those of a dictionary are of its unit rows about the origin
(a row's length says nothing about its direction); those of activations are about their mean.

Shapes: N rows, D dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.nulls import Law, draw_rows
from engine.metrics.similarity import unit_rows

ISOTROPIC_DRAWS = 3
"""Random dictionaries behind the null: one of 100 rows or more varies by less than a percent."""

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Dimensionality:
    """How many dimensions count, by four measures; all are D for an even spectrum, 1 for a line."""

    entropy_rank: float
    """exp(H(λ/Σλ)) of the variances λ."""
    entropy_rank_singular: float
    """The same of the singular values √λ, as in the original repository; the larger of the two."""
    participation_ratio: float
    """(Σλ)²/Σλ²."""
    stable_rank: float
    """Σλ/max λ = ‖A‖²_F/‖A‖²₂."""


def entropy_rank(values_D: Tensor) -> float:
    """exp(H(v/Σv)) of a spectrum of variances or of singular values (science.md §3).

    Raises InputError unless the values are finite, none is negative and one is positive.
    """
    share_D = _spectrum(values_D)
    share_D = share_D[share_D > 0] / share_D.sum()
    return float(torch.exp(-(share_D * share_D.log()).sum()))


def participation_ratio(variances_D: Tensor) -> float:
    """(Σλ)²/Σλ² of a spectrum of variances; InputError as in `entropy_rank`."""
    values_D = _spectrum(variances_D)
    return float(values_D.sum().square() / values_D.square().sum())


def stable_rank(variances_D: Tensor) -> float:
    """Σλ/max λ of a spectrum of variances, the squared singular values; InputError as in `entropy_rank`."""
    values_D = _spectrum(variances_D)
    return float(values_D.sum() / values_D.max())


def dimensionality(variances_D: Tensor) -> Dimensionality:
    """All four measures of one spectrum of variances; InputError as in `entropy_rank`."""
    values_D = _spectrum(variances_D)
    return Dimensionality(
        entropy_rank=entropy_rank(values_D),
        entropy_rank_singular=entropy_rank(values_D.sqrt()),
        participation_ratio=participation_ratio(values_D),
        stable_rank=stable_rank(values_D),
    )


def covariance_spectrum(covariance_DD: Tensor) -> Tensor:
    """Eigenvalues [D] of a covariance, ascending, in float64; rounding below zero is zero."""
    if covariance_DD.ndim != 2 or covariance_DD.shape[0] != covariance_DD.shape[1]:
        raise InputError("covariance", f"has shape {list(covariance_DD.shape)}", "[d_in, d_in]")
    values_D: Tensor = torch.linalg.eigvalsh(covariance_DD.detach().cpu().double())
    return torch.where(values_D > _ROUNDING * values_D[-1], values_D, 0.0)


def dictionary_spectrum(rows_ND: Tensor) -> Tensor:
    """Squared singular values of the unit rows, divided by N: [D], ascending; zero rows are left out."""
    units_ND = unit_rows(rows_ND).rows
    if len(units_ND) == 0:
        raise InputError("dictionary", "every row is zero", "at least one feature")
    return covariance_spectrum(units_ND.T @ units_ND / len(units_ND))


def feature_dimensionality(rows_ND: Tensor) -> Tensor:
    """‖w_i‖²/Σ_j(ŵ_i·w_j)² per feature [N]: the share of a dimension that it has to itself.

    1 for a direction orthogonal to all others, ½ for one of an antipodal pair; NaN for a zero row
    (Elhage et al. 2022, "Toy models of superposition").
    """
    given = unit_rows(rows_ND)
    w_MD = rows_ND.detach().cpu().double()[given.kept]
    # Σ_j(ŵ_i·w_j)² = ŵ_iᵀ(WᵀW)ŵ_i, without the N² cosines.
    overlap_M = ((given.rows @ (w_MD.T @ w_MD)) * given.rows).sum(1)
    share_N = torch.full((len(rows_ND),), torch.nan, dtype=torch.float64)
    share_N[given.kept] = w_MD.square().sum(1) / overlap_M
    return share_N


def isotropic_feature_dimensionality(n: int, d: int) -> float:
    """What n unit rows at random in d dimensions have each, 1/(1 + (n-1)/d), as E cos² = 1/d."""
    _check_size(n, d)
    return 1 / (1 + (n - 1) / d)


def isotropic_dimensionality(n: int, d: int) -> Dimensionality:
    """The measures of n random unit rows in d dimensions (N0): means over draws, the same every time."""
    _check_size(n, d)
    generator = torch.Generator().manual_seed(0)
    found = [
        dimensionality(dictionary_spectrum(draw_rows(Law(n, d), generator)))
        for _ in range(ISOTROPIC_DRAWS)
    ]
    names = Dimensionality.__dataclass_fields__
    means = {name: math.fsum(getattr(f, name) for f in found) / len(found) for name in names}
    return Dimensionality(**means)


def _check_size(n: int, d: int) -> None:
    if n < 1 or d < 1:
        raise InputError("dictionary", f"{n} rows in {d} dimensions", "at least one of each")


def _spectrum(values_D: Tensor) -> Tensor:
    values_D = values_D.detach().cpu().double().flatten()
    sound = len(values_D) > 0 and bool(torch.isfinite(values_D).all() and (values_D >= 0).all())
    if not sound or not float(values_D.sum()) > 0:
        raise InputError("spectrum", "empty, negative, all zero or not finite", "variances")
    return values_D
