"""Ground truth at a hook point: which Fourier planes the activations hold, and who finds them.

The true features of modular arithmetic are planes span{cos w_k t, sin w_k t} of activation
space, for t in {a, b, a+b, a-b}. Phases inside a plane are arbitrary, so atoms are scored by
their in-plane energy, never against single cos or sin directions (science.md §5).

Activations are over the full grid, row a*p + b, so that the regressors are exactly orthogonal.
For multiplication the families are those of the discrete logarithms (see `fourier`). Computed
on the CPU in float64.

Shapes: R = p² grid rows, D width, N atoms, Q planes, K frequencies, M anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from scipy.special import gammaln
from torch import Tensor

from engine.errors import InputError
from engine.metrics import fourier
from engine.metrics.parallel import side_by_side

FAMILIES = ("a", "b", "a+b", "a-b")
"""The arguments t of the planes, in the order of every family axis."""
LEAST_SHARE = 0.01
"""Share of the activations' variance below which a plane does not exist."""
ENERGY = 0.9
"""In-plane energy from which an atom belongs to a plane."""

LEVEL = 0.05
"""Share of random directions beyond `ENERGY` from which the energy null has no power."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Plane:
    """The plane of one frequency and family: variance share and orthonormal basis [D, 1 or 2]."""

    family: str
    k: int
    share: float
    basis: Tensor
    exists: bool


@dataclass(frozen=True)
class Planes:
    """The planes of all key frequencies at one hook point, Q = 4·|ks| (family by family)."""

    planes: tuple[Plane, ...]
    other_share: Mapping[str, float]
    """Per family, the largest share of a frequency that is not key: what a plane must exceed."""

    @property
    def existing(self) -> tuple[Plane, ...]:
        """Planes with a share ≥ 1 % and above that of every other frequency of their family."""
        return tuple(plane for plane in self.planes if plane.exists)


@dataclass(frozen=True)
class ClassTruth:
    """Answer classes as truth: share of variance between class means [C, D], and its null."""

    share: float
    null: float
    means: Tensor


@dataclass(frozen=True)
class EnergyNull:
    """In-plane energy of random directions: mean of one, expected and critical maximum of n."""

    mean: float
    expected_max: float
    critical_max: float
    beyond: float
    """Probability that one direction reaches `ENERGY` in at least one plane (at most)."""

    @property
    def powerless(self) -> bool:
        """Whether random directions reach `ENERGY` so often that reaching it proves nothing."""
        return self.beyond >= LEVEL


@dataclass(frozen=True)
class Recovery:
    """How N atoms cover Q existing planes; fractions are NaN where nothing is counted."""

    name: str
    recall: float
    """Planes that live atoms of energy ≥ .9 positively span."""
    precision: float
    """Live atoms with energy ≥ .9 in some plane."""
    n_live: int
    best_plane: Tensor
    """Index of the plane with most of an atom's energy, [N]; -1 without planes."""
    best_energy: Tensor
    """That energy, [N]."""
    recovered: Tensor
    """Whether each plane is positively spanned, [Q]."""
    atoms_per_plane: Tensor
    """Live atoms of energy ≥ .9 in each plane, [Q]."""
    null: EnergyNull


class GridMoments(NamedTuple):
    """Means and variances of activations over the grid."""

    marginals_4NM: Tensor
    """Mean for every value of t, per family [4, n, M], n = p (multiply: p - 1). Rounded as a column's mean is:
    that of zeros may lie as much below zero."""
    variance_M: Tensor
    """Over the grid, per column [M] (population, as the spectrum sums to it)."""


def grid_moments(X_RM: Tensor, p: int, task: fourier.Task = "add") -> GridMoments:
    """What all scores of activations over all pairs follow from, float64.

    `InputError` unless there is a row for each of the p² pairs and all are finite.
    """
    if X_RM.ndim != 2 or X_RM.shape[0] != p * p:
        raise InputError("activations", f"shape {tuple(X_RM.shape)}", f"[{p * p}, width]")
    grid_NNM = group_grid(X_RM, p, task)
    n, _, M = grid_NNM.shape
    by_a, by_b = torch.empty(n, M, dtype=torch.float64), torch.zeros(n, M, dtype=torch.float64)
    # Row i is added to the one from place i on, where a + b = place, and to the other from place n - i on,
    # where b - a = place - n; what lies a turn further on is the same argument.
    by_sum, by_difference = torch.zeros(2, 2 * n, M, dtype=torch.float64)
    # Less the mean of one row of the grid, squares cancel by a factor of n + 1 at most; less nothing, a large
    # mean leaves no digit of a small variance.
    shift_M, square_M = grid_NNM[0].double().mean(0), torch.zeros(M, dtype=torch.float64)
    x_NM = torch.empty(n, M, dtype=torch.float64)
    # Row by row, all sums while it is in the cache: a third of the time of one sum after the other.
    for i, row_NM in enumerate(grid_NNM):
        x_NM.copy_(row_NM).sub_(shift_M)
        torch.sum(x_NM, 0, out=by_a[i])
        by_b += x_NM
        by_sum[i : i + n] += x_NM
        by_difference[n - i : 2 * n - i] += x_NM
        square_M += x_NM.square_().sum(0)
    wrapped = by_sum[:n] + by_sum[n:]
    # Place u of the folded sums is b - a = u, which is a - b = -u.
    turned = (by_difference[:n] + by_difference[n:]).flip(0).roll(1, 0)
    variance_M = square_M / (n * n) - (by_b.sum(0) / (n * n)).square()
    marginals = torch.stack([by_a, by_b, wrapped, turned]).div_(n).add_(shift_M)
    if not bool(marginals.isfinite().all()):
        raise InputError("activations", "non-finite values", "finite numbers")
    return GridMoments(marginals, variance_M.clamp_min_(0.0))


def group_grid(X_RM: Tensor, p: int, task: fourier.Task = "add") -> Tensor:
    """Rows as a grid [n, n, M]; for multiplication by discrete logarithm, without zeros."""
    space = fourier.group(p, task)
    grid = X_RM.detach().cpu().reshape(p, p, -1)
    return grid[space.a[:, None], space.b] if task == "multiply" else grid


def answer_family(task: fourier.Task) -> int:
    """Index into `FAMILIES` of the argument that is the answer."""
    return FAMILIES.index("a-b" if task == "subtract" else "a+b")


def marginal_spectrum(marginals_4NM: Tensor) -> Tensor:
    """beta_cos - i·beta_sin for k = 1..n//2: complex [4, K, M]; |.|²/2 is the variance at k.

    beta = (2/p²) Σ X·cos(w_k t), Σ X·sin(w_k t) over the grid (science.md §5). For even n the last
    frequency has no sine, so it is scaled to keep |.|²/2 its variance, and a-b is a+b there: it
    is counted once.
    """
    n = marginals_4NM.shape[1]
    weights = fourier.conjugate_weights(n)
    spectrum: Tensor = torch.fft.rfft(marginals_4NM, dim=1)
    beta = spectrum[:, 1:] * ((2 * weights).sqrt() / n)[:, None]
    if n % 2 == 0:
        beta[FAMILIES.index("a-b"), -1] = 0.0
    return beta


def planes(X_RD: Tensor, p: int, ks: Sequence[int], task: fourier.Task = "add") -> Planes:
    """The planes of the key frequencies `ks` in activations [p², D], and which of them exist."""
    marginals, variance_D = grid_moments(X_RD, p, task)
    beta = marginal_spectrum(marginals)
    count = beta.shape[1]
    if not ks or len(set(ks)) != len(ks) or any(not 1 <= k <= count for k in ks):
        raise InputError("ks", f"frequencies {list(ks)}", f"distinct integers in 1..{count}")
    total = float(variance_D.sum())
    if total == 0.0:
        raise InputError("activations", "constant over the grid", "activations that vary")
    share_4K = beta.abs().square().sum(-1) / 2 / total
    other = torch.ones(count, dtype=torch.bool)
    other[[k - 1 for k in ks]] = False
    noise = {
        family: float(share[other].max()) if bool(other.any()) else 0.0
        for family, share in zip(FAMILIES, share_4K, strict=True)
    }
    found = []
    for family, share_K, beta_KD in zip(FAMILIES, share_4K, beta, strict=True):
        for k in ks:
            share = float(share_K[k - 1])
            exists = share >= LEAST_SHARE and share > noise[family]
            found.append(Plane(family, k, share, _basis(beta_KD[k - 1]), exists))
    return Planes(tuple(found), noise)


def class_truth(X_RD: Tensor, p: int, task: fourier.Task = "add") -> ClassTruth:
    """Var(E[X|c]) / Var X for the answer c: 1 if activations are one point per answer.

    `null` is its value for activations that do not know c. A dictionary of at least p atoms can
    describe class means as a lookup table (science.md §5). Means are in the family's order.
    """
    moments = grid_moments(X_RD, p, task)
    means = moments.marginals_4NM[answer_family(task)]
    total = float(moments.variance_M.sum())
    between = float(means.var(0, correction=0).sum())
    n = len(means)
    return ClassTruth(between / total if total else math.nan, (n - 1) / (n * n - 1), means)


def energy_null(d: float, n: int, count: int = 1, level: float = 0.05) -> EnergyNull:
    """In-plane energy of n random directions: Beta(1, (d-2)/2) each, F(s) = 1-(1-s)^((d-2)/2).

    `d` is the width, or the activations' rank (may be fractional). With `count` planes the
    maximum is over n·count energies (exact for one plane, an upper bound for several). A rank
    of at most 2 leaves no direction outside a plane: every energy is 1, and nothing can be told.
    """
    if d < 1 - _ROUNDING or n < 1 or count < 1 or not 0 < level < 1:
        raise InputError("energy null", f"d {d}, n {n}, {count} planes", "d ≥ 1, n ≥ 1, 1 plane")
    half, draws = (d - 2) / 2, n * count
    if half <= 0:
        return EnergyNull(1.0, 1.0, 1.0, 1.0)
    # max s = 1 - (min v)^(1/half) for v uniform, whose moment is a ratio of gamma functions.
    power = 1 / half
    logs = gammaln(1 + power) + gammaln(draws + 1) - gammaln(draws + 1 + power)
    critical = 1 - (-math.expm1(math.log1p(-level) / draws)) ** power
    beyond = min(1.0, count * (1 - ENERGY) ** half)
    return EnergyNull(2 / d, 1 - math.exp(float(logs)), critical, beyond)


def recover(
    D_ND: Tensor,
    truth: Sequence[Plane],
    live_N: Tensor | None = None,
    *,
    name: str = "sae",
    rank: float | None = None,
) -> Recovery:
    """Recall and precision of the atoms (rows, any norm) on the planes of `truth`.

    `live_N` masks the atoms that fire; zero rows never count. `rank` replaces the width in the
    null where the activations span fewer dimensions. Give `Planes.existing` as truth.
    """
    atoms, live = _unit(D_ND, live_N)
    for plane in truth:
        if plane.basis.shape[0] != atoms.shape[1]:
            raise InputError("dictionary", f"width {atoms.shape[1]}", f"{len(plane.basis)}")
    inside = [atoms @ plane.basis for plane in truth]
    energy_NQ = torch.zeros(len(atoms), max(1, len(truth)), dtype=torch.float64)
    for q, coordinates in enumerate(inside):
        energy_NQ[:, q] = coordinates.square().sum(1)
    belongs_NQ = (energy_NQ >= ENERGY) & live[:, None]
    recovered = [positively_span(x[belongs_NQ[:, q]]) for q, x in enumerate(inside)]
    best = energy_NQ.max(1)
    n_live = int(live.sum())
    return Recovery(
        name=name,
        recall=sum(recovered) / len(truth) if truth else math.nan,
        precision=float(belongs_NQ.any(1).sum()) / n_live if n_live else math.nan,
        n_live=n_live,
        best_plane=best.indices if truth else torch.full_like(best.indices, -1),
        best_energy=best.values,
        recovered=torch.tensor(recovered, dtype=torch.bool),
        atoms_per_plane=belongs_NQ.sum(0)[: len(truth)],
        null=energy_null(rank or atoms.shape[1], max(1, n_live), max(1, len(truth))),
    )


def positively_span(x_M2: Tensor) -> bool:
    """Whether non-negative combinations of the rows reach all of their 1- or 2-d space.

    In a plane: no half-plane holds them all, so the widest gap between angles is below π.
    """
    if x_M2.shape[1] == 1:
        return bool((x_M2 > 0).any() and (x_M2 < 0).any())
    if len(x_M2) < 3:
        return False
    angles = torch.atan2(x_M2[:, 1], x_M2[:, 0]).sort().values
    gaps = torch.cat([angles.diff(), angles[:1] + 2 * math.pi - angles[-1:]])
    return float(gaps.max()) < math.pi - _ROUNDING


class Spectrum(NamedTuple):
    """The covariance of activations, taken apart once for all that is drawn after it."""

    variances_D: Tensor
    """Largest first, none negative, float64."""
    axes_DD: Tensor
    """Their orthonormal directions, as columns."""

    @classmethod
    def of(cls, covariance_DD: Tensor) -> Spectrum:
        """Of a covariance in any unit."""
        values_D, vectors_DD = torch.linalg.eigh(covariance_DD.detach().to("cpu", torch.float64))
        return cls(values_D.flip(0).clamp_min(0), vectors_DD.flip(1))

    def shape(self, isotropic_ND: Tensor) -> Tensor:
        """Isotropic directions with this covariance."""
        return (isotropic_ND * self.variances_D.sqrt()) @ self.axes_DD.T


def pca_directions(spectrum: Spectrum, share: float = 0.99) -> Tensor:
    """Principal directions holding `share` of the variance, each with both signs: [2m, D].

    Both signs, since the codes of the dictionaries beside it are non-negative.
    """
    held_D = spectrum.variances_D.cumsum(0) / spectrum.variances_D.sum()
    leading = spectrum.axes_DD[:, : int((held_D < share).sum()) + 1].T
    return torch.cat([leading, -leading])


def random_directions(n: int, d: int, seed: int, like: Spectrum | None = None) -> Tensor:
    """n Gaussian directions [n, d]: isotropic, or with the covariance of activations."""
    generator = torch.Generator().manual_seed(seed)
    g_ND = torch.randn(n, d, dtype=torch.float64, generator=generator)
    return g_ND if like is None else like.shape(g_ND)


def baselines(
    spectrum: Spectrum,
    truth: Sequence[Plane],
    size: int,
    neurons_MD: Tensor | None = None,
    *,
    seeds: Iterable[int] = range(5),
    rank: float | None = None,
) -> dict[str, tuple[Recovery, ...]]:
    """The score of `recover` for what needs no SAE: neurons, pca, random, random_covariance.

    `spectrum` is that of the activations. `neurons_MD` are the write directions of non-negative neurons;
    without them the coordinates of the hook, with both signs. Random dictionaries have `size` atoms, one score
    per seed.
    """
    d = len(spectrum.variances_D)
    if neurons_MD is None:
        neurons_MD = torch.cat([torch.eye(d), -torch.eye(d)])
    isotropic = [random_directions(size, d, seed) for seed in seeds]
    dictionaries = {
        "neurons": [neurons_MD],
        "pca": [pca_directions(spectrum)],
        "random": isotropic,
        "random_covariance": [spectrum.shape(g_ND) for g_ND in isotropic],
    }
    named = [(name, D) for name, group in dictionaries.items() for D in group]
    found = side_by_side(lambda one: recover(one[1], truth, name=one[0], rank=rank), named)
    scores = iter(found)
    return {name: tuple(islice(scores, len(group))) for name, group in dictionaries.items()}


def _basis(beta_D: Tensor) -> Tensor:
    sides = torch.stack([beta_D.real, beta_D.imag], dim=1)
    left: Tensor
    left, sizes, _ = torch.linalg.svd(sides, full_matrices=False)
    keep = sizes > _ROUNDING * sizes[0]
    keep[0] = True
    return left[:, keep]


def _unit(D_ND: Tensor, live_N: Tensor | None) -> tuple[Tensor, Tensor]:
    if D_ND.ndim != 2:
        raise InputError("dictionary", f"shape {tuple(D_ND.shape)}", "[atoms, width]")
    atoms = D_ND.detach().to("cpu", torch.float64)
    norms = atoms.norm(dim=1, keepdim=True)
    if not bool(norms.isfinite().all()):
        raise InputError("dictionary", "non-finite atoms", "finite numbers")
    live = norms[:, 0] > 0
    if live_N is not None:
        if tuple(live_N.shape) != (len(atoms),) or live_N.dtype != torch.bool:
            seen = f"{live_N.dtype} of shape {tuple(live_N.shape)}"
            raise InputError("live", seen, f"a boolean mask [{len(atoms)}]")
        live &= live_N.cpu()
    return atoms / norms.clamp_min(torch.finfo(torch.float64).tiny), live
