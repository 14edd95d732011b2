"""Whether two cohorts may be compared: what refuses a difference, and what must be said beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from engine.disk.text import bare
from engine.metrics.nulls import kappa
from engine.metrics.uncertainty import MIN_SEEDS
from engine.stages.flags import NEAR_START, UNFAIR_SURROGATE, UNTRAINED
from engine.stages.sides import cell_of, has_surrogate, qualities, shared_seeds

Record = dict[str, Any]
TOLERANCE = 0.05
"""How far L0, explained variance and live latents may differ, of the larger (convention)."""
NAMES = {
    "l0": "L0",
    "explained_variance": "explained variance",
    "n_live": "live latents",
}
"""What must match, in words."""


def refusals(baseline: Record, variant: Record, subset: str, *, matched: bool = True) -> list[str]:
    """Return why no difference may be told; empty where the two may be compared.

    Without `matched`, qualities are left out: they are matched in another way, along curves.
    """
    found = [
        *_data(baseline, variant),
        *_seeds(baseline, variant),
        *unfit(baseline, subset),
        *unfit(variant, subset),
    ]
    return list(dict.fromkeys(found + (mismatches(baseline, variant) if matched else [])))


def marks(cohorts: Sequence[Record], subset: str, gates: str, *, nulls: bool = True) -> list[str]:
    """Return what must be said beside a comparison that is allowed.

    Args:
        cohorts: what is compared.
        subset: the features that are.
        gates: the failed gates of the subject, by name; empty where all hold.
        nulls: say of κ against another null than N3 that it is.
    """
    found = [f"gates failed ({gates}): no evidence about a model that computes the answer"]
    found = found if gates else []
    shared = shared_seeds(cohorts)
    most = max(len(cohort["seeds"]) for cohort in cohorts)
    if len(shared) < most:
        found.append(f"over the {len(shared)} shared seeds of {most}")
    for cohort in cohorts if nulls else ():
        cell = cell_of(cohort, subset)
        name = cell.get("null_name")
        if name and name != "N3":
            fixed = ", which is held fixed" if cell.get("null_pairs") is None else ""
            found.append(f"κ of {cohort['title']} is taken against {name}{fixed}")
    return found


def against_surrogate(baseline: Record, variant: Record, subset: str) -> float | None:
    """Return the difference of κ with N3 on both sides, where the headline nulls are of different kinds; None
    where they are of one kind.

    Kinds differ in what they leave to chance, so that a difference of κ may be one of nulls.
    """
    cells = [cell_of(cohort, subset) for cohort in (baseline, variant)]
    if cells[0].get("null_name") == cells[1].get("null_name"):
        return None
    values = [
        kappa(float(cell["observed"]), float(null["value"]))
        for cell in cells
        for null in cell.get("nulls") or ()
        if null["name"] == "N3" and null["admissible"] and null["value"] is not None
    ]
    known = len(values) == 2 and all(math.isfinite(value) for value in values)
    return values[1] - values[0] if known else None


def mismatches(baseline: Record, variant: Record) -> list[str]:
    """Return the qualities that do not match within 5 %, each with both numbers."""
    first, second = qualities(baseline), qualities(variant)
    return [
        f"{NAMES[name]} {say(name, first[name])} against {say(name, second[name])}"
        for name in NAMES
        if not alike(first[name], second[name])
    ]


def alike(a: float | None, b: float | None) -> bool:
    """Return whether two figures are within 5 % of the larger; unknown ones are not."""
    if a is None or b is None:
        return False
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def say(name: str, value: float | None) -> str:
    """Return a quality in words."""
    if value is None:
        return "unknown"
    if name == "explained_variance":
        return bare(f"{value:.3f}".replace("-", "−"))
    return f"{value:,.0f}" if value >= 100 else bare(f"{value:.1f}")


def _data(baseline: Record, variant: Record) -> list[str]:
    """Return what they do not have in common that κ depends on: subject, hook, sign."""
    found = []
    points = [_subject_point(cohort) for cohort in (baseline, variant)]
    if points[0] != points[1]:
        found.append("they were trained on different subjects")
    if baseline["hook"] != variant["hook"]:
        found.append(f"different hooks: {baseline['hook']} against {variant['hook']}")
    if baseline["d_in"] != variant["d_in"]:
        found.append(f"width of the activations {baseline['d_in']} against {variant['d_in']}")
    signs = [_sign(cohort) for cohort in (baseline, variant)]
    if signs[0] != signs[1]:
        found.append(f"another sign convention: {signs[0]} against {signs[1]}")
    return found


def _subject_point(cohort: Record) -> dict[str, Any]:
    point = cohort.get("point") or {}
    return {path: value for path, value in point.items() if path.split(".")[0] == "subject"}


def _sign(cohort: Record) -> str:
    definition = str(cell_of(cohort, "all").get("definition"))
    return "|cos|" if "C = |cos|" in definition else "cos"


def same_raw(baseline: Record, variant: Record, subset: str) -> bool:
    """Return whether what was observed may be compared without its null: equal n, d and sign."""
    counts = [cell_of(cohort, subset).get("n_per_seed") for cohort in (baseline, variant)]
    return counts[0] == counts[1] and not _data(baseline, variant)


def _seeds(baseline: Record, variant: Record) -> list[str]:
    shared = len(shared_seeds([baseline, variant]))
    if shared >= MIN_SEEDS:
        return []
    said = "no seed is" if not shared else "one seed is" if shared == 1 else f"{shared} seeds are"
    return [f"{said} shared; a joint interval needs {MIN_SEEDS}"]


def unfit(cohort: Record, subset: str) -> list[str]:
    """Return why one cohort can be compared with nothing; empty if it can."""
    return [*unmeasured(cohort, subset), *undertrained(cohort)]


def unmeasured(cohort: Record, subset: str) -> list[str]:
    """Return why κ of a cohort is missing or no measure of stability; empty where it is one."""
    title, cell = cohort["title"], cell_of(cohort, subset)
    found = []
    if cell.get("kappa") is None:
        why = cell.get("reason") or "nothing was observed"
        found.append(f"κ of {title} was not measured: {why}")
    elif not has_surrogate(cell):
        found.append(f"{title} has no N3: what SAEs fit to noise would count as agreement")
    if any(UNTRAINED in text for text in cohort["warnings"]):
        found.append(f"{title} {UNTRAINED}")
    if any(UNFAIR_SURROGATE in text for text in cohort["warnings"]):
        found.append(f"{title}: {UNFAIR_SURROGATE}")
    return found


def undertrained(cohort: Record) -> list[str]:
    """Return that a cohort is still near its random start, with the figure; nothing if it is not."""
    kept = (cohort["quality"].get("cosine_with_start") or {}).get("mean")
    if kept is None or kept <= NEAR_START:
        return []
    said = f"its decoder rows keep a mean cosine of {bare(f'{kept:.2f}')} with their start"
    return [f"{cohort['title']} is undertrained: {said}"]
