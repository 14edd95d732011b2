"""The seeds of a cohort, which one job trained, or several where memory asked for it."""

from __future__ import annotations

from engine.disk.rundir import RunDirectory
from engine.saes.formats import COHORT, TrainedSaes, join, load_cohort


def cohort_parts(inputs: dict[str, RunDirectory], role: str) -> list[RunDirectory]:
    """Return the jobs that trained the seeds of a cohort: roles `cohort`, `cohort.1`, ... in order."""
    later = (f"{role}.{number}" for number in range(1, len(inputs)))
    return [inputs[name] for name in (role, *later) if name in inputs]


def read_cohort(inputs: dict[str, RunDirectory], role: str, name: str = COHORT) -> TrainedSaes:
    """Return the SAEs of a cohort, of all its parts."""
    return join([load_cohort(run.artifacts, name) for run in cohort_parts(inputs, role)])
