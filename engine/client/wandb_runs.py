"""A study as runs of Weights & Biases, written from the curves; nothing is sent unless that is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from engine.client.queue import Job, jobs
from engine.client.studies import read_summary
from engine.disk.curves import NOT_VALUES, Row, read_curves
from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.errors import EnvironmentUnfit, HusaiError, InputError

TRAINED = ("subject", "cohort")
Mode = Literal["offline", "online"]


def write_runs(
    root: RunsRoot, study: str, folder: Path, *, project: str = "husai", mode: Mode = "offline"
) -> list[str]:
    """Write a run for every job of a study that trained something; return the run folders, or ids if online.

    The same job has the same id each time, so that what is synchronised twice replaces itself.

    Raises:
        EnvironmentUnfit: the package wandb is not there, or cannot do it.
        InputError: there is no such study, or it has not trained anything yet.
    """
    every = trained(root, study)
    with_curves = [job for job in every if root.run(job["directory"]).curves_file.is_file()]
    if not with_curves:
        states = ", ".join(sorted({str(job["state"]) for job in every})) or "none"
        raise InputError(
            study,
            f"nothing of it has trained yet (its jobs: {states})",
            "again when it has begun: `husai-engine status` shows how far it is, `husai-engine up` starts it",
        )
    wandb = _load()
    folder.mkdir(parents=True, exist_ok=True)
    results = _results(root, study)
    written = []
    for job in with_curves:
        directory = root.run(job["directory"])
        written.append(_write(wandb, directory, study, job["name"], folder, project, mode, results))
    return written


def trained(root: RunsRoot, study: str) -> list[Job]:
    """Return the jobs of a study that train something, done or not; raise InputError for an unknown study."""
    return [job for job in jobs(root, study) if job["kind"] in TRAINED]


def _load() -> Any:
    # What it reports of its own faults goes to its vendor.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        import wandb
    except ImportError:
        raise EnvironmentUnfit("the package wandb is missing: pip install 'husai[wandb]'") from None
    return wandb


def _results(root: RunsRoot, study: str) -> dict[str, dict[str, Any]]:
    """Return title → cohort of the report, empty before there is one."""
    try:
        return {
            str(cohort["title"]): cohort for cohort in read_summary(root.path, study)["cohorts"]
        }
    except (HusaiError, OSError):
        return {}


def _write(
    wandb: Any,
    directory: RunDirectory,
    study: str,
    name: str,
    folder: Path,
    project: str,
    mode: Mode,
    results: dict[str, dict[str, Any]],
) -> str:
    job = directory.read_job()
    settings = wandb.Settings(
        x_disable_stats=True, disable_git=True, console="off", x_save_requirements=False
    )
    try:
        run = wandb.init(
            project=project,
            group=study,
            job_type=str(job["kind"]),
            name=name,
            id=f"{study}-{str(job['key'])[:16]}",
            dir=str(folder),
            mode=mode,
            config=job["config"],
            settings=settings,
        )
        labels = [f"seed-{seed}" for seed in job["config"].get("seeds", ())]
        for row in read_curves(directory.curves_file):
            run.log(dict(_points(row, labels)), step=int(row["step"]))
        for key, value in _headline(results.get(name, {})).items():
            run.summary[key] = value
        place = str(Path(run.dir).parent) if mode == "offline" else str(run.id)
        run.finish()
    except wandb.Error as error:
        raise EnvironmentUnfit(f"wandb: {error}") from None
    return place


def _points(row: Row, labels: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if name == "seconds":
            yield name, float(value)
        elif isinstance(value, list) and name not in NOT_VALUES:
            for number, item in enumerate(value):
                if item is not None:
                    label = labels[number] if number < len(labels) else str(number)
                    yield f"{name}/{label}", float(item)
        elif value is not None and name not in NOT_VALUES:
            yield name, float(value)


def _headline(cohort: dict[str, Any]) -> dict[str, Any]:
    if not cohort:
        return {}
    headline = cohort["headline"]
    cell = cohort["stability"][headline["metric"]][headline["subset"]] or {}
    names = ("observed", "null", "null_name", "kappa", "ci_low", "ci_high")
    return {"verdict": cohort["verdict"], **{name: cell.get(name) for name in names}}
