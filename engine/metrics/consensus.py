"""The consensus dictionary: features that several seeds found, each as one cluster.

Two features of different seeds are linked if each is the other's nearest neighbour and their cosine reaches
τ. A cluster has at most one feature per seed, and all of its features are linked with each other: going
round the seeds by nearest neighbours leads back to where one began (cycle consistency).

Shapes: S seeds, F features of a dictionary, D input dimension, C clusters, A, B features of two seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError
from engine.metrics.matching import Nearest, check_tau
from engine.metrics.similarity import Sign, check_sign, cosine_matrix, unit_rows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Links(NamedTuple):
    """Mutual nearest neighbours of two seeds, by number of the feature in its seed."""

    first: Integers
    second: Integers
    cosine: Floats


@dataclass(frozen=True)
class Consensus:
    """The clusters of one cohort, the largest first, then the most alike."""

    members: Integers
    """[C, S]: the feature of each seed; −1 where a seed has none."""
    directions: Floats
    """[C, D]: mean of the members' unit directions, at unit length."""
    mean_cosine: Floats
    """[C]: over all pairs of members."""
    cluster: Integers
    """[S, F]: the cluster of each feature; −1 for none."""
    size: Integers
    """[S, F]: features in its cluster; 1 for a feature that is alone, 0 for one that took no part."""
    tau: float

    @property
    def sizes(self) -> Integers:
        """[C]: number of members."""
        return np.asarray((self.members >= 0).sum(1), dtype=np.int64)

    def counts(self) -> dict[str, Any]:
        """Return how many clusters and what share of the features are in all seeds, most, some, or alone.

        `most` is more than half of the seeds but not all; `some` at least two. Shares are of all features
        that took part, of all seeds together.
        """
        n_seeds = self.members.shape[1]
        taken = self.size[self.size > 0]
        bands = {
            "all": (n_seeds, n_seeds),
            "most": (max(2, n_seeds // 2 + 1), n_seeds - 1),
            "some": (2, min(n_seeds // 2, n_seeds - 1)),
        }
        clusters = {k: int(_between(self.sizes, *band).sum()) for k, band in bands.items()}
        shares = {k: float(_between(taken, *band).mean()) for k, band in bands.items()}
        by_size = {str(n): int((self.sizes == n).sum()) for n in range(2, n_seeds + 1)}
        return {
            "clusters": {**clusters, "total": len(self.members), "by_size": by_size},
            "features": {**shares, "alone": float((taken == 1).mean()), "total": len(taken)},
        }


def _between(sizes: Integers, low: int, high: int) -> NDArray[np.bool_]:
    return (sizes >= low) & (sizes <= high)


def mutual_links(nearest: Nearest, tau: float) -> Links:
    """Return the rows and columns that are each other's nearest with a cosine of at least τ."""
    check_tau(tau)
    rows = (nearest.mutual_A & (nearest.cosine_A >= tau)).nonzero().flatten()
    cosine = nearest.cosine_A[rows].double()
    return Links(rows.numpy(), nearest.column_A[rows].numpy(), cosine.numpy())


def find_consensus(
    decoders_SFD: Tensor, kept_SF: Tensor, tau: float, sign: Sign = "signed"
) -> Consensus:
    """Return the consensus of the features that take part (bool [S, F]); zero rows never do.

    Raises:
        InputError: fewer than two seeds, shapes that do not fit, τ not in (0, 1], or no feature left.
    """
    check_sign(sign)
    kept_SF = _taking_part(decoders_SFD, kept_SF)
    places = [kept_F.nonzero().flatten().cpu().numpy() for kept_F in kept_SF]
    links = {}
    for s, t in combinations(range(len(places)), 2):
        cosine_AB = cosine_matrix(decoders_SFD[s][kept_SF[s]], decoders_SFD[t][kept_SF[t]], sign)
        found = mutual_links(Nearest.of(cosine_AB), tau)
        links[s, t] = Links(places[s][found.first], places[t][found.second], found.cosine)
    return consensus_of(links, decoders_SFD, kept_SF, tau, sign)


def consensus_of(
    links: Mapping[tuple[int, int], Links],
    decoders_SFD: Tensor,
    kept_SF: Tensor,
    tau: float,
    sign: Sign = "signed",
) -> Consensus:
    """Return the consensus of links that are known already, for every pair of seeds s < t."""
    kept_SF = _taking_part(decoders_SFD, kept_SF)
    n_seeds, n_features, _ = decoders_SFD.shape
    groups = _cliques(links, n_seeds)
    members_CS = np.full((len(groups), n_seeds), -1, dtype=np.int64)
    for number, group in enumerate(groups):
        for s, f in group:
            members_CS[number, s] = f
    directions_CD, mean_C = _directions(decoders_SFD, members_CS, sign)
    order = np.lexsort((-mean_C, -(members_CS >= 0).sum(1)))
    members_CS, directions_CD, mean_C = members_CS[order], directions_CD[order], mean_C[order]
    cluster_SF = np.full((n_seeds, n_features), -1, dtype=np.int64)
    size_SF = kept_SF.cpu().numpy().astype(np.int64)
    places, seeds = np.nonzero(members_CS >= 0)
    cluster_SF[seeds, members_CS[places, seeds]] = places
    size_SF[seeds, members_CS[places, seeds]] = (members_CS >= 0).sum(1)[places]
    return Consensus(members_CS, directions_CD, mean_C, cluster_SF, size_SF, tau)


def _taking_part(decoders_SFD: Tensor, kept_SF: Tensor) -> Tensor:
    if decoders_SFD.ndim != 3 or len(decoders_SFD) < 2:
        shape = list(decoders_SFD.shape)
        raise InputError("decoders", f"have shape {shape}", "[seeds ≥ 2, features, d_in]")
    if kept_SF.shape != decoders_SFD.shape[:2] or kept_SF.dtype != torch.bool:
        what = f"is {kept_SF.dtype} of shape {list(kept_SF.shape)}"
        raise InputError("kept_SF", what, f"bool of shape {list(decoders_SFD.shape[:2])}")
    kept_SF = kept_SF & (decoders_SFD != 0).any(2)
    if not bool(kept_SF.any(1).all()):
        raise InputError("kept_SF", "no feature of a seed takes part", "at least one per seed")
    return kept_SF


Feature = tuple[int, int]
"""Seed and number."""


def _cliques(links: Mapping[tuple[int, int], Links], n_seeds: int) -> list[list[Feature]]:
    """Return groups of features all linked with each other, at most one per seed.

    Complete linkage: the closest links first, two groups joining if every feature of one is linked with
    every feature of the other. Where the links themselves are consistent, this gives whole components.
    """
    edges: list[tuple[float, Feature, Feature]] = []
    for s, t in combinations(range(n_seeds), 2):
        found = links[s, t]
        pairs = zip(found.first.tolist(), found.second.tolist(), strict=True)
        closeness = found.cosine.tolist()
        edges += [(-c, (s, a), (t, b)) for c, (a, b) in zip(closeness, pairs, strict=True)]
    linked = {(a, b) for _, a, b in edges}
    group_of: dict[Feature, list[Feature]] = {}
    for _, a, b in sorted(edges):
        one, other = group_of.get(a, [a]), group_of.get(b, [b])
        if one is other or not _all_linked(one, other, linked):
            continue
        joined = one + other
        for feature in joined:
            group_of[feature] = joined
    groups = {id(group): group for group in group_of.values()}
    return list(groups.values())


def _all_linked(
    one: Sequence[Feature], other: Sequence[Feature], linked: set[tuple[Feature, Feature]]
) -> bool:
    return all((min(a, b), max(a, b)) in linked for a, b in product(one, other))


def _directions(decoders_SFD: Tensor, members_CS: Integers, sign: Sign) -> tuple[Floats, Floats]:
    """Return the mean direction [C, D] and the mean cosine [C] of each cluster."""
    n_seeds, _, d = decoders_SFD.shape
    there_CS = members_CS >= 0
    rows_CSD = np.zeros((len(members_CS), n_seeds, d))
    for s in range(n_seeds):
        rows_FD = decoders_SFD[s][torch.from_numpy(members_CS[there_CS[:, s], s])]
        if len(rows_FD):
            rows_CSD[there_CS[:, s], s] = unit_rows(rows_FD).rows.cpu().numpy()
    if sign == "abs" and len(rows_CSD):
        # Turned towards each cluster's first member, as f and −f count as one feature.
        first_CD = rows_CSD[np.arange(len(rows_CSD)), there_CS.argmax(1)]
        rows_CSD *= np.where(np.einsum("csd,cd->cs", rows_CSD, first_CD) < 0, -1.0, 1.0)[..., None]
    cosine_CSS = np.einsum("csd,ctd->cst", rows_CSD, rows_CSD)
    if sign == "abs":
        cosine_CSS = np.abs(cosine_CSS)
    sizes_C = there_CS.sum(1)
    pairs_C = np.maximum(sizes_C * (sizes_C - 1), 1)
    mean_C = (cosine_CSS.sum((1, 2)) - np.einsum("css->c", cosine_CSS)) / pairs_C
    total_CD = rows_CSD.sum(1)
    length_C1 = np.linalg.norm(total_CD, axis=1, keepdims=True)
    return total_CD / np.where(length_C1 > 0, length_C1, 1.0), mean_C
