"""What single features respond to: scores of their activation maps over the grid of pairs.

All scores follow from the means over a, b, a+b and a-b (see `ground_truth`): the 3×3 block
{1, cos, sin} ⊗ {1, cos, sin} of frequency k, less its constant, is spanned by cos and sin of
those four arguments. Definitions: science.md §5. On the CPU in float64.

Shapes: R = p² grid rows, F features, K frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics import fourier
from engine.metrics.ground_truth import (
    answer_family,
    grid_moments,
    marginal_spectrum,
)
from engine.metrics.parallel import side_by_side
from engine.metrics.sparsity import firings

HARMONICS = (1, 2, 3)
"""Multiples of k in a frequency family: rectifying cos puts power into 2k (.15), then 3k."""
LOCAL_LEVEL = 0.1
"""Share of the largest class mean above which a feature counts as active on a class."""
CONSTANT = 1e-14
"""Share of a map's mean square below which its variance is rounding."""

_CHUNK = 512


@dataclass(frozen=True)
class FeatureScores:
    """Scores per feature, [F] each; NaN where a feature is constant over the grid."""

    selectivity: Tensor
    """Largest pi_k: share of variance in the block of one frequency. An ideal ReLU(cos) has
    .841 and ReLU(cos - .5) .609, so no high cut separates good features from bad."""
    frequency: Tensor
    """The k of `selectivity`; 0 for a constant feature."""
    rectified: Tensor
    """`selectivity` over what an ideal rectified cosine that fires as often has: 1 for ReLU(cos θ - b),
    whatever b. Functions of several arguments (cos·cos) may exceed it."""
    family: Tensor
    """Largest share of variance in the blocks of k, 2k and 3k."""
    family_control: Tensor
    """The same with two frequencies drawn at random in place of 2k and 3k."""
    eta2: Tensor
    """Var(E[f|t]) / Var f for t in `FAMILIES`, [4, F]."""
    localisation: Tensor
    """Number of answers on which the mean activation exceeds a tenth of its largest."""
    selectivity_null: float
    """Expected pi_k of white noise for one k."""
    eta2_null: float


def score_features(
    F_RF: Tensor, p: int, task: fourier.Task = "add", seed: int = 0
) -> FeatureScores:
    """Score activation maps [p², F] over all pairs, row a*p + b; `seed` draws the control.

    `InputError` unless there is a row per pair, at least one feature, and all is finite.
    """
    if F_RF.ndim != 2 or F_RF.shape[1] == 0:
        raise InputError("features", f"shape {tuple(F_RF.shape)}", f"[{p * p}, features]")
    # In chunks, for every thread to have some.
    chunks = side_by_side(lambda part: _moments(part, p, task), torch.split(F_RF, _CHUNK, dim=1))
    pi_KF, eta2, classes_NF = (torch.cat(parts, dim=1) for parts in zip(*chunks, strict=True))
    best = pi_KF.max(0)
    density_F = firings(F_RF).double() / len(F_RF)
    families = _harmonics(len(classes_NF), len(pi_KF))
    control = _controls(families, seed)
    peak = classes_NF.amax(0)
    n = len(classes_NF)
    return FeatureScores(
        selectivity=best.values,
        frequency=torch.where(best.values.isnan(), 0, best.indices + 1),
        rectified=best.values / rectified_ceiling(density_F, len(classes_NF)),
        family=(families @ pi_KF).amax(0),
        family_control=(control @ pi_KF).amax(0),
        eta2=eta2,
        localisation=(classes_NF > LOCAL_LEVEL * peak).sum(0),
        selectivity_null=8 / (n * n - 1),
        eta2_null=(n - 1) / (n * n - 1),
    )


def rectified_ceiling(density: Tensor, n: int) -> Tensor:
    """Share of variance at the fundamental of ReLU(cos θ - b) that is positive on `density` of the circle.

    With θ₀ = π·density and b = cos θ₀: a₁²/2 over the variance, in closed form: .841 at ½, .609 at ⅓, 1 at 1.
    Less than one of n points has the ceiling of one.
    """
    edge = torch.pi * density.double().clamp(1 / n, 1.0)
    sine, b = edge.sin(), edge.cos()
    first = (edge - sine * b) / torch.pi  # the coefficient of cos θ
    mean = (sine - edge * b) / torch.pi
    square = (edge / 2 - 1.5 * sine * b + edge * b.square()) / torch.pi
    return first.square() / 2 / (square - mean.square())


def map_spectrum(F_RF: Tensor, p: int, task: fourier.Task = "add") -> Tensor:
    """Share of each map's variance at frequency k of t, for t in `FAMILIES` and k = 1..K: [4, K, F].

    Summed over t it is pi_k. NaN where a feature is constant; `InputError` as in `score_features`.
    """
    power_4KF, variance_F, _ = _power(F_RF, p, task)
    return power_4KF / variance_F


def _moments(F_RF: Tensor, p: int, task: fourier.Task) -> tuple[Tensor, Tensor, Tensor]:
    """Per feature: pi [K, F], eta² [4, F] and class means [n, F]."""
    power_4KF, variance_F, marginals = _power(F_RF, p, task)
    eta2 = marginals.var(1, correction=0) / variance_F
    return power_4KF.sum(0) / variance_F, eta2, marginals[answer_family(task)]


def _power(F_RF: Tensor, p: int, task: fourier.Task) -> tuple[Tensor, Tensor, Tensor]:
    """Variance per family and frequency [4, K, F], in all [F] (NaN for a constant map), marginals [4, n, F]."""
    marginals, variance_F = grid_moments(F_RF, p, task)
    # Below rounding of the mean square a map is constant, and every ratio to it noise.
    square_F = marginals[0].mean(0).square() + variance_F
    variance_F[variance_F <= CONSTANT * square_F] = torch.nan
    return marginal_spectrum(marginals).abs().square() / 2, variance_F, marginals


def _harmonics(n: int, count: int) -> Tensor:
    """Membership [K, K]: row k holds the frequencies k, 2k, 3k modulo n, folded to 1..n//2."""
    member = torch.zeros(count, count, dtype=torch.float64)
    for k in range(1, count + 1):
        for multiple in HARMONICS:
            folded = min(multiple * k % n, -multiple * k % n)
            if folded:
                member[k - 1, folded - 1] = 1.0
    return member


def _controls(families_KK: Tensor, seed: int) -> Tensor:
    """As many frequencies per row: k itself, and others drawn outside its family if possible."""
    generator = torch.Generator().manual_seed(seed)
    control = torch.zeros_like(families_KK)
    for k, family in enumerate(families_KK):
        preference = torch.rand(len(family), generator=generator) - family
        preference[k] = 2.0
        control[k, preference.topk(int(family.sum())).indices] = 1.0
    return control
