"""Trained SAEs written for other libraries. Loads no torch: weights are read, renamed and written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.client.queue import Job, chosen, jobs
from engine.disk.atomic import sync_directory
from engine.disk.root import RunsRoot, is_name
from engine.disk.rundir import RunDirectory
from engine.errors import InputError, JobFailed
from engine.saes.exchange import Format, check_format, read_ours, write_folder
from engine.study.titles import seeds_title

SHOWN = 3
"""Jobs that an error names at most."""


def export_saes(
    runs: Path, target: str, format_name: str, folder: Path, seeds: Sequence[int] = ()
) -> dict[str, Any]:
    """Write the SAEs of a cohort job in a format, a folder `seed-N` for each; return what was written.

    Args:
        runs: runs root.
        target: the job, as all commands name jobs.
        format_name: a name of `engine.saes.exchange.FORMATS`.
        folder: made here, with all that it holds at once: a reader sees it whole or not at all.
        seeds: which of its seeds; all unless given.

    Raises:
        InputError: the folder exists; no such format, cohort or seed; the format cannot express these SAEs.
        JobFailed: the job has not ended well.
        CorruptArtifact: a file differs from what the job published.
    """
    format = check_format(format_name)
    if folder.exists() or folder.is_symlink():
        raise InputError(f"--out {folder}", "exists", "the name of a new folder")
    parts = _find(RunsRoot(runs), target)
    found = _seeds(parts, seeds)
    known = _known(parts[0])
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # In a container every process has the same number: one that was killed here left this behind.
    shutil.rmtree(aside, ignore_errors=True)
    try:
        for seed, run in found.items():  # one at a time: all may not fit into memory
            one = read_ours(run.artifacts / f"seed-{seed}")
            write_folder(aside / f"seed-{seed}", one, format, known)
        _publish(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return {
        "jobs": [run.path.name for run in parts],
        "format": format.name,
        "architecture": one.architecture,
        "written_as": format.holds[one.architecture],
        "d_in": one.settings["d_in"],
        "d_sae": one.settings["sae"]["d_sae"],
        "out": str(folder),
        "saes": [{"seed": seed, "folder": str(folder / f"seed-{seed}")} for seed in found],
        "notes": notes_of(one.architecture, format),
    }


def notes_of(architecture: str, format: Format) -> list[str]:
    """Return what a user of exported SAEs must know."""
    notes = ["they act on raw activations: nothing is left to normalise"]
    if format.holds[architecture] == "jumprelu" and architecture != "jumprelu":
        notes.append(
            f"{architecture} is written as jumprelu with one threshold for all latents, which is what it does "
            "after its training"
        )
    return notes


def _find(root: RunsRoot, target: str) -> list[RunDirectory]:
    """Return the run directories of the finished cohort that a target names: of one job, or of all the parts
    that memory asked for."""
    try:
        found = chosen(root, target)
    except InputError:
        found = _parts(root, target)
        if not found:
            raise
        return [_finished(root, job) for job in found]
    cohorts = [job for job in found if job["kind"] == "cohort"]
    if not cohorts:
        what = f"a job of kind {found[0]['kind']}" if len(found) == 1 else "has no SAEs"
        raise InputError(target, what, "a cohort, which `husai-engine jobs` lists")
    if len(cohorts) > 1:
        names = ", ".join(f"{target}/{job['name']}" for job in cohorts[:SHOWN])
        raise InputError(target, f"names {len(cohorts)} cohorts", f"one of {names}")
    return [_finished(root, cohorts[0])]


def _parts(root: RunsRoot, target: str) -> list[Job]:
    """Return the jobs of a cohort that was split by its seeds, which are in their names."""
    study, _, title = target.partition("/")
    if not title or not is_name(study):
        return []
    found = []
    for job in jobs(root, study):
        if job["kind"] == "cohort" and str(job["name"]).startswith(f"{title} seed"):
            seeds = root.run(job["directory"]).read_job()["config"]["seeds"]
            if job["name"] == f"{title} {seeds_title(seeds)}":
                found.append(job)
    return found


def _finished(root: RunsRoot, job: Job) -> RunDirectory:
    run = root.run(job["directory"])
    if not run.done():
        said = "its result was removed" if job["state"] == "done" else f"it is {job['state']}"
        raise JobFailed(f"{job['name']}: nothing to export: {said}")
    return run


def _seeds(parts: Sequence[RunDirectory], asked: Sequence[int]) -> dict[int, RunDirectory]:
    """Return where the SAEs to write are, by seed, after a check of every file of their jobs."""
    sound = {int(seed): run for run in parts for seed in run.read_result()["seeds"]}
    for seed in asked:
        if seed not in sound:
            raise InputError(f"--seed {seed}", "is not there", f"one of {list(sound)}")
    if not sound:
        raise JobFailed(f"{parts[0].path.name}: every seed diverged, so there is nothing to export")
    return {seed: sound[seed] for seed in asked or sound}


def _known(run: RunDirectory) -> dict[str, str]:
    """Return what a library may want to know of where the SAEs belong."""
    job = run.read_job()
    source = RunDirectory(run.path.parent / job["inputs"]["activations"])
    known = {"husai_job": str(job["name"])}
    if source.job_file.is_file() and "hook" in (config := source.read_job()["config"]):
        known["hook_name"] = str(config["hook"])
    return known


def _publish(aside: Path, folder: Path) -> None:
    """Make what was written last, then give it its name."""
    for path in (*aside.rglob("*"), aside):
        if path.is_dir():
            sync_directory(path)
        else:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    os.rename(aside, folder)
    sync_directory(folder.parent)
