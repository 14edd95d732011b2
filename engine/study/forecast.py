"""What a plan will cost: time from past jobs of the same kind, memory and disk from sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from engine.disk.atomic import read_json
from engine.disk.rundir import RunDirectory
from engine.errors import CorruptArtifact
from engine.study.plan import Job, Plan, sample_count

START_SECONDS = 3.0
"""A worker's start: importing torch takes most of it."""
REFERENCE_RATES = {"subject": 4.5e-11, "cohort": 1.6e-10, "analysis": 4.6e-7}
"""Seconds per unit of work on one core of a 2-core x86 virtual machine, used until this runs root has
results of its own; other machines differ by several times."""
BASE_MEMORY = 450 << 20
"""Resident memory of a worker that has imported torch."""


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
    costs = {job.key: START_SECONDS + rates.get(job.kind, 0.0) * job.work for job in todo}
    alone = sum(costs[job.key] for job in todo if job.slots > 1)
    shared = [costs[job.key] for job in todo if job.slots == 1]
    seconds = alone + max(sum(shared) / plan.placement.slots, max(shared, default=0.0))
    memory = max((_memory(plan, job) for job in todo), default=0) * plan.placement.slots
    basis = "past jobs in this runs root" if history else "reference machine, within a factor of 3"
    return Forecast(seconds, memory, sum(_disk(plan, job) for job in todo), basis)


def past_rates(runs: Path) -> dict[str, float]:
    """Return the median seconds per unit of work of each kind of finished job below a runs root."""
    found: dict[str, list[float]] = {}
    for result_file in (runs / "jobs").glob("*/result.json"):
        run = RunDirectory(result_file.parent)
        try:
            job, seconds = run.read_job(), read_json(result_file)["provenance"]["seconds"]
        except (CorruptArtifact, KeyError, TypeError):
            continue
        if job.get("work"):
            found.setdefault(job["kind"], []).append(float(seconds or 0.0) / job["work"])
    return {kind: median(rates) for kind, rates in found.items()}


def _largest(plan: Plan) -> tuple[int, int]:
    """Return the widest hook and the largest number of latents."""
    widths = plan.study.subject.hooks()
    return max(widths[h] for h in plan.study.hooks), max(s.d_sae for s in plan.study.saes)


def _memory(plan: Plan, job: Job) -> int:
    d_in, d_sae = _largest(plan)
    seeds, samples = len(plan.study.seeds), sample_count(plan.study)
    if job.kind == "cohort":  # weights, gradients, two moments; a batch of latents; the activations
        weights = 4 * seeds * (2 * d_in * d_sae + d_sae + d_in) * 4
        return (
            BASE_MEMORY
            + weights
            + 8 * seeds * plan.study.training.batch_size * d_sae
            + 8 * samples * d_in
        )
    if job.kind == "analysis":
        return BASE_MEMORY + 24 * d_sae**2 + 8 * samples * d_sae
    return BASE_MEMORY + 16 * samples * max(d_in, 128)


def _disk(plan: Plan, job: Job) -> int:
    d_in, d_sae = _largest(plan)
    seeds, samples = len(plan.study.seeds), sample_count(plan.study)
    small = 1 << 20
    if job.kind == "cohort":  # once stacked, once per seed
        return small + 2 * 4 * seeds * (2 * d_in * d_sae + d_sae + d_in)
    if job.kind == "activations":
        return small + 4 * samples * d_in
    return 3 * small
