"""When raw similarities of two cohorts may be set against each other: hardly ever; κ may.

Chance alone gives another similarity at another number of features, another width, another sign convention
or another definition, so that a raw difference can have the wrong sign (science.md §7, point 9).
"""

from __future__ import annotations

from engine.errors import InputError
from engine.metrics.agreement import Agreement, Stability, SubsetName

SAME_COUNT = 0.05
"""Numbers of features count as matched within this share of the larger (a convention: science.md §2)."""


def raw_difference(
    one: Stability, other: Stability, metric: str, subset: SubsetName = "all"
) -> float:
    """Return the observed value of the second cohort less that of the first.

    Raises:
        InputError: they differ in sign, in d_in, in the definition, or in the number of features by more
            than 5 %; compare κ instead.
    """
    a, b = one.agreement(metric, subset), other.agreement(metric, subset)
    differs = incomparable(one, other, a, b)
    if differs:
        raise InputError(
            f"{metric} of {subset} features",
            f"raw values mean different things: {'; '.join(differs)}",
            "kappa, which takes chance away",
        )
    return b.observed - a.observed


def incomparable(one: Stability, other: Stability, a: Agreement, b: Agreement) -> list[str]:
    """Return what forbids comparing two agreements as they are; nothing if they are comparable."""
    found = []
    if one.sign != other.sign:
        found.append(f"cosines are {one.sign} in one and {other.sign} in the other")
    elif a.definition != b.definition:
        found.append("their definitions differ")
    if one.d_in != other.d_in:
        found.append(f"d_in is {one.d_in} and {other.d_in}")
    counts = [sum(x.n_per_seed) / len(x.n_per_seed) for x in (a, b)]
    if abs(counts[0] - counts[1]) > SAME_COUNT * max(counts):
        found.append(f"features per seed are {counts[0]:,.0f} and {counts[1]:,.0f}")
    return found
