"""The page's section on differences between cohorts, trends along sweeps, and claims re-examined."""

from __future__ import annotations

from engine.report.contrasts import (
    finding_text,
    kappa_change,
    kappa_side,
    matched_text,
    others,
    p_text,
    probability,
)
from engine.report.markup import Cell, bullets, folded, paragraph, table
from engine.report.trends import against_text, direction_text, ends_text, slope_text, subject_of
from engine.report.wording import MISSING, Record, fraction, percent, plural, quantity

Row = list[str | Cell]
FOLDED_FROM = 8
"""From so many refused contrasts on, they are folded."""
HOW = (
    "Δκ is the second less the first, with a 95 % interval by jackknife: each seed is deleted from both "
    "sides at once. Bootstrap: the same with seeds resampled, never paired with themselves. p: the labels of "
    "the SAEs swapped within seeds; beside it the least p that so many seeds can give, so with five seeds it "
    "cannot fall below .0625. Holm: adjusted for all contrasts of the study, first for the jackknife's t, "
    "then for swapped labels. More or less agreement is said only where the interval leaves out 0 and the "
    "first of these is below .05."
)


def comparisons(summary: Record) -> str:
    """Return contrasts and trends; nothing for a study that has neither."""
    told, trends = others(summary), summary.get("trends") or []
    allowed = [one for one in told if not one["refusals"]]
    refused = [one for one in told if one["refusals"]]
    html = ""
    if allowed:
        html += _allowed(allowed) + paragraph(HOW, "note") + _remarks(allowed)
    if refused:
        html += "<h3>Not compared</h3>\n" + _refused(refused)
    if left := summary.get("contrasts_left_out"):
        html += paragraph(f"{plural(left, 'more pair')} of cohorts were left out.", "note")
    if trends:
        html += "<h3>Trends</h3>\n" + _trends(trends)
    return html


def _pair(contrast: Record) -> Cell:
    return Cell(f"{contrast['baseline']} → {contrast['variant']}", "name")


def _allowed(contrasts: list[Record]) -> str:
    rows: list[Row] = []
    for one in contrasts:
        bootstrap = one["bootstrap"]
        rows.append(
            [
                Cell(f"{_pair(one).text}, {_quality(one)}", "name"),
                Cell(f"{kappa_side(one, 'baseline')} → {kappa_side(one, 'variant')}", "w"),
                Cell(kappa_change(one), "w chosen"),
                Cell(_bounds(bootstrap), "w"),
                Cell(p_text(one), "w"),
                Cell(f"{probability(one['holm_jackknife'])}, {probability(one['holm'])}", "w"),
                finding_text(one),
            ]
        )
    columns = ("from → to", "κ [95 % CI]", "Δκ [95 % CI]", "bootstrap", "p", "Holm", "")
    return table(columns, rows)


def _bounds(bootstrap: Record | None) -> str:
    if bootstrap is None:
        return MISSING
    return f"[{fraction(bootstrap['low'], 3)}, {fraction(bootstrap['high'], 3)}]"


def _quality(contrast: Record) -> str:
    """Return at what a contrast is told: the matched value, or what both sides have."""
    if contrast["kind"] == "curve":
        return matched_text(contrast)
    l0, ev = contrast["l0"], contrast["explained_variance"]
    return (
        f"L0 {quantity(l0['baseline'])}, {quantity(l0['variant'])}; "
        f"EV {fraction(ev['baseline'], 3)}, {fraction(ev['variant'], 3)}"
    )


def _remarks(contrasts: list[Record]) -> str:
    """Return what must be said beside contrasts that are told, and differences of what was observed."""
    found = []
    for one in contrasts:
        name = f"{one['baseline']} → {one['variant']}"
        if one["marks"]:
            found.append(f"{name}: {'; '.join(one['marks'])}.")
        raw = one["observed"]["difference"]
        if raw is not None:
            low, high = one["observed"]["interval"]
            said = f"{fraction(raw, 3)} [{fraction(low, 3)}, {fraction(high, 3)}]"
            found.append(f"{name}: equal n, d and sign; the observed similarity differs by {said}.")
    return bullets(found) if found else ""


def _refused(contrasts: list[Record]) -> str:
    rows: list[Row] = [
        [
            _pair(one),
            Cell(kappa_side(one, "baseline"), "w"),
            Cell(kappa_side(one, "variant"), "w"),
            _reasons(one),
        ]
        for one in contrasts
    ]
    note = (
        "Figures of both sides, and why their difference would mean nothing. L0, explained variance and live "
        f"latents must match within {percent(contrasts[0]['tolerance'])}, or be matched along curves."
    )
    html = table(("from → to", "κ of the first", "κ of the second", "why not"), rows, texts=True)
    html += paragraph(note, "note")
    if len(contrasts) < FOLDED_FROM:
        return html
    return folded(f"{plural(len(contrasts), 'contrast')} refused", html)


def _reasons(contrast: Record) -> str:
    on = f"{matched_text(contrast)}: " if contrast["kind"] == "curve" else ""
    return on + "; ".join(contrast["refusals"])


def _trends(trends: list[Record]) -> str:
    rows: list[Row] = [
        [
            Cell(f"{subject_of(one)} · {one['hook']}", "name"),
            str(len(one["x"])),
            Cell(ends_text(one), "w"),
            Cell(slope_text(one), "w chosen"),
            fraction(one["spearman"]),
            "; ".join(one["refusals"]) or direction_text(one),
        ]
        for one in trends
    ]
    columns = ("of, along", ">points", "κ first → last", "κ per doubling [95 % CI]", ">rank r", "")
    note = (
        "Slope of κ on the logarithm of what was varied; 95 % interval by jackknife, each seed deleted from "
        "all points at once. No trend is told over less than a factor of 2, or from fewer than three points. "
        "A slope says nothing on whether the path is straight: rank r (Spearman) is 1 or −1 where it never "
        "turns. Explained variance changes along a sweep, too; the table of quality has it."
    )
    said = [(one, [*filter(None, [_nulls(one)]), *one["marks"]]) for one in trends]
    remarks = [f"{subject_of(one)}: {'; '.join(marks)}." for one, marks in said if marks]
    return table(columns, rows) + paragraph(note, "note") + (bullets(remarks) if remarks else "")


def _nulls(trend: Record) -> str:
    said = against_text(trend)
    return f"κ and its slope are taken {said}" if said else ""


def trend_captions(summary: Record) -> list[str]:
    """Return a sentence for each trend that is told, to stand below the figure that shows it."""
    return [
        f"{subject_of(one)}: κ {slope_text(one)} per doubling, {direction_text(one)}{_drawn(one)}."
        for one in summary.get("trends") or []
        if not one["refusals"]
    ]


def _drawn(trend: Record) -> str:
    said = against_text(trend)
    return f" ({said}; drawn is κ against the largest null of each point)" if said else ""


def claims_section(summary: Record) -> str:
    """Return the claims that this study speaks to, each with what its numbers say."""
    found = summary.get("claims") or {}
    examined = found.get("examined") or []
    if not examined:
        return ""
    rows: list[Row] = [
        [
            Cell(one["claim"], "name"),
            Cell(one["source"], "name"),
            Cell(one["says"], "chosen w"),
            one["because"],
        ]
        for one in examined
    ]
    html = table(("claim", "source", "this study", "because"), rows, texts=True)
    note = (
        "A claim is supported or contradicted by this study alone: its subject, its settings, its seeds. "
        "Figures of the two papers come from their abstracts, released code and secondary notes."
    )
    html += paragraph(note, "note")
    if silent := found.get("silent"):
        html += paragraph("This study has nothing on: " + "; ".join(silent) + ".", "note")
    return html
