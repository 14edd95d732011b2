"""What a plan will cost: time from past jobs of the same sort, memory and disk from sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
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
REFERENCE_FACTOR = 3.0
"""How far other machines are known to be from the reference."""
TELLING_SECONDS = 2.0
"""Work of a past job, in seconds of the reference machine, from which its time says more about the work than
about the start."""
LEAST_SHARE = 0.1
"""Share of a past job's time that counts as work, however long the starts of other jobs took."""


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
    """Where the rates come from, and how far off they may be."""
    factor: float = 1.0
    """How far off the time may be, in either direction."""


@dataclass(frozen=True)
class Rate:
    """What past jobs of one sort took."""

    seconds: float
    """Per unit of work: all their time, without their starts, over all their work."""
    factor: float
    """How far the furthest of them is from that."""
    jobs: int
    """How many there are."""


@dataclass(frozen=True)
class _Past:
    """A finished job: how much work it was, and how long it took from the start of its worker."""

    sort: str
    work: float
    seconds: float


def forecast(plan: Plan, cached: Iterable[str], runs: Path) -> Forecast:
    """Estimate time, memory and disk of the jobs whose keys are not in `cached`."""
    done = set(cached)
    todo = [job for job in plan.jobs if job.key not in done]
    history = past_rates(runs, plan.placement.device)
    rates = {**REFERENCE_RATES, **{sort: rate.seconds for sort, rate in history.items()}}
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
    sorts = {_sort(job.kind, job.config) for job in todo}
    asked = [sort for sort in REFERENCE_RATES if sort in sorts]
    factor = _factor(asked, history)
    basis = _basis(asked, history, factor)
    return Forecast(seconds, memory, sum(job.disk_bytes for job in todo), basis, factor)


def past_rates(runs: Path, device: str = "cpu") -> dict[str, Rate]:
    """Return what finished jobs below a runs root say about each sort of job on a device.

    Jobs too small to tell their work from their start are left out; a sort that has no others is missing.
    """
    every = list(_past_jobs(runs, device))
    start = min((START_SECONDS, *(job.seconds for job in every)))
    found: dict[str, list[_Past]] = {}
    for job in every:
        if REFERENCE_RATES.get(job.sort, 0.0) * job.work >= TELLING_SECONDS:
            net = max(job.seconds - start, LEAST_SHARE * job.seconds)
            found.setdefault(job.sort, []).append(_Past(job.sort, job.work, net))
    return {sort: _rate(jobs) for sort, jobs in found.items()}


def _past_jobs(runs: Path, device: str) -> Iterator[_Past]:
    for result_file in (runs / "jobs").glob("*/result.json"):
        run = RunDirectory(result_file.parent)
        try:
            job, provenance = run.read_job(), read_json(result_file)["provenance"]
            there = job.get("placement", {}).get("device", device)
            seconds, work = float(provenance["seconds"]), float(job.get("work") or 0.0)
            sort = _sort(job["kind"], job["config"])
        except (CorruptArtifact, KeyError, TypeError, ValueError):
            continue
        if there == device and seconds > 0:
            yield _Past(sort, work, seconds)


def _rate(jobs: list[_Past]) -> Rate:
    """Pool jobs, so that large ones weigh as much as they take."""
    pooled = sum(job.seconds for job in jobs) / sum(job.work for job in jobs)
    ratios = [job.seconds / job.work / pooled for job in jobs]
    return Rate(pooled, max(max(ratio, 1 / ratio) for ratio in ratios), len(jobs))


def _factor(sorts: list[str], history: Mapping[str, Rate]) -> float:
    """Return how far off the rates of these sorts of jobs may be; 1 if none of them is needed."""
    if not sorts:
        return 1.0
    known = [history[sort] for sort in sorts if sort in history]
    # One past job says nothing about how far another may be off.
    told = max((rate.factor if rate.jobs > 1 else REFERENCE_FACTOR for rate in known), default=1.5)
    return max(1.5, told, REFERENCE_FACTOR if len(known) < len(sorts) else 1.5)


def _basis(sorts: list[str], history: Mapping[str, Rate], factor: float) -> str:
    """Say what the rates of these sorts of jobs rest on."""
    known = [history[sort] for sort in sorts if sort in history]
    unknown = [sort for sort in sorts if sort not in history]
    if not sorts:
        return "starts of workers alone"
    within = f"within a factor of {factor:.2g}"
    if not known:
        return f"reference machine, {within}"
    past = f"{sum(rate.jobs for rate in known)} past jobs in this runs root"
    if sum(rate.jobs for rate in known) == 1:
        past = "1 past job in this runs root"
    if unknown:
        past += f"; reference machine for {', '.join(unknown)}"
    return f"{past}; {within}"


def _sort(kind: str, config: Mapping[str, Any]) -> str:
    """Return which jobs are like this one: planting data is no measure for training a transformer."""
    return f"{kind} {config['kind']}" if kind == "subject" else kind
