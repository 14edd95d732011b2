"""Tables of a plan for the terminal: its points and jobs, and what they will cost."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.report.layouts import ACCENT, Fitting, flat_table
from engine.report.wording import Record, duration, plural, size
from engine.study.search import compact

KEY_WIDTH = 8
"""Characters of a content key that a person compares."""


def jobs_table(
    study: str,
    jobs: list[Record],
    totals: Record,
    points: list[Record] | None = None,
    saes: int = 0,
) -> RenderableType:
    """Return the jobs of a plan, which of them are cached, and what the rest will cost; of a search its
    points, and how many jobs there are of each kind."""
    todo = sum(not job["cached"] for job in jobs)
    heading = Text.assemble(
        (study, f"bold {ACCENT}"), f"  {plural(len(jobs), 'job')}, {todo} to do"
    )
    if saes:
        asked = f"{plural(len(points), 'point')}, " if points and len(points) > 1 else ""
        heading.append(f"  {asked}{plural(saes, 'SAE')}")
    foot = Text("nothing to do: every job has a result")
    if todo:
        cost = f"{size(totals['memory_bytes'])} memory, {size(totals['disk_bytes'])} disk"
        foot = Text.assemble((f"about {duration(totals['seconds'])}", "bold"), f", {cost}")
        foot.append(f" ({totals['basis']})", style="dim")
    if points and len(points) > 1:
        return Group(heading, Text(), _points(points), Text(), _kinds(jobs), Text(), foot)
    layouts = [_jobs(jobs, gap, ("kind", "key")) for gap in (3, 2)]
    layouts += [_jobs(jobs, 2, ("kind",)), _jobs(jobs, 2, ()), _jobs(jobs, 1, (), fold=True)]
    return Group(heading, Text(), Fitting(layouts), Text(), foot)


def _jobs(jobs: list[Record], gap: int, extras: tuple[str, ...], fold: bool = False) -> Table:
    """Make the table of jobs; `extras` are the columns that a narrow screen can do without."""
    kinds, keys = "kind" in extras, "key" in extras
    table = flat_table(
        ("job", *["kind"] * kinds, "state", ">slots", ">threads", *["key"] * keys), gap
    )
    table.columns[0].no_wrap, table.columns[0].overflow = not fold, "fold"
    for job in jobs:
        name = Text(str(job["name"]), style="dim" if job["cached"] else "")
        kind = [Text(str(job["kind"]), style="dim")] * kinds
        state = Text("cached", style="dim") if job["cached"] else Text("to do", style=ACCENT)
        key = [Text(job["key"][:KEY_WIDTH], style="dim")] * keys
        table.add_row(name, *kind, state, str(job["slots"]), str(job["threads"]), *key)
    return table


def _points(points: list[Record]) -> RenderableType:
    """Make the table of points: a column for each searched key, and the SAEs of the point."""
    paths = list(points[0]["point"])
    layouts = []
    for fold in (False, True):
        table = flat_table((*(f">{path}" for path in paths), ">SAEs"), 1 if fold else 3)
        for column in table.columns if fold else ():
            column.no_wrap, column.overflow = False, "fold"
        for point in points:
            values = [Text(compact(point["point"][path])) for path in paths]
            table.add_row(*values, str(point["saes"]))
        layouts.append(table)
    return Fitting(layouts)


def _kinds(jobs: list[Record]) -> Table:
    table = flat_table(("kind", ">jobs", ">cached", ">to do"), 3)
    for kind in dict.fromkeys(str(job["kind"]) for job in jobs):
        cached = [bool(job["cached"]) for job in jobs if job["kind"] == kind]
        table.add_row(kind, str(len(cached)), str(sum(cached)), str(len(cached) - sum(cached)))
    return table
