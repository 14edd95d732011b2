"""Which features are found again beyond chance, at a bounded share of false discoveries.

A feature has one p-value per other seed: the chance that the best of that seed's features comes as near. They
are combined by partial conjunction (Benjamini & Heller 2008): of the hypotheses "found again by fewer than u
of the K others" with u = K//2 + 1, the p-value (K − u + 1)·p₍u₎ holds however the K depend on each other. A
discovery is thus a feature that most of the other seeds have. q-values are Benjamini–Hochberg's (1995) over
all tested features of all seeds of a cohort, which holds under positive dependence; copies of one feature in
several seeds are of that sort.

Shapes: S = seeds, F = features, K = other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

Floats = NDArray[np.float64]
LEVEL = 0.05
"""Share of false discoveries that is put up with."""


@dataclass(frozen=True)
class Discoveries:
    """p- and q-values per feature [S, F] by null; NaN where a feature is not tested."""

    p: Mapping[str, Floats]
    q: Mapping[str, Floats]
    tested: tuple[int, ...]
    """Features tested, by seed."""

    def columns(self, seed: int) -> dict[str, Floats]:
        """The columns of features.parquet of the seed at that place: `p_…` and `q_…`."""
        columns = {f"p_{name}": values[seed] for name, values in self.p.items()}
        return columns | {f"q_{name}": values[seed] for name, values in self.q.items()}

    def to_json(self) -> dict[str, Any]:
        """The number of discoveries at `LEVEL` by seed and null, as plain values."""
        return {
            "level": LEVEL,
            "rule": "Benjamini-Hochberg over live features of all seeds; found again by most other seeds",
            "tested": list(self.tested),
            **{
                name: {"per_seed": (values <= LEVEL).sum(1).tolist()}
                for name, values in self.q.items()
            },
        }


def benjamini_hochberg(p: Floats) -> Floats:
    """q-values of p-values of any shape: the least level of false discoveries at which each is one.

    q₍i₎ = min over j ≥ i of m·p₍j₎/j for the m p-values that are not NaN; NaN stays NaN. Raises InputError
    for a value outside [0, 1].
    """
    flat = np.asarray(p, dtype=np.float64).ravel()
    known = np.flatnonzero(~np.isnan(flat))
    values = flat[known]
    if ((values < 0) | (values > 1)).any():
        raise InputError("p", "a value lies outside [0, 1]", "probabilities")
    order = np.argsort(values, kind="stable")
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    lowest = np.minimum.accumulate(scaled[::-1])[::-1]
    q = np.full(flat.shape, math.nan)
    q[known[order]] = lowest
    return q.reshape(np.shape(p))


def partial_conjunction(p_KF: Floats) -> Floats:
    """One p-value per feature [F] for being found by more than half of the K others (see above).

    A feature with a NaN has NaN. Raises InputError unless there is at least one row.
    """
    if p_KF.ndim != 2 or not len(p_KF):
        raise InputError("p", f"have shape {list(p_KF.shape)}", "[other seeds ≥ 1, features]")
    needed = majority(len(p_KF))
    ordered_KF = np.sort(p_KF, axis=0)  # NaN last
    combined_F = np.minimum(1.0, (len(p_KF) - needed + 1) * ordered_KF[needed - 1])
    return np.where(np.isnan(p_KF).any(0), math.nan, combined_F)


def majority(others: int) -> int:
    """How many of so many other seeds are more than half."""
    return others // 2 + 1


def find_discoveries(
    per_partner: Mapping[str, Floats],
    per_feature: Mapping[str, Floats],
    tested_SF: NDArray[np.bool_],
) -> Discoveries:
    """Combine, correct and count.

    Args:
        per_partner: null → p-values [S, S, F]: of feature f of seed s in seed t; s = t is not read.
        per_feature: null → p-values [S, F] of each feature in the other seeds together.
        tested_SF: which features are tested: live ones, as what never fires left its start by no step.

    Raises:
        InputError: shapes that do not fit the mask, or a probability outside [0, 1].
    """
    n_seeds = len(tested_SF)
    p: dict[str, Floats] = {}
    for name, p_SSF in per_partner.items():
        if p_SSF.shape != (n_seeds, *tested_SF.shape):
            raise InputError(f"p_{name}", f"has shape {list(p_SSF.shape)}", "[S, S, F]")
        rows = [[t for t in range(n_seeds) if t != s] for s in range(n_seeds)]
        p[name] = np.stack([partial_conjunction(p_SSF[s, others]) for s, others in enumerate(rows)])
    for name, p_SF in per_feature.items():
        if p_SF.shape != tested_SF.shape:
            raise InputError(f"p_{name}", f"has shape {list(p_SF.shape)}", "[S, F]")
        p[name] = p_SF
    q = {name: benjamini_hochberg(np.where(tested_SF, v, math.nan)) for name, v in p.items()}
    return Discoveries(p, q, tuple(int(n) for n in tested_SF.sum(1)))
