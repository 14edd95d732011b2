"""The rungs of the ladder that need more than decoders and a covariance: N4 and N6.

N4 step 0     the same SAEs before their first step. It is a check, not a rival: independent starts agree
              exactly as N0 says, which N0 knows without noise; shared starts are seen by it.
N4 untrained  SAEs of the same settings and seeds on activations of the same transformer before training.
              It asks another question: what does the model's training add? Inputs and architecture have
              structure of their own, which SAEs may find again with every seed. Were it admissible, "chance"
              could be said of features that every seed finds, because an untrained model has them too. So
              it has its κ, and no say in the verdict.
N6            true planes turned by random angles, what lies outside them drawn (`phase_null`): admissible
              where planes exist. Where atoms hardly lie in them it comes down to N2.

Each takes a matching for every pair, so they are measured on the subset that carries the headline alone; the
other lists them with `ELSEWHERE` as the reason.

Shapes: S = seeds, N = features of one seed, F = features of a dictionary, D = input dimension, M = metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.metrics.ladder import LARGE, Setting, draw_count
from engine.metrics.matching import metric_names, pair_values
from engine.metrics.nulls import Null
from engine.metrics.parallel import side_by_side
from engine.metrics.phase_null import phase_table
from engine.metrics.similarity import cosine_matrix

Floats = NDArray[np.float64]

STEP_ZERO, UNTRAINED, PHASES = "N4 step 0", "N4 untrained", "N6"
CHECK = "a check of the start: what independent ones score N0 knows without noise"
ANOTHER_QUESTION = (
    "asks what the model's training adds, not what chance gives: it decides no verdict"
)
NOT_ASKED = "not trained: `analysis.untrained` is off"
ELSEWHERE = "measured on live features alone, which carry the headline"


@dataclass(frozen=True)
class Beside:
    """What the rungs beyond N3 are measured on; what is missing says why."""

    start_SFD: Tensor | None = None
    """Decoders before training, of the same seeds and features."""
    untrained: tuple[Tensor, ...] = ()
    """Decoder rows [N, D] of each seed trained on the untrained transformer, none of them zero."""
    untrained_live: tuple[Tensor, ...] = ()
    """Those of them that are live."""
    untrained_reason: str = NOT_ASKED
    """Why there are none, or a remark on them."""
    planes: tuple[Tensor, ...] = ()
    """Orthonormal bases [D, 1 or 2] of the existing true planes, the largest first."""
    planes_reason: str = "no true planes are known"
    """Why there are none."""


@dataclass(frozen=True)
class Rung:
    """One null of every metric."""

    nulls: tuple[Null, ...]
    """One for each metric, in the order of `metric_names(taus, strict=True)`."""
    pairs_MSS: Floats | None = None
    """Its value for each pair of seeds, where deleting a seed deletes it here too."""


def make_rungs(
    decoders: Sequence[Tensor], masks_SF: Tensor, beside: Beside, setting: Setting, live: bool
) -> list[Rung]:
    """N4 step 0, N4 untrained and N6 of these dictionaries, `masks_SF` being the features they hold and
    `live` whether those are the live ones."""
    start: list[Tensor] = []
    if beside.start_SFD is not None:
        start = [d_FD[keep] for d_FD, keep in zip(beside.start_SFD, masks_SF, strict=True)]
    twins = list(beside.untrained_live if live else beside.untrained)
    return [
        _measured(STEP_ZERO, start, CHECK if start else "no start was given", setting),
        _measured(UNTRAINED, twins, _untrained_reason(beside), setting),
        _phases(decoders, beside, setting),
    ]


def unmeasured_rungs(reason: str, taus: tuple[float, ...]) -> list[Rung]:
    """The same rungs without values, for that reason."""
    count = len(metric_names(taus, strict=True))
    return [
        Rung((Null(name, math.nan, math.nan, 0, False, reason),) * count)
        for name in (STEP_ZERO, UNTRAINED, PHASES)
    ]


def _untrained_reason(beside: Beside) -> str:
    if not beside.untrained:
        return beside.untrained_reason
    remark = "" if beside.untrained_reason == NOT_ASKED else f"; {beside.untrained_reason}"
    return ANOTHER_QUESTION + remark


def _measured(name: str, decoders: list[Tensor], reason: str, setting: Setting) -> Rung:
    """The metrics between the seeds of another cohort; never admissible."""
    count = len(metric_names(setting.taus, strict=True))
    if len(decoders) < 2 or any(len(rows) == 0 for rows in decoders):
        why = reason if len(decoders) < 2 else "a seed has no feature in this subset"
        return Rung((Null(name, math.nan, math.nan, 0, False, why),) * count)

    def compare(pair: tuple[int, int]) -> list[float]:
        cosine_AB = cosine_matrix(decoders[pair[0]], decoders[pair[1]], setting.sign)
        return pair_values(cosine_AB, setting.taus)

    values_KM = np.array(side_by_side(compare, _pairs(decoders)))
    draws = len(values_KM)
    sds = values_KM.std(axis=0, ddof=1) if draws > 1 else np.full(count, math.nan)
    return Rung(
        tuple(
            Null(name, float(mean), float(sd), draws, False, reason)
            for mean, sd in zip(values_KM.mean(0), sds, strict=True)
        )
    )


def _pairs(decoders: Sequence[Tensor]) -> list[tuple[int, int]]:
    """All pairs; of many seeds of large dictionaries each with the next alone, as matching is costly."""
    count = len(decoders)
    if count > 3 and max(map(len, decoders)) > LARGE:
        return [(s, (s + 1) % count) for s in range(count)]
    return [(s, t) for s in range(count) for t in range(s + 1, count)]


def _phases(decoders: Sequence[Tensor], beside: Beside, setting: Setting) -> Rung:
    count = len(metric_names(setting.taus, strict=True))
    if not beside.planes:
        return Rung((Null(PHASES, math.nan, math.nan, 0, False, beside.planes_reason),) * count)
    draws = draw_count(max(map(len, decoders)), setting.draws)
    table = phase_table(decoders, beside.planes, draws=draws, taus=setting.taus, sign=setting.sign)
    upper = np.triu_indices(len(decoders), 1)
    reason = f"{table.turned} of {len(beside.planes)} planes turned"
    if table.turned < len(beside.planes):
        reason += ", the others lie inside them and turn with them"
    reason += f"; they hold {table.inside:.0%} of the atoms' energy, the rest is drawn as in N2"
    fits = not setting.dependence
    return Rung(
        tuple(
            Null(
                PHASES,
                float(pairs_SS[upper].mean()),
                float(sd),
                table.draws,
                fits,
                reason if fits else setting.dependence,
            )
            for pairs_SS, sd in zip(table.pairs_MSS, table.sd_M, strict=True)
        ),
        table.pairs_MSS,
    )


def subset_rows(decoders_SFD: Tensor, masks_SF: Tensor) -> tuple[Tensor, ...]:
    """The rows of each seed that a mask names and that are not zero."""
    kept_SF = masks_SF.to(torch.bool) & (decoders_SFD != 0).any(2)
    return tuple(d_FD[keep] for d_FD, keep in zip(decoders_SFD, kept_SF, strict=True))
