"""Measures of similarity beside the headline: directions one way, spaces, codes, clusters, distances.

Each stands beside what chance gives, with a jackknife interval over seeds; none of them has a verdict. They
are of live features, or of all non-zero ones where a seed has no live feature. Codes are of a fixed sample of
inputs; the summary states its size.

Shapes: S seeds, N inputs, D width, F latents, P matched pairs, A, B features of two seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from engine.disk.rundir import CONSENSUS
from engine.disk.text import bare
from engine.errors import InputError
from engine.metrics.agreement import Stability, SubsetName
from engine.metrics.assignment import assignment
from engine.metrics.consensus import Consensus, consensus_of
from engine.metrics.distances import (
    CORRELATION,
    DEFINITIONS,
    WARNINGS,
    matched_distances,
)
from engine.metrics.nulls import Law, draw_rows
from engine.metrics.parallel import side_by_side
from engine.metrics.seriation import seed_order
from engine.metrics.similarity import Sign, cosine_matrix, enc_dec_alignment
from engine.metrics.stability import FOUND_AGAIN
from engine.metrics.uncertainty import spread
from engine.saes.formats import TrainedSaes
from engine.stages.cells import (
    Cell,
    Pair,
    known,
    lacking,
    make_cell,
    make_null,
    nulls_of,
)
from engine.stages.codes import Codes, cka, correlations, sample_codes
from engine.stages.pairs import ENOUGH_ROWS, Found, Side, enough_pairs, walk
from engine.stages.spaces import subspaces

Floats = NDArray[np.float64]
MOST_DRAWS = 64
"""Dictionaries drawn for the null of the distances, where they are small."""


@dataclass(frozen=True)
class Similarity:
    """What was measured of one cohort, and its consensus dictionary."""

    summary: dict[str, Any]
    consensus: Consensus


def measure_similarity(
    x_ND: Tensor,
    covariance_DD: Tensor,
    saes: TrainedSaes,
    live_SF: Tensor,
    start: TrainedSaes,
    twin: TrainedSaes | None,
    twin_live_SF: Tensor | None,
    stability: Stability,
    headline: tuple[str, SubsetName],
    surrogate_seed: int = 0,
    dependence: str = "",
) -> Similarity:
    """Return every measure of one cohort as plain values, and its consensus dictionary.

    `covariance_DD` is that of the activations; `twin` are the same SAEs retrained on surrogate data of
    `surrogate_seed`; `headline` names the metric and subset after which seeds are ordered; `dependence` says
    why directions at random are no null, if so.
    """
    sign = stability.sign
    subset, ours, theirs, why = _sides(saes, live_SF, twin, twin_live_SF, stability)
    n_seeds = len(saes.seeds)
    pairs = list(combinations(range(n_seeds), 2))
    # Of the same rows in the same order: comparing them again would give the same, and take as long.
    found = walk(ours, sign, pairs, stability.matches.get(subset, {}))
    other = None if theirs is None else walk(theirs, sign, enough_pairs(theirs))
    consensus = _consensus(ours, found, sign)
    twin_rows = None if theirs is None else theirs.rows
    overlaps, angles = subspaces(
        ours.rows, twin_rows, covariance_DD, why, dependence, _outside(stability, subset)
    )
    codes = sample_codes(x_ND, saes, start, None if theirs is None else twin, surrogate_seed)
    summary = {
        "subset": subset,
        "sign": sign,
        "n_per_seed": [len(rows) for rows in ours.rows],
        "mmcs": _mmcs(stability, found, subset),
        "enc_dec_alignment": _alignment(saes, start, twin, ours.kept_SF),
        "subspace": overlaps,
        "principal_angles": angles,
        "cka": cka(codes, why),
        "distances": _distances(ours, found, theirs, other, codes, sign, why, dependence),
        "consensus": _consensus_summary(consensus, theirs, other, sign, why),
        "seed_order": _seed_order(stability, headline, saes.seeds),
    }
    return Similarity(summary, consensus)


def save_consensus(folder: Path, consensus: Consensus, seeds: Sequence[int]) -> None:
    """Write the consensus dictionary: directions [C, D] float32, members [C, S], sizes and mean cosines [C]."""
    tensors = {
        "cluster": torch.arange(len(consensus.members)),
        "directions": torch.from_numpy(consensus.directions).float(),
        "members": torch.from_numpy(consensus.members),
        "sizes": torch.from_numpy(consensus.sizes),
        "mean_cosine": torch.from_numpy(consensus.mean_cosine).float(),
        "seeds": torch.tensor(seeds),
    }
    written = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(written, folder / CONSENSUS, metadata={"tau": str(consensus.tau)})


def _sides(
    saes: TrainedSaes,
    live_SF: Tensor,
    twin: TrainedSaes | None,
    twin_live_SF: Tensor | None,
    stability: Stability,
) -> tuple[SubsetName, Side, Side | None, str]:
    """Return the features that take part, here and in the twins, or why there are no twins."""
    subset: SubsetName = "live" if bool(live_SF.any(1).all()) else "all"
    # What is zero is no direction, live or not.
    kept_SF = (saes.weights.W_dec != 0).any(2)
    ours = Side(saes, kept_SF & live_SF if subset == "live" else kept_SF)
    if twin is None or twin_live_SF is None:
        nulls = stability.agreement("mean_max_cos").nulls
        reason = next((n.reason for n in nulls if n.name == "N3"), "")
        return subset, ours, None, reason or "no surrogate was given"
    kept_SF = (twin.weights.W_dec != 0).any(2)
    kept_SF = kept_SF & twin_live_SF if subset == "live" else kept_SF
    if not bool(kept_SF.any(1).all()):
        return subset, ours, None, "a surrogate seed has no feature in this subset"
    return subset, ours, Side(twin, kept_SF), ""


def _outside(stability: Stability, subset: SubsetName) -> str:
    """Return why the decoders do not keep to the subspace of the activations (as N1 judges); nothing if so."""
    nulls = stability.agreement("mean_max_cos", subset).nulls
    covariance = next((null for null in nulls if null.name == "N1"), None)
    if covariance is None or covariance.admissible:
        return ""
    return covariance.reason or "the decoders leave the subspace of the activations"


def _mmcs(stability: Stability, found: Found, subset: SubsetName) -> dict[str, Any]:
    """Return the mean best cosine of each seed's features in each other seed, one direction at a time.

    The mean of both directions is `mean_max_cos`, so its nulls are those of that metric.
    """
    cells: dict[str, Any] = {}
    for name in ("live", "all"):
        agreement = stability.agreement("mean_max_cos", name)
        if agreement.reason and not math.isfinite(agreement.observed):
            cells[name] = lacking(agreement.reason)
            continue
        if name == subset:
            pairs_SS = found.mmcs_SS
        else:
            pairs_SS = np.array(
                [[_mean(best_F) for best_F in row] for row in stability.features.best]
            )
        gap_SS = np.abs(pairs_SS - pairs_SS.T)
        cells[name] = make_cell(
            pairs_SS,
            nulls_of(agreement.nulls),
            largest_asymmetry=known(float(np.nanmax(gap_SS))),
            n_per_seed=list(agreement.n_per_seed),
        )
    said = "mean over the row seed's features of their best cosine in the column seed, many-to-one"
    return {"definition": said, **cells}


def _mean(values_F: Floats) -> float:
    finite_F = values_F[np.isfinite(values_F)]
    return float(finite_F.mean()) if len(finite_F) else math.nan


def _alignment(
    saes: TrainedSaes, start: TrainedSaes, twin: TrainedSaes | None, kept_SF: Tensor
) -> dict[str, Any]:
    """Return how far encoder and decoder rows point the same way, per seed; before training; in the twins."""

    def cosines(of: TrainedSaes) -> list[Tensor]:
        pairs = zip(of.weights.W_enc, of.weights.W_dec, strict=True)
        return [enc_dec_alignment(e_FD, d_FD) for e_FD, d_FD in pairs]

    def overall(of: TrainedSaes) -> float:
        return float(np.nanmean([float(cosine_F.nanmean()) for cosine_F in cosines(of)]))

    d = saes.weights.W_dec.shape[2]
    ours, untrained = cosines(saes), overall(start)
    kept = [cosine_F[kept_F] for cosine_F, kept_F in zip(ours, kept_SF, strict=True)]
    return {
        **spread([float(cosine_F.nanmean()) for cosine_F in kept]),
        "all": spread([float(cosine_F.nanmean()) for cosine_F in ours]),
        "nulls": [
            make_null(
                "N0",
                0.0,
                bare(f"one random pair has a standard deviation of {1 / math.sqrt(d):.3f}"),
            ),
            make_null("untrained", untrained, "tied at the start" if untrained > 0.999 else ""),
            make_null("N3", overall(twin) if twin else math.nan, "" if twin else "no surrogate"),
        ],
    }


def _distances(
    ours: Side,
    found: Found,
    theirs: Side | None,
    other: Found | None,
    codes: Codes,
    sign: Sign,
    why: str,
    dependence: str,
) -> dict[str, Cell]:
    """Return the mean distance of matched features of every pair of seeds, by the name of the distance."""
    values = _pair_means(ours.saes.weights.W_dec, found, sign)
    twin_values = (
        None
        if theirs is None or other is None
        else _pair_means(theirs.saes.weights.W_dec, other, sign)
    )
    sizes = [int(kept_F.sum()) for kept_F in ours.kept_SF]
    chance = _drawn(sizes, ours.saes.weights.W_dec.shape[2], sign)
    cells: dict[str, Cell] = {}
    for name, definition in DEFINITIONS.items():
        about = {"definition": definition, "warning": WARNINGS.get(name, "")}
        if name == CORRELATION:
            twin_pairs = None if other is None else other.matched
            cells[name] = {**correlations(codes, found.matched, twin_pairs, why), **about}
            continue
        twin = math.nan if twin_values is None else float(np.nanmean(twin_values[name]))
        nulls = [
            make_null("N0", chance[name], dependence, admissible=not dependence),
            make_null("N3", twin, why),
        ]
        cells[name] = make_cell(values[name], nulls, **about)
    return cells


def _pair_means(decoders_SFD: Tensor, found: Found, sign: Sign) -> dict[str, Floats]:
    """Return the mean of every distance over the matched rows of each pair, [S, S]; NaN where none are."""
    n_seeds = len(decoders_SFD)
    tables: dict[str, Floats] = {}

    def means(pair: Pair) -> dict[str, float]:
        (s, t), (rows_P, columns_P) = pair, found.matched[pair]
        values = matched_distances(decoders_SFD[s][rows_P], decoders_SFD[t][columns_P], sign)
        return {name: float(value_P.mean()) for name, value_P in values.items()}

    for (s, t), told in zip(found.matched, side_by_side(means, found.matched), strict=True):
        for name, mean in told.items():
            table_SS = tables.setdefault(name, np.full((n_seeds, n_seeds), np.nan))
            table_SS[s, t] = table_SS[t, s] = mean
    return tables


def _drawn(sizes: Sequence[int], d: int, sign: Sign) -> dict[str, float]:
    """Return the mean distances of matched isotropic directions, as many as the seeds have on average."""
    n = round(sum(sizes) / len(sizes))
    generator = torch.Generator().manual_seed(0)
    found: dict[str, list[float]] = {}
    for _ in range(min(MOST_DRAWS, max(1, ENOUGH_ROWS // n))):
        a_ND, b_ND = (draw_rows(Law(n, d), generator) for _ in range(2))
        rows_N, columns_N = assignment(cosine_matrix(a_ND, b_ND, sign))
        for name, value_N in matched_distances(a_ND[rows_N], b_ND[columns_N], sign).items():
            found.setdefault(name, []).append(float(value_N.mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _consensus(side: Side, found: Found, sign: Sign) -> Consensus:
    return consensus_of(found.links, side.saes.weights.W_dec, side.kept_SF, FOUND_AGAIN, sign)


def _consensus_summary(
    consensus: Consensus, theirs: Side | None, other: Found | None, sign: Sign, why: str
) -> dict[str, Any]:
    twins = None
    if theirs is not None and other is not None:
        twins = _consensus(theirs, other, sign).counts()
    return {
        "tau": consensus.tau,
        "definition": (
            "features of different seeds, at most one per seed, every two of them mutual nearest neighbours "
            f"with cosine ≥ {consensus.tau:g}; “most” is more than half of the seeds"
        ),
        **consensus.counts(),
        "mean_cosine": known(_mean(consensus.mean_cosine)),
        "null": {"name": "N3", "counts": twins, "reason": why},
        "artifact": CONSENSUS,
    }


def _seed_order(
    stability: Stability, headline: tuple[str, SubsetName], seeds: Sequence[int]
) -> dict[str, Any]:
    """Return the seeds in an order for reading only, in which those beside each other are alike."""
    purpose = "order of seeds for reading only"
    try:
        found = seed_order(1 - stability.agreement(*headline).pairs)
    except InputError as error:
        return {
            "order": None,
            "length": None,
            "exact": None,
            "purpose": purpose,
            "reason": str(error),
        }
    order = [seeds[place] for place in found.order]
    return {
        "order": order,
        "length": found.length,
        "exact": found.exact,
        "purpose": purpose,
        "reason": "",
    }
