"""Differences between cohorts, trends and claims on the terminal, legible from 40 columns up."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.report.contrasts import (
    finding_text,
    kappa_change,
    kappa_side,
    matched_text,
    others,
    p_text,
    probability,
)
from engine.report.layouts import ACCENT, CAUTION
from engine.report.trends import trend_sentence
from engine.report.wording import Record, plural

FEW = 6
"""Refused contrasts that are told one by one; more are counted."""


def comparison_parts(summary: Record) -> list[Group]:
    """Return what a study says on differences, trends and claims; nothing where it has none."""
    parts = [_contrasts(others(summary)), _trends(summary), _claims(summary)]
    return [part for part in parts if part is not None]


def _heading(text: str) -> Text:
    return Text(text, style=f"bold {ACCENT}")


def _contrasts(contrasts: list[Record]) -> Group | None:
    if not contrasts:
        return None
    told = [one for one in contrasts if not one["refusals"]]
    refused = [one for one in contrasts if one["refusals"]]
    lines: list[RenderableType] = [_heading("Differences between cohorts")]
    lines += [_told(one) for one in told]
    lines += [_refused(one) for one in refused[:FEW]]
    if len(refused) > FEW:
        said = f"{plural(len(refused) - FEW, 'more contrast')} refused; the report has the reasons"
        lines.append(Text(said, style="dim"))
    return Group(*lines)


def _names(contrast: Record) -> Text:
    where = matched_text(contrast) if contrast["kind"] == "curve" else ""
    return Text(" ".join(filter(None, [f"{contrast['baseline']} → {contrast['variant']}", where])))


def _told(contrast: Record) -> Table:
    kappas = f"κ {kappa_side(contrast, 'baseline')} → {kappa_side(contrast, 'variant')}"
    tests = f"p {p_text(contrast)}" if contrast["p"] is not None else ""
    if contrast["holm_jackknife"] is not None:
        said = probability(contrast["holm_jackknife"])
        tests = "; ".join(filter(None, [tests, f"Holm {said} by jackknife"]))
    line = Text(f"Δκ {kappa_change(contrast)}", style="bold")
    line.append(f"  {finding_text(contrast)}", style=ACCENT)
    rest = "; ".join(filter(None, [kappas, tests]))
    return _indented(_names(contrast), line, Text(rest, style="dim"))


def _refused(contrast: Record) -> Table:
    line = Text("Δκ refused: ", style=CAUTION)
    line.append("; ".join(contrast["refusals"]))
    both = f"κ {kappa_side(contrast, 'baseline')} and {kappa_side(contrast, 'variant')}"
    return _indented(_names(contrast), line, Text(both, style="dim"))


def _indented(head: Text, *lines: Text) -> Table:
    grid = Table.grid(padding=(0, 0, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_row(head)
    for line in lines:
        inner = Table.grid(padding=(0, 0, 0, 2))
        inner.add_column(overflow="fold")
        inner.add_row(line)
        grid.add_row(inner)
    return grid


def _trends(summary: Record) -> Group | None:
    trends = summary.get("trends") or []
    if not trends:
        return None
    sentences = [Text(trend_sentence(one)) for one in trends]
    return Group(_heading("Trends"), *sentences)


def _claims(summary: Record) -> Group | None:
    examined = (summary.get("claims") or {}).get("examined") or []
    if not examined:
        return None
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for one in examined:
        grid.add_row(one["says"], Text(one["claim"]))
    note = Text("sources, and the numbers behind each answer: in the report", style="dim")
    return Group(_heading("Claims, re-examined"), grid, note)
