"""The surrogate null of a twin that has fewer features than the SAEs it stands for.

The best of few candidates is worse than the best of many, so such a twin (N3) would pass for less chance than
there is: noise in two dictionaries of 256 features, judged by twins of 128, is "weakly stable" in 8 of 10 runs
(5 seeds, 64 dimensions, effective rank 12; N3 alone). The twin is therefore raised to what its own directions
would score in as many features. A twin with more features overstates chance and is left as it is: that errs on
the side of no finding.

Shapes: S seeds, M metrics of `matching.metric_names(taus, strict=True)`, K draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, cycle, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.metrics.matching import pair_values
from engine.metrics.nulls import Law, decoder_law, draw_rows
from engine.metrics.similarity import Sign, unit_cosines

Floats = NDArray[np.float64]

ROUNDING = 1e-6
DRAWS, ENOUGH_ROWS = 10, 4096
"""At least so many pairs, and so many rows in all: both counts share their draws, so few suffice."""


def as_many(
    twin_MSS: Sequence[Floats],
    twins: Sequence[Tensor],
    counts: Sequence[int],
    taus: tuple[float, ...],
    sign: Sign = "signed",
) -> list[Floats]:
    """Return the twins' pair values [S, S] of every metric, raised to as many features as `counts` per seed.

    1 − x is multiplied by (1 − many)/(1 − few), the means of pairs drawn along the twins' own second moments
    (the law of N2) with as many rows as the SAEs and, of the same draws, as many as the twins have. Never
    lowered; unchanged where the twins have no fewer features.
    """
    if sum(map(len, twins)) >= sum(counts):
        return list(twin_MSS)
    laws = [decoder_law(rows) for rows in twins]
    generator = torch.Generator().manual_seed(3)
    draws = max(DRAWS, -(-ENOUGH_ROWS // max(counts)))
    many, few = [], []
    for s, t in islice(cycle(combinations(range(len(twins)), 2)), draws):
        a, b = (
            draw_rows(Law(max(counts[i], laws[i].n), laws[i].d, laws[i].root), generator)
            for i in (s, t)
        )
        many.append(pair_values(unit_cosines(a[: counts[s]], b[: counts[t]], sign), taus))
        few.append(pair_values(unit_cosines(a[: laws[s].n], b[: laws[t].n], sign), taus))
    room_M = 1 - np.mean(few, axis=0)
    # Rows that all lie on one axis leave no room to raise anything in.
    left_M = np.where(room_M > ROUNDING, 1 - np.mean(many, axis=0), 1.0)
    factor_M = np.minimum(1.0, left_M / np.where(room_M > ROUNDING, room_M, 1.0))
    return [
        1 - (1 - pairs_SS) * float(factor)
        for pairs_SS, factor in zip(twin_MSS, factor_M, strict=True)
    ]
