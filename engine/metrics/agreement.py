"""What a stability measurement says, and how it is written down.

Shapes: S = seeds, F = features of a dictionary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.metrics.matching import Match
from engine.metrics.nulls import Null, StepZero, kappa
from engine.metrics.similarity import Sign
from engine.metrics.uncertainty import Verdict

Floats = NDArray[np.float64]
SubsetName = Literal["all", "live"]

_DEFINITIONS = {
    "mean_max_cos": "½[mean_i max_j C + mean_j max_i C], many-to-one",
    "matched_mcc": "mean of C over the Hungarian assignment, divided by min(n_A, n_B)",
    "shared_fraction": "½(m/n_A + m/n_B), m = mutual nearest neighbours with C >= {tau}",
    "strict_shared_fraction": (
        "½(m/n_A + m/n_B), m = pairs chosen by the Hungarian assignments of both decoders and "
        "encoders with both C >= {tau}; nulls assume tied encoders, the most any could give"
    ),
}


@dataclass(frozen=True)
class Agreement:
    """One metric on one subset of features, with its chance level and uncertainty."""

    metric: str
    """`mean_max_cos`, `matched_mcc`, `shared_fraction@0.7`, `strict_shared_fraction@0.7`."""
    subset: SubsetName
    """`all`: every non-zero feature; `live`: those that fire often enough."""
    definition: str
    n_per_seed: tuple[int, ...]
    observed: float
    """Mean over pairs of different seeds; NaN when the subset is empty in some seed."""
    pairs: Floats
    """[S, S]: one value per pair; NaN on the diagonal."""
    nulls: tuple[Null, ...]
    null_name: str
    """The headline: the largest admissible null; empty when nothing was observed."""
    null: float
    kappa: float
    ci_low: float
    ci_high: float
    """95 % delete-one-seed jackknife; N3 and N6 are deleted jointly, other nulls are held fixed."""
    verdict: Verdict
    reason: str
    """Why a value is missing; may be empty."""
    null_pairs: Floats | None = None
    """[S, S]: the headline null by the same seeds, where it has a value for each pair (N3, N6)."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None, and every null carries its own kappa."""
        plain = asdict(self)
        plain["pairs"] = self.pairs.tolist()
        beside = self.null_pairs
        plain["null_pairs"] = None if beside is None else beside.tolist()
        plain["nulls"] = [
            asdict(null) | {"kappa": kappa(self.observed, null.value)} for null in self.nulls
        ]
        return dict(_plain(plain))


@dataclass(frozen=True)
class FeatureAgreement:
    """Per feature: how well each other seed has it. Zero rows and a seed's own row are NaN."""

    best: Floats
    """[s, t, f]: best cosine of feature f of seed s among the features of seed t."""
    partner: NDArray[np.int64]
    """[s, t, f]: that feature of seed t; -1 where there is none."""
    runner_up: Floats
    """[s, t, f]: cosine of the second best feature of seed t: best less it is how clear the match is. NaN
    where seed t has one feature."""
    stability: Floats
    """[s, f]: share of other seeds in which f has a mutual nearest neighbour with cosine >= .7."""
    p_isotropic: Floats
    """[s, t, f]: 1 - F(best)^n_B for isotropic atoms in all D dimensions."""
    p_effective: Floats
    """The same in the activations' effective dimensions: larger, hence safer; NaN without Σ."""


@dataclass(frozen=True)
class Stability:
    """All that is known about the agreement of one cohort's seeds."""

    n_seeds: int
    sign: Sign
    d_in: int
    draws: int
    """Asked for; each null states how many it had."""
    agreements: tuple[Agreement, ...]
    step_zero: StepZero | None
    features: FeatureAgreement
    matches: Mapping[SubsetName, Mapping[tuple[int, int], Match]] = field(default_factory=dict)
    """How rows of the subset that carries the headline match, for each pair of seeds s < t; places count its
    rows."""

    def agreement(self, metric: str, subset: SubsetName = "all") -> Agreement:
        """The agreement of that name; raises InputError if there is none."""
        for agreement in self.agreements:
            if (agreement.metric, agreement.subset) == (metric, subset):
                return agreement
        known = ", ".join(dict.fromkeys(agreement.metric for agreement in self.agreements))
        raise InputError("metric", f"no {metric!r} on {subset!r}", f"{known}; on all or live")

    def to_json(self, *, features: bool = False) -> dict[str, Any]:
        """Plain values: `metrics[metric][subset]`; per-feature arrays only if asked."""
        metrics: dict[str, dict[str, Any]] = {}
        for agreement in self.agreements:
            metrics.setdefault(agreement.metric, {})[agreement.subset] = agreement.to_json()
        plain: dict[str, Any] = {
            "n_seeds": self.n_seeds,
            "sign": self.sign,
            "d_in": self.d_in,
            "draws": self.draws,
            "step_zero": None if self.step_zero is None else asdict(self.step_zero),
            "metrics": metrics,
        }
        if features:
            plain["features"] = {
                name: array.tolist() for name, array in vars(self.features).items()
            }
        return dict(_plain(plain))


def define(metric: str, sign: Sign) -> str:
    """The exact definition of a metric name, with its sign and threshold."""
    kind, _, tau = metric.partition("@")
    cosine = "|cos|" if sign == "abs" else "cos"
    return f"{_DEFINITIONS[kind].format(tau=tau)}; C = {cosine} of unit decoder rows"


def _plain(value: Any) -> Any:
    """Lists for tuples and None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
