"""Symmetries of features: under a swap of the arguments, under their shifts, and of phases in a plane.

Activation maps are functions f(a, b) over all pairs. Definitions: science.md §3.

Shapes: P values of an argument, R = P² rows, F features, M maps, N directions, D dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from engine.errors import InputError
from engine.metrics.similarity import unit_rows

COPY = 0.9
"""Correlation from which one map counts as a copy of another."""
BY_CHANCE = 0.05
"""Share of random directions that have more of their length in a plane than is asked for a phase there."""

_CONSTANT = 1e-6
"""Standard deviation, as a share of the mean, below which a map varies by rounding alone."""


@dataclass(frozen=True)
class Copies:
    """Correlations of every map with every other one, where it lies and shifted, [M, M] each."""

    unshifted: Tensor
    shifted: Tensor
    """Largest over all shifts of one argument, none included: symmetric."""


@dataclass(frozen=True)
class Orbits:
    """Groups of maps that are copies of each other, directly or through others."""

    share: float
    """Maps that have a copy."""
    count: int
    """Groups of at least two."""
    largest: int
    """Maps in the largest group; 1 if there is none."""


@dataclass(frozen=True)
class Phases:
    """How evenly the directions in one plane are spread around it."""

    n: int
    resultant: float
    """R̄ = |mean exp(iθ)|: 0 for an even tiling, 1 for a single phase; NaN without directions."""
    p: float
    """Rayleigh's test of uniform phases, exp(-nR̄²); NaN without directions."""


def swap_symmetry(F_RF: Tensor, p: int) -> Tensor:
    """corr(f(a, b), f(b, a)) over all pairs, row a*p + b: [F]; NaN for a constant map.

    1 for any function of a+b, -1 for an odd one of a-b. InputError unless there is a row per pair.
    """
    if F_RF.ndim != 2 or F_RF.shape[0] != p * p:
        raise InputError("features", f"shape {tuple(F_RF.shape)}", f"[{p * p}, features]")
    grid_PPF = F_RF.detach().cpu().reshape(p, p, -1)
    mean_F = F_RF.detach().cpu().mean(0)
    together_F = torch.zeros(len(mean_F), dtype=torch.float64)
    square_F = torch.zeros(len(mean_F), dtype=torch.float64)
    for a in range(p):
        # What is right of the diagonal and below it; a copy of all, centred, would be as large as F_RF.
        right, below = grid_PPF[a, a:] - mean_F, grid_PPF[a:, a] - mean_F
        corner_F = right[0].double().square()
        together_F += 2 * (right * below).sum(0).double() - corner_F
        square_F += (right.square() + below.square()).sum(0).double() - corner_F
    constant_F = square_F <= (_CONSTANT * p * mean_F.double()).square()
    return (together_F / square_F).masked_fill(constant_F, torch.nan)


def swap_null(p: int) -> float:
    """Mean swap correlation of white noise: the p pairs with a = b correlate with themselves, 1/(p+1)."""
    return 1 / (p + 1)


def find_copies(maps_MPP: Tensor) -> Copies:
    """max_δ corr(f_i(a+δ, b), f_j(a, b)), the larger of that and of b+δ, by FFT.

    Shifts of both arguments at once are not tried: they would cost P times as much, and for maps of a, b,
    a+b or a-b alone there is nothing to find by them. A constant map correlates with nothing (0).
    """
    centred_MPP = maps_MPP.detach().cpu().float()
    if centred_MPP.ndim != 3 or centred_MPP.shape[1] != centred_MPP.shape[2]:
        raise InputError("maps", f"shape {tuple(maps_MPP.shape)}", "[maps, p, p]")
    mean_M11 = centred_MPP.mean((1, 2), keepdim=True)
    centred_MPP = centred_MPP - mean_M11
    norm_M11 = centred_MPP.square().sum((1, 2), keepdim=True).sqrt()
    constant_M11 = norm_M11 <= _CONSTANT * mean_M11.abs() * centred_MPP.shape[1]
    centred_MPP = torch.where(constant_M11, 0.0, centred_MPP / norm_M11)
    flat_MR = centred_MPP.flatten(1)
    one, other = (_over_shifts(x) for x in (centred_MPP, centred_MPP.transpose(1, 2)))
    return Copies(unshifted=flat_MR @ flat_MR.T, shifted=torch.maximum(one, other))


def _over_shifts(maps_MPP: Tensor) -> Tensor:
    """Largest correlation over shifts of the first argument of unit maps, [M, M]."""
    P = maps_MPP.shape[1]
    spectrum_KMP = torch.fft.rfft(maps_MPP, dim=1).transpose(0, 1).contiguous()
    correlation_PMM: Tensor = torch.fft.irfft(spectrum_KMP @ spectrum_KMP.mH, n=P, dim=0)
    return correlation_PMM.amax(0)


def randomise_phases(maps_MPP: Tensor, seed: int = 0) -> Tensor:
    """Give every map phases at random, [M, P, P]: same power at every frequency, shape lost.

    A map of a single frequency is only shifted by it, so copies among such maps say nothing.
    """
    P = maps_MPP.shape[1]
    generator = torch.Generator().manual_seed(seed)
    # The phases of real noise have the symmetry that keeps the map real.
    noise = torch.fft.rfft2(torch.randn(maps_MPP.shape, generator=generator))
    turned = torch.fft.rfft2(maps_MPP.detach().cpu().float()) * torch.sgn(noise)
    maps: Tensor = torch.fft.irfft2(turned, s=(P, P))
    return maps


def find_orbits(correlation_MM: Tensor, level: float = COPY) -> Orbits:
    """Group maps whose correlation reaches a level; the diagonal is ignored."""
    if correlation_MM.ndim != 2 or correlation_MM.shape[0] != correlation_MM.shape[1]:
        raise InputError("correlation", f"shape {tuple(correlation_MM.shape)}", "[maps, maps]")
    close_MM = (correlation_MM >= level).fill_diagonal_(False)
    _, group_M = connected_components(csr_array(close_MM.numpy()), directed=False)
    sizes = torch.bincount(torch.as_tensor(group_M, dtype=torch.int64))
    return Orbits(
        share=float(close_MM.any(1).double().mean()) if len(close_MM) else math.nan,
        count=int((sizes > 1).sum()),
        largest=int(sizes.max()) if len(sizes) else 0,
    )


def phase_uniformity(rows_ND: Tensor, basis_D2: Tensor) -> Phases:
    """Phases of directions in a plane (orthonormal basis), with Rayleigh's test.

    Only those count that have more energy there than `BY_CHANCE` of random directions: e follows
    Beta(1, (d-2)/2), so e ≥ 1 - .05^(2/(d-2)). Where a plane's axes point is arbitrary and changes
    nothing. The approximation of p is good from about 10 directions on (Mardia & Jupp 2000, §6.3).
    """
    if basis_D2.ndim != 2 or basis_D2.shape != (rows_ND.shape[1], 2):
        raise InputError("plane", f"shape {tuple(basis_D2.shape)}", f"[{rows_ND.shape[1]}, 2]")
    inside_M2 = unit_rows(rows_ND).rows @ basis_D2.detach().cpu().double()
    d = rows_ND.shape[1]
    least = 1 - BY_CHANCE ** (2 / (d - 2)) if d > 2 else 0.0
    inside_M2 = inside_M2[inside_M2.square().sum(1) >= least]
    n = len(inside_M2)
    if n == 0:
        return Phases(0, math.nan, math.nan)
    resultant = float(torch.nn.functional.normalize(inside_M2, dim=1).mean(0).norm())
    return Phases(n, resultant, math.exp(-n * resultant**2))
