"""What a study would be: SAEs, jobs, what is cached, time, memory, disk, and whether it fits here."""

from __future__ import annotations

import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.client.studies import cached_jobs, check_fit, plan_study, replaced_study
from engine.errors import EnvironmentUnfit, HusaiError, InputError
from engine.study.forecast import Forecast, forecast
from engine.study.plan import Job, Plan
from engine.study.spec import check_study
from engine.study.titles import count_saes
from husai_tui.state.frame import duration
from husai_tui.state.meter import plural, size
from husai_tui.tones import Line, Part, Tone

WIDE = 52
"""Cells from which a cohort's line has room for its steps."""
KINDS = ("subject", "activations", "cohort", "analysis", "report")


@dataclass(frozen=True)
class Estimate:
    """A plan and its cost, or why there is none."""

    fault: HusaiError | None = None
    """What kept the study from being planned."""
    plan: Plan | None = None
    cached: frozenset[str] = frozenset()
    """Keys of the jobs that have a result already."""
    cost: Forecast | None = None
    saes: int = 0
    free: int = 0
    """Bytes that are free on the disk of the runs root."""
    unfit: str = ""
    """Why it does not fit this machine and this profile; empty: it does."""
    replaces: str = ""
    """What it would replace; empty: nothing."""

    @property
    def ready(self) -> bool:
        """Whether it can be queued."""
        return self.plan is not None and not self.unfit

    @property
    def cohorts(self) -> list[Job]:
        """The jobs that train SAEs, twins on surrogate data or of an untrained subject left out."""
        jobs = self.plan.jobs if self.plan else ()
        twins = ("surrogate", "untrained")
        return [
            job
            for job in jobs
            if job.kind == "cohort" and not any(job.config.get(twin) for twin in twins)
        ]


def estimate(data: Any, profile: str, runs: Path) -> Estimate:
    """Plan a study and say what it costs; what is wrong is told in the answer. Takes a while: not for the
    thread that paints."""
    try:
        study = check_study(data, "")
        plan = plan_study(study, profile)
    except HusaiError as error:
        return Estimate(fault=error)
    cached = frozenset(job.key for job in cached_jobs(plan, runs))
    cost = forecast(plan, cached, runs)
    unfit = ""
    try:
        check_fit(plan, cost, runs)
    except EnvironmentUnfit as error:
        unfit = str(error)
    return Estimate(
        plan=plan,
        cached=cached,
        cost=cost,
        saes=count_saes(study),
        free=_free(runs),
        unfit=unfit,
        replaces=replaced_study(plan, runs),
    )


def _free(runs: Path) -> int:
    place = runs.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def fault_text(fault: HusaiError) -> str:
    """Return what is wrong as `what; what would be right`, without the place."""
    if isinstance(fault, InputError):
        return "; ".join(part for part in (fault.what, fault.want) if part)
    return str(fault)


def summary_lines(found: Estimate, dense: bool = False) -> list[Line]:
    """Return the plan: what, time, memory, disk (`dense`: on one line with the memory), whether it fits."""
    plan, cost = found.plan, found.cost
    if plan is None or cost is None:
        return []
    todo = len(plan.jobs) - len(found.cached)
    allowed = plan.placement.memory_bytes
    lines = [_counts(found), *_time(found, todo, dense)]
    memory = _amount("memory", cost.memory_bytes, allowed, "allowed")
    disk = _amount("disk", cost.disk_bytes, found.free, "free")
    lines += [Line((*memory, ("    ", ""), *disk))] if dense else [Line(memory), Line(disk)]
    if found.unfit:
        lines.append(Line(((" ✗ ", "bad"), (found.unfit, "bad"))))
    else:
        at = plan.placement
        each = plural(at.threads, "thread")
        lines.append(
            Line(
                (
                    (" ✓ ", "good"),
                    (f"fits {at.profile}", ""),
                    (f": {at.device}, {plural(at.slots, 'worker')} of {each}", "faint"),
                )
            )
        )
    return lines


def _counts(found: Estimate) -> Line:
    plan = found.plan
    assert plan is not None, "told only of a plan"
    points = len(plan.points)
    parts: list[Part] = [(f" {plural(found.saes, 'SAE')}", "strong"), (" in ", "faint")]
    parts.append((plural(len(found.cohorts), "cohort"), ""))
    if points > 1:
        parts += [(", ", "faint"), (plural(points, "point"), "")]
    parts += [(" · ", "faint"), (plural(len(plan.jobs), "job"), "")]
    cached = len(found.cached)
    said = "all cached" if cached == len(plan.jobs) else f"{cached:,} cached"
    return Line((*parts, (", ", "faint"), (said, "good" if cached else "faint")))


def _time(found: Estimate, todo: int, dense: bool) -> list[Line]:
    cost = found.cost
    assert cost is not None, "told only of a plan"
    label: Part = (" time    ", "faint")
    if not todo:
        return [Line((label, ("nothing to do: every job has a result", "")))]
    about: Part = (f"about {duration(cost.seconds)}", "strong")
    low, high = cost.seconds / cost.factor, cost.seconds * cost.factor
    span = f"{duration(low)} to {duration(high)}"
    if dense:
        basis: Part = (f"  {cost.basis.partition(';')[0]}", "faint")
        return [Line((label, about, (f", {span}" if cost.factor > 1 else "", ""), basis))]
    return [Line((label, about)), *([Line(((f"{'':9}{span}", ""),))] if cost.factor > 1 else [])]


def _amount(name: str, need: int, have: int, what: str) -> tuple[Part, ...]:
    tone: Tone = "bad" if need > have else ""
    mark = "✗ " if need > have else ""
    return (
        (f" {name:<8}", "faint"),
        (f"{mark}{size(need)}", tone),
        (f" of {size(have)} {what}", "faint"),
    )


def detail_lines(found: Estimate, width: int) -> list[Line]:
    """Return what else can be said of a plan where there is room: its jobs by kind, then its cohorts."""
    if found.plan is None or found.cost is None:
        return []
    lines = [Line(), Line(((f" {'jobs':<16}{'all':>6}{'cached':>8}{'to do':>8}", "faint"),))]
    for kind in KINDS:
        jobs = [job for job in found.plan.jobs if job.kind == kind]
        if jobs:
            cached = sum(job.key in found.cached for job in jobs)
            left = len(jobs) - cached
            lines.append(
                Line(
                    (
                        (f" {kind:<16}{len(jobs):>6,}{cached:>8,}", ""),
                        (f"{left:>8,}", "" if left else "faint"),
                    )
                )
            )
    lines += [Line(), Line(((" cohorts", "faint"),))]
    for job in found.cohorts:
        done = job.key in found.cached
        mark: Part = (" ✓ ", "good") if done else (" ○ ", "faint")
        note = ", cached" if done else f", {job.steps:,} steps" if width >= WIDE else ""
        seeds = plural(len(job.config["seeds"]), "seed")
        lines.append(
            Line((mark, (job.name, "faint" if done else ""), (f"  {seeds}{note}", "faint")))
        )
    basis = textwrap.wrap(f"time from {found.cost.basis}", max(20, width - 2))
    return [*lines, Line(), *(Line(((f" {text}", "faint"),)) for text in basis)]


def told(found: Estimate) -> str:
    """Return a plan in a sentence or two."""
    plan, cost = found.plan, found.cost
    if plan is None or cost is None:
        return f"it cannot be planned: {found.fault}" if found.fault else "it is not planned yet"
    jobs = f"{plural(len(plan.jobs), 'job')}, {len(found.cached)} of them cached"
    time = f"about {duration(cost.seconds)} within a factor of {cost.factor:.2g}"
    fits = found.unfit or f"it fits profile {plan.placement.profile}"
    return (
        f"{plural(found.saes, 'SAE')} in {plural(len(found.cohorts), 'cohort')}, {jobs}; {time}, "
        f"{size(cost.memory_bytes)} of memory, {size(cost.disk_bytes)} of disk; {fits}"
    )
