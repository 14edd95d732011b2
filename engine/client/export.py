"""Trained SAEs written for other libraries. Loads no torch: weights are read, renamed and written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.client.queue import chosen
from engine.disk.atomic import sync_directory
from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.errors import InputError, JobFailed
from engine.saes.exchange import Format, check_format, check_held, read_ours, write_folder

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
    run = _find(RunsRoot(runs), target)
    chosen_seeds = _seeds(run, seeds)
    saes = {seed: read_ours(run.artifacts / f"seed-{seed}") for seed in chosen_seeds}
    for one in saes.values():
        check_held(one, format)
    known = _known(run)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # In a container every process has the same number: one that was killed here left this behind.
    shutil.rmtree(aside, ignore_errors=True)
    try:
        for seed, one in saes.items():
            write_folder(aside / f"seed-{seed}", one, format, known)
        _publish(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    first = next(iter(saes.values()))
    return {
        "job": run.path.name,
        "format": format.name,
        "architecture": first.architecture,
        "written_as": format.holds[first.architecture],
        "d_in": first.settings["d_in"],
        "d_sae": first.settings["sae"]["d_sae"],
        "out": str(folder),
        "saes": [{"seed": seed, "folder": str(folder / f"seed-{seed}")} for seed in saes],
        "notes": notes_of(first.architecture, format),
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


def _find(root: RunsRoot, target: str) -> RunDirectory:
    """Return the run directory of the finished cohort job that a target names."""
    found = chosen(root, target)
    cohorts = [job for job in found if job["kind"] == "cohort"]
    if not cohorts:
        what = f"a job of kind {found[0]['kind']}" if len(found) == 1 else "has no SAEs"
        raise InputError(target, what, "a cohort, which `husai-engine jobs` lists")
    if len(cohorts) > 1:
        names = ", ".join(f"{target}/{job['name']}" for job in cohorts[:SHOWN])
        raise InputError(target, f"names {len(cohorts)} cohorts", f"one of {names}")
    run = root.run(cohorts[0]["directory"])
    if not run.done():
        state = cohorts[0]["state"]
        said = "its folder was removed" if state == "done" else f"it is {state}"
        raise JobFailed(f"{target}: nothing to export: {said}")
    return run


def _seeds(run: RunDirectory, asked: Sequence[int]) -> list[int]:
    """Return the seeds to write, after a check of every file of the job."""
    sound = [int(seed) for seed in run.read_result()["seeds"]]
    for seed in asked:
        if seed not in sound:
            raise InputError(f"--seed {seed}", "is not there", f"one of {sound}")
    if not sound:
        raise JobFailed(f"{run.path.name}: every seed diverged, so there is nothing to export")
    return list(dict.fromkeys(asked)) or sound


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
