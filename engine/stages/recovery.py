"""Whether the features that are true are also the stable ones.

Shapes: S seeds, F latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.metrics.agreement import Stability
from engine.metrics.ground_truth import ENERGY
from engine.metrics.parallel import side_by_side
from engine.metrics.rank_correlation import (
    Agreement,
    Floats,
    RankCorrelation,
    correlate,
    median_best,
    shared_by,
)
from engine.metrics.uncertainty import MIN_SEEDS
from engine.study.guide import LEAST_OF_A_KIND as LEAST

SCORES = ("plane_energy", "selectivity", "truth_cosine")
"""Columns that say how true a feature is, as far as a subject has them."""
TRUE_FROM = {"plane_energy": ENERGY, "truth_cosine": 0.9}
"""From where a feature counts as true: as in precision. Of selectivity no cut separates good features from bad
(`FeatureScores`): it is correlated as a degree."""
WORDS = {
    "plane_energy": "in-plane energy from .9 on",
    "truth_cosine": "cosine with a planted feature from .9 on",
}


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
        told = partial(_told, score, truth, live)
        found[score] = dict(zip(agreements, side_by_side(told, agreements.values()), strict=True))
    return found or {"missing": "nothing says of a single feature how true it is"}


def _told(
    score: str, truth: Sequence[Floats], live: Sequence[NDArray[np.bool_]], agreement: Agreement
) -> dict[str, Any]:
    sides = _Sides.of(score, truth, agreement, live)
    return _summary(correlate(truth, agreement, live), sides)


@dataclass(frozen=True)
class _Sides:
    """How many features are of either kind: with a handful of one, ρ is about those alone."""

    score: str
    tested: int
    true: int | None
    """None where no cut says which are."""
    shared: int
    """Features whose agreement is not the one that most have."""

    @classmethod
    def of(
        cls,
        score: str,
        truth: Sequence[Floats],
        agreement: Agreement,
        live: Sequence[NDArray[np.bool_]],
    ) -> _Sides:
        known: list[Floats] = []
        agreed: list[Floats] = []
        for s, (scores_F, mask_F) in enumerate(zip(truth, live, strict=True)):
            y_F = agreement(s, [t for t in range(len(truth)) if t != s])
            kept = mask_F & np.isfinite(scores_F) & np.isfinite(y_F)
            known.append(scores_F[kept])
            agreed.append(y_F[kept])
        every = np.concatenate(known)
        cut = TRUE_FROM.get(score)
        # Columns may be of single precision, whose .9 is a little less than Python's.
        true = None if cut is None else int((every.astype(np.float32) >= np.float32(cut)).sum())
        counts = np.unique(np.concatenate(agreed), return_counts=True)[1]
        return cls(score, len(every), true, len(every) - int(counts.max(initial=0)))

    def refusal(self) -> str:
        """Why no correlation can be told; empty where one can."""
        of = f"of {self.tested:,} live features"
        rule = f"at least {LEAST} of either kind are needed"
        if self.true is not None and min(self.true, self.tested - self.true) < LEAST:
            return f"{self.true:,} {of} are true ({WORDS[self.score]}); {rule}"
        if self.shared < LEAST:
            return f"{self.shared:,} {of} differ from the rest in stability; {rule}"
        return ""


def _summary(found: RankCorrelation, sides: _Sides) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "mean": _plain(found.mean),
        "per_seed": [_plain(value) for value in found.per_seed],
        "ci_low": _plain(found.low),
        "ci_high": _plain(found.high),
        "p": _plain(found.p),
        "permutations": found.permutations,
        "n_per_seed": list(found.n_per_seed),
        "n_true": sides.true,
        "true_from": TRUE_FROM.get(sides.score),
        "least": LEAST,
    }
    if not math.isfinite(found.mean):
        summary["missing"] = "fewer than four live features, or all of one value"
    elif refused := sides.refusal():
        summary |= dict.fromkeys(("mean", "ci_low", "ci_high", "p"))
        summary |= {"per_seed": [None] * len(found.per_seed), "missing": refused}
    elif not math.isfinite(found.low):
        summary["no_interval"] = (
            "fewer than three seeds"
            if len(found.per_seed) < MIN_SEEDS
            else "constant without a seed"
        )
    return summary


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
