"""The gallery of the page: a few features of each cohort from either end, chosen by a stated rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from engine.report.illustrations import Figures, inline_png
from engine.report.markup import paragraph
from engine.report.sweeps import crowded
from engine.report.wording import MISSING, Record, cohort_label, fraction, percent, plural

Maps = Mapping[str, Sequence[bytes]]
GROUPS = {"stable": "Most stable", "unstable": "Least stable"}
RULE = (
    "Chosen by rule, not by hand: live features of the first seed ({seed}) in the order of the share of other "
    "seeds that have them (mutual nearest neighbour, cosine ≥ .7), then of their median best cosine, ties by "
    "index; the first {first} and the last {last}. Beside each stands its best match in the second seed "
    "({other}), whatever it is."
)
MAPS = (
    "A map shows the activation over all pairs (a down, b across), each on a scale of its own from silent "
    "(light) to its largest activation (dark): maps show shapes, not sizes."
)
NO_GRID = "These inputs have no grid to map over, so features are shown by their numbers alone."


def gallery_section(summary: Record, figures: Figures) -> str:
    """Return the gallery of every cohort; empty where none was recorded or cohorts are too many to show."""
    if crowded(summary):
        return ""
    html = ""
    for number, cohort in enumerate(summary["cohorts"]):
        maps = figures.maps[number] if number < len(figures.maps) else {}
        if cohort.get("gallery"):
            html += f"<h4>{escape(cohort_label(summary, cohort))}</h4>\n{_of_cohort(cohort, maps)}"
    if not html:
        return ""
    mapped = any(found.get("maps") for found in figures.maps)
    rules = dict.fromkeys(_rule(cohort) for cohort in summary["cohorts"] if cohort.get("gallery"))
    said = [*rules, MAPS if mapped else NO_GRID]
    return "".join(paragraph(text, "note") for text in said) + html


def _rule(cohort: Record) -> str:
    entries = cohort["gallery"]
    first, last = (sum(one["group"] == group for one in entries) for group in GROUPS)
    seed, other = entries[0]["seed"], entries[0]["partner"]["seed"]
    return RULE.format(seed=seed, other=other, first=first, last=last)


def _of_cohort(cohort: Record, maps: Maps) -> str:
    entries = cohort["gallery"]
    html = ""
    for group, title in GROUPS.items():
        cards = "".join(
            _card(one, number, maps) for number, one in enumerate(entries) if one["group"] == group
        )
        if cards:
            html += f'<h5>{title}</h5>\n<div class="cards">{cards}</div>\n'
    return html


def _card(one: Record, number: int, maps: Maps) -> str:
    partner = one["partner"]
    name = f"Seed {one['seed']}, feature {one['feature']:,}"
    other = f"seed {partner['seed']}, feature {partner['feature']:,}"
    images = ""
    for kind, said in (("maps", name), ("partner_maps", f"its best match, {other}")):
        if kind in maps:
            caption = "this seed" if kind == "maps" else f"match, cos {fraction(partner['cosine'])}"
            image = inline_png(maps[kind][number], f"Activation over (a, b) of {said}")
            images += f"<div>{image}<span>{escape(caption)}</span></div>"
    lines = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in _facts(one).items()
    )
    shown = f'<div class="pair">{images}</div>' if images else ""
    return f'<article class="card"><p class="who">{escape(name)}</p>{shown}<dl>{lines}</dl></article>\n'


def _facts(one: Record) -> dict[str, str]:
    cosines = ", ".join(fraction(value) for value in one["best_cosines"].values())
    partner = one["partner"]
    match = f"seed {partner['seed']}, feature {partner['feature']:,}"
    match += "" if partner["mutual"] else ", not mutual"
    others = len(one["best_cosines"])
    facts = {
        "found in": f"{round(one['stability'] * others)} of {plural(others, 'other seed')}",
        "best cosines": cosines,
        "median": fraction(one["median_best_cosine"]),
        "match": match + ("" if partner["density"] else ", never fires"),
        "density": _density(one["density"]),
    }
    found = one.get("responds_to")
    if found:
        family = MISSING if found["family"] is None else str(found["family"]).replace("-", "−")
        facts["frequency"] = f"{found['frequency']} (selectivity {fraction(found['selectivity'])})"
        facts["argument"] = f"{family} (η² {fraction(found['eta2'])})"
    return facts


def _density(value: float) -> str:
    return percent(value, 1) if value >= 0.001 else f"{100 * value:.2g} %"
