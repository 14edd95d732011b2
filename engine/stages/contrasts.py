"""The differences between the cohorts of a study, each with its interval or with why there is none.

Shapes: S = shared seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from engine.disk.rundir import RunDirectory
from engine.metrics.contrasts import (
    DRAWS,
    Side,
    bootstrap_difference,
    difference,
    holm,
    label_permutation,
    observed_difference,
)
from engine.metrics.similarity import Sign
from engine.report.contrasts import describe, objective_pairs, signed
from engine.stages.comparability import against_surrogate, marks, mismatches, refusals, same_raw
from engine.stages.curves import curve_contrasts, curves_of
from engine.stages.dictionaries import COSTLIEST, cost, crossed
from engine.stages.differences import blank, state
from engine.stages.sides import SPARSITY, plain, qualities, side_of, without

Record = dict[str, Any]
Pair = tuple[Record, Record]
MOST = 60
"""Contrasts of a study; what comes later is counted, not made."""


def compare_cohorts(
    cohorts: Sequence[Record], analyses: Sequence[RunDirectory], sign: Sign, gates: str
) -> tuple[list[Record], int]:
    """Return every contrast of a study, and how many more there would have been.

    First cohorts with a stability objective beside the plain one; then architectures, where all that was
    searched is the same; then architectures along their sparsity, where the study has several settings of
    them. What is alike but for one number is no contrast but a trend.

    Args:
        cohorts: the entries of the summary.
        analyses: the jobs that measured them, in the same order.
        sign: the convention of the similarities.
        gates: the failed gates of the subject, by name; empty where all hold.
    """
    runs = {id(cohort): run for cohort, run in zip(cohorts, analyses, strict=True)}
    known = [cohort for cohort in cohorts if cohort.get("settings")]
    objectives = objective_pairs(known)
    pairs = [*objectives, *_others(known, objectives)]
    found = []
    for number, pair in enumerate(pairs[:MOST]):
        entry = contrast(*pair, gates)
        entry["kind"] = "objective" if number < len(objectives) else "cohorts"
        if not entry["refusals"]:
            _permute(entry, pair, (runs[id(pair[0])], runs[id(pair[1])]), sign)
        found.append(entry)
    found += curve_contrasts(known, gates)
    adjust(found)
    return found, max(0, len(pairs) - MOST)


def _others(cohorts: Sequence[Record], objectives: Sequence[Pair]) -> list[Pair]:
    """Return the pairs that differ in more than one number, at one point of the search."""
    taken = {(id(a), id(b)) for pair in objectives for a, b in (pair, pair[::-1])}
    curves = curves_of(cohorts)
    found = []
    for a, b in combinations(cohorts, 2):
        if (id(a), id(b)) in taken or _trend(a, b):
            continue
        if a["hook"] != b["hook"] and a["settings"] != b["settings"]:
            continue
        along = any(
            len(curve) > 1 and (a in curve or b in curve)
            for curve in curves
            if a["hook"] == b["hook"]
        )
        if along and mismatches(a, b):
            continue  # the curves speak for them
        found.append((a, b))
    return found


def _trend(a: Record, b: Record) -> bool:
    """Return whether two cohorts are points of one sweep, or of different points of a search."""
    if any(without(a, *names) == without(b, *names) for names in (SPARSITY, ("d_sae",))):
        return True
    points = [cohort.get("point") or {} for cohort in (a, b)]
    paths = [path for path in points[0] if path in points[1]]
    return any(_number(points[0][p]) and points[0][p] != points[1][p] for p in paths)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def contrast(baseline: Record, variant: Record, gates: str) -> Record:
    """Return two cohorts side by side with the difference of κ, or with the reasons that refuse it.

    `interval` is the 95 % joint jackknife of the difference, `bootstrap` that of resampled seeds, `p` of
    swapped labels (filled in elsewhere: it takes the dictionaries), `p_jackknife` of Student's t.
    """
    entry = describe(baseline, variant)
    subset = entry["subset"]
    entry.update(blank([baseline, variant]))
    entry["refusals"] = refusals(baseline, variant, subset)
    entry["marks"] = marks([baseline, variant], subset, gates)
    for name in ("l0", "n_live"):
        values = (qualities(cohort)[name] for cohort in (baseline, variant))
        entry[name] = dict(zip(("baseline", "variant"), values, strict=True))
    if not same_raw(baseline, variant, subset):
        entry["observed"]["difference"] = entry["null"]["difference"] = None
    if entry["refusals"]:
        entry["observed"]["difference"] = entry["kappa"]["difference"] = None
        return entry
    seeds = entry["seeds"]
    first, second = (side_of(cohort, subset, seeds) for cohort in (baseline, variant))
    assert first is not None, "what was not measured is refused"
    assert second is not None, "what was not measured is refused"
    state(entry, difference(first, second))
    _same_null(entry, baseline, variant)
    if entry["observed"]["difference"] is not None:
        raw = observed_difference(first, second)
        entry["observed"]["difference"] = raw.value
        entry["observed"]["interval"] = [plain(raw.low), plain(raw.high)]
    _bootstrap(entry, first, second)
    return entry


def _same_null(entry: Record, baseline: Record, variant: Record) -> None:
    """Write the difference with N3 on both sides, where the headline takes nulls of different kinds."""
    alike = against_surrogate(baseline, variant, entry["subset"])
    entry["kappa"]["difference_n3"] = alike
    if alike is not None:
        entry["marks"].append(f"with N3 on both sides Δκ is {signed(alike, 3)}")


def _bootstrap(entry: Record, baseline: Side, variant: Side) -> None:
    low, high = np.quantile(bootstrap_difference(baseline, variant), (0.025, 0.975))
    entry["bootstrap"] = {"low": float(low), "high": float(high), "draws": DRAWS}


def _permute(
    entry: Record, pair: Pair, runs: tuple[RunDirectory, RunDirectory], sign: Sign
) -> None:
    seeds = entry["seeds"]
    if cost(*pair, len(seeds)) > COSTLIEST:
        entry["p_reason"] = "the dictionaries are too large to compare across cohorts here"
        return
    tables = crossed(pair, runs, entry["subset"], seeds, sign)
    found = label_permutation(*tables)
    entry.update(p=found.p, p_smallest=found.smallest, relabellings=found.relabellings)


def adjust(entries: Sequence[Record]) -> None:
    """Adjust the probabilities for as many contrasts as have one (Holm), and say what was found.

    A difference is found where its interval leaves out 0 and the adjusted p is below .05: of the jackknife,
    because swapped labels cannot get there with few seeds. Where the two κ are taken against nulls of
    different kinds, N3 on both sides must give it the same sign.
    """
    for raw, adjusted in (("p", "holm"), ("p_jackknife", "holm_jackknife")):
        tested = [entry for entry in entries if entry[raw] is not None]
        for entry, value in zip(tested, holm([entry[raw] for entry in tested]), strict=True):
            entry[adjusted] = value
    for entry in entries:
        entry["finding"] = _finding(entry)


def _finding(entry: Record) -> str:
    if entry["refusals"]:
        return "refused"
    if entry["interval"] is None or entry["holm_jackknife"] >= 0.05:
        return "open"
    low, high = entry["interval"]
    alike = entry["kappa"].get("difference_n3")
    if alike is not None and alike * entry["kappa"]["difference"] <= 0:
        return "open"  # the sign is that of the nulls
    return "open" if low <= 0 <= high else "higher" if low > 0 else "lower"
