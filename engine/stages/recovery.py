"""Whether the features that are true are also the stable ones.

Shapes: S seeds, F latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from engine.metrics.agreement import Stability
from engine.metrics.rank_correlation import (
    RankCorrelation,
    correlate,
    median_best,
    shared_by,
)
from engine.metrics.uncertainty import MIN_SEEDS

SCORES = ("plane_energy", "selectivity", "truth_cosine")
"""Columns that say how true a feature is, as far as a subject has them."""


def correlate_stability(
    features: Sequence[dict[str, Tensor]], stability: Stability, live_SF: Tensor
) -> dict[str, Any]:
    """Return Spearman's ρ of every score of truth with both measures of stability, over live features."""
    known = stability.features
    agreements = {
        "median_best_cosine": median_best(known.best),
        "stability": shared_by(known.best, known.partner),
    }
    live = [mask.numpy() for mask in live_SF]
    found: dict[str, Any] = {}
    for score in SCORES:
        if not all(score in columns for columns in features) or len(features) < 2:
            continue
        truth = [columns[score].double().numpy() for columns in features]
        found[score] = {
            name: _summary(correlate(truth, agreement, live))
            for name, agreement in agreements.items()
        }
    return found or {"missing": "nothing says of a single feature how true it is"}


def _summary(found: RankCorrelation) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "mean": _plain(found.mean),
        "per_seed": [_plain(value) for value in found.per_seed],
        "ci_low": _plain(found.low),
        "ci_high": _plain(found.high),
        "p": _plain(found.p),
        "permutations": found.permutations,
        "n_per_seed": list(found.n_per_seed),
    }
    if not math.isfinite(found.mean):
        summary["missing"] = "fewer than four live features, or all of one value"
    elif not math.isfinite(found.low):
        summary["no_interval"] = (
            "fewer than three seeds"
            if len(found.per_seed) < MIN_SEEDS
            else "constant without a seed"
        )
    return summary


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
