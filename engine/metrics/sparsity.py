"""How sparsely latents are used: per input, per feature, and together.

Hoyer and Gini are those of science.md §3 (Hurley & Rickard 2009): 0 for even values, towards 1 for a
single non-zero one. Beside them stands what equal values on as many latents would have.

Shapes: N inputs, F latents, M latents that fire often enough, B bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError

Floats = NDArray[np.float64]

LEAST_FIRINGS = 10
"""Inputs on which a latent must fire, and must not, for its co-activation to be told."""
DENSITY_EDGES: Floats = 10.0 ** np.arange(-4.0, 0.01, 0.25)
"""Edges of the histogram of densities, a quarter of a decade each; the first bin takes what lies below."""
BINS = 100
"""Of the histogram of φ, from −1 to 1."""
SORTED_INPUTS = 512
"""Inputs whose Gini index is measured: it takes a sort of every code."""
_ROWS, _BYTE = 256, 255


@dataclass(frozen=True)
class Codes:
    """How sparse the codes of one SAE are."""

    l0_N: Tensor
    """Active latents of each input."""
    l0_sd_independent: float
    """Standard deviation of L0, if latents of these densities fired independently of each other."""
    hoyer: float
    """Mean over inputs with an active latent; NaN without one, as all below."""
    hoyer_equal: float
    """The same of as many equal values."""
    gini: float
    """Mean over `SORTED_INPUTS` inputs, evenly spaced."""
    gini_equal: float


def measure_codes(codes_NF: Tensor) -> Codes:
    """Measure the codes of all inputs; InputError unless [N, F ≥ 2], finite, and none is negative."""
    _check_shape(codes_NF)
    codes_NF = codes_NF.detach().cpu()
    width = codes_NF.shape[1]
    l0_N, ratio_N = (torch.empty(len(codes_NF), dtype=torch.float64) for _ in range(2))
    fires_F = torch.zeros(width, dtype=torch.float64)
    # Part by part: what is in the cache is read five times, instead of all of memory.
    parts = zip(*(x.split(_ROWS) for x in (codes_NF, l0_N, ratio_N)), strict=True)
    for codes_RF, l0_R, ratio_R in parts:
        _check_values(codes_RF)
        on_RF = active(codes_RF)
        l0_R.copy_(on_RF.sum(1))
        fires_F += on_RF.sum(0)
        ratio_R.copy_(codes_RF.sum(1) / codes_RF.norm(dim=1))
    density_F = fires_F / len(codes_NF)
    some_N = l0_N > 0
    root = math.sqrt(width)
    # √L0 is |x|₁/|x|₂ of equal values.
    ratio_N = ratio_N[some_N]
    step = max(1, len(codes_NF) // SORTED_INPUTS)
    chosen_NF = codes_NF[::step][:SORTED_INPUTS]
    chosen_NF = chosen_NF[chosen_NF.sum(1) > 0]
    return Codes(
        l0_N=l0_N,
        l0_sd_independent=float((density_F * (1 - density_F)).sum().sqrt()),
        hoyer=float(((root - ratio_N) / (root - 1)).mean()),
        hoyer_equal=float(((root - l0_N[some_N].sqrt()) / (root - 1)).mean()),
        gini=float(row_gini(chosen_NF).mean()),
        gini_equal=float((1 - (chosen_NF > 0).double().sum(1) / width).mean()),
    )


def active(codes_NF: Tensor) -> Tensor:
    """1 where a latent fires, else 0: float32 [N, F], ready for products."""
    on_NF = torch.empty(codes_NF.shape)
    torch.gt(codes_NF, 0, out=on_NF)  # a third of the time of a mask that is converted
    return on_NF


def firings(codes_NF: Tensor) -> Tensor:
    """On how many inputs each latent fires: int64 [F]."""
    codes = codes_NF.detach().cpu().numpy()
    fires_F = np.zeros(codes.shape[1], dtype=np.int64)
    # Of so few rows that a byte holds their count: numpy adds bytes in a third of the time of booleans.
    for start in range(0, len(codes), _BYTE):
        on_RF = codes[start : start + _BYTE] > 0
        fires_F += on_RF.view(np.uint8).sum(0, dtype=np.uint8)
    return torch.from_numpy(fires_F)


def row_gini(values_NF: Tensor) -> Tensor:
    """Gini index of each row of non-negative values, [N]; NaN for a row of zeros."""
    # numpy, because torch takes five times as long to sort.
    ordered_NF = torch.from_numpy(np.sort(values_NF.numpy(), axis=1)).double()
    n = ordered_NF.shape[1]
    weight_F = 2 * torch.arange(1, n + 1, dtype=torch.float64) - n - 1
    return (ordered_NF @ weight_F) / (n * ordered_NF.sum(1))


def density_histogram(density_F: Tensor) -> tuple[float, Floats]:
    """Share of features that never fire, and share in each bin between `DENSITY_EDGES`."""
    density = density_F.detach().cpu().double().numpy()
    if density.size == 0 or not ((density >= 0) & (density <= 1)).all():
        raise InputError("density", "empty or outside 0..1", "the share of inputs of each feature")
    fires = np.clip(density[density > 0], DENSITY_EDGES[0], DENSITY_EDGES[-1])
    counts, _ = np.histogram(fires, DENSITY_EDGES)
    return float((density == 0).mean()), counts / density.size


@dataclass(frozen=True)
class Coactivation:
    """φ of every pair of latents that fire, and do not, on at least `LEAST_FIRINGS` inputs."""

    kept: Tensor
    """Their indices, [M]."""
    phi_MM: Tensor
    """Correlation of firing, with zeros on the diagonal."""

    def histogram(self) -> Floats:
        """Share of pairs in each of `BINS` bins from −1 to 1; zeros if there is no pair."""
        counts = torch.histc(self.phi_MM, BINS, -1.0, 1.0).double()
        counts[BINS // 2] -= len(self.kept)  # the diagonal
        pairs = len(self.kept) * (len(self.kept) - 1)
        return (counts / max(pairs, 1)).numpy()

    def strongest(self, count: int) -> list[tuple[int, int, float]]:
        """The pairs with the largest φ, largest first: both latents and φ."""
        M = len(self.kept)
        upper_MM = self.phi_MM.masked_fill(torch.ones(M, M, dtype=torch.bool).tril(), -2.0)
        best = upper_MM.flatten().topk(min(count, M * (M - 1) // 2))
        places = [divmod(place, M) for place in best.indices.tolist()]
        pairs = [(int(self.kept[i]), int(self.kept[j])) for i, j in places]
        return [(i, j, phi) for (i, j), phi in zip(pairs, best.values.tolist(), strict=True)]

    def largest(self) -> float:
        """The largest φ of two latents; NaN if there is no pair."""
        pair = self.strongest(1)
        return pair[0][2] if pair else math.nan


def coactivation(on_NF: Tensor) -> Coactivation:
    """φ = corr(1[f_i > 0], 1[f_j > 0]) from firings (1 or 0) of the same inputs."""
    N = len(on_NF)
    count_F = on_NF.sum(0)
    kept_F = (count_F >= LEAST_FIRINGS) & (count_F <= N - LEAST_FIRINGS)
    on_NM = on_NF if bool(kept_F.all()) else on_NF[:, kept_F]
    on_NM = on_NM.float()
    rate_M = count_F[kept_F].float() / N
    sd_M = (rate_M * (1 - rate_M)).sqrt()
    phi_MM = (on_NM.T @ on_NM).div_(N).addr_(rate_M, rate_M, alpha=-1.0)
    phi_MM.div_(sd_M[:, None]).div_(sd_M).clamp_(-1.0, 1.0)
    return Coactivation(kept_F.nonzero()[:, 0], phi_MM.fill_diagonal_(0.0))


def independent_firings(on_NF: Tensor, seed: int = 0) -> Tensor:
    """The same firings, every latent's turned along the inputs by an amount of its own: [N, F].

    Densities stay; what is left of φ is chance, the more so the less the order of inputs means.
    """
    N, F = on_NF.shape
    generator = torch.Generator().manual_seed(seed)
    offset_F = torch.randint(N, (F,), generator=generator)
    return on_NF.gather(0, (torch.arange(N)[:, None] + offset_F) % N)


def _check_shape(codes_NF: Tensor) -> None:
    if codes_NF.ndim != 2 or len(codes_NF) == 0 or codes_NF.shape[1] < 2:
        raise InputError("codes", f"shape {tuple(codes_NF.shape)}", "[inputs, latents ≥ 2]")


def _check_values(codes_RF: Tensor) -> None:
    least, most = codes_RF.aminmax()
    if not bool(torch.isfinite(least) and torch.isfinite(most) and least >= 0):
        raise InputError("codes", "negative or not finite", "activations of latents, at least 0")
