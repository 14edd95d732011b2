"""One entry of `contrasts`: what every comparison says about how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from engine.metrics.contrasts import t_probability
from engine.metrics.uncertainty import Estimate
from engine.stages.comparability import TOLERANCE
from engine.stages.sides import plain, shared_seeds

Record = dict[str, Any]


def blank(cohorts: Sequence[Record]) -> Record:
    """Return the keys of an entry that say how sure it is, of which nothing is known yet."""
    return {
        "seeds": shared_seeds(cohorts),
        "interval": None,
        "se": None,
        "bootstrap": None,
        "p": None,
        "p_smallest": None,
        "relabellings": None,
        "p_reason": "",
        "holm": None,
        "p_jackknife": None,
        "holm_jackknife": None,
        "tolerance": TOLERANCE,
        "refusals": [],
        "marks": [],
    }


def state(entry: Record, estimate: Estimate) -> None:
    """Write the difference of κ with its interval; without a width it has none."""
    entry["kappa"]["difference"] = plain(estimate.value)
    probability = t_probability(estimate)
    if not math.isfinite(probability):
        entry["marks"].append("every seed gives the same difference: the interval has no width")
        return
    entry["interval"] = [plain(estimate.low), plain(estimate.high)]
    entry["se"], entry["p_jackknife"] = plain(estimate.se), plain(probability)
