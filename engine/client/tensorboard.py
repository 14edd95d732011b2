"""TensorBoard over a runs root: a folder with a name for every run, events written anew, and the server.

The names are links to where workers write, so that TensorBoard follows what runs now.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.client.queue import Job, jobs
from engine.client.studies import read_summary, report_folder
from engine.client.tunnel import LOOPBACK
from engine.disk.curves import read_curves
from engine.disk.root import RunsRoot
from engine.disk.rundir import FEATURES, RunDirectory
from engine.errors import HusaiError, InputError
from engine.jobs.reading import list_studies, reading

TRAINED = ("subject", "cohort")
"""Kinds of jobs that have curves."""
RESULT = "result"


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
    arranged = Arranged(root.tensorboard)
    shutil.rmtree(arranged.folder, ignore_errors=True)
    arranged.folder.mkdir(parents=True)
    from engine.report.events import write_columns  # it takes most of a second

    cohorts: list[dict[str, Any]] = []
    for study in studies or known:
        for job in jobs(root, study):
            if job["kind"] in TRAINED:
                _name(root, study, job, arranged, rebuild=rebuild)
        cohorts += _results(root, study, arranged)
    write_columns(arranged.folder, cohorts)
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
    """Write a row for each cohort of a study that has a report, and its figures; return the cohorts."""
    from engine.report.events import EventFile, write_result

    try:
        summary = read_summary(root.path, study)
        densities = dict(_densities(report_folder(root.path, study) / FEATURES))
    except (HusaiError, OSError):
        return []  # no report yet
    for cohort in summary["cohorts"]:
        name = f"{RESULT}/{study}/{plain(str(cohort['title']))}"
        of_seeds = densities.get(str(cohort["title"]), {})
        write_result(arranged.folder / name, name.removeprefix(f"{RESULT}/"), cohort, of_seeds)
        arranged.runs.append(name)
    pictures = sorted((report_folder(root.path, study) / "figures").glob("*.png"))
    if pictures:
        name = f"{RESULT}/{study}"
        with EventFile(arranged.folder / name) as events:
            for path in pictures:
                events.image(path.stem, path.read_bytes(), 0)
        arranged.runs.append(name)
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


def server_command(folder: Path, port: int) -> list[str]:
    """Return the command of TensorBoard's server, on loopback; several event files of a run are all read."""
    options = ["--logdir", str(folder), "--host", LOOPBACK, "--port", str(port)]
    return [sys.executable, "-m", "tensorboard.main", *options, "--reload_multifile", "true"]
