"""Differences between the cohorts of a study in lines: with their intervals, or why they are refused."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from engine.client.findings import (
    MISSING,
    finding_text,
    groups,
    kappa_change,
    kappa_side,
    matched_text,
    others,
    reversed_change,
    side,
    trend_sentence,
)
from husai_tui.state.compare import Comparison
from husai_tui.tones import Part, Tone

Line = list[Part]
NO_CONTRASTS = "no contrasts: no cohort has a stability objective beside the plain one"


def contrast_lines(found: Comparison, width: int) -> list[Line]:
    """Return the objectives beside the plain cohorts, then all other differences, then trends; or that there
    are none."""
    summary = found.summary
    if not summary.get("contrasts") and not summary.get("trends"):
        return paragraph(NO_CONTRASTS, width, "faint")
    lines: list[Line] = []
    for name, contrasts in groups(summary):
        lines.append([("against ", "faint"), (name, "strong"), ("   difference of κ", "faint")])
        for one in contrasts:
            lines += _contrast(one, width)
    if rest := others(summary):
        lines.append([("differences of κ, second less first", "faint")])
        for one in rest:
            lines += _other(one, width)
    for one in summary.get("trends") or ():
        lines += paragraph(trend_sentence(one), width, "faint" if one["refusals"] else "", hang=2)
    return lines


def joint_sentence(found: Comparison, pinned: str, label: str) -> str:
    """Return the difference of two cohorts with its joint interval, or why it is refused; nothing where the
    study has no contrast of them."""
    base, other = (
        (str(found.cohorts[one]["title"]), str(found.cohorts[one]["hook"]))
        for one in (pinned, label)
    )
    for one in found.summary.get("contrasts") or ():
        if one.get("kind") not in ("objective", "cohorts") or one["hook"] not in (
            base[1],
            other[1],
        ):
            continue
        names = (one["baseline"], one["variant"])
        if names not in ((base[0], other[0]), (other[0], base[0])):
            continue
        if one["refusals"]:
            return f"The report refuses the difference: {'; '.join(one['refusals'])}."
        turned = names[0] != base[0]
        change = reversed_change(one) if turned else kappa_change(one)
        return f"Joint over the shared seeds, live features: Δκ {change}."
    return ""


def _contrast(one: dict[str, Any], width: int) -> list[Line]:
    change = kappa_change(one)
    if one.get("refusals"):
        said = f"refused: {'; '.join(one['refusals'])}"
        both = f"κ {kappa_side(one, 'baseline')} and {kappa_side(one, 'variant')}"
        head: Line = [(f"  {one['objective']}", "")]
        return [head, *_inset(said, width, "warn"), *_inset(both, width, "faint")]
    if change == MISSING:
        which = [w for w in ("baseline", "variant") if one["kappa"][w] is None]
        said = f"none: κ of the {' and the '.join(which)} was not measured"
        return [[(f"  {one['objective']}   ", ""), (said, "warn")]]
    sides = [dict(side(one, which)) for which in ("baseline", "variant")]
    said = f"κ {sides[0]['κ']} → {sides[1]['κ']};  EV {sides[0]['EV']} → {sides[1]['EV']}"
    first: Line = [(f"  {change:>6}  ", "strong"), (str(one["objective"]), "")]
    return [first, *_inset(said, width, "faint", 10)]


def _other(one: dict[str, Any], width: int) -> list[Line]:
    where = matched_text(one) if one["kind"] == "curve" else ""
    names = " ".join(filter(None, [f"{one['baseline']} → {one['variant']}", where]))
    head = paragraph(f"  {names}", width, "", hang=4)
    both = f"κ {kappa_side(one, 'baseline')} and {kappa_side(one, 'variant')}"
    if one["refusals"]:
        said = _inset(f"refused: {'; '.join(one['refusals'])}", width, "warn")
    else:
        said = _inset(f"Δκ {kappa_change(one)}: {finding_text(one)}", width, "strong")
    return [*head, *said, *_inset(both, width, "faint")]


def _inset(text: str, width: int, tone: Tone, by: int = 6) -> list[Line]:
    return [[(" " * by, ""), *line] for line in paragraph(text, max(20, width - by), tone)]


def paragraph(text: str, width: int, tone: Tone, hang: int = 0) -> list[Line]:
    """Return a text in lines of at most so many columns, all but the first indented by `hang`."""
    return [[(line, tone)] for line in wrap(text, max(20, width), subsequent_indent=" " * hang)]
