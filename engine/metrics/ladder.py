"""The null ladder of one set of dictionaries, for every metric at once.

Shapes: S = seeds, N = features of one seed, D = input dimension, K = draws, M = metrics of
`matching.metric_names(taus, strict=True)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.metrics.matching import EncoderRows, Match, pair_values
from engine.metrics.nulls import (
    Law,
    Null,
    OutsideEnergy,
    activation_law,
    decoder_law,
    draw_values,
    enough_draws,
    isotropic_mean_max_cos,
    isotropic_values,
    judge_activation_null,
    outside_energy,
)
from engine.metrics.parallel import side_by_side
from engine.metrics.similarity import Sign, cosine_matrix
from engine.metrics.uncertainty import pair_mean

Floats = NDArray[np.float64]

# Above this size one Hungarian matching costs 10 ms or more (20 to 30 at 1,024) while the means over a
# dictionary hardly vary: in 128 dimensions N0 and N1 of `mean_max_cos` and `matched_mcc` have an sd of .0005 to
# .0012 at 1,024 features and of .0011 to .0022 at 513, so five draws err by less than .001; three would err by
# up to .0013. Shares of N1, which jump at their threshold, have an sd of .015: five err by .007.
LARGE, LARGE_DRAWS = 512, 5


@dataclass(frozen=True)
class Setting:
    """What every metric of one measurement shares."""

    covariance: Tensor | None
    """[D, D], of the activations; without it there is no N1."""
    sign: Sign
    draws: int
    taus: tuple[float, ...]
    dependence: str = ""
    """Why the seeds depend on each other, so that independent directions are no null; empty if they do not."""


@dataclass(frozen=True)
class Ladder:
    """N0, N1 and N2 of every metric: mean and standard deviation [M] over K draws."""

    means: dict[str, Floats]
    sds: dict[str, Floats]
    draws: dict[str, int]
    energy: OutsideEnergy | None
    """What decides on N1; None without a covariance."""

    def nulls(self, metric: int) -> list[Null]:
        """N0, N1 and N2 of the metric at that index."""
        nulls = []
        for name, mean_M in self.means.items():
            value, sd = float(mean_M[metric]), float(self.sds[name][metric])
            # Index 0 is mean_max_cos, whose N0 is a closed form: only its sd was drawn.
            exact = name == "N0" and metric == 0
            reason = "closed form" if exact else ""
            nulls.append(Null(name, value, sd, 0 if exact else self.draws[name], True, reason))
        if self.energy is None:
            reason = "the activations' covariance was not given"
            nulls.insert(1, Null("N1", math.nan, math.nan, 0, False, reason))
        else:
            fits, reason = judge_activation_null(self.energy)
            nulls[1] = replace(nulls[1], admissible=fits, reason=reason)
        return nulls


def pair_table(
    decoders: Sequence[Tensor],
    encoders: Sequence[Tensor] | None,
    setting: Setting,
    matches: dict[tuple[int, int], Match] | None = None,
) -> Floats:
    """Every metric of every pair of seeds [M, S, S], symmetric, NaN on the diagonal.

    How the decoders of each pair s < t match is left in `matches`, if that is given.
    """
    n_seeds = len(decoders)
    n_metrics = 2 + 2 * len(setting.taus)
    table_MSS = np.full((n_metrics, n_seeds, n_seeds), np.nan)

    def measure(pair: tuple[int, int]) -> list[float]:
        s, t = pair
        # Of a pair at a time: float64 rows of all seeds would be larger than the matrix where D is large.
        decoder_AB = cosine_matrix(decoders[s], decoders[t], setting.sign)
        strict = None
        if encoders is not None:
            strict = EncoderRows.of(encoders[s], encoders[t], setting.sign)
        match = Match.of(decoder_AB)
        if matches is not None:
            matches[pair] = match
        return pair_values(decoder_AB, setting.taus, strict, match)

    pairs = list(combinations(range(n_seeds), 2))
    for (s, t), values in zip(pairs, side_by_side(measure, pairs), strict=True):
        table_MSS[:, s, t] = table_MSS[:, t, s] = values
    return table_MSS


def make_ladder(decoders: Sequence[Tensor], setting: Setting) -> Ladder:
    """Draw N0, N1 (given a covariance) and N2 for these dictionaries, none of them empty."""
    sizes = [len(rows) for rows in decoders]
    d = decoders[0].shape[1]
    values = {"N0": _isotropic(sizes, d, setting)}
    energy = None
    if setting.covariance is not None:
        law = activation_law(1, setting.covariance)
        values["N1"] = _drawn([replace(law, n=n) for n in sizes], setting)
        energy = outside_energy(decoders, setting.covariance)
    values["N2"] = _drawn([decoder_law(rows) for rows in decoders], setting)
    means = {name: values_KM.mean(0) for name, values_KM in values.items()}
    pairs = combinations(sizes, 2)
    exact = [isotropic_mean_max_cos(n_a, n_b, d, setting.sign) for n_a, n_b in pairs]
    means["N0"][0] = np.mean(exact)
    return Ladder(
        means=means,
        sds={name: values_KM.std(axis=0, ddof=1) for name, values_KM in values.items()},
        draws={name: len(values_KM) for name, values_KM in values.items()},
        energy=energy,
    )


def surrogate_null(pairs_SS: Floats | None, reason: str) -> Null:
    """N3 of one metric from the surrogate's pairs; inadmissible, for that reason, without any."""
    if pairs_SS is None:
        return Null("N3", math.nan, math.nan, 0, False, reason)
    values = pairs_SS[np.triu_indices(len(pairs_SS), 1)]
    sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Null("N3", pair_mean(pairs_SS), sd, len(values), True, reason)


def _isotropic(sizes: Sequence[int], d: int, setting: Setting) -> Floats:
    """N0 [K, M]; where live counts differ, every pair of sizes has its share of the draws."""
    pairs = list(combinations(sizes, 2))
    distinct = sorted({(min(pair), max(pair)) for pair in pairs})
    if len(distinct) == 1:
        n_a, n_b = distinct[0]
        draws = draw_count(n_b, setting.draws)
        return isotropic_values(n_a, n_b, d, setting.sign, setting.taus, draws)
    laws = [(Law(n_a, d), Law(n_b, d)) for n_a, n_b in pairs]
    return _cycled(laws, draw_count(max(sizes), setting.draws), setting)


def draw_count(n: int, draws: int) -> int:
    """How many pairs to draw, the larger side of which has n rows: fewer than asked for if n is large."""
    return min(draws, LARGE_DRAWS) if n > LARGE else enough_draws(n, draws)


def _drawn(laws: Sequence[Law], setting: Setting) -> Floats:
    """N1 or N2 [K, M] of all pairs of seeds."""
    draws = draw_count(max(law.n for law in laws), setting.draws)
    return _cycled(list(combinations(laws, 2)), draws, setting)


def _cycled(pairs: Sequence[tuple[Law, Law]], draws: int, setting: Setting) -> Floats:
    """Draws that visit all pairs equally often or, with fewer draws than pairs, evenly spaced."""
    if draws < len(pairs):
        pairs = [pairs[k * len(pairs) // draws] for k in range(draws)]
    whole = math.ceil(draws / len(pairs)) * len(pairs)
    return draw_values(pairs, whole, setting.taus, setting.sign)
