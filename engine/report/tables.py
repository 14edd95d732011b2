"""Tables for the terminal: the result of a study, a measurement of speed. Legible from 40 columns up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from engine.report.contrasts import PLAIN, groups, kappa_change, side
from engine.report.difference_tables import comparison_parts
from engine.report.layouts import ACCENT, CAUTION, PROBLEM, Fitting, flat_table
from engine.report.recording import UNMEASURED, recording_lines
from engine.report.rediscovery import found_again_text
from engine.report.sweeps import (
    counts,
    crowded,
    identity,
    missing,
    other_warnings,
    searched,
)
from engine.report.wording import (
    MISSING,
    SOURCES,
    Record,
    describe_subject,
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
    spread,
    step_range,
    subjects_of,
    truth_measures,
    verdict_sentence,
)

BESIDE_LEGEND = "beside: the best of neurons, PCA and random directions, which no SAE is needed for"
TRUTH_LEGEND = "recall: true features found · precision: live latents that are one"


def summary_tables(summary: Record) -> list[RenderableType]:
    """Return what a finished study says, most important first, ready to be printed one by one."""
    parts: list[RenderableType] = [_verdicts(summary)]
    problems = _problems(summary)
    if problems:
        parts.append(_spaced(problems))
    parts += [_spaced(part) for part in _stability(summary)]
    parts += [_spaced(part) for part in _contrasts(summary)]
    parts += [_spaced(part) for part in comparison_parts(summary)]
    parts += [_spaced(part) for part in _ground_truth(summary)]
    parts.append(_spaced(_subject(summary)))
    return parts


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


def _verdicts(summary: Record) -> RenderableType:
    if crowded(summary):
        return Text(counts(summary), style="bold")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold", max_width=26)
    grid.add_column(overflow="fold")
    hooks = several_hooks(summary)
    for cohort in summary["cohorts"]:
        title = Text(str(cohort["title"]), style=f"bold {ACCENT}")
        if hooks and str(cohort["hook"]) not in title.plain:
            title.append(f"\n{cohort['hook']}", style="dim")
        grid.add_row(title, Text(verdict_sentence(cohort), style="bold"))
        if found := found_again_text(cohort):
            grid.add_row("", Text(found))
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
    for text in missing(summary):
        grid.add_row(Text("✗ missing", style=PROBLEM), Text(text, style="red"))
    for warning in other_warnings(summary):
        grid.add_row(Text("! warning", style=CAUTION), Text(warning, style=CAUTION))
    return grid if grid.row_count else None


def _stability(summary: Record) -> list[Group]:
    """Return one table per hook, in a sweep or a crowd one for all; the last carries the legend."""
    hooks = list(dict.fromkeys(cohort["hook"] for cohort in summary["cohorts"]))
    if searched(summary) or crowded(summary):
        tables: list[RenderableType] = [
            _stability_table(summary, summary["cohorts"], g) for g in (3, 2, 1)
        ]
        tables += [_stability_table(summary, summary["cohorts"], g, SHORT) for g in (2, 1)]
        tables.append(_stability_table(summary, summary["cohorts"], 1, SHORT, fold=True))
        legends = [*[_legend(summary)] * 3, *[_short_legend()] * 3]
        return [Group(_heading(summary, "Stability"), Fitting(tables, legends))]
    groups = []
    for hook in hooks:
        cohorts = [cohort for cohort in summary["cohorts"] if cohort["hook"] == hook]
        heading = _heading(summary, "Stability" if len(hooks) == 1 else f"Stability at {hook}")
        layouts: list[RenderableType] = [
            _stability_table(summary, cohorts, gap) for gap in (3, 2, 1)
        ]
        layouts.append(_stack(cohorts, lambda c: [*identity(summary, c), *_stability_lines(c)]))
        legend = [_legend(summary)] if hook == hooks[-1] else []
        groups.append(Group(heading, Fitting(layouts), *legend))
    return groups


SHORT = ("κ", "verdict")
"""What is left of the table of a sweep where there is little room."""


def _stability_table(
    summary: Record, cohorts: list[Record], gap: int, only: tuple[str, ...] = (), fold: bool = False
) -> Table:
    heads = {"EV": ">EV", "L0": ">L0", "dead": ">dead", "cos": ">cos", "κ": "κ [95 % CI]"}
    named = [name for name, _ in identity(summary, cohorts[0])]
    names = only or tuple(name for name, _ in _stability_lines(cohorts[0]))
    table = flat_table((*named, *(heads.get(name, name) for name in names)), gap)
    for column in table.columns if fold else ():
        column.no_wrap, column.overflow = False, "fold"
    for cohort in cohorts:
        values = dict(_stability_lines(cohort))
        style = {"verdict": f"bold {_verdict_style(cohort)}"}
        cells = [Text(values[name], style=style.get(name, "")) for name in names]
        table.add_row(*(Text(value) for _, value in identity(summary, cohort)), *cells)
    return table


def _stability_lines(cohort: Record) -> list[tuple[str, str]]:
    quality, cell = cohort["quality"], headline(cohort)
    null = f"{fraction(cell['null'], 3)} {short_null(cell['null_name'])}"
    return [
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
    text = f"EV explained variance · L0 active latents per input\ncos: {said}\n"
    text += "κ = (cos − null) / (1 − null), 95 % interval over seeds"
    return Text(text + _nulls(summary), style="dim")


def _short_legend() -> Text:
    """Explain κ alone, where there is no room for what it is made of."""
    text = "κ: agreement of the seeds, 0 is chance, 1 the same features; 95 % interval over seeds"
    return Text(text, style="dim")


def _nulls(summary: Record) -> str:
    names = dict.fromkeys(headline(cohort)["null_name"] for cohort in summary["cohorts"])
    nulls = "; ".join(explain_null(name) for name in names if name)
    return f"\n{nulls}" if nulls else ""


def _contrasts(summary: Record) -> list[Group]:
    """Return the plain SAEs and those with an objective below each other; nothing without contrasts."""
    found = groups(summary)
    if not found:
        return []
    parts: list[RenderableType] = [_heading(summary, "What stability objectives do")]
    for title, contrasts in found:
        rows = [_contrast_lines(PLAIN, contrasts[0], "baseline")]
        rows += [_contrast_lines(one["objective"], one, "variant") for one in contrasts]
        layouts: list[RenderableType] = [_contrasts_table(rows, gap) for gap in (3, 2, 1)]
        layouts.append(_stack([dict(row) for row in rows], lambda row: list(row.items())))
        parts += [Text(title, style="dim"), Fitting(layouts)]
    return [Group(*parts)]


def _contrast_lines(name: str, contrast: Record, which: str) -> list[tuple[str, str]]:
    change = kappa_change(contrast) if which == "variant" else ""
    return [("objective", name), *side(contrast, which), ("Δκ", change)]


def _contrasts_table(rows: list[list[tuple[str, str]]], gap: int) -> Table:
    heads = {"EV": ">EV", "cos": ">cos", "κ": "κ [95 % CI]", "Δκ": ">Δκ"}
    table = flat_table([heads.get(name, name) for name, _ in rows[0]], gap)
    for row in rows:
        table.add_row(*(Text(value) for _, value in row))
    return table


def _ground_truth(summary: Record) -> list[Group]:
    """Return recall and precision of SAEs beside neurons, PCA and random directions, per hook."""
    cohorts = [cohort for cohort in summary["cohorts"] if truth_measures(cohort)]
    if cohorts and crowded(summary):
        tables: list[RenderableType] = [_truth_overview(summary, cohorts, gap) for gap in (3, 2, 1)]
        tables.append(_truth_overview(summary, cohorts, 1, fold=True))
        said = Text(f"{TRUTH_LEGEND}\n{BESIDE_LEGEND}", style="dim")
        return [Group(_heading(summary, "Ground truth"), Fitting(tables), said)]
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


def _truth_overview(summary: Record, cohorts: list[Record], gap: int, fold: bool = False) -> Table:
    """Make a row for each cohort: every measure, with the best that no SAE was needed for."""
    measures = list(dict.fromkeys(name for cohort in cohorts for name in truth_measures(cohort)))
    heads = [head for name in measures for head in (f">{_measure_title(name)}", ">beside")]
    table = flat_table((*(name for name, _ in identity(summary, cohorts[0])), *heads), gap)
    for column in table.columns if fold else ():
        column.no_wrap, column.overflow = False, "fold"
    for cohort in cohorts:
        truth = cohort["ground_truth"]
        cells = []
        for name in measures:
            others = [(one or {}).get(name) for one in (truth.get("baselines") or {}).values()]
            best = max((other for other in others if other is not None), default=None)
            cells += [
                Text(fraction((truth.get(name) or {}).get("mean")), style="bold"),
                Text(fraction(best)),
            ]
        table.add_row(*(Text(value) for _, value in identity(summary, cohort)), *cells)
    return table


def _truth_table(cohorts: list[Record], gap: int) -> Table:
    table = flat_table(("cohort", "", ">SAE", *(f">{name}" for name in SOURCES.values())), gap)
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
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("what", Text(describe_subject(summary)))
    subjects = subjects_of(summary)
    for subject in subjects:
        if len(subjects) > 1:
            grid.add_row("", Text(str(subject["title"]), style="bold"))
        for name, value in _modular_lines(subject) if subject["kind"] == "modular" else ():
            grid.add_row(name, value)
        for name, said in (
            recording_lines(summary, subject) if subject["kind"] == "external" else ()
        ):
            grid.add_row(name, Text(said))
    recorded = summary["subject"]["kind"] == "external"
    return Group(_heading(summary, "Subject"), grid, *([Text(UNMEASURED)] if recorded else []))


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


def bench_lines(found: Record) -> list[str]:
    """Return what `husai-engine bench sae` measured, in lines."""
    cost, floor = found["milliseconds"], found["floor"]
    scores = found["explained_variance"]
    parts = " + ".join(
        f"{name.replace('_', '-')} {floor[name]:.3f}" for name in floor if name != "total"
    )
    return [
        f"{found['workload']}: {found['architecture']}, {plural(found['seeds'], 'seed')}, "
        f"{found['d_in']} → {found['d_sae']:,}, batches of {found['batch_size']}, "
        f"{found['steps']:,} steps, {plural(found['threads'], 'thread')} on {found['device']}",
        f"data   {found['data']}",
        f"cost   {cost['median']:.3f} ms per step per SAE, the median block; {cost['minimum']:.3f} the best",
        f"speed  {found['sae_tokens_per_second']:,.0f} inputs × SAEs per second",
        f"EV     {fraction(sum(scores) / len(scores), 4)} on held-out inputs, "
        f"{fraction(min(scores), 4)} the worst seed",
        f"floor  {floor['total']:.3f} ms = {parts}",
        f"share  {percent(found['share_of_floor'])} of the floor reached",
    ]


def analysis_bench_lines(found: Record) -> list[str]:
    """Return what `husai-engine bench analysis` measured, in lines."""
    return [
        f"one analysis without N3: {plural(found['seeds'], 'seed')}, {found['d_in']} → {found['d_sae']:,}, "
        f"{found['inputs']:,} inputs, {plural(found['threads'], 'thread')}",
        f"data   {found['data']}; {percent(found['live'])} of the features are live",
        f"time   {found['seconds']:.2f} s; {found['cpu_seconds']:.2f} s of computing, all cores together",
        f"memory {found['peak_bytes'] / 1e6:,.0f} MB at most",
    ]
