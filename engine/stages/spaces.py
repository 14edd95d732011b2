"""What the decoders of the seeds span: overlap of their leading subspaces, and angles between them.

Shapes: S seeds, D width, F latents, K dimension of a subspace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.metrics.nulls import effective_rank
from engine.metrics.parallel import side_by_side
from engine.metrics.subspaces import (
    leading_directions,
    overlap_null,
    principal_angles,
    principal_angles_null,
    subspace_overlap,
)
from engine.metrics.uncertainty import MIN_SEEDS, jackknife_pairs, pair_mean, spread
from engine.stages.cells import Cell, make_cell, make_null, tabulate

Floats = NDArray[np.float64]
DIMENSIONS = (1, 2, 4, 8, 16, 32, 64)
"""Of the spaces that are compared, beside the activations' effective rank, as far as there are so many."""


def subspaces(
    decoders: Sequence[Tensor],
    twins: Sequence[Tensor] | None,
    covariance_DD: Tensor,
    why_no_twins: str,
    dependence: str,
    outside: str,
) -> tuple[list[Cell], dict[str, Any]]:
    """Return the overlap of the leading k-dimensional spaces for several k, and principal angles for one.

    `decoders` and `twins` are the rows [F, D] of each seed that take part. The angles are of the largest k
    up to half of the effective rank r of the activations: from r on, all spaces within are the same.
    `outside` says why random spaces within the r dimensions are no null: decoders that leave them; or nothing.
    """
    bases = side_by_side(leading_directions, decoders)
    other = None if twins is None else side_by_side(leading_directions, twins)
    d, rank = len(covariance_DD), math.ceil(effective_rank(covariance_DD) - 1e-6)
    fewest = min(u_DK.shape[1] for u_DK in [*bases, *(other or [])])
    sizes = sorted(k for k in {*DIMENSIONS, rank} if k <= min(fewest, d - 1))
    axes_DD = torch.linalg.eigh(covariance_DD.double()).eigenvectors.flip(1)
    no_within = dependence or outside
    overlaps = []
    for k in sizes:
        pairs_SS = _overlaps(bases, k)
        twin = math.nan if other is None else pair_mean(_overlaps(other, k))
        nulls = [
            make_null("N0", overlap_null(k, d), dependence, admissible=not dependence),
            make_null("N0r", overlap_null(k, rank), no_within, admissible=not no_within),
            make_null("N3", twin, why_no_twins),
        ]
        pca = [subspace_overlap(u_DK[:, :k], axes_DD[:, :k]) for u_DK in bases]
        overlaps.append(make_cell(pairs_SS, nulls, k=k, effective_rank=rank, with_pca=spread(pca)))
    chosen = max((k for k in sizes if k <= max(1, rank // 2)), default=0)
    if not chosen:
        return overlaps, {
            "k": None,
            "reason": "the decoders span less than one comparable dimension",
        }
    return overlaps, _angles(bases, other, chosen, d, rank, why_no_twins, dependence, no_within)


def _overlaps(bases: Sequence[Tensor], k: int) -> Floats:
    def overlap(s: int, t: int) -> float:
        return subspace_overlap(bases[s][:, :k], bases[t][:, :k])

    return tabulate(overlap, len(bases))


def _angles(
    bases: Sequence[Tensor],
    twins: Sequence[Tensor] | None,
    k: int,
    d: int,
    rank: int,
    why_no_twins: str,
    dependence: str,
    no_within: str,
) -> dict[str, Any]:
    found_KSS = _angle_table(bases, k)
    rows: list[dict[str, Any]] = []
    theirs = (
        [pair_mean(pairs_SS) for pairs_SS in _angle_table(twins, k)] if twins else [math.nan] * k
    )
    everywhere, within = (np.degrees(principal_angles_null(k, n)) for n in (d, max(rank, k)))
    for number, pairs_SS in enumerate(found_KSS):
        low = high = None
        if len(bases) >= MIN_SEEDS:
            estimate = jackknife_pairs(pairs_SS)
            low, high = estimate.low, estimate.high
        nulls = [
            make_null("N0", everywhere[number], dependence, admissible=not dependence),
            make_null("N0r", within[number], no_within, admissible=not no_within),
            make_null("N3", theirs[number], why_no_twins),
        ]
        rows.append(
            {"observed": pair_mean(pairs_SS), "ci_low": low, "ci_high": high, "nulls": nulls}
        )
    return {"k": k, "unit": "degrees", "effective_rank": rank, "angles": rows, "reason": ""}


def _angle_table(bases: Sequence[Tensor], k: int) -> Floats:
    """Return the principal angles in degrees [K, S, S] of every pair of seeds."""
    angles_KSS = np.full((k, len(bases), len(bases)), np.nan)
    for s, t in combinations(range(len(bases)), 2):
        found_K = np.degrees(principal_angles(bases[s][:, :k], bases[t][:, :k]))
        angles_KSS[:, s, t] = angles_KSS[:, t, s] = found_K
    return angles_KSS
