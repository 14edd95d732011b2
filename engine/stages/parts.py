"""The seeds of a cohort, which one job trained, or several where memory asked for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from engine.disk.rundir import RunDirectory
from engine.saes.formats import COHORT, TrainedSaes, join, load_cohort

Results = Mapping[str, dict[str, Any]]
"""Role → result of a finished job."""
Of = TypeVar("Of")


def cohort_parts(inputs: Mapping[str, Of], role: str) -> list[Of]:
    """Return what is there of the jobs of a cohort: roles `cohort`, `cohort.1`, ... in order."""
    later = (f"{role}.{number}" for number in range(1, len(inputs)))
    return [inputs[name] for name in (role, *later) if name in inputs]


def read_cohort(inputs: Mapping[str, RunDirectory], role: str, name: str = COHORT) -> TrainedSaes:
    """Return the SAEs of a cohort, of all its parts."""
    return join([load_cohort(run.artifacts, name) for run in cohort_parts(inputs, role)])


def quality_of(results: Results, role: str, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Return the final figures of some seeds of a cohort, by name; NaN where a figure is not finite."""
    found: dict[str, dict[int, float]] = {}
    for part in cohort_parts(results, role):
        for name, row in part["quality"].items():
            known = (math.nan if value is None else float(value) for value in row)
            found.setdefault(name, {}).update(zip(part["seeds"], known, strict=True))
    return {name: [of_seed[seed] for seed in seeds] for name, of_seed in found.items()}


def diverged_of(results: Results, role: str) -> dict[str, Any]:
    """Return the seeds of a cohort that diverged, as text, with the step of it and of the state kept."""
    parts = cohort_parts(results, role)
    return {seed: what for part in parts for seed, what in part["diverged"].items()}
