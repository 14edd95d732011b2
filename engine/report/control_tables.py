"""The planted controls for the terminal: each number with its acceptance, its source and what it was."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.disk.text import bare
from engine.report.layouts import ACCENT, PROBLEM, Fitting
from engine.report.wording import Record, duration, fraction, plural

MOST = 1.0
"""What is measured cannot be more: cosines, shares, explained variance, κ. Student's t knows nothing of it, so
intervals are shown as far as they can hold a value; `--json` has them as they were computed."""
SHARES = frozenset({"found", "one_plane", "planes", "caught", "shared"})
"""Measures that cannot be less than 0 either."""
MARKS = {True: ("✓", "green"), False: ("✗", PROBLEM)}


def controls_table(found: Record) -> RenderableType:
    """Return all rows, and below them whether they passed."""
    parts: list[RenderableType] = [_row(row) for row in found["rows"]]
    return Group(*parts, verdict(found))


def verdict(found: Record) -> Text:
    """Return in one line whether all rows passed, and what it cost."""
    rows = found["rows"]
    failed = [row["row"] for row in rows if not row["passed"]]
    where = f"{found['processes']} at once on {found['device']}"
    cost = f"{duration(found['seconds'])}, {where}"
    if failed:
        said = f"{len(failed)} of {plural(len(rows), 'row')} failed: {', '.join(failed)}"
        return Text.assemble((said, PROBLEM), f"  ({cost})")
    return Text.assemble((f"{plural(len(rows), 'row')}: all pass", "green"), f"  ({cost})")


def progress_line(row: Record, left: int) -> str:
    """Return what is said when a row is there."""
    mark, _ = MARKS[row["passed"]]
    return f"{mark} {row['row']}: {row['asks']} ({duration(row['seconds'])}; {left} to go)"


def _row(row: Record) -> RenderableType:
    mark, style = MARKS[row["passed"]]
    seeds = plural(len(row["seeds"]), "seed")
    heading = Text.assemble(
        (f"{mark} ", style), (row["row"], f"bold {ACCENT}"), f"  {row['asks']}  ", (seeds, "dim")
    )
    return Group(heading, Fitting([_checks(row, width) for width in (2, 1, 0)]), Text())


def _checks(row: Record, detail: int) -> Table:
    """Return a row's numbers; less detail leaves out the source, then what it saw."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=2)
    for n in range(2 + detail):
        table.add_column(no_wrap=detail > 0 and n < 3)
    for check in row["checks"]:
        style = "" if check["passed"] else PROBLEM
        seen = f"published {check['published']}" if check["published"] else ""
        value = Text(f"{_value(check)}  {accepted(check)}", style=style)
        extra = [Text(seen), Text(check["source"], style="dim")][:detail]
        table.add_row("", Text(check["text"]), value, *extra)
    return table


def _value(check: Record) -> str:
    if check["ci_low"] is None or check["ci_high"] is None:
        return fraction(check["value"], 3)
    low, high = check["ci_low"], min(check["ci_high"], MOST)
    if check["measure"] in SHARES:
        low = max(low, 0.0)
    return f"{fraction(check['value'], 3)} [{fraction(low, 3)}, {fraction(high, 3)}]"


def accepted(check: Record) -> str:
    """Return the interval of a check: `≥ 0.9`, `≤ 0.1`, `0.84–0.94`, `= 1`."""
    low, high = check["low"], check["high"]
    if low == high:
        return bare(f"(must be {low:g})")
    if high is None:
        return bare(f"(≥ {low:g})")
    if low is None:
        return bare(f"(≤ {high:g})")
    return bare(f"({low:g} to {high:g})".replace("-", "−"))
