"""What chance would score: the ladder of nulls and the chance correction.

N0  isotropic        rows uniform on the sphere: a closed form, or Monte Carlo where matching enters
N1  activations      rows ∝ Σ^{1/2} g, with Σ the covariance of the activations
N2  decoders         rows ∝ (DᵀD/n)^{1/2} g, from each seed's own unit rows D
N3  surrogate        the same SAEs and seeds retrained on N(mu, Σ) data: `stability` measures them
N4, N6               an untrained model, true planes turned: `rungs`

For unit vectors in d dimensions cos² ~ Beta(1/2, (d-1)/2), so F_abs(x) = I_{x²}(1/2, (d-1)/2) and
F_signed(x) = 1/2 + sgn(x) F_abs(|x|)/2; the best of n independent cosines has distribution Fⁿ.
Shapes: N, A, B = rows, D = input dimension, R = kept eigenvectors, K = Monte Carlo draws,
M = metrics of `matching.metric_names(taus, strict=True)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betainccinv
from torch import Tensor

from engine.errors import InputError
from engine.metrics.matching import check_tau, pair_values
from engine.metrics.parallel import side_by_side
from engine.metrics.similarity import (
    Sign,
    check_dictionary,
    check_sign,
    mean_max,
    unit_cosines,
    unit_rows,
)

Floats = NDArray[np.float64]

# At least so many draws, and so many rows drawn in all: the mean of a small dictionary varies more
# (sd .04 at n = 16), so that 20 draws would leave an error of .009; this keeps it below .002.
MIN_DRAWS, MIN_ROWS = 20, 8192

STEP_ZERO_TOLERANCE = 0.005

# Simpson's rule on this grid errs by at most 2e-5, for 1.5 <= d <= 20,000 and n <= 100,000.
_GRID = np.linspace(0.0, 1.0, 16385)


@dataclass(frozen=True)
class Null:
    """One rung of the ladder: what chance of one kind scores on one metric."""

    name: str
    """N0, N1, N2, N3, `N4 step 0`, `N4 untrained` or N6."""
    value: float
    sd: float
    """Between draws of one pair of dictionaries (N3: between pairs of seeds); NaN below two."""
    draws: int
    """Pairs of dictionaries drawn or retrained; 0 where the value is a closed form."""
    admissible: bool
    reason: str
    """Why it is not admissible, or a remark; may be empty."""


@dataclass(frozen=True)
class Law:
    """How a chance dictionary is drawn: n unit rows along root @ g, isotropic without a root."""

    n: int
    d: int
    root: Tensor | None = None
    """[D, D]."""


def _check_sizes(d: float, sign: Sign, *sizes: int) -> None:
    check_sign(sign)
    if not d > 1 or not math.isfinite(d):
        raise InputError("d", f"is {d}", "a dimension above 1")
    if any(n < 1 for n in sizes):
        raise InputError("n", f"is {min(sizes)}", "at least one feature")


def _log_cdf(x: ArrayLike, d: float, sign: Sign) -> Floats:
    """Log F(x), through the upper tail so that F near 1 keeps its digits."""
    x = np.clip(np.asarray(x, dtype=np.float64), -1.0, 1.0)
    # I_{1-x²}((d-1)/2, 1/2) = 1 - I_{x²}(1/2, (d-1)/2), in a ninth of scipy's time for the latter.
    tail = np.asarray(betainc((d - 1) / 2, 0.5, (1 - x) * (1 + x)), dtype=np.float64)
    with np.errstate(divide="ignore"):
        if sign == "abs":
            return np.where(x > 0, np.log1p(-tail), -np.inf)
        return np.where(x >= 0, np.log1p(-tail / 2), np.log(tail / 2))


def _integral(values: Floats) -> float:
    """Simpson's rule over [0, 1] on _GRID."""
    odd, even = values[1:-1:2].sum(), values[2:-1:2].sum()
    return float((values[0] + 4 * odd + 2 * even + values[-1]) / (3 * (len(values) - 1)))


@lru_cache(maxsize=4096)
def expected_max_cos(n: int, d: float, sign: Sign = "signed") -> float:
    """E[max of n cosines with a fixed vector] = ∫₀¹(1-Fⁿ)dx, signed: minus ∫₋₁⁰Fⁿdx."""
    _check_sizes(d, sign, n)
    above, below = _log_cdf_on_grid(d, sign)
    value = _integral(-np.expm1(n * above))
    return value - _integral(np.exp(n * below)) if sign == "signed" else value


@lru_cache(maxsize=64)
def _log_cdf_on_grid(d: float, sign: Sign) -> tuple[Floats, Floats]:
    """Log F(x) and log F(-x) of the grid, the same for dictionaries of all sizes; without signs no
    cosine is below 0."""
    below = np.full_like(_GRID, -np.inf) if sign == "abs" else _log_cdf(-_GRID, d, sign)
    if sign == "abs":
        return _log_cdf(_GRID, d, sign), below
    # F(x) = 1 - F(-x), and F(-x) is at most a half: nothing is lost.
    return np.log1p(-np.exp(below)), below


def isotropic_mean_max_cos(n_a: int, n_b: int, d: float, sign: Sign = "signed") -> float:
    """N0 of `mean_max_cos`: A's features choose among n_B, B's among n_A."""
    return (expected_max_cos(n_b, d, sign) + expected_max_cos(n_a, d, sign)) / 2


def critical_max_cos(alpha: float, n: int, d: float, sign: Sign = "signed") -> float:
    """The best-of-n cosine that one chance feature exceeds with probability alpha: F^{-1}."""
    _check_sizes(d, sign, n)
    if not 0 < alpha < 1:
        raise InputError("alpha", f"is {alpha}", "a probability in (0, 1)")
    tail = -math.expm1(math.log1p(-alpha) / n)
    if sign == "abs":
        return math.sqrt(betainccinv(0.5, (d - 1) / 2, tail))
    side = 1.0 if tail <= 0.5 else -1.0
    return side * math.sqrt(betainccinv(0.5, (d - 1) / 2, 2 * min(tail, 1 - tail)))


def max_cos_p(best: ArrayLike, n: int, d: float, sign: Sign = "signed") -> Floats:
    """p = 1 - F(m)ⁿ: the chance that the best of n isotropic features reaches each value."""
    _check_sizes(d, sign, n)
    return -np.expm1(n * _log_cdf(best, d, sign))


def covariance_root(covariance_DD: Tensor) -> Tensor:
    """The symmetric square root [D, D] of a covariance, in float64.

    Raises InputError unless it is square, finite, symmetric, positive semidefinite and not zero.
    """
    values_D, vectors_DD = _eigen(covariance_DD)
    return (vectors_DD * values_D.sqrt()) @ vectors_DD.T


def effective_rank(covariance_DD: Tensor) -> float:
    """exp(H(λ/Σλ)) of the eigenvalues of a covariance (Roy & Vetterli 2007, on variances)."""
    values_D, _ = _eigen(covariance_DD)
    share_D = values_D[values_D > 0] / values_D.sum()
    return float(torch.exp(-(share_D * share_D.log()).sum()))


def effective_subspace(covariance_DD: Tensor) -> Tensor:
    """The leading ceil(effective rank) eigenvectors of a covariance, as columns [D, R]."""
    vectors_DD = _eigen(covariance_DD)[1]
    # A rank of 10 that rounding reports as 10.000001 is 10.
    return vectors_DD[:, -math.ceil(effective_rank(covariance_DD) - 1e-6) :]


def _eigen(covariance_DD: Tensor) -> tuple[Tensor, Tensor]:
    check_dictionary(covariance_DD, "covariance")
    covariance_DD = covariance_DD.detach().cpu().double()
    scale = float(covariance_DD.abs().max())
    if covariance_DD.shape[0] != covariance_DD.shape[1]:
        raise InputError("covariance", f"has shape {list(covariance_DD.shape)}", "[d_in, d_in]")
    if float((covariance_DD - covariance_DD.T).abs().max()) > 1e-4 * scale:
        raise InputError("covariance", "is not symmetric", "the covariance of the activations")
    values_D, vectors_DD = torch.linalg.eigh((covariance_DD + covariance_DD.T) / 2)
    if scale == 0 or float(values_D[0]) < -1e-4 * float(values_D[-1]):
        raise InputError("covariance", "is zero or has negative variance", "a real covariance")
    # What lies below is the rounding of a singular covariance, not variance.
    floor = 1e-12 * float(values_D[-1])
    return torch.where(values_D > floor, values_D, 0.0), vectors_DD


def activation_law(n: int, covariance_DD: Tensor) -> Law:
    """N1: n rows drawn along the activations' covariance."""
    return Law(n, covariance_DD.shape[0], covariance_root(covariance_DD))


def decoder_law(decoder_ND: Tensor) -> Law:
    """N2: as many rows as the decoder has, drawn along its own second moment DᵀD/n."""
    rows_ND = unit_rows(decoder_ND).rows
    n, d = rows_ND.shape
    return Law(n, d, covariance_root(rows_ND.T @ rows_ND / n))


def draw_rows(law: Law, generator: torch.Generator) -> Tensor:
    """One chance dictionary [N, D]: float32 unit rows, enough for cosines to 1e-6."""
    rows_ND = torch.randn(law.n, law.d, generator=generator)
    if law.root is not None:
        rows_ND = rows_ND @ law.root.float()
    return torch.nn.functional.normalize(rows_ND, dim=1)


def draw_values(
    pairs: Sequence[tuple[Law, Law]], draws: int, taus: tuple[float, ...], sign: Sign
) -> Floats:
    """All metrics [K, M] of chance pairs, cycling through `pairs`; the same for the same input."""
    generator = torch.Generator().manual_seed(0)
    drawn = (
        tuple(draw_rows(law, generator) for law in pairs[k % len(pairs)]) for k in range(draws)
    )
    values = side_by_side(lambda ab: pair_values(unit_cosines(ab[0], ab[1], sign), taus), drawn)
    return np.array(values)


@lru_cache(maxsize=512)
def isotropic_values(
    n_a: int, n_b: int, d: int, sign: Sign, taus: tuple[float, ...], draws: int
) -> Floats:
    """N0 Monte Carlo of every metric [K, M], read-only because it is cached."""
    _check_sizes(d, sign, n_a, n_b)
    values_KM = draw_values([(Law(n_a, d), Law(n_b, d))], draws, taus, sign)
    values_KM.setflags(write=False)
    return values_KM


def isotropic_matched_mcc(
    n_a: int, n_b: int, d: int, sign: Sign = "signed", draws: int = MIN_DRAWS
) -> Null:
    """N0 of `matched_mcc` by Monte Carlo of at least `draws` pairs; InputError below 20."""
    return _isotropic(n_a, n_b, d, sign, (0.7,), draws, 1)


def isotropic_shared_fraction(
    n_a: int, n_b: int, d: int, tau: float, sign: Sign = "signed", draws: int = MIN_DRAWS
) -> Null:
    """N0 of `shared_fraction` by Monte Carlo of at least `draws` pairs; InputError below 20."""
    check_tau(tau)
    return _isotropic(n_a, n_b, d, sign, (tau,), draws, 2)


def _isotropic(
    n_a: int, n_b: int, d: int, sign: Sign, taus: tuple[float, ...], draws: int, metric: int
) -> Null:
    check_draws(draws)
    _check_sizes(d, sign, n_a, n_b)
    values_KM = isotropic_values(n_a, n_b, d, sign, taus, enough_draws(max(n_a, n_b), draws))
    mean, sd = float(values_KM[:, metric].mean()), float(values_KM[:, metric].std(ddof=1))
    return Null("N0", mean, sd, len(values_KM), True, "")


def enough_draws(n: int, draws: int) -> int:
    """How many draws of pairs whose larger side has n rows: more than asked for if n is small."""
    return max(draws, math.ceil(MIN_ROWS / n))


def check_draws(draws: int) -> None:
    """Raise InputError for fewer Monte Carlo draws than a null's mean and sd need."""
    if draws < MIN_DRAWS:
        raise InputError("draws", f"is {draws}", f"at least {MIN_DRAWS}")


def energy_outside(rows_ND: Tensor, basis_DR: Tensor) -> Tensor:
    """The share of each unit row's squared length outside an orthonormal basis [N]."""
    inside_N = (rows_ND.double().cpu() @ basis_DR).square().sum(1)
    return (1 - inside_N).clamp(min=0.0)


@dataclass(frozen=True)
class OutsideEnergy:
    """Where atoms and N1's draws put their energy, relative to the activations' subspace."""

    atoms: float
    """Mean over seeds and features: the share outside the leading `rank` eigenvectors of Σ."""
    chance: float
    """The same of N1's draws."""
    chance_sd: float
    """Of one draw's mean, between draws."""
    rank: int


def outside_energy(decoders: Sequence[Tensor], covariance_DD: Tensor) -> OutsideEnergy:
    """Energy outside the leading ceil(exp H) eigenvectors of Σ: atoms of all seeds, and N1."""
    basis_DR = effective_subspace(covariance_DD)
    units = [unit_rows(decoder).rows for decoder in decoders]
    atoms = sum(float(energy_outside(rows, basis_DR).mean()) for rows in units) / len(units)
    law = activation_law(round(sum(map(len, units)) / len(units)), covariance_DD)
    generator = torch.Generator().manual_seed(1)
    means_K = torch.stack(
        [energy_outside(draw_rows(law, generator), basis_DR).mean() for _ in range(MIN_DRAWS)]
    )
    return OutsideEnergy(atoms, float(means_K.mean()), float(means_K.std()), basis_DR.shape[1])


def judge_activation_null(energy: OutsideEnergy) -> tuple[bool, str]:
    """Whether N1 may be a headline null, and why not.

    N1 stands for atoms that were laid at random inside the activations. It overstates chance when
    the real atoms do not live there: its rows crowd into fewer dimensions than the atoms span. So
    it is set aside when the decoders put more energy outside the activations' effective subspace
    than its own draws do, by more than two standard deviations of a draw. The observed agreement
    has no say: a rule that drops N1 only where it exceeds the observation rewards worse agreement
    with a better verdict. Source: this project's clock experiment; the form is our convention.
    """
    where = f"outside the activations' {energy.rank} effective dimensions"
    if energy.atoms <= energy.chance + 2 * energy.chance_sd + 1e-6:
        return True, ""
    return False, (
        f"atoms put {energy.atoms:.1%} of their energy {where}, its draws {energy.chance:.1%}"
    )


@dataclass(frozen=True)
class StepZero:
    """Whether dictionaries at initialisation agree exactly as much as isotropic chance."""

    observed: float
    expected: float
    tolerance: float
    ok: bool


def step_zero(initial_SFD: Tensor, sign: Sign = "signed") -> StepZero:
    """`mean_max_cos` of the untrained decoders against N0.

    Seeds that share an initialisation, or were started from the data, fail it: their later
    agreement would be inherited, not found. Tolerance: .005, or where that is more (small
    dictionaries) five standard errors of the mean over pairs, which are all but uncorrelated
    between isotropic dictionaries. Raises InputError below two seeds.
    """
    if initial_SFD.ndim != 3 or len(initial_SFD) < 2:
        raise InputError("initial_SFD", f"has shape {list(initial_SFD.shape)}", "[S >= 2, F, D]")
    units = [unit_rows(decoder).rows for decoder in initial_SFD]
    if any(len(rows) == 0 for rows in units):
        raise InputError("initial_SFD", "a seed has only zero rows", "initialised decoders")
    pairs = list(combinations(units, 2))
    d = initial_SFD.shape[2]

    def agreement(two: tuple[Tensor, Tensor]) -> float:
        return mean_max(unit_cosines(two[0], two[1], sign))

    observed = sum(side_by_side(agreement, pairs)) / len(pairs)
    expected = sum(isotropic_mean_max_cos(len(a), len(b), d, sign) for a, b in pairs) / len(pairs)
    law, generator = Law(len(units[0]), d), torch.Generator().manual_seed(2)
    rows = ((draw_rows(law, generator), draw_rows(law, generator)) for _ in range(MIN_DRAWS))
    drawn = side_by_side(agreement, rows)
    tolerance = max(STEP_ZERO_TOLERANCE, 5 * float(np.std(drawn, ddof=1)) / math.sqrt(len(pairs)))
    return StepZero(observed, expected, tolerance, abs(observed - expected) <= tolerance)


def kappa(observed: float, null: float) -> float:
    """(observed - null) / (1 - null); NaN where the null leaves no room (null >= 1)."""
    return (observed - null) / (1 - null) if null < 1 else math.nan


def headline(nulls: Sequence[Null]) -> Null:
    """The largest admissible null; raises InputError if none is."""
    usable = [null for null in nulls if null.admissible and math.isfinite(null.value)]
    if not usable:
        raise InputError("nulls", "none is admissible", "at least N0")
    return max(usable, key=lambda null: null.value)
