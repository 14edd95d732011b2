"""Results for notebooks and scripts: a finished study as plain data and numpy columns. Loads no torch.

The public reading interface: names and fields here stay, new ones may join (tests/contract/test_results.py).

    from engine.client.results import read_study

    study = read_study("runs", "topk-vs-relu")
    study.verdicts            # {'topk 1024 k32': 'weak', …}
    cohort = study.cohort("topk 1024 k32")
    cohort.features["median_best_cosine"]    # one value per feature per seed
    cohort.curves(42)["explained_variance"]  # one value per recorded step

Shapes: S seeds, F latents of each, R = S·F rows, O = S − 1 other seeds, T recorded steps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from engine.client.features import Features, open_features
from engine.client.studies import read_summary, report_folder, study_name
from engine.disk.curves import read_curves
from engine.disk.root import RunsRoot
from engine.disk.rundir import FEATURES, GALLERY, RunDirectory
from engine.errors import InputError, JobFailed
from engine.jobs.cohorts import find_analysis

Column = NDArray[Any]


@dataclass(frozen=True)
class CohortResults:
    """What is known of one cohort of a finished study."""

    runs: Path
    """The runs root."""
    study: str
    title: str
    """Names the cohort in the study."""
    summary: dict[str, Any]
    """Its entry in summary.json."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its SAEs, in the order of every per-seed list."""
        return tuple(self.summary["seeds"])

    @property
    def headline(self) -> dict[str, Any]:
        """The measurement on which the verdict rests: observed, null, kappa, ci_low, ci_high, pairs, nulls."""
        where = self.summary["headline"]
        found: dict[str, Any] = self.summary["stability"][where["metric"]][where["subset"]]
        return found

    @cached_property
    def table(self) -> Features:
        """The features with their matches in the other seeds: `best`, `partner`, `mutual`, `row(seed, f)`.

        Raises:
            InputError: the study is not there.
            JobFailed: its analysis is not done.
            CorruptArtifact: a file is damaged.
        """
        return open_features(self.runs, self.study, self.title)

    @property
    def features(self) -> Mapping[str, Column]:
        """One value per feature per seed [R] by name: `seed`, `feature`, `density`, `live`, `stability`,
        `median_best_cosine`, …; raises what `table` raises."""
        return self.table.columns

    def null_features(self) -> dict[str, Column]:
        """Return the same of the live features of the surrogate [M]: `median_best_cosine`, `stability`,
        `density`; empty without a surrogate, or where only the report is here."""
        analysis = self._analysis()
        if analysis is None or not (analysis.artifacts / GALLERY).is_file():
            return {}
        arrays = load_file(analysis.artifacts / GALLERY)
        names = {"median_best_cosine": "match", "stability": "stability", "density": "density"}
        return {
            name: arrays[f"surrogate_{part}"]
            for name, part in names.items()
            if f"surrogate_{part}" in arrays
        }

    def curves(self, seed: int) -> dict[str, Column]:
        """Return what was recorded while a seed's SAE trained, by name [T], with `step`; NaN where it was not.

        Raises:
            InputError: there is no such seed.
            JobFailed: the training is not here, only the report.
        """
        run, place = self._training(seed)
        rows = [row for row in read_curves(run.curves_file) if "step" in row]
        names = [name for name in dict.fromkeys(n for row in rows for n in row) if name != "step"]
        found: dict[str, Column] = {"step": np.array([row["step"] for row in rows])}
        for name in names:
            values = [row.get(name) for row in rows]
            if all(map(_per_seed, values)):
                found[name] = np.array([_at(value, place) for value in values], dtype=float)
        return found

    def sae_path(self, seed: int) -> Path:
        """Return the folder of one trained SAE, as `engine.saes.formats.load_sae` reads it.

        Raises:
            InputError: there is no such seed.
            JobFailed: the SAE is not here, only the report.
        """
        run, _ = self._training(seed)
        path = run.artifacts / f"seed-{seed}"
        if not path.is_dir():
            raise JobFailed(f"{run.artifacts}: no SAE of seed {seed}")
        return path

    def _analysis(self) -> RunDirectory | None:
        try:
            return find_analysis(RunsRoot(self.runs), self.study, self.title)
        except (InputError, JobFailed):
            return None

    def _training(self, seed: int) -> tuple[RunDirectory, int]:
        """Return the job that trained a seed and the place of the seed in it."""
        if seed not in self.seeds:
            raise InputError("seed", f"{seed} is not there", f"one of {list(self.seeds)}")
        analysis = self._analysis()
        for role, name in analysis.read_job()["inputs"].items() if analysis else ():
            run = RunDirectory(RunsRoot(self.runs).jobs / name)
            if role.split(".")[0] == "cohort" and run.done():
                seeds = run.read_job()["config"]["seeds"]
                if seed in seeds:
                    return run, seeds.index(seed)
        raise JobFailed(f"{self.runs}: the training of {self.title} is not here, only its report")


@dataclass(frozen=True)
class StudyResults:
    """A finished study."""

    runs: Path
    """The runs root."""
    name: str
    summary: dict[str, Any]
    """summary.json as it is."""

    @property
    def report(self) -> Path:
        """Folder of report.html, summary.json, features.parquet and figures/."""
        return report_folder(self.runs, self.name)

    @property
    def titles(self) -> tuple[str, ...]:
        """Titles of its cohorts, in the order of the report."""
        return tuple(str(cohort["title"]) for cohort in self.summary["cohorts"])

    @property
    def verdicts(self) -> dict[str, str]:
        """Verdict by title."""
        return {str(c["title"]): str(c["verdict"]) for c in self.summary["cohorts"]}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before believing any of it."""
        return tuple(self.summary["warnings"])

    def cohort(self, title: str) -> CohortResults:
        """Return a cohort by its title; raise InputError if there is none."""
        for cohort in self.summary["cohorts"]:
            if cohort["title"] == title:
                return CohortResults(self.runs, self.name, title, cohort)
        raise InputError("cohort", f"{title!r} is not in {self.name}", f"one of {self.titles}")

    def features(self) -> Any:
        """Return features.parquet as a `pyarrow.Table`: one row per feature per seed, of all cohorts."""
        import pyarrow.parquet as pq  # here, because importing it takes most of the time of a cold start

        return pq.ParquetFile(self.report / FEATURES).read()


def read_study(runs: str | os.PathLike[str], study: str) -> StudyResults:
    """Read a finished study by its name, or the path of its file.

    Raises:
        InputError: there is no such study below the runs root.
        JobFailed: it has no report yet.
        CorruptArtifact: its summary is damaged.
    """
    root, name = Path(runs), study_name(study)
    return StudyResults(root, name, read_summary(root, name))


def _at(values: list[float | None] | None, place: int) -> float:
    value = None if values is None or place >= len(values) else values[place]
    return float("nan") if value is None else float(value)


def _per_seed(value: object) -> bool:
    """Return whether a recorded value is a number for each seed, or none; red flags are not."""
    numbers = (int, float, type(None))
    return value is None or (
        isinstance(value, list) and all(isinstance(item, numbers) for item in value)
    )
