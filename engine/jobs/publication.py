"""What a study shows outside its jobs: its own file, and its report."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.disk.atomic import MANIFEST, publish_directory, write_bytes
from engine.disk.root import PRIVATE_FOLDER, RunsRoot
from engine.disk.rundir import RunDirectory


def write_study(root: RunsRoot, name: str, yaml: str) -> None:
    """Keep the study's file in its folder, as it was submitted."""
    folder = root.study(name)
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    write_bytes(folder / "study.yaml", yaml.encode())


def publish_report(root: RunsRoot, study: str, run: RunDirectory) -> Path:
    """Copy a report job's artifacts to `<runs>/<study>/report` and return that folder."""
    final = root.report(study)
    final.parent.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    aside = final.with_name(".report")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=PRIVATE_FOLDER)
    # Not by shutil.copytree: its error no longer tells that the disk is full.
    for source in sorted(run.artifacts.rglob("*")):
        target = aside / source.relative_to(run.artifacts)
        if source.is_dir():
            target.mkdir(mode=PRIVATE_FOLDER)
        elif source.name != MANIFEST:
            shutil.copyfile(source, target)
    publish_directory(aside, final)
    return final
