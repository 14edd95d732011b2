"""Whether latents of different seeds respond to the same inputs, whatever their directions.

Pearson correlation of latents over the same inputs is the one measure that needs no common basis, so the
only one between different models (science.md §2). Each feature is matched with the best of the other seed
(many to one, as Bricken et al. 2023) and one to one (Hungarian, as Song et al. 2505.20254 do with cosines).
For the same partners, the Jaccard index of the supports says how far they fire on the same inputs.

Null: activation maps of one seed are shifted, each feature by an offset of its own: on the torus of pairs
(a, b) by (δ, ε), which keeps a feature's density and spectrum and breaks only what it shares with others; for
rows in no order (planted data) cyclically, which is as good as any permutation.

Shapes: N = inputs, R = inputs used, F = features, A, B = live features of two seeds, S = seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError
from engine.metrics import fourier
from engine.metrics.assignment import assignment
from engine.metrics.nulls import kappa
from engine.metrics.parallel import side_by_side
from engine.metrics.similarity import LIVE_COUNT
from engine.metrics.sparsity import active
from engine.metrics.uncertainty import MIN_SEEDS, jackknife, pair_mean

Floats = NDArray[np.float64]

INPUTS = 2048
"""Inputs used of more: the correlation of two matched latents then has a standard error of about .02 at most,
its mean over a dictionary far less; a pair of seeds of 1,024 latents costs 0.1 s."""
_FEW = 32
"""Features that are shifted at a time."""
MEASURES = ("pearson", "pearson_matched", "jaccard", "jaccard_matched")


class _Seen(NamedTuple):
    """The latents of one seed on the inputs used, as they are and shifted."""

    plain_RA: Tensor
    shifted_RA: Tensor


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
        plain_RF = z_NF[self.rows_R]
        if not bool(torch.isfinite(plain_RF).all()):
            raise InputError("latents", "hold a value that is not finite", "finite activations")
        # numpy, because torch takes ten times as long to sum booleans down the rows.
        fires_F = torch.from_numpy((plain_RF.numpy() > 0).sum(0))
        kept_F = live_F & (fires_F >= LIVE_COUNT)
        self.seen[s] = _Seen(plain_RF[:, kept_F], self._shift(s, z_NF, kept_F))

    def _shift(self, s: int, z_NF: Tensor, kept_F: Tensor) -> Tensor:
        """The kept latents at the same positions of maps shifted by random offsets [R, A]."""
        features_A = kept_F.nonzero().flatten()
        sizes = self.grid.shape
        generator = torch.Generator().manual_seed(self.seed + 1 + s)
        offsets = [torch.randint(n, (len(features_A),), generator=generator) for n in sizes]
        # Beside a second copy of itself a torus needs no remainders: position (r, c) shifted by (δ, ε) is
        # (r + δ, c + ε), and its place in the flat table the sum of both places.
        doubled = self.grid.repeat(*(2 for _ in sizes))
        width = sizes[-1]
        places = (self.positions_R // width, self.positions_R % width)[-len(sizes) :]
        steps = doubled.stride()
        base_R, offset_A = (
            torch.stack([place * step for place, step in zip(some, steps, strict=True)]).sum(0)
            for some in (places, offsets)
        )
        rows, maps_FN = doubled.flatten(), z_NF.T.contiguous()
        shifted_AR = z_NF.new_empty(len(features_A), len(base_R))
        # A few features at a time: their maps and the places asked for stay in the cache.
        for features_B, offset_B, into_BR in zip(
            *(x.split(_FEW) for x in (features_A, offset_A, shifted_AR)), strict=True
        ):
            places_BR = rows[base_R + offset_B[:, None]]
            torch.gather(maps_FN[features_B], 1, places_BR, out=into_BR)
        return shifted_AR.T

    def measure(self) -> dict[str, Any]:
        """Return every measure with its null, κ and interval, as plain JSON values (NaN is None).

        The null is held fixed in the jackknife; it is the mean over rings of seeds (each with the next),
        the shifted maps of one side against the plain ones of the other.
        """
        every = [one for _, one in sorted(self.seen.items())]
        sizes = [seen.plain_RA.shape[1] for seen in every]
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
        plain = side_by_side(lambda one: _both(one.plain_RA), every)
        shifted = side_by_side(lambda one: _both(one.shifted_RA), every)
        pairs = list(combinations(range(count), 2))
        ring = [(s, (s + 1) % count) for s in range(count if count > 2 else 1)]
        asked = [(plain[s], plain[t]) for s, t in pairs] + [(plain[s], shifted[t]) for s, t in ring]
        values = side_by_side(
            lambda two: match_values(two[0][0], two[1][0], two[0][1], two[1][1]), asked
        )
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


def standardised(z_RA: Tensor) -> Tensor:
    """Columns less their mean at unit length, so that products are Pearson's r; constant ones are zero."""
    centred_RA = z_RA.float() - z_RA.float().mean(0)
    return torch.nn.functional.normalize(centred_RA, dim=0)


def _both(z_RA: Tensor) -> tuple[Tensor, Tensor]:
    """Latents standardised, and 1 where they fire."""
    return standardised(z_RA), active(z_RA)


def jaccard(on_RP: Tensor, other_RP: Tensor) -> Tensor:
    """|both on| / |either on| of paired columns of 0 and 1 [P]; 0 where neither ever is."""
    both_P = (on_RP * other_RP).sum(0)
    either_P = on_RP.sum(0) + other_RP.sum(0) - both_P
    return both_P / either_P.clamp_min(1)


def match_values(x_RA: Tensor, y_RB: Tensor, on_RA: Tensor, other_RB: Tensor) -> list[float]:
    """`MEASURES` of two seeds: of standardised latents and of what they fire on.

    ½(mean over A + mean over B) of each feature's best partner, and the mean over the one-to-one
    assignment of largest total correlation; the Jaccard index is that of the same partners.
    """
    r_AB = x_RA.T @ y_RB
    best_A, best_B = r_AB.max(1), r_AB.max(0)
    pair = assignment(r_AB)
    supports = (
        float(jaccard(on_RA, other_RB[:, best_A.indices]).mean())
        + float(jaccard(on_RA[:, best_B.indices], other_RB).mean())
    ) / 2
    return [
        float(best_A.values.mean() + best_B.values.mean()) / 2,
        float(r_AB[pair.rows, pair.columns].mean()),
        supports,
        float(jaccard(on_RA[:, pair.rows], other_RB[:, pair.columns]).mean()),
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
