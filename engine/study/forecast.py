"""What a plan will cost: time from past jobs of the same kind, memory and disk from sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from engine.disk.atomic import read_json
from engine.disk.rundir import RunDirectory
from engine.errors import CorruptArtifact
from engine.study.plan import Plan

START_SECONDS = 3.0
"""A worker's start: importing torch takes most of it."""
REFERENCE_RATES = {"subject modular": 4.5e-11, "cohort": 1.6e-10, "analysis": 4.6e-7}
"""Seconds per unit of work on one core of a 2-core x86 virtual machine, used until this runs root has
results of its own; other machines differ by several times."""


@dataclass(frozen=True)
class Forecast:
    """What is still to be paid; jobs in the cache cost nothing."""

    seconds: float
    """Time on the wall with the plan's slots."""
    memory_bytes: int
    """Largest sum over workers at one time."""
    disk_bytes: int
    """Artifacts, checkpoints and logs."""
    basis: str
    """Where the rates come from."""


def forecast(plan: Plan, cached: Iterable[str], runs: Path) -> Forecast:
    """Estimate time, memory and disk of the jobs whose keys are not in `cached`."""
    done = set(cached)
    todo = [job for job in plan.jobs if job.key not in done]
    history = past_rates(runs)
    rates = {**REFERENCE_RATES, **history}
    costs = {
        job.key: START_SECONDS + rates.get(_sort(job.kind, job.config), 0.0) * job.work
        for job in todo
    }
    alone = sum(costs[job.key] for job in todo if job.slots > 1)
    shared = [costs[job.key] for job in todo if job.slots == 1]
    seconds = alone + max(sum(shared) / plan.placement.slots, max(shared, default=0.0))
    side_by_side = sorted((job.memory_bytes for job in todo if job.slots == 1), reverse=True)
    lone = max((job.memory_bytes for job in todo if job.slots > 1), default=0)
    memory = max(lone, sum(side_by_side[: plan.placement.slots]))
    basis = "past jobs in this runs root" if history else "reference machine, within a factor of 3"
    return Forecast(seconds, memory, sum(job.disk_bytes for job in todo), basis)


def past_rates(runs: Path) -> dict[str, float]:
    """Return the median seconds per unit of work of each sort of finished job below a runs root."""
    found: dict[str, list[float]] = {}
    for result_file in (runs / "jobs").glob("*/result.json"):
        run = RunDirectory(result_file.parent)
        try:
            job, seconds = run.read_job(), read_json(result_file)["provenance"]["seconds"]
        except (CorruptArtifact, KeyError, TypeError):
            continue
        if job.get("work"):
            found.setdefault(_sort(job["kind"], job["config"]), []).append(
                float(seconds or 0.0) / job["work"]
            )
    return {kind: median(rates) for kind, rates in found.items()}


def _sort(kind: str, config: Mapping[str, Any]) -> str:
    """Return which jobs are like this one: planting data is no measure for training a transformer."""
    return f"{kind} {config['kind']}" if kind == "subject" else kind
