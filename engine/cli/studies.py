"""Commands about studies and this machine. What they need is imported when they are called: the commands of the
queue must answer at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from engine.cli.options import (
    RUNS,
    AsJson,
    Overrides,
    Profile,
    Quiet,
    Runs,
    StudyName,
    out,
    print_json,
    stop_on_signals,
)

if TYPE_CHECKING:
    from engine.jobs.events import Event


def run(
    study: StudyName,
    profile: Profile = "auto",
    runs: Runs = RUNS,
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Run a study here: plan, execute, report. Ctrl-C saves; the same command goes on."""
    from engine import console
    from engine.client import studies as client

    plan = client.open_plan(study, profile, overrides or ())
    stop = stop_on_signals()
    screen = console.Screen(stderr=True, quiet=quiet, highlight=False)
    cost = client.forecast_plan(plan, runs)
    client.check_fit(plan, cost, runs)
    if not quiet:
        screen.print(
            f"{plan.study.name}: {len(plan.jobs)} jobs on {plan.placement.device}, "
            f"{plan.placement.slots} at once, about {console.duration(cost.seconds)} ({cost.basis})",
            markup=False,
        )
        if other := client.replaced_study(plan, runs):
            screen.print(other, markup=False)
    with console.choose(screen, runs) as display:
        show = display.show if not quiet else _only_failures
        outcome = client.run_plan(plan, runs, on_event=show, stop=stop.is_set)
    if outcome.failed and as_json:
        where = str(client.report_folder(runs, plan.study.name)) if outcome.report else None
        print_json({"failed": outcome.failed, "report": where})
    elif outcome.report:
        summary = client.read_summary(runs, plan.study.name)
        print_json(summary) if as_json else _print_summary(summary, runs)
    return outcome.exit_code


def plan(
    study: StudyName,
    profile: Profile = "auto",
    runs: Runs = RUNS,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Show the jobs of a study, which are cached, and what the rest will cost."""
    from engine.client import studies as client
    from engine.report.plan_tables import jobs_table
    from engine.study.titles import count_saes

    found = client.open_plan(study, profile, overrides or ())
    cached = {job.key for job in client.cached_jobs(found, runs)}
    cost = client.forecast_plan(found, runs)
    jobs = [
        {
            "name": job.name,
            "kind": job.kind,
            "key": job.key,
            "directory": str(runs / "jobs" / job.directory),
            "cached": job.key in cached,
            "slots": job.slots,
            "threads": job.threads,
        }
        for job in found.jobs
    ]
    totals = {
        "seconds": round(cost.seconds, 1),
        "memory_bytes": cost.memory_bytes,
        "disk_bytes": cost.disk_bytes,
        "basis": cost.basis,
    }
    points, saes = client.list_points(found), count_saes(found.study)
    if as_json:
        where = {"profile": found.placement.profile, "device": found.placement.device}
        asked = {"saes": saes, "points": points}
        print_json({"study": found.study.name, **where, **asked, "jobs": jobs, "forecast": totals})
    else:
        out.print(jobs_table(found.study.name, jobs, totals, points, saes))
    return 0


def report(study: StudyName, runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Show the result of a finished study again."""
    from engine.client import studies as client

    summary = client.read_summary(runs, client.study_name(study))
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary, runs)
    return 0


def notebook(
    study: StudyName,
    runs: Runs = RUNS,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Where to write; the study's folder unless given."
        ),
    ] = None,
    execute: Annotated[
        bool, typer.Option("--execute", help="Run every cell, so that results stand in it.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Write a notebook, ready to run, that reads the results of a finished study."""
    from engine.client.notebook import write_notebook

    path = write_notebook(runs, study, folder, execute=execute)
    if as_json:
        print_json({"notebook": str(path)})
    else:
        out.print(str(path), markup=False, soft_wrap=True)
    return 0


def studies(runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """List the presets and the studies of the runs root."""
    from engine.client import studies as client

    found = client.list_studies(runs)
    if as_json:
        print_json({"studies": found})
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("study", "SAEs", "report", "what it asks"):
        table.add_column(column, justify="right" if column == "SAEs" else "left")
    for row in found:
        table.add_row(
            row["name"],
            str(row["saes"]),
            "yes" if row["report"] else "–",
            escape(row["description"]),
        )
    out.print(table)
    return 0


def profiles(as_json: AsJson = False) -> int:
    """List the hardware profiles and what each would do on this machine."""
    from engine.client import studies as client
    from engine.report.wording import plural

    found = client.list_profiles()
    if as_json:
        print_json({"profiles": found})
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("profile", "here", "what it does"):
        table.add_column(column)
    for row in found:
        here = (
            f"{row['device']}, {row['slots']} × {plural(row['threads'], 'thread')}"
            + (f" on {len(row['gpus'])} GPUs" if row["gpus"] else "")
            if row["fits"]
            else row["reason"]
        )
        table.add_row(
            row["name"],
            escape(here),
            escape(row["description"]),
            style=None if row["fits"] else "dim",
        )
    out.print(table)
    for row in found:
        if row["gaps"]:
            gaps = "; ".join(row["gaps"])
            out.print(f"{row['name']}: {gaps}", markup=False, soft_wrap=True, style="dim")
    return 0


def doctor(runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Examine this machine, each finding with its remedy.

    Python, torch, GPUs and their driver, OpenMP, SQLite, memory, the runs root and its disk, terminal, locale,
    clock.
    """
    from engine import doctor as examination

    findings = examination.examine(runs)
    unfit = any(finding.state == "error" for finding in findings)
    if as_json:
        print_json({"fit": not unfit, "findings": examination.as_json(findings)})
    else:
        styles = {"ok": "green", "note": "dim", "warning": "yellow", "error": "red"}
        for finding in findings:
            out.print(
                f"[{styles[finding.state]}]{finding.state:8}[/] {finding.topic:10} {escape(finding.what)}"
            )
            if finding.remedy:
                out.print(f"{'':19} → {finding.remedy}", markup=False)
    return 3 if unfit else 0


def bench_sae(
    workload: Annotated[
        str, typer.Option("--workload", metavar="NAME", help="What is trained.")
    ] = "topk-1024",
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, metavar="N", help="Steps that are timed.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, metavar="S", help="SAEs of the cohort.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="T", help="Threads of the process.")
    ] = None,
    activations: Annotated[
        Path | None,
        typer.Option("--activations", metavar="FILE", help="Train on these instead of noise."),
    ] = None,
    profile: Profile = "auto",
    as_json: AsJson = False,
) -> int:
    """Train the SAEs of a named workload against the clock; show cost, quality and what bounds the cost."""
    from engine.client import studies as client
    from engine.report.tables import bench_lines

    found = client.bench_sae(
        workload, profile, steps=steps, seeds=seeds, threads=threads, activations=activations
    )
    if as_json:
        print_json(found)
    else:
        out.print("\n".join(bench_lines(found)), markup=False, soft_wrap=True)
    return 0


def bench_analysis(
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=2, metavar="S", help="SAEs of the cohort; 5.")
    ] = None,
    d_sae: Annotated[
        int | None, typer.Option("--d-sae", min=32, metavar="F", help="Features of each; 1,024.")
    ] = None,
    modulus: Annotated[
        int | None,
        typer.Option(
            "--modulus", min=11, metavar="P", help="A prime; P² inputs, of 113 unless given."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="T", help="Threads of the process.")
    ] = None,
    profile: Profile = "auto",
    as_json: AsJson = False,
) -> int:
    """Analyse a cohort against the clock, without N3: seconds, CPU seconds, the most memory at once."""
    from engine.client import studies as client
    from engine.report.tables import analysis_bench_lines

    found = client.bench_analysis(
        profile, seeds=seeds, d_sae=d_sae, modulus=modulus, threads=threads
    )
    if as_json:
        print_json(found)
    else:
        out.print("\n".join(analysis_bench_lines(found)), markup=False, soft_wrap=True)
    return 0


def schema() -> int:
    """Print the JSON schema of a study file."""
    from engine.study.spec import Study

    print_json(Study.model_json_schema())
    return 0


def _print_summary(summary: dict[str, Any], runs: Path) -> None:
    from engine.client import studies as client
    from engine.report.sweeps import closing_lines
    from engine.report.tables import summary_tables

    for part in summary_tables(summary):
        out.print(part)
    # The tables may have pushed the verdicts off a small screen.
    out.print()
    for line in closing_lines(summary):
        out.print(line, markup=False, soft_wrap=True)
    folder = client.report_folder(runs, summary["study"]).resolve()
    out.print(f"report: {folder / 'report.html'}", markup=False, soft_wrap=True)


def _only_failures(event: Event) -> None:
    from engine import console

    if event.what == "failed":
        print(console.ending(event), file=sys.stderr)
