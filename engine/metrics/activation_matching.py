"""Whether latents of different seeds respond to the same inputs, whatever their directions.

Pearson correlation of latents over the same inputs is the one measure that needs no common basis, so the
only one between different models (science.md §2). Each feature is matched with the best of the other seed
(many to one, as Bricken et al. 2023) and one to one (Hungarian, as Song et al. 2505.20254 do with cosines).
For the same partners, the Jaccard index of the supports says how far they fire on the same inputs.

Null: activation maps of one seed are shifted, each feature by an offset of its own: on the torus of pairs
(a, b) by (δ, ε), which keeps a feature's density and spectrum and breaks only what it shares with others; for
rows in no order (planted data) cyclically, which is as good as any permutation.

Shapes: N = inputs, R = inputs used, F = features, A, B = live features of two seeds (B also some features, or
bytes), S = seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError
from engine.metrics import fourier
from engine.metrics.matching import Match
from engine.metrics.nulls import kappa
from engine.metrics.parallel import side_by_side
from engine.metrics.similarity import LIVE_COUNT, all_finite
from engine.metrics.uncertainty import MIN_SEEDS, jackknife, pair_mean

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]

INPUTS = 2048
"""Inputs used of more: the correlation of two matched latents then has a standard error of about .02 at most,
its mean over a dictionary far less; a pair of seeds of 1,024 latents costs 0.07 s."""
CONSTANT = 1e-6
"""Standard deviation of a map, as a share of its root mean square, below which it is rounding: equal float32
values, less their mean, leave up to 4e-7."""
_FEW = 32
"""Features whose maps are taken at a time: they stay in a core's cache."""
MEASURES = ("pearson", "pearson_matched", "jaccard", "jaccard_matched")


class Maps(NamedTuple):
    """What is compared of the latents of one seed: each feature is a row."""

    units_AR: Tensor
    """Less their mean, at unit length, so that products are Pearson's r; those of constant latents are zero."""
    on_AB: Bits
    """On which inputs they fire: a bit for each, eight to the byte, zeros behind the last."""


class _Seen(NamedTuple):
    """The latents of one seed on the inputs used, as they are and shifted."""

    plain: Maps
    shifted: Maps


class _Rows:
    """Gathers the maps of some features after the other."""

    def __init__(self, features: int, inputs: int) -> None:
        self._units_AR, self._bits, self._count = torch.empty(features, inputs), list[Bits](), 0

    def add(self, z_BR: Tensor) -> None:
        until = self._count + len(z_BR)
        some = take_maps(z_BR)
        self._units_AR[self._count : until] = some.units_AR
        self._bits.append(some.on_AB)
        self._count = until

    def maps(self) -> Maps:
        none = np.empty((0, 0), dtype=np.uint8)
        return Maps(self._units_AR, np.concatenate(self._bits) if self._bits else none)


@dataclass
class ActivationSample:
    """Collects the latents of each seed, on the same inputs; measured once all are there."""

    grid: Tensor
    """Rows of the activations by position: [n, n] on a torus of pairs, [N] for rows in no order."""
    seed: int = 0
    """Of the inputs drawn and of the shifts."""
    seen: dict[int, _Seen] = field(default_factory=dict)
    """By the place of the seed."""

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(self.grid.numel(), generator=generator)
        self.positions_R = order[:INPUTS].sort().values

    @property
    def rows_R(self) -> Tensor:
        """The rows of the activations that are used."""
        return self.grid.flatten()[self.positions_R]

    def add(self, s: int, z_NF: Tensor, live_F: Tensor) -> None:
        """Take the latents of the seed at place s over all N inputs, and which of them are live.

        What is drawn depends on s alone, so seeds may be added in any order, by several threads at once.

        Of those, features that fire on fewer than 10 of the inputs used are left out: maps of two or three
        spikes correlate by .2 by chance.

        Raises:
            InputError: a row of the grid is missing, values are not finite, or the mask does not fit.
        """
        if z_NF.ndim != 2 or len(z_NF) <= int(self.grid.max()):
            shape = list(z_NF.shape)
            raise InputError("latents", f"have shape {shape}", "one row for every input")
        if live_F.shape != z_NF.shape[1:] or live_F.dtype != torch.bool:
            raise InputError("live", f"has shape {list(live_F.shape)}", "a flag for every latent")
        plain_FR = z_NF.index_select(0, self.rows_R).T.contiguous()
        if not all_finite(plain_FR):
            raise InputError("latents", "hold a value that is not finite", "finite activations")
        fires_F = torch.from_numpy(_count(_bits(plain_FR)))
        kept = (live_F & (fires_F >= LIVE_COUNT)).nonzero().flatten()
        plain, shifted = (_Rows(len(kept), len(self.positions_R)) for _ in range(2))
        shift = self._shift(s, len(kept))
        for start in range(0, len(kept), _FEW):
            features_B = kept[start : start + _FEW]
            maps_BN = _as_rows(z_NF, features_B)
            plain.add(plain_FR[features_B])
            shifted.add(maps_BN.gather(1, shift(torch.arange(start, start + len(features_B)))))
        self.seen[s] = _Seen(plain.maps(), shifted.maps())

    def _shift(self, s: int, count: int) -> Callable[[Tensor], Tensor]:
        """How to read `count` maps of the seed at place s, shifted by random offsets: the rows of activations
        [B, R] at which some of them [B] are read."""
        sizes = self.grid.shape
        generator = torch.Generator().manual_seed(self.seed + 1 + s)
        offsets = [torch.randint(n, (count,), generator=generator) for n in sizes]
        # Beside a second copy of itself a torus needs no remainders: position (r, c) shifted by (δ, ε) is
        # (r + δ, c + ε), and its place in the flat table the sum of both places.
        doubled = self.grid.repeat(*(2 for _ in sizes))
        width = sizes[-1]
        places = (self.positions_R // width, self.positions_R % width)[-len(sizes) :]
        steps = doubled.stride()
        base_R, offset_F = (
            torch.stack([place * step for place, step in zip(some, steps, strict=True)]).sum(0)
            for some in (places, offsets)
        )
        rows = doubled.flatten()
        return lambda features_B: rows[base_R + offset_F[features_B, None]]

    def measure(self) -> dict[str, Any]:
        """Return every measure with its null, κ and interval, as plain JSON values (NaN is None).

        The null is held fixed in the jackknife; it is the mean over rings of seeds (each with the next),
        the shifted maps of one side against the plain ones of the other.
        """
        every = [one for _, one in sorted(self.seen.items())]
        sizes = [len(seen.plain.units_AR) for seen in every]
        about = {
            "inputs": {"used": len(self.positions_R), "of": self.grid.numel()},
            "n_per_seed": sizes,
            "least_count": LIVE_COUNT,
            "shift": "torus" if self.grid.ndim == 2 else "rows",
        }
        count = len(sizes)
        if count < 2 or 0 in sizes:
            reason = (
                f"{count} seed has nothing to agree with"
                if count < 2
                else f"no latent fires on {LIVE_COUNT} of the inputs used in {sizes.count(0)} of {count} seeds"
            )
            return {**about, **{name: _blank(reason) for name in MEASURES}}
        pairs = list(combinations(range(count), 2))
        ring = [(s, (s + 1) % count) for s in range(count if count > 2 else 1)]
        asked = [(every[s].plain, every[t].plain) for s, t in pairs]
        asked += [(every[s].plain, every[t].shifted) for s, t in ring]
        values = side_by_side(lambda two: match_values(*two), asked)
        seen, null_KM = values[: len(pairs)], np.array(values[len(pairs) :])
        table_MSS = np.full((len(MEASURES), count, count), np.nan)
        for (s, t), value_M in zip(pairs, seen, strict=True):
            table_MSS[:, s, t] = table_MSS[:, t, s] = value_M
        found = {name: _corrected(table_MSS[m], null_KM[:, m]) for m, name in enumerate(MEASURES)}
        return {**about, **found}


def torus(p: int, task: fourier.Task = "add") -> Tensor:
    """Rows a·p + b of the pairs in group coordinates, [n, n]: shifting a map there is shifting (a, b).

    For multiplication by discrete logarithm, n = p − 1: pairs with a zero are in no group and left out.
    """
    space = fourier.group(p, task)
    return space.a[:, None] * p + space.b


def _as_rows(z_NF: Tensor, features_B: Tensor) -> Tensor:
    """The maps [B, N] of some features, in the order of their numbers."""
    first, until = int(features_B[0]), int(features_B[-1]) + 1
    if until - first > 2 * len(features_B):
        return z_NF.index_select(1, features_B).T.contiguous()
    # Columns that lie close together are turned into rows in a quarter of the time.
    return z_NF[:, first:until].contiguous().T.contiguous()[features_B - first]


def take_maps(z_AR: Tensor) -> Maps:
    """What is compared of latents, one feature a row."""
    return Maps(standardised(z_AR), _bits(z_AR))


def standardised(z_AR: Tensor) -> Tensor:
    """Rows less their mean at unit length, float32: products are Pearson's r. Constant ones are zero."""
    z_AR = z_AR.float()
    square_A1 = z_AR.square().sum(1, keepdim=True)
    centred_AR = z_AR - z_AR.mean(1, keepdim=True)
    length_A1 = centred_AR.norm(dim=1, keepdim=True)
    length_A1[length_A1.square() <= CONSTANT**2 * square_A1] = torch.inf
    return centred_AR.div_(length_A1)


def _bits(z_AR: Tensor) -> Bits:
    return np.packbits(z_AR.numpy() > 0, axis=1)


def _count(bits_PB: Bits) -> NDArray[np.int64]:
    counts_P: NDArray[np.int64] = np.bitwise_count(bits_PB).sum(1, dtype=np.int64)
    return counts_P


def jaccard(on_PB: Bits, other_PB: Bits) -> Floats:
    """|both on| / |either on| of paired rows of bits [P]; 0 where neither ever is."""
    both_P, either_P = (_count(bits_PB) for bits_PB in (on_PB & other_PB, on_PB | other_PB))
    shares_P: Floats = both_P / np.maximum(either_P, 1)
    return shares_P


def match_values(mine: Maps, theirs: Maps) -> list[float]:
    """`MEASURES` of two seeds.

    ½(mean over A + mean over B) of each feature's best partner, and the mean over the one-to-one
    assignment of largest total correlation; the Jaccard index is that of the same partners.
    """
    r_AB = mine.units_AR @ theirs.units_AR.T
    pair, nearest = Match.of(r_AB)
    best_A, best_B = nearest.column_A.numpy(), nearest.row_B.numpy()
    supports = (
        jaccard(mine.on_AB, theirs.on_AB[best_A]).mean()
        + jaccard(mine.on_AB[best_B], theirs.on_AB).mean()
    ) / 2
    rows, columns = pair.rows.numpy(), pair.columns.numpy()
    return [
        nearest.mean,
        float(r_AB[pair.rows, pair.columns].mean()),
        float(supports),
        float(jaccard(mine.on_AB[rows], theirs.on_AB[columns]).mean()),
    ]


def _corrected(pairs_SS: Floats, null_K: Sequence[float] | Floats) -> dict[str, Any]:
    """One measure beside its null: κ with the seed jackknife."""
    null, n_seeds = float(np.mean(null_K)), len(pairs_SS)

    def corrected(seeds: Sequence[int]) -> float:
        return kappa(pair_mean(pairs_SS, seeds), null)

    value, low, high = corrected(range(n_seeds)), math.nan, math.nan
    reason = f"{n_seeds} seeds give no interval; at least {MIN_SEEDS} are needed"
    if n_seeds >= MIN_SEEDS:
        estimate = jackknife(corrected, n_seeds)
        low, high, reason = estimate.low, estimate.high, ""
    return {
        "observed": pair_mean(pairs_SS),
        "null": null,
        "null_sd": float(np.std(null_K, ddof=1)) if len(null_K) > 1 else None,
        "kappa": _number(value),
        "ci_low": _number(low),
        "ci_high": _number(high),
        "pairs": [[_number(x) for x in row] for row in pairs_SS.tolist()],
        "reason": reason,
    }


def _blank(reason: str) -> dict[str, Any]:
    names = ("observed", "null", "null_sd", "kappa", "ci_low", "ci_high", "pairs")
    return {**dict.fromkeys(names), "reason": reason}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
