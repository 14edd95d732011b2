"""Tables for the terminal: the result of a study, and the plan of one. Legible from 40 columns up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from engine.report.wording import (
    MISSING,
    SOURCES,
    Record,
    describe_subject,
    duration,
    explain_null,
    failed_gates,
    fraction,
    gates_mark,
    headline,
    kappa_text,
    metric_title,
    percent,
    plural,
    quantity,
    several_hooks,
    short_null,
    size,
    spread,
    step_range,
    truth_measures,
    verdict_sentence,
)

ACCENT, PROBLEM, CAUTION = "cyan", "bold red", "yellow"
KEY_WIDTH = 8
"""Characters of a content key that a person compares."""
UNBOUNDED = 10_000
TRUTH_LEGEND = "recall: true features found · precision: live latents that are one"


class Fitting:
    """Draws the first of several layouts that fits the width at hand; the last one wraps."""

    def __init__(self, layouts: Sequence[RenderableType]) -> None:
        self.layouts = layouts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(max_width=UNBOUNDED)
        for layout in self.layouts[:-1]:
            if Measurement.get(console, unbounded, layout).maximum <= options.max_width:
                yield layout
                return
        yield self.layouts[-1]


def summary_tables(summary: Record) -> list[RenderableType]:
    """Return what a finished study says, most important first, ready to be printed one by one."""
    parts: list[RenderableType] = [_verdicts(summary)]
    problems = _problems(summary)
    if problems:
        parts.append(_spaced(problems))
    parts += [_spaced(part) for part in _stability(summary)]
    parts += [_spaced(part) for part in _ground_truth(summary)]
    parts.append(_spaced(_subject(summary)))
    return parts


def jobs_table(study: str, jobs: list[Record], totals: Record) -> RenderableType:
    """Return the jobs of a plan, which of them are cached, and what the rest will cost."""
    todo = sum(not job["cached"] for job in jobs)
    heading = Text.assemble(
        (study, f"bold {ACCENT}"), f"  {plural(len(jobs), 'job')}, {todo} to do"
    )
    foot = Text("nothing to do: every job has a result")
    if todo:
        cost = f"{size(totals['memory_bytes'])} memory, {size(totals['disk_bytes'])} disk"
        foot = Text.assemble((f"about {duration(totals['seconds'])}", "bold"), f", {cost}")
        foot.append(f" ({totals['basis']})", style="dim")
    layouts = [_jobs(jobs, gap, ("kind", "key")) for gap in (3, 2)]
    layouts += [_jobs(jobs, 2, ("kind",)), _jobs(jobs, 2, ()), _jobs(jobs, 1, (), fold=True)]
    return Group(heading, Text(), Fitting(layouts), Text(), foot)


def _jobs(jobs: list[Record], gap: int, extras: tuple[str, ...], fold: bool = False) -> Table:
    """Make the table of jobs; `extras` are the columns that a narrow screen can do without."""
    kinds, keys = "kind" in extras, "key" in extras
    table = _table(("job", *["kind"] * kinds, "state", ">slots", ">threads", *["key"] * keys), gap)
    table.columns[0].no_wrap, table.columns[0].overflow = not fold, "fold"
    for job in jobs:
        name = Text(str(job["name"]), style="dim" if job["cached"] else "")
        kind = [Text(str(job["kind"]), style="dim")] * kinds
        state = Text("cached", style="dim") if job["cached"] else Text("to do", style=ACCENT)
        key = [Text(job["key"][:KEY_WIDTH], style="dim")] * keys
        table.add_row(name, *kind, state, str(job["slots"]), str(job["threads"]), *key)
    return table


def _table(columns: Sequence[str], gap: int) -> Table:
    """Make a table without a box; a column named `>x` is x, set flush right."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if right else "left", no_wrap=True
        )
    return table


def _stack(records: Sequence[Record], lines: Callable[[Record], list[tuple[str, str]]]) -> Table:
    """Lay records out below each other, a value a line, for screens too narrow for columns."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for number, record in enumerate(records):
        if number:
            grid.add_row("", "")
        for name, value in lines(record):
            grid.add_row(name, Text(value))
    return grid


def _spaced(part: RenderableType) -> Padding:
    return Padding(part, (1, 0, 0, 0), expand=False)


def _heading(summary: Record, text: str) -> Text:
    heading = Text(text, style=f"bold {ACCENT}")
    mark = gates_mark(summary)
    if mark:
        heading.append(f"  ✗ {mark}", style=PROBLEM)
    return heading


def _verdicts(summary: Record) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold", max_width=26)
    grid.add_column(overflow="fold")
    hooks = several_hooks(summary)
    for cohort in summary["cohorts"]:
        title = Text(str(cohort["title"]), style=f"bold {ACCENT}")
        if hooks:
            title.append(f"\n{cohort['hook']}", style="dim")
        grid.add_row(title, Text(verdict_sentence(cohort), style="bold"))
    return grid


def _problems(summary: Record) -> Table | None:
    """Return failed gates in red and warnings in yellow, or None if there are neither."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    mark = gates_mark(summary)
    if mark:
        said = "SAEs were trained all the same: every number below carries this mark."
        grid.add_row(Text("✗ gates", style=PROBLEM), Text(f"{mark}. {said}", style=PROBLEM))
        for gate in failed_gates(summary):
            why = f"{gate['name']} {gate['title']}: {gate['reason']}"
            grid.add_row("", Text(why, style="red"))
    for warning in summary["warnings"]:
        grid.add_row(Text("! warning", style=CAUTION), Text(str(warning), style=CAUTION))
    return grid if grid.row_count else None


def _stability(summary: Record) -> list[Group]:
    """Return one table per hook; the last carries the legend."""
    hooks = list(dict.fromkeys(cohort["hook"] for cohort in summary["cohorts"]))
    groups = []
    for hook in hooks:
        cohorts = [cohort for cohort in summary["cohorts"] if cohort["hook"] == hook]
        heading = _heading(summary, "Stability" if len(hooks) == 1 else f"Stability at {hook}")
        layouts: list[RenderableType] = [_stability_table(cohorts, gap) for gap in (3, 2, 1)]
        layouts.append(_stack(cohorts, _stability_lines))
        legend = [_legend(summary)] if hook == hooks[-1] else []
        groups.append(Group(heading, Fitting(layouts), *legend))
    return groups


def _stability_table(cohorts: list[Record], gap: int) -> Table:
    columns = ("cohort", ">EV", ">L0", ">dead", ">cos", "null", "κ [95 % CI]", "verdict")
    table = _table(columns, gap)
    for cohort in cohorts:
        values = dict(_stability_lines(cohort))
        verdict = Text(values.pop("verdict"), style=f"bold {_verdict_style(cohort)}")
        table.add_row(*(Text(value) for value in values.values()), verdict)
    return table


def _stability_lines(cohort: Record) -> list[tuple[str, str]]:
    quality, cell = cohort["quality"], headline(cohort)
    null = f"{fraction(cell['null'], 3)} {short_null(cell['null_name'])}"
    return [
        ("cohort", str(cohort["title"])),
        ("EV", fraction(_mean(quality, "explained_variance"), 3)),
        ("L0", quantity(_mean(quality, "l0"))),
        ("dead", percent(_mean(quality, "dead_fraction"))),
        ("cos", fraction(cell["observed"], 3)),
        ("null", MISSING if cell["null"] is None else null),
        ("κ", kappa_text(cell)),
        ("verdict", str(cohort["verdict"])),
    ]


def _verdict_style(cohort: Record) -> str:
    return CAUTION if cohort["verdict"] == "undetermined" else ACCENT


def _mean(quality: Record, name: str) -> float | None:
    value = quality.get(name)
    return None if value is None else value["mean"]


def _legend(summary: Record) -> Text:
    cohorts = summary["cohorts"]
    bases = dict.fromkeys((c["headline"]["metric"], c["headline"]["subset"]) for c in cohorts)
    said = " or ".join(f"{metric_title(metric)}, {subset} features" for metric, subset in bases)
    names = dict.fromkeys(headline(cohort)["null_name"] for cohort in cohorts)
    nulls = "; ".join(explain_null(name) for name in names if name)
    text = f"EV explained variance · L0 active latents per input\ncos: {said}\n"
    text += "κ = (cos − null) / (1 − null), 95 % interval over seeds"
    return Text(text + (f"\n{nulls}" if nulls else ""), style="dim")


def _ground_truth(summary: Record) -> list[Group]:
    """Return recall and precision of SAEs beside neurons, PCA and random directions, per hook."""
    cohorts = [cohort for cohort in summary["cohorts"] if truth_measures(cohort)]
    hooks = list(dict.fromkeys(cohort["hook"] for cohort in cohorts))
    groups = []
    for hook in hooks:
        here = [cohort for cohort in cohorts if cohort["hook"] == hook]
        title = f"Ground truth at {hook}" if several_hooks(summary) else "Ground truth"
        layouts: list[RenderableType] = [_truth_table(here, gap) for gap in (3, 2, 1)]
        layouts.append(_stack(here, _truth_lines))
        legend = [Text(TRUTH_LEGEND, style="dim")] if hook == hooks[-1] else []
        groups.append(Group(_heading(summary, title), Fitting(layouts), *legend))
    return groups


def _truth_table(cohorts: list[Record], gap: int) -> Table:
    table = _table(("cohort", "", ">SAE", *(f">{name}" for name in SOURCES.values())), gap)
    for cohort in cohorts:
        for number, measure in enumerate(truth_measures(cohort)):
            title = "" if number else str(cohort["title"])
            sae, *others = _truth_values(cohort, measure)
            table.add_row(title, _measure_title(measure), Text(sae, style="bold"), *others)
    return table


def _truth_lines(cohort: Record) -> list[tuple[str, str]]:
    lines = [("cohort", str(cohort["title"]))]
    for measure in truth_measures(cohort):
        sae, *others = _truth_values(cohort, measure)
        beside = ", ".join(
            f"{name} {value}" for name, value in zip(SOURCES.values(), others, strict=True)
        )
        lines.append((_measure_title(measure), f"{sae} ({beside})"))
    return lines


def _truth_values(cohort: Record, measure: str) -> list[str]:
    truth = cohort["ground_truth"]
    baselines = truth.get("baselines") or {}
    others = [fraction((baselines.get(name) or {}).get(measure)) for name in SOURCES]
    return [spread(truth[measure]), *others]


def _measure_title(measure: str) -> str:
    return "matched cosine" if measure == "gt_mcc" else measure


def _subject(summary: Record) -> Group:
    subject = summary["subject"]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("what", Text(describe_subject(summary)))
    if subject["kind"] == "modular":
        for name, value in _modular_lines(subject):
            grid.add_row(name, value)
    return Group(_heading(summary, "Subject"), grid)


def _modular_lines(subject: Record) -> list[tuple[str, Text]]:
    grokked: dict[str, Any] = subject.get("grokked") or {}
    train, test = step_range(grokked.get("train")), step_range(grokked.get("test"))
    accuracy = f"train {fraction(subject['train_accuracy'], 4)}"
    accuracy += f", test {fraction(subject['test_accuracy'], 4)}"
    if subject.get("steps") is not None:
        accuracy += f" after {subject['steps']:,} steps"
    keys = ", ".join(str(key) for key in subject["key_frequencies"] or ()) or "none"
    return [
        ("grokked", Text(f"training pairs {train}, test pairs {test}")),
        ("accuracy", Text(accuracy)),
        ("Fourier", Text(f"key frequencies {keys} (FVE {fraction(subject['fve'], 3)})")),
        ("gates", _gates(subject["gates"])),
    ]


def _gates(gates: Record) -> Text:
    every = gates["gates"]
    failed = [f"{gate['name']} {gate['title']}" for gate in every if not gate["passed"]]
    if failed:
        held = f"{len(every) - len(failed)} of {len(every)} hold; failed: {', '.join(failed)}"
        return Text(held, style=PROBLEM)
    titles = ", ".join(f"{gate['name']} {gate['title']}" for gate in every)
    return Text(f"{len(every)} of {len(every)} hold: {titles}")
