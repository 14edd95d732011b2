"""Architectures compared along their sparsity: at one L0, or one explained variance, by interpolation.

Shapes: C = settings of one architecture, S = shared seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from engine.metrics.contrasts import (
    Curve,
    at_quality,
    curve_difference,
    interpolate,
    overlap,
)
from engine.metrics.uncertainty import MIN_SEEDS, jackknife
from engine.report.contrasts import objective_of, signed
from engine.stages.comparability import NAMES, alike, marks, say, unfit
from engine.stages.differences import blank, state
from engine.stages.flags import HEADLINE_METRIC
from engine.stages.sides import (
    SPARSITY,
    cell_of,
    common_subset,
    null_kinds,
    plain,
    qualities,
    quality_by_seed,
    side_of,
    sparsity_of,
    surrogate_side,
    without,
)

Record = dict[str, Any]
Group = list[Record]
MATCHED_ON = ("l0", "explained_variance")
NO_SWAP = "labels are not swapped along curves: their settings have no partners"


def curves_of(cohorts: Sequence[Record]) -> list[Group]:
    """Return the cohorts by what they are but for their sparsity, in order; single ones are groups, too."""
    groups: dict[str, Group] = {}
    for cohort in cohorts:
        if sparsity_of(cohort):
            groups.setdefault(without(cohort, *SPARSITY), []).append(cohort)
    return list(groups.values())


def curve_contrasts(cohorts: Sequence[Record], gates: str) -> list[Record]:
    """Return every two architectures along their sparsity, at matched L0 and at matched explained variance.

    They read one hook at one width, and at least one has several settings.
    """
    return [
        _contrast(first, second, on, gates)
        for first, second in combinations(curves_of(cohorts), 2)
        if max(len(first), len(second)) > 1 and _beside(first[0], second[0])
        for on in MATCHED_ON
    ]


def _beside(a: Record, b: Record) -> bool:
    """Return whether two cohorts are alike in all but the architecture and what goes with it."""

    def rest(cohort: Record) -> Any:
        point = {k: v for k, v in (cohort.get("point") or {}).items() if not k.startswith("saes.")}
        return cohort["hook"], cohort["d_sae"], objective_of(cohort), point

    return bool(a["architecture"] != b["architecture"] and rest(a) == rest(b))


def _contrast(first: Group, second: Group, on: str, gates: str) -> Record:
    every = [*first, *second]
    subset = common_subset(every)
    left_out = [reason for cohort in every for reason in unfit(cohort, subset)]
    sides = [[c for c in group if not unfit(c, subset)] for group in (first, second)]
    entry = _empty(first, second, subset, on)
    entry.update(blank(sides[0] + sides[1] or every))
    entry["p_reason"] = NO_SWAP
    entry["refusals"] = _refusals(sides, on, entry["seeds"]) or []
    if entry["refusals"]:
        entry["refusals"] += left_out
        return entry
    entry["marks"] = [f"left out: {reason}" for reason in left_out]
    curves = [_curve(group, subset, on, entry["seeds"]) for group in sides]
    low, high = overlap(*curves)
    middle = (low + high) / 2
    state(entry, curve_difference(curves[0], curves[1], middle))
    _same_null(entry, sides, curves, middle)
    _tell_sides(entry, curves, middle)
    ends = {"value": middle, "low": low, "high": high}
    entry["at"] = {name: _scale(on, x) for name, x in ends.items()}
    entry["marks"] += _others(entry, sides, on, middle)
    entry["marks"] += marks(sides[0] + sides[1], subset, gates)
    return entry


def _refusals(sides: Sequence[Group], on: str, seeds: Sequence[int]) -> list[str]:
    if not all(sides):
        return ["no setting of one side can be compared"]
    if len(seeds) < MIN_SEEDS:
        return [f"the settings share {len(seeds)} seeds; a joint interval needs {MIN_SEEDS}"]
    ranges = []
    for group in sides:
        values = [value for c in group if (value := qualities(c)[on]) is not None]
        if len(values) < len(group) or (on == "l0" and min(values) <= 0):
            return [f"{NAMES[on]} of a setting is unknown"]
        ranges.append((min(values), max(values)))
    if max(low for low, _ in ranges) > min(high for _, high in ranges):
        said = (f"{say(on, low)} to {say(on, high)}" for low, high in ranges)
        return [f"the ranges of {NAMES[on]} do not overlap: {' against '.join(said)}"]
    return []


def _curve(group: Group, subset: str, on: str, seeds: Sequence[int]) -> Curve:
    """Return κ and the quality by seed; L0 in logarithms, between which it is interpolated."""
    sides = [side_of(cohort, subset, seeds) for cohort in group]
    values_CS = np.array([quality_by_seed(cohort, on, seeds) for cohort in group])
    known = tuple(side for side in sides if side is not None)
    assert len(known) == len(group), "what was not measured is left out"
    return Curve(known, np.log(values_CS) if on == "l0" else values_CS)


def _same_null(
    entry: Record, sides: Sequence[Group], curves: Sequence[Curve], value: float
) -> None:
    """Write the difference with N3 at every setting, where the headlines take nulls of different kinds."""
    entry["kappa"]["difference_n3"] = None
    if len(null_kinds([*sides[0], *sides[1]], entry["subset"])) < 2:
        return
    alike = []
    for group, curve in zip(sides, curves, strict=True):
        found = [surrogate_side(cohort, entry["subset"], entry["seeds"]) for cohort in group]
        known = tuple(side for side in found if side is not None)
        assert len(known) == len(group), "what has no N3 is left out"
        alike.append(Curve(known, curve.qualities_CS))
    change = plain(curve_difference(alike[0], alike[1], value).value)
    entry["kappa"]["difference_n3"] = change
    if change is not None:
        entry["marks"].append(f"with N3 at every setting Δκ is {signed(change, 3)}")


def _scale(on: str, value: float) -> float:
    return math.exp(value) if on == "l0" else value


def _tell_sides(entry: Record, curves: Sequence[Curve], value: float) -> None:
    """Write κ of both sides at the matched value, each with its own interval."""
    for name, curve in zip(("baseline", "variant"), curves, strict=True):
        own = jackknife(
            lambda seeds, of=curve: at_quality(of, value, seeds),  # type: ignore[misc]
            curve.qualities_CS.shape[1],
        )
        entry["kappa"][name] = plain(own.value)
        entry["kappa"][f"{name}_interval"] = [plain(own.low), plain(own.high)]


def _others(entry: Record, sides: Sequence[Group], on: str, value: float) -> list[str]:
    """Write the other qualities where the curves are compared; return those that do not match."""
    found = []
    for name, title in NAMES.items():
        both = []
        for group in sides:
            x = [qualities(cohort)[on] or math.nan for cohort in group]
            y = [qualities(cohort)[name] for cohort in group]
            known = [math.nan if item is None else item for item in y]
            scaled = np.log(x) if on == "l0" else np.array(x)
            both.append(plain(interpolate(scaled, known, value)))
        entry[name] = {"baseline": both[0], "variant": both[1], "difference": None}
        if name != on and not alike(both[0], both[1]):
            found.append(
                f"not matched there: {title} {say(name, both[0])} against {say(name, both[1])}"
            )
    return found


def _empty(first: Group, second: Group, subset: str, on: str) -> Record:
    """Return the entry before anything is known, with the names of both sides."""
    nothing: Record = {"baseline": None, "variant": None, "difference": None}
    names = [_name(group) for group in (first, second)]
    nulls = [cell_of(group[0], subset).get("null_name") for group in (first, second)]
    return {
        "kind": "curve",
        "baseline": names[0],
        "variant": names[1],
        "baseline_cohorts": [str(cohort["title"]) for cohort in first],
        "variant_cohorts": [str(cohort["title"]) for cohort in second],
        "hook": str(first[0]["hook"]),
        "objective": "",
        "metric": HEADLINE_METRIC,
        "subset": subset,
        "matched_on": on,
        "at": None,
        "points": [_points(group, subset) for group in (first, second)],
        "l0": dict(nothing),
        "n_live": dict(nothing),
        "explained_variance": dict(nothing),
        "observed": dict(nothing),
        "null": {**nothing, "baseline_name": nulls[0], "variant_name": nulls[1]},
        "kappa": {**nothing, "baseline_interval": [None, None], "variant_interval": [None, None]},
    }


def _points(group: Group, subset: str) -> list[Record]:
    """Return what was measured at each setting, so that a refusal still shows both sides."""
    names = ("kappa", "ci_low", "ci_high", "null_name")
    return [
        {"cohort": str(cohort["title"]), **qualities(cohort)}
        | {name: cell_of(cohort, subset).get(name) for name in names}
        for cohort in group
    ]


def _name(group: Group) -> str:
    """Return `relu 128 (l1 0.1, 0.3, 1)`."""
    cohort = group[0]
    values = {
        name: [f"{c['settings'][name]:g}" for c in group if c["settings"].get(name) is not None]
        for name in sparsity_of(cohort)
    }
    said = "; ".join(f"{name} {', '.join(v)}" for name, v in values.items())
    return f"{cohort['architecture']} {cohort['d_sae']} ({said})"
