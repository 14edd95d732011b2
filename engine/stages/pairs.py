"""The pairs of seeds of one kind, each compared once: who matches whom, and who is linked to whom.

Shapes: S seeds, D width, F latents, P matched pairs, A, B features of two seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.metrics.assignment import Assignment, assignment
from engine.metrics.consensus import Links, mutual_links
from engine.metrics.matching import Match, Nearest
from engine.metrics.parallel import side_by_side
from engine.metrics.similarity import Sign, cosine_matrix
from engine.metrics.stability import FOUND_AGAIN
from engine.saes.formats import TrainedSaes
from engine.stages.cells import Pair, ring

Floats = NDArray[np.float64]

ENOUGH_ROWS = 1024
"""Matched rows behind each null of the distances, whose mean hardly varies beyond."""


@dataclass(frozen=True)
class Side:
    """The SAEs of one kind, of all seeds: the cohort itself, or its twins."""

    saes: TrainedSaes
    kept_SF: Tensor
    """Which features take part, bool."""

    @property
    def rows(self) -> list[Tensor]:
        """Decoder rows that take part, of each seed."""
        pairs = zip(self.saes.weights.W_dec, self.kept_SF, strict=True)
        return [rows_FD[kept_F] for rows_FD, kept_F in pairs]


@dataclass(frozen=True)
class Found:
    """What a walk over the pairs of seeds finds; places are numbers of features in their seeds."""

    mmcs_SS: Floats
    links: dict[Pair, Links]
    matched: dict[Pair, tuple[Tensor, Tensor]]
    """The Hungarian matching [P] of some pairs."""


def enough_pairs(side: Side) -> list[Pair]:
    """Return pairs of twins to match: each seed in two, or fewer of large dictionaries."""
    every = ring(len(side.kept_SF))
    count = max(2, 2 * ENOUGH_ROWS * len(side.kept_SF) // int(side.kept_SF.sum()))
    # Every second first: these share no seed.
    return (every[::2] + every[1::2])[:count]


def walk(
    side: Side, sign: Sign, matched: Collection[Pair], known: Mapping[Pair, Match] | None = None
) -> Found:
    """Compare every pair of seeds once, if it is not known how they match; match one to one those named."""
    decoders_SFD, count = side.saes.weights.W_dec, len(side.kept_SF)
    places = [kept_F.nonzero().flatten() for kept_F in side.kept_SF]
    found = Found(np.full((count, count), np.nan), {}, {})

    def compare(pair: Pair) -> None:
        s, t = pair
        one_to_one, nearest = (known or {}).get(pair) or _compared(
            decoders_SFD[s][places[s]], decoders_SFD[t][places[t]], sign, pair in matched
        )
        found.mmcs_SS[s, t] = float(nearest.cosine_A.mean())
        found.mmcs_SS[t, s] = float(nearest.cosine_B.mean())
        links = mutual_links(nearest, FOUND_AGAIN)
        first, second = places[s].numpy()[links.first], places[t].numpy()[links.second]
        found.links[pair] = Links(first, second, links.cosine)
        if pair in matched and one_to_one is not None:
            found.matched[pair] = (places[s][one_to_one.rows], places[t][one_to_one.columns])

    pairs = list(combinations(range(count), 2))
    side_by_side(compare, pairs)
    return replace(
        found,
        links={pair: found.links[pair] for pair in pairs},
        matched={pair: found.matched[pair] for pair in pairs if pair in found.matched},
    )


def _compared(
    a_AD: Tensor, b_BD: Tensor, sign: Sign, one_to_one: bool
) -> tuple[Assignment | None, Nearest]:
    cosine_AB = cosine_matrix(a_AD, b_BD, sign)
    return assignment(cosine_AB) if one_to_one else None, Nearest.of(cosine_AB)
