"""TensorBoard over a runs root: a folder with a name for every run, events written anew, and the server.

The names are links to where workers write, so that TensorBoard follows what runs now.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.client.queue import Job, jobs
from engine.client.studies import read_summary, report_folder
from engine.client.tunnel import LOOPBACK
from engine.disk.curves import read_curves
from engine.disk.root import RunsRoot
from engine.disk.rundir import FEATURES, RunDirectory
from engine.errors import EnvironmentUnfit, HusaiError, InputError
from engine.jobs.reading import list_studies, reading

TICK_SECONDS, REFRESH_SECONDS = 0.2, 15.0
TRAINED = ("subject", "cohort")
"""Kinds of jobs that have curves."""
RESULT, SUMMARY = "result", "summary.json"
MARK = ".report"
"""File that says which report a folder of results was written from."""


@dataclass
class Arranged:
    """What TensorBoard will find."""

    folder: Path
    runs: list[str] = field(default_factory=list)
    """Names of the runs, `study/job`."""
    rebuilt: list[str] = field(default_factory=list)
    """Runs whose events were written anew."""
    left: list[str] = field(default_factory=list)
    """Runs that were to be written anew and could not be, with the reason."""


def arrange(root: RunsRoot, studies: Sequence[str] = (), *, rebuild: bool = False) -> Arranged:
    """Give every run of some studies, or of all, a name below `tensorboard/`, and write what results there are.

    With `rebuild` the events of each job that does not run are written anew from its curves.

    Raises:
        InputError: there is no such study, or none at all.
    """
    known = _studies(root)
    for name in studies:
        if name not in known:
            have = ", ".join(known) or "none yet"
            raise InputError(name, "no such study in the queue", f"one of: {have}")
    if not known:
        raise InputError(str(root.path), "no study yet", "`husai-engine run STUDY` first")
    shutil.rmtree(root.tensorboard, ignore_errors=True)
    return refresh(root, studies, rebuild=rebuild)


def refresh(root: RunsRoot, studies: Sequence[str] = (), *, rebuild: bool = False) -> Arranged:
    """Add what has come since: `arrange` without taking anything away, and without complaint where there is
    nothing yet.

    Raises:
        EnvironmentUnfit: the folder cannot be written.
    """
    from engine.report.events import write_columns  # it takes most of a second

    arranged = Arranged(root.tensorboard)
    cohorts: list[dict[str, Any]] = []
    try:
        arranged.folder.mkdir(parents=True, exist_ok=True)
        for study in studies or _studies(root):
            for job in jobs(root, study):
                if job["kind"] in TRAINED:
                    _name(root, study, job, arranged, rebuild=rebuild)
            cohorts += _results(root, study, arranged)
        if cohorts:
            write_columns(arranged.folder, cohorts)
    except OSError as error:
        where, why = error.filename or root.tensorboard, error.strerror or error
        command = " ".join(server_command(root.jobs, 6006))
        said = f"cannot be written ({why}); what is there can be read as it is: `{command}`"
        raise EnvironmentUnfit(f"{where}: {said}") from None
    return arranged


def _studies(root: RunsRoot) -> list[str]:
    with reading(root.database) as connection:
        return [] if connection is None else [str(row["name"]) for row in list_studies(connection)]


def _name(root: RunsRoot, study: str, job: Job, arranged: Arranged, *, rebuild: bool) -> None:
    run, name = root.run(job["directory"]), f"{study}/{plain(job['name'])}"
    if rebuild:
        if job["state"] == "running":
            arranged.left.append(f"{name}: it runs")
        elif run.curves_file.is_file():
            rebuild_events(run)
            arranged.rebuilt.append(name)
    if not run.tensorboard.is_dir():
        return
    link = arranged.folder / name
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(run.tensorboard, link.parent), target_is_directory=True)
    arranged.runs.append(name)


def rebuild_events(run: RunDirectory) -> int:
    """Write the events of a run directory anew from its curves; return how many points they have."""
    from engine.report.events import write_curves

    rows = read_curves(run.curves_file)
    aside = run.tensorboard.with_name("tensorboard.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    points = write_curves(aside, rows, _labels(run), _began(run, rows))
    shutil.rmtree(run.tensorboard, ignore_errors=True)
    aside.replace(run.tensorboard)
    return points


def _labels(run: RunDirectory) -> list[str]:
    try:
        return [f"seed-{seed}" for seed in run.read_job()["config"].get("seeds", ())]
    except (HusaiError, OSError, KeyError):
        return []


def _began(run: RunDirectory, rows: Sequence[dict[str, Any]]) -> float:
    """Return when the training began: the curves were written to last when it ended."""
    spent = float(rows[-1].get("seconds") or 0.0) if rows else 0.0
    return run.curves_file.stat().st_mtime - spent


def _results(root: RunsRoot, study: str, arranged: Arranged) -> list[dict[str, Any]]:
    """Write a row for each cohort of a study that has a report, and its figures; return the cohorts of a report
    that was not written before."""
    from engine.report.events import EventFile, write_result

    report, folder = report_folder(root.path, study), arranged.folder / RESULT / study
    try:
        summary = read_summary(root.path, study)
        densities = dict(_densities(report / FEATURES))
        moment = str((report / SUMMARY).stat().st_mtime_ns)
    except (HusaiError, OSError):
        return []  # no report yet
    names = [plain(str(cohort["title"])) for cohort in summary["cohorts"]]
    arranged.runs += [f"{RESULT}/{study}", *(f"{RESULT}/{study}/{name}" for name in names)]
    if (folder / MARK).is_file() and (folder / MARK).read_text() == moment:
        return []
    shutil.rmtree(folder, ignore_errors=True)
    with EventFile(folder) as events:
        for path in sorted((report / "figures").glob("*.png")):
            events.image(path.stem, path.read_bytes(), 0)
    for name, cohort in zip(names, summary["cohorts"], strict=True):
        of_seeds = densities.get(str(cohort["title"]), {})
        write_result(folder / name, f"{study}/{name}", cohort, of_seeds)
    (folder / MARK).write_text(moment)
    return list(summary["cohorts"])


def _densities(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each cohort the label of a seed → densities of its features."""
    import pyarrow.parquet as pq

    columns = pq.read_table(path, columns=["cohort", "seed", "density"]).to_pydict()
    found: dict[str, dict[str, list[float]]] = {}
    for cohort, seed, density in zip(*columns.values(), strict=True):
        found.setdefault(cohort, {}).setdefault(f"seed-{seed}", []).append(density)
    yield from found.items()


def plain(name: str) -> str:
    """Return a name that is one folder."""
    return name.replace("/", "-").strip(".") or "unnamed"


def server_command(folder: Path, port: int, host: str = LOOPBACK) -> list[str]:
    """Return the command of TensorBoard's server; several event files of a run are all read."""
    options = ["--logdir", str(folder), "--host", host, "--port", str(port)]
    return [sys.executable, "-m", "tensorboard.main", *options, "--reload_multifile", "true"]


def follow(
    root: RunsRoot, studies: Sequence[str], command: Sequence[str], stop: Callable[[], bool]
) -> int:
    """Run the server until asked to stop, adding what comes meanwhile; return its exit code, 0 if asked."""
    with subprocess.Popen(list(command), stdin=subprocess.DEVNULL) as server:
        try:
            waited = 0.0
            while server.poll() is None and not stop():
                time.sleep(TICK_SECONDS)
                waited += TICK_SECONDS
                if waited >= REFRESH_SECONDS:
                    waited = 0.0
                    with contextlib.suppress(HusaiError, OSError):
                        refresh(root, studies)
        finally:
            ended = server.poll()
            if ended is None:
                server.terminate()
    return ended or 0
