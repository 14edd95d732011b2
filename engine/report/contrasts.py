"""Contrasts in words: cohorts side by side, the difference of κ with its interval, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.report.wording import (
    MISSING,
    Record,
    fraction,
    kappa_digits,
    kappa_text,
    percent,
    quantity,
    short_null,
)
from engine.study.search import compact

PLAIN = "plain"
"""What a cohort without an objective is called beside those with one."""
WITHOUT: Record = {
    "consistency": 0.0,
    "orthogonality": 0.0,
    "pinned": 0.0,
    "shared_init": False,
    "start": 0.0,
}
"""Settings that ask for no objective."""
SUBSETS = ("live", "all")
SAME_COUNT = 0.05
"""Numbers of features count as matched within this share of the larger (a convention)."""
REFUSED = "refused"
"""Stands for a difference that would mean nothing."""


def contrasts(cohorts: Sequence[Record]) -> list[Record]:
    """Return every cohort with an objective beside the plain one, described."""
    return [describe(baseline, variant) for baseline, variant in objective_pairs(cohorts)]


def objective_pairs(cohorts: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Return the plain cohort and the one with an objective, where settings, hook and point are the same."""
    plain: dict[str, Record] = {}
    for cohort in cohorts:
        if _known(cohort) and not objective_of(cohort):
            plain.setdefault(_rest(cohort), cohort)
    return [
        (plain[_rest(cohort)], cohort)
        for cohort in cohorts
        if _known(cohort) and objective_of(cohort) and _rest(cohort) in plain
    ]


def objective_of(cohort: Record) -> str:
    """Return the stability objectives of a cohort: `consistency 0.1 from 50 %`; empty for a plain one."""
    options = {**WITHOUT, **(cohort["settings"].get("stability") or {})}
    late = f" from {percent(options['start'])}" if options["start"] else ""
    named = {
        "consistency": f"consistency {compact(options['consistency'])}{late}",
        "orthogonality": f"orthogonality {compact(options['orthogonality'])}{late}",
        "pinned": f"{percent(options['pinned'])} pinned",
        "shared_init": "shared start",
    }
    return ", ".join(text for name, text in named.items() if options[name])


def _known(cohort: Record) -> bool:
    return bool(cohort.get("settings"))


def _rest(cohort: Record) -> str:
    """Return what must be the same: hook, settings but the objective, and the point beyond the SAE."""
    settings = {k: v for k, v in cohort["settings"].items() if k != "stability"}
    point = cohort.get("point") or {}
    beyond = {path: value for path, value in point.items() if not path.startswith("saes.")}
    return repr((cohort["hook"], sorted(settings.items()), sorted(beyond.items())))


def describe(baseline: Record, variant: Record) -> Record:
    """Return the figures of two cohorts side by side.

    Both are read at the same metric and subset: those of the baseline's headline, or all features where
    the other cannot be measured there. A difference is variant − baseline.
    """
    metric, subset = _where(baseline, variant)
    cells = [cohort["stability"][metric][subset] or {} for cohort in (baseline, variant)]
    quality = [
        (cohort["quality"].get("explained_variance") or {}).get("mean")
        for cohort in (baseline, variant)
    ]
    observed, refused = _raw(baseline, variant, cells)
    bounds = [[cell.get("ci_low"), cell.get("ci_high")] for cell in cells]
    return {
        "baseline": str(baseline["title"]),
        "variant": str(variant["title"]),
        "hook": str(variant["hook"]),
        "objective": objective_of(variant),
        "metric": metric,
        "subset": subset,
        "explained_variance": _beside(*quality),
        "observed": observed,
        "observed_reason": refused,
        "null": {
            **_beside(*(cell.get("null") for cell in cells)),
            "baseline_name": cells[0].get("null_name"),
            "variant_name": cells[1].get("null_name"),
        },
        "kappa": {
            **_beside(*(cell.get("kappa") for cell in cells)),
            "baseline_interval": bounds[0],
            "variant_interval": bounds[1],
        },
    }


def _where(baseline: Record, variant: Record) -> tuple[str, str]:
    where = baseline["headline"]
    metric, first = str(where["metric"]), str(where["subset"])

    def measured(cohort: Record, subset: str) -> bool:
        cell = cohort["stability"][metric].get(subset)
        return bool(cell) and cell["observed"] is not None

    both = [s for s in dict.fromkeys((first, *reversed(SUBSETS))) if measured(variant, s)]
    return metric, next((s for s in both if measured(baseline, s)), first)


def _raw(baseline: Record, variant: Record, cells: Sequence[Record]) -> tuple[Record, str]:
    """Return the raw similarities, their difference only where chance gives both the same, else why not."""
    beside = _beside(*(cell.get("observed") for cell in cells))
    differs = incomparable(baseline, variant, cells)
    if not differs:
        return beside, ""
    return {**beside, "difference": None}, f"not comparable as they are: {'; '.join(differs)}"


def incomparable(one: Record, other: Record, cells: Sequence[Record]) -> list[str]:
    """Return why raw similarities of two cohorts must not be subtracted; nothing if they may.

    Another number of features, width or definition (with it the sign) has another chance level; κ takes it
    away (science.md §7, point 9).
    """
    found = []
    if one.get("d_in") != other.get("d_in"):
        found.append(f"d_in is {one.get('d_in')} and {other.get('d_in')}")
    if cells[0].get("definition") != cells[1].get("definition"):
        found.append("their definitions differ")
    counts = [cell.get("n_per_seed") for cell in cells]
    if all(counts):
        means = [sum(count) / len(count) for count in counts if count]
        if abs(means[0] - means[1]) > SAME_COUNT * max(means):
            found.append(f"features per seed are {means[0]:,.0f} and {means[1]:,.0f}")
    return found


def _beside(baseline: float | None, variant: float | None) -> Record:
    known = baseline is not None and variant is not None
    difference = variant - baseline if known else None  # type: ignore[operator]
    return {"baseline": baseline, "variant": variant, "difference": difference}


def groups(summary: Record) -> list[tuple[str, list[Record]]]:
    """Return the contrasts of objectives by what they are compared with: a name for each plain cohort, and
    its contrasts."""
    with_objective = [one for one in summary["contrasts"] if one["objective"]]
    several = len({one["hook"] for one in with_objective}) > 1
    found: dict[str, list[Record]] = {}
    for one in with_objective:
        title, hook = str(one["baseline"]), str(one["hook"])
        told = title if not several or hook in title else f"{title} · {hook}"
        found.setdefault(told, []).append(one)
    return list(found.items())


def side(contrast: Record, which: str) -> list[tuple[str, str]]:
    """Return the figures of `baseline` or `variant` in words, by column."""
    cell = _kappa_cell(contrast, which)
    null, name = contrast["null"][which], contrast["null"][f"{which}_name"]
    return [
        ("EV", fraction(contrast["explained_variance"][which], 3)),
        ("cos", fraction(contrast["observed"][which], 3)),
        ("null", MISSING if null is None else f"{fraction(null, 3)} {short_null(name)}"),
        ("κ", kappa_text(cell)),
    ]


def _kappa_cell(contrast: Record, which: str) -> dict[str, Any]:
    kappa = contrast["kappa"]
    low, high = kappa[f"{which}_interval"]
    return {"kappa": kappa[which], "ci_low": low, "ci_high": high}


def kappa_change(contrast: Record) -> str:
    """Return the difference of κ with its sign and interval: `+.12 [.05, .19]`; `refused` where it is."""
    change, bounds = contrast["kappa"]["difference"], contrast.get("interval")
    if contrast.get("refusals"):
        return REFUSED
    if change is None:
        return MISSING
    if bounds is None:
        return signed(change, kappa_digits({"kappa": change}))
    return signed_interval(change, bounds)


def reversed_change(contrast: Record) -> str:
    """Return the difference of κ seen from the other side."""
    change, bounds = contrast["kappa"]["difference"], contrast.get("interval")
    turned = None if bounds is None else [-bounds[1], -bounds[0]]
    less = None if change is None else -change
    kappa = {**contrast["kappa"], "difference": less}
    return kappa_change({**contrast, "kappa": kappa, "interval": turned})


def signed(value: float, digits: int) -> str:
    """Return a difference with its sign: `+.12`, `−.03`."""
    text = fraction(value, digits)
    return text if text.startswith("−") else f"+{text}"


def signed_interval(value: float, bounds: Sequence[float]) -> str:
    """Return a difference with its sign and interval: `−.03 [−.05, −.01]`."""
    digits = kappa_digits({"kappa": value, "ci_low": bounds[0], "ci_high": bounds[1]})
    low, high = (fraction(bound, digits) for bound in bounds)
    return f"{signed(value, digits)} [{low}, {high}]"


def others(summary: Record) -> list[Record]:
    """Return the contrasts that are not of an objective: of cohorts, and along curves."""
    return [one for one in summary["contrasts"] if not one["objective"]]


def matched_text(contrast: Record) -> str:
    """Return at what both sides were compared: `L0 24 (both reach 16 to 48)`; empty for single cohorts."""
    on, at = contrast.get("matched_on"), contrast.get("at")
    if not on:
        return ""
    title, write = ("L0", quantity) if on == "l0" else ("EV", _three)
    if not at:
        return f"at one {title}"
    if at["low"] == at["high"]:
        return f"at {title} {write(at['value'])}"
    return f"at {title} {write(at['value'])} (both reach {write(at['low'])} to {write(at['high'])})"


def _three(value: float | None) -> str:
    return fraction(value, 3)


def finding_text(contrast: Record) -> str:
    """Return what a contrast says of the variant in words; a difference only where it was found."""
    if contrast.get("refusals"):
        return "not compared"
    found = contrast.get("finding")
    if found in ("higher", "lower"):
        return f"agrees {'more' if found == 'higher' else 'less'}"
    if contrast.get("interval") is None:
        return "open: no interval"
    low, high = contrast["interval"]
    if low <= 0 <= high:
        return "open: the interval holds 0"
    alike = contrast["kappa"].get("difference_n3")
    if alike is not None and alike * contrast["kappa"]["difference"] <= 0:
        return "open: with N3 on both sides its sign is another"
    return "open after Holm's correction"


def p_text(contrast: Record) -> str:
    """Return p of swapped labels beside the smallest that so many seeds can give: `.06 (least .06)`."""
    if contrast.get("p") is None:
        return MISSING
    return f"{probability(contrast['p'])} (least {probability(contrast['p_smallest'])})"


def probability(value: float | None) -> str:
    """Return a probability for people: `.0625`, `.25`, `<.001`."""
    if value is None:
        return MISSING
    if value < 0.001:
        return "<.001"
    return fraction(value, 4).rstrip("0").rstrip(".")


def kappa_side(contrast: Record, which: str) -> str:
    """Return κ of one side with its interval; along a curve that cannot be compared, the range of its κ."""
    if contrast["kappa"][which] is None and contrast.get("points"):
        points = contrast["points"][which == "variant"]
        known = [point["kappa"] for point in points if point["kappa"] is not None]
        if not known:
            return MISSING
        return f"{fraction(min(known))} to {fraction(max(known))} over its settings"
    return kappa_text(_kappa_cell(contrast, which))
