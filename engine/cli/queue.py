"""Commands of the queue: submit, supervise, look, order."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from engine.cli.options import (
    RUNS,
    AsJson,
    Overrides,
    Profile,
    Runs,
    StudyName,
    out,
    print_json,
    stop_on_signals,
)
from engine.client import queue as client
from engine.disk.root import RunsRoot
from engine.disk.text import visible, visible_line
from engine.jobs.entry import MOST_PRIORITY
from engine.jobs.events import silence

JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="A study, study/job, a run directory, the beginning of a key, or all."
    ),
]
STYLES = {
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "paused": "yellow",
    "cancelled": "dim",
    "skipped": "dim",
}
IDLE = "no supervisor is up: `husai-engine up` starts one"


def submit(
    study: StudyName,
    profile: Profile = "auto",
    runs: Runs = RUNS,
    overrides: Overrides = None,
    priority: Annotated[
        int,
        typer.Option(
            "--priority",
            metavar="N",
            min=-MOST_PRIORITY,
            max=MOST_PRIORITY,
            help="Higher ones go first.",
        ),
    ] = 0,
    as_json: AsJson = False,
) -> int:
    """Queue a study for the supervisor, whether or not one is up."""
    from engine.client import studies

    plan = studies.open_plan(study, profile, overrides or ())
    studies.check_fit(plan, studies.forecast_plan(plan, runs), runs)
    message = studies.submit_plan(plan, runs, priority)
    up = client.supervisor(RunsRoot(runs)) is not None
    if as_json:
        names = {"study": plan.study.name, "jobs": len(plan.jobs)}
        print_json({**names, "message": message, "supervisor": up})
        return 0
    out.print(f"submitted {plan.study.name}: {len(plan.jobs)} jobs", markup=False)
    said = f"`husai-engine watch {plan.study.name}` follows it" if up else IDLE
    out.print(said, markup=False, soft_wrap=True)
    return 0


def up(
    runs: Runs = RUNS,
    profile: Profile = "auto",
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in this terminal; for containers and units.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Start the supervisor; it works on after logout."""
    root = RunsRoot(runs)
    if foreground:
        from engine.client import studies

        stop = stop_on_signals()
        studies.supervise(root, profile, stop.is_set)
        return 0
    from engine.client.daemon import start_supervisor

    found = start_supervisor(root, profile)
    if as_json:
        print_json(found)
    else:
        verb = "is up already" if found["already"] else "is up"
        out.print(f"supervisor {found['pid']} {verb}: {_capacity(found)}", markup=False)
        out.print(f"log: {root.log_file.resolve()}", markup=False, soft_wrap=True)
    return 0


def down(runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Stop the supervisor; running workers save first, and go on when it is up again."""
    from engine.client.daemon import stop_supervisor

    pid = stop_supervisor(RunsRoot(runs))
    if as_json:
        print_json({"stopped": pid})
    else:
        out.print(f"supervisor {pid} has left" if pid else "no supervisor was up", markup=False)
    return 0


def status(runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Show the supervisor, the studies and what runs now."""
    root = RunsRoot(runs)
    found = client.status(root)
    if as_json:
        print_json(found)
        return 0
    who = found["supervisor"]
    out.print(
        IDLE if who is None else f"supervisor {who.get('pid')}: {_capacity(who)}", markup=False
    )
    if who and who.get("trouble"):
        out.print(Text(f"nothing starts: {visible_line(who['trouble'])}", style="yellow"))
    for name in found["waiting"]:
        out.print(f"{name}: waits in the inbox", markup=False)
    if found["studies"]:
        out.print(_studies_table(found["studies"]))
    for job in found["running"]:
        out.print(Text(f"  {visible_line(job['name'])}  {_progress(root, job)}"))
    return 0


def jobs(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Jobs of this study alone.")
    ] = None,
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> int:
    """List the jobs of the queue."""
    root = RunsRoot(runs)
    found = client.jobs(root, study)
    if as_json:
        print_json({"jobs": found})
        return 0
    table = _table("job", "state", "progress", "key", "study")
    for job in found:
        said = _progress(root, job) if job["state"] == "running" else visible_line(job["reason"])
        name, state = (
            visible_line(job["name"]),
            Text(job["state"], style=STYLES.get(job["state"], "")),
        )
        table.add_row(Text(name), state, Text(said), job["key"][:8], job["study"] or "–")
    out.print(table if found else "the queue is empty")
    for job in found:
        if job["advice"]:
            out.print(f"{visible_line(job['name'])}: {job['advice']}", markup=False, soft_wrap=True)
    return 0


def watch(study: StudyName, runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Follow a study until it has ended; Ctrl-C stops looking, not the work."""
    from engine import console

    root, stop = RunsRoot(runs), stop_on_signals("no longer looking; the work goes on")
    if as_json:
        client.follow(root, study, "", silence, stop.is_set)
    else:
        screen = console.Screen(stderr=False, highlight=False)
        with console.choose(screen, runs) as display:
            client.follow(root, study, "", display.show, stop.is_set)
    outcome = client.read_outcome(root, study)
    report = str(root.report(study)) if outcome.report else None
    if as_json:
        names = [job.name for job in outcome.done]
        print_json({"study": study, "done": names, "failed": outcome.failed, "report": report})
    elif report:
        out.print(f"report: {root.report(study).resolve() / 'report.html'}", soft_wrap=True)
    return outcome.exit_code


def logs(
    job: JobName,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the job has ended.")
    ] = False,
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> int:
    """Show the log of a job; control characters are written out."""
    stop = stop_on_signals("no longer looking; the work goes on") if follow else None
    lines = client.log_lines(
        RunsRoot(runs), job, follow_on=follow, stop=stop.is_set if stop else bool
    )
    if as_json:
        print_json({"job": job, "lines": [visible(line) for line in lines]})
        return 0
    with contextlib.suppress(BrokenPipeError):
        for line in lines:
            sys.stdout.write(visible(line) + "\n")
            sys.stdout.flush()
    return 0


def _order(command: str, target: str, runs: Path, as_json: bool, value: int = 0) -> int:
    root = RunsRoot(runs)
    found = client.order(root, command, target, value)
    up = client.supervisor(root) is not None
    if as_json:
        names = [job["directory"] for job in found]
        print_json({"order": command, "target": target, "jobs": names, "supervisor": up})
        return 0
    what = visible_line(found[0]["name"]) if len(found) == 1 else f"{len(found) or 'no'} jobs"
    when = "" if up else "; it is done once a supervisor is up (`husai-engine up`)"
    out.print(f"{command} {what}{when}", markup=False, soft_wrap=True)
    return 0


def pause(job: JobName, runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Let a job stay where it is; its worker saves and leaves."""
    return _order("pause", job, runs, as_json)


def resume(job: JobName, runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Let a paused job go on."""
    return _order("resume", job, runs, as_json)


def cancel(job: JobName, runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Take a job out of the queue; jobs that another study waits for stay."""
    return _order("cancel", job, runs, as_json)


def retry(job: JobName, runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Queue a failed or cancelled job again, with all that was given up because of it."""
    return _order("retry", job, runs, as_json)


def priority(
    job: JobName,
    value: Annotated[
        int,
        typer.Argument(
            metavar="N",
            min=-MOST_PRIORITY,
            max=MOST_PRIORITY,
            help="Higher ones go first; 0 is usual.",
        ),
    ],
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> int:
    """Let a job go before others, or after them."""
    return _order("priority", job, runs, as_json, value)


def health(runs: Runs = RUNS, as_json: AsJson = False) -> int:
    """Say whether the supervisor is up and can work: exit code 0 or 1, for containers and units."""
    found = client.health(RunsRoot(runs))
    if as_json:
        print_json(found)
    else:
        for line in found["problems"] or ["healthy"]:
            out.print(visible_line(line), markup=False, soft_wrap=True)
    return 0 if found["healthy"] else 1


def gc(
    runs: Runs = RUNS,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it, without asking.")] = False,
    as_json: AsJson = False,
) -> int:
    """List what no study refers to; with --yes remove it."""
    found = client.garbage(RunsRoot(runs))
    freed = client.remove_garbage(found) if yes else 0
    if as_json:
        print_json({**found, "removed_bytes": freed})
        return 0
    for row in found["garbage"]:
        out.print(
            f"{_size(row['bytes']):>9}  {row['path']}  ({row['what']})",
            markup=False,
            soft_wrap=True,
        )
    total = _size(sum(row["bytes"] for row in found["garbage"]))
    if found["unknown"]:
        names = ", ".join(found["unknown"])
        out.print(f"kept, for the queue does not know them: {names}", markup=False, soft_wrap=True)
    verb = "removed" if yes else "could be removed (--yes)"
    out.print(f"{total} {verb}" if found["garbage"] else "nothing to remove", markup=False)
    return 0


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _studies_table(studies: list[dict[str, Any]]) -> Table:
    states = ["running", "queued", "paused", "failed", "done"]
    states += [state for state in ("cancelled", "skipped") if any(row[state] for row in studies)]
    table = _table("study")
    for state in states:
        table.add_column(state, justify="right", style=STYLES.get(state))
    table.add_column("submitted")
    for row in studies:
        counts = [str(row[state]) if row[state] else "·" for state in states]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["submitted"]))
        table.add_row(row["name"], *counts, when)
    return table


def _progress(root: RunsRoot, job: dict[str, Any]) -> str:
    from engine.console import duration

    if not job["steps"]:
        return "running"
    left = client.eta(root, job)
    after = f", {duration(left)} left" if left is not None else ""
    return f"{job['step'] or 0} of {job['steps']} steps{after}"


def _capacity(found: dict[str, Any]) -> str:
    if "profile" not in found:
        return str(found.get("mode", "starting"))
    draining = ", workers save and leave" if found.get("state") == "draining" else ""
    each = f"{found['slots']} × {found['threads']} threads on {found['device']}"
    return f"{found['profile']}, {each}, {found['running']} running{draining}"


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MB"
