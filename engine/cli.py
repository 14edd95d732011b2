"""`husai-engine`: the commands. Names, `--json` shapes and exit codes are a contract (see tests)."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine import client, console, doctor
from engine.errors import EnvironmentUnfit, HusaiError, Interrupted
from engine.jobs.foreground import Event
from engine.report.plan_tables import jobs_table
from engine.report.sweeps import closing_lines
from engine.report.tables import bench_lines, summary_tables
from engine.study.spec import Study
from engine.study.titles import count_saes

app = typer.Typer(
    name="husai-engine",
    help="Are the features of a sparse autoencoder a property of the model or of the random seed?",
    no_args_is_help=True,
    epilog="--debug, anywhere on the line, shows the traceback of an error.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="Name of a preset, or path of a study file.")
]
Profile = Annotated[str, typer.Option("--profile", metavar="NAME", help="Hardware profile.")]
Runs = Annotated[
    Path,
    typer.Option("--runs", metavar="DIR", envvar="HUSAI_RUNS", help="Where everything is written."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a value of the study."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]

RUNS = Path("runs")
SHOW_CURSOR = b"\x1b[?25h"
out = Console(highlight=False)

bench = typer.Typer(help="Measure how fast this machine trains.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@app.command()
def run(
    study: StudyName,
    profile: Profile = "auto",
    runs: Runs = RUNS,
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Run a study here: plan, execute, report. Ctrl-C saves; the same command goes on."""
    plan = client.open_plan(study, profile, overrides or ())
    stop = _stop_on_signals()
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
        _print_json({"failed": outcome.failed, "report": where})
    elif outcome.report:
        summary = client.read_summary(runs, plan.study.name)
        _print_json(summary) if as_json else _print_summary(summary, runs)
    return outcome.exit_code


@app.command()
def plan(
    study: StudyName,
    profile: Profile = "auto",
    runs: Runs = RUNS,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Show the jobs of a study, which are cached, and what the rest will cost."""
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
        _print_json({"study": found.study.name, **where, **asked, "jobs": jobs, "forecast": totals})
    else:
        out.print(jobs_table(found.study.name, jobs, totals, points, saes))
    return 0


@app.command()
def report(study: StudyName, runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Show the result of a finished study again."""
    summary = client.read_summary(runs, client.study_name(study))
    if as_json:
        _print_json(summary)
    else:
        _print_summary(summary, runs)
    return 0


@app.command()
def studies(runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """List the presets and the studies of the runs root."""
    found = client.list_studies(runs)
    if as_json:
        _print_json({"studies": found})
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


@app.command()
def profiles(as_json: AsJson = False) -> int:
    """List the hardware profiles and what each would do on this machine."""
    found = client.list_profiles()
    if as_json:
        _print_json({"profiles": found})
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("profile", "here", "what it does"):
        table.add_column(column)
    for row in found:
        here = (
            f"{row['device']}, {row['slots']} × {row['threads']} threads"
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
    return 0


@app.command(name="doctor")
def doctor_command(runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Examine this machine: Python, torch, OpenMP, SQLite, memory, disk; each finding with its remedy."""
    findings = doctor.examine(runs)
    unfit = any(finding.state == "error" for finding in findings)
    if as_json:
        _print_json({"fit": not unfit, "findings": doctor.as_json(findings)})
    else:
        styles = {"ok": "green", "note": "dim", "warning": "yellow", "error": "red"}
        for finding in findings:
            out.print(
                f"[{styles[finding.state]}]{finding.state:8}[/] {finding.topic:8} {finding.what}"
            )
            if finding.remedy:
                out.print(f"{'':17} → {finding.remedy}", markup=False)
    return 3 if unfit else 0


@bench.command(name="sae")
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
    found = client.bench_sae(
        workload, profile, steps=steps, seeds=seeds, threads=threads, activations=activations
    )
    if as_json:
        _print_json(found)
    else:
        out.print("\n".join(bench_lines(found)), markup=False, soft_wrap=True)
    return 0


@app.command()
def schema() -> int:
    """Print the JSON schema of a study file."""
    _print_json(Study.model_json_schema())
    return 0


def _print_summary(summary: dict[str, Any], runs: Path) -> None:
    for part in summary_tables(summary):
        out.print(part)
    # The tables may have pushed the verdicts off a small screen.
    out.print()
    for line in closing_lines(summary):
        out.print(line, markup=False, soft_wrap=True)
    folder = client.report_folder(runs, summary["study"]).resolve()
    out.print(f"report: {folder / 'report.html'}", markup=False, soft_wrap=True)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def _only_failures(event: Event) -> None:
    if event.what == "failed":
        print(console.ending(event), file=sys.stderr)


def _stop_on_signals() -> threading.Event:
    """Let Ctrl-C and SIGTERM ask for a stop; a second Ctrl-C ends this process at once."""
    stop = threading.Event()

    def ask(number: int, _: object) -> None:
        if stop.is_set():
            with contextlib.suppress(OSError):
                os.write(2, SHOW_CURSOR)
            os._exit(128 + number)
        stop.set()
        with contextlib.suppress(OSError):
            os.write(2, b"\nstopping: workers save and leave\n")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup and shells in the background set signals to be ignored, and mean it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, ask)
    return stop


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors are one or two lines on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")  # κ and ✓ on a terminal without them
    try:
        code = app(args=[word for word in given if word != "--debug"], standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return Interrupted.exit_code
    except typer.TyperException as usage:
        return _say(f"{usage.format_message()} (see husai-engine --help)", 2, debug)
    except HusaiError as error:
        return _say(str(error), error.exit_code, debug)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _say(f"{place}{error.strerror or error}", EnvironmentUnfit.exit_code, debug)
    except Exception as error:
        bug = f"{type(error).__name__}: {error}"
        return _say(f"a bug in husai: {bug}; --debug shows where", 1, debug)


def _say(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    with contextlib.suppress(OSError):
        print(f"husai-engine: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
