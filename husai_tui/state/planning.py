"""The plan beside the form: its heading, what it says, and that it is being made anew."""

from __future__ import annotations

import textwrap

from engine.errors import InputError
from husai_tui.state.draft import field_at
from husai_tui.state.estimate import Estimate, detail_lines, fault_text, summary_lines
from husai_tui.state.sweep import Form
from husai_tui.tones import Line

ROOMY = 12
"""Lines from which there is room for more than the summary."""


def plan_lines(form: Form, found: Estimate, old: bool, width: int, height: int) -> list[Line]:
    """Return the plan of a draft.

    Args:
        form: the draft.
        found: the newest plan, or why there is none.
        old: whether the draft has changed since.
        width: cells of a line.
        height: lines in sight; all are returned where there is room for more than the summary.
    """
    lines = [_rule("plan, being made anew" if old and form.sound else "plan", width)]
    roomy = height >= ROOMY
    if roomy:
        lines.append(Line())
    if not form.sound:
        return [*lines, *_unsound(form)]
    if found.fault is not None:
        if isinstance(found.fault, InputError) and field_at(form.fields, found.fault.where):
            return [*lines, *_unsound(form)]
        said = fault_text(found.fault)
        where = getattr(found.fault, "where", "").rsplit(": ", 1)[-1].removeprefix(": ")
        return [*lines, *_wrapped(f"✗ {where}: {said}" if where else f"✗ {said}", width)]
    if found.plan is None:
        return [*lines, Line(((" counting jobs and what is cached", "faint"),))]
    summary = summary_lines(found, dense=not roomy)
    if found.unfit:
        summary = [*summary[:-1], *_wrapped(f"✗ {found.unfit}", width)]
    if not roomy:
        return [*lines, *summary][: max(height, 1)]
    lines += summary
    if found.replaces:
        lines += [Line(), *_wrapped(f"! {found.replaces}", width, warn=True)]
    return [*lines, *detail_lines(found, width)]


def _unsound(form: Form) -> list[Line]:
    if form.broken:
        return [Line(((" the edited YAML cannot be read; e opens it again", "bad"),))]
    named = [one.where for one in form.every_fault() if one.where]
    told = f": {', '.join(named[:3])}{' …' if len(named) > 3 else ''}" if named else ""
    return [Line(((f" no plan before this is mended{told}", "bad"),))]


def _rule(title: str, width: int) -> Line:
    return Line(((f" {title} ", "faint"), ("─" * max(0, width - len(title) - 3), "rule")))


def _wrapped(text: str, width: int, warn: bool = False) -> list[Line]:
    found = textwrap.wrap(text, max(20, width - 3), subsequent_indent="  ")
    return [Line(((f" {line}", "warn" if warn else "bad"),)) for line in found]
