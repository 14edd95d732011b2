"""How κ changes along what a study varied: width, sparsity, length of training, any number searched.

Shapes: C = cohorts of one sweep, S = shared seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.metrics.contrasts import Side, t_probability, trend
from engine.metrics.uncertainty import MIN_SEEDS
from engine.report.contrasts import objective_of
from engine.stages.comparability import marks, undertrained, unmeasured
from engine.stages.flags import HEADLINE_METRIC
from engine.stages.sides import (
    SPARSITY,
    cell_of,
    common_subset,
    null_kinds,
    plain,
    qualities,
    quality_by_seed,
    shared_seeds,
    side_of,
    sparsity_of,
    surrogate_side,
    without,
)

Record = dict[str, Any]
Group = list[Record]
FEWEST = 3
"""Points of a trend; two always lie on a line."""
NARROWEST = 2.0
"""Factor that the swept number must span: r = −.999 over a 1.1× range of L0 says nothing (science.md §7)."""
NAMES = {"d_sae": "width", "l0": "L0", "training.epochs": "epochs of training"}


def find_trends(cohorts: Sequence[Record], gates: str) -> list[Record]:
    """Return every line of cohorts that differ in one number alone, with the slope of κ along it.

    Sparsity is taken as the L0 that was measured, whatever setting brought it about.
    """
    known = [cohort for cohort in cohorts if cohort.get("settings")]
    overs = ("d_sae", "l0", *_paths(known))
    return [_trend(group, over, gates) for over in overs for group in _lines(known, over)]


def _paths(cohorts: Sequence[Record]) -> list[str]:
    """Return the searched numbers that are no settings of an SAE's width or sparsity."""
    paths = dict.fromkeys(path for c in cohorts for path in c.get("point") or {})
    named = ("d_sae", *SPARSITY)
    return [path for path in paths if path.rsplit(".", 1)[-1] not in named]


def _lines(cohorts: Sequence[Record], over: str) -> list[Group]:
    """Return the groups that differ in what is swept alone; of one value there is no line."""
    names = {"d_sae": ("d_sae",), "l0": SPARSITY}.get(over)
    groups: dict[str, Group] = {}
    for cohort in cohorts:
        if _value(cohort, over) is None:
            continue
        last = names or (over, over.rsplit(".", 1)[-1])
        groups.setdefault(without(cohort, *last), []).append(cohort)
    return [group for group in groups.values() if len({_setting(c, over) for c in group}) > 1]


def _setting(cohort: Record, over: str) -> Any:
    if over == "l0":
        return tuple(cohort["settings"].get(name) for name in SPARSITY)
    return _value(cohort, over)


def _value(cohort: Record, over: str) -> float | None:
    """Return the swept number of a cohort; None where it has none."""
    if over == "l0":
        return qualities(cohort)["l0"] if sparsity_of(cohort) else None
    value = cohort["d_sae"] if over == "d_sae" else (cohort.get("point") or {}).get(over)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _trend(group: Group, over: str, gates: str) -> Record:
    """Return one line of cohorts: what was measured, and the slope or why there is none."""
    ordered = sorted(group, key=lambda cohort: _value(cohort, over) or 0.0)
    subset = common_subset(ordered)
    used = [cohort for cohort in ordered if not unmeasured(cohort, subset)]
    left_out = [reason for cohort in ordered for reason in unmeasured(cohort, subset)]
    seeds = shared_seeds(used) if used else []
    entry = _described(ordered, over, subset)
    entry |= {"seeds": seeds, "slope": None, "interval": None, "p": None, "spearman": None}
    entry |= {"refusals": _refusals(used, over, seeds), "marks": [], "direction": "refused"}
    if entry["refusals"]:
        entry["refusals"] += left_out
        return entry
    sides = _sides(used, subset, seeds, entry)
    if sides is None:
        return entry
    found = trend(_values_by_seed(used, over, seeds), sides)
    slope = found.slope
    entry |= {"slope": plain(slope.value), "spearman": plain(found.spearman)}
    probability = plain(t_probability(slope))
    if probability is not None:
        entry |= {"interval": [plain(slope.low), plain(slope.high)], "p": probability}
    entry["direction"] = _direction(slope.low, slope.high) if probability is not None else "open"
    entry["marks"] = [f"left out: {reason}" for reason in left_out] + marks(
        used, subset, gates, nulls=entry["kappa_against"] is None
    )
    entry["marks"] += [reason for cohort in used for reason in undertrained(cohort)]
    return entry


def _sides(used: Group, subset: str, seeds: Sequence[int], entry: Record) -> list[Side] | None:
    """Return what each point brings, against the null of its headline where that is of one kind, else all
    against N3; None, with the refusal written down, where a point has none.

    Kinds of null leave different things to chance: κ may rise where only the null changes.
    """
    kinds = null_kinds(used, subset)
    if len(kinds) == 1:
        sides = [side_of(cohort, subset, seeds) for cohort in used]
    else:
        sides = [surrogate_side(cohort, subset, seeds) for cohort in used]
    known = [side for side in sides if side is not None]
    if len(known) < len(used):
        said = ", ".join(f"{c['title']} {cell_of(c, subset).get('null_name')}" for c in used)
        entry["refusals"].append(f"undetermined: nulls differ ({said}), and none is common to all")
        return None
    if len(kinds) == 1:
        entry["against"] = kinds[0]
        return known
    entry["against"] = "N3"
    kappas = {str(c["title"]): plain(s.kappa()) for c, s in zip(used, known, strict=True)}
    entry["kappa_against"] = [kappas.get(title) for title in entry["cohorts"]]
    return known


def _direction(low: float, high: float) -> str:
    return "rises" if low > 0 else "falls" if high < 0 else "open"


def _values_by_seed(group: Group, over: str, seeds: Sequence[int]) -> Any:
    if over == "l0":
        return np.array([quality_by_seed(cohort, "l0", seeds) for cohort in group])
    return np.array([[_value(cohort, over)] * len(seeds) for cohort in group], dtype=np.float64)


def _described(group: Group, over: str, subset: str) -> Record:
    cells = [cell_of(cohort, subset) for cohort in group]
    return {
        "over": over,
        "name": NAMES.get(over, over.rsplit(".", 1)[-1]),
        "line": _line(group[0], over),
        "hook": str(group[0]["hook"]),
        "metric": HEADLINE_METRIC,
        "subset": subset,
        "cohorts": [str(cohort["title"]) for cohort in group],
        "x": [_value(cohort, over) for cohort in group],
        "kappa": [cell.get("kappa") for cell in cells],
        "null_names": [cell.get("null_name") for cell in cells],
        "against": None,
        "kappa_against": None,
        "kappa_intervals": [[cell.get("ci_low"), cell.get("ci_high")] for cell in cells],
        "explained_variance": [qualities(c)["explained_variance"] for c in group],
    }


def _line(cohort: Record, over: str) -> str:
    """Return what the cohorts of a line have in common: `topk 512 k16` without what is swept."""
    parts = [str(cohort["architecture"])]
    parts += [str(cohort["d_sae"])] if over != "d_sae" else []
    if over != "l0":
        parts += [f"{name} {cohort['settings'][name]:g}" for name in sparsity_of(cohort)]
    return " ".join([*parts, *filter(None, [objective_of(cohort)])])


def _refusals(group: Group, over: str, seeds: Sequence[int]) -> list[str]:
    found = []
    if len(group) < FEWEST:
        found.append(f"{len(group)} points that can be used; a trend needs {FEWEST}")
    if group and len(seeds) < MIN_SEEDS:
        found.append(f"{len(seeds)} shared seeds; an interval needs {MIN_SEEDS}")
    values = [value for cohort in group if (value := _value(cohort, over)) is not None]
    if values and min(values) <= 0:
        found.append(f"{NAMES.get(over, over)} reaches {min(values):g}, which has no logarithm")
    elif values and len(group) >= FEWEST and max(values) / min(values) < NARROWEST:
        span = max(values) / min(values)
        said = f"{NAMES.get(over, over)} spans a factor of {span:.2g} ({min(values):g} to {max(values):g})"
        found.append(f"{said}; a trend needs {NARROWEST:g}")
    return found
