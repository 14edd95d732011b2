"""What is known of a job besides its curves: its state in words, its configuration, the end of its log."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.client.look import Snapshot
from engine.disk.atomic import read_object
from engine.disk.rundir import RunDirectory
from engine.errors import HusaiError
from husai_tui.state.curves import Curves
from husai_tui.state.frame import duration
from husai_tui.state.paper import Part
from husai_tui.state.plot import lost_text, middle
from husai_tui.state.runs import GLYPHS, Job, Paces, spent

LOG_BYTES = 1 << 14
"""How much of the end of a log is read."""
WITH_CURVES = ("subject", "cohort")
"""Kinds of jobs that measure while they work."""


@dataclass(frozen=True)
class Facts:
    """Files of a run directory, as far as they could be read."""

    config: dict[str, Any] = field(default_factory=dict)
    """`job.json`."""
    result: dict[str, Any] = field(default_factory=dict)
    """`result.json`; empty before the end."""
    log: tuple[str, ...] = ()
    """Last lines of the log."""
    there: bool = True
    """Whether the run directory is there."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of a cohort."""
        found = _within(self.config, "config", "seeds")
        return tuple(s for s in found if isinstance(s, int)) if isinstance(found, list) else ()

    @property
    def place(self) -> str:
        """Profile and device it was planned for."""
        profile = _within(self.config, "placement", "profile")
        device = _within(self.config, "placement", "device")
        return " on ".join(dict.fromkeys(str(part) for part in (profile, device) if part))

    @property
    def budget(self) -> int | None:
        """Steps that a subject may take; it ends sooner when it has grokked."""
        found = _within(self.config, "config", "training", "steps")
        return found if isinstance(found, int) else None

    def key_frequencies(self) -> list[tuple[int, float]]:
        """Return the key frequencies of a grokked subject with their share of the logits, largest first."""
        spectrum = self.result.get("spectrum")
        try:
            shares = dict(zip(spectrum["frequencies"], spectrum["logits"], strict=True))  # type: ignore[index]
            found = [(int(key), float(shares[key])) for key in spectrum["keys"]]  # type: ignore[index]
        except (TypeError, KeyError, ValueError):
            return []
        return sorted(found, key=lambda pair: -pair[1])


def read_facts(run: RunDirectory, before: Facts | None = None) -> Facts:
    """Read what is there; what is missing, torn or forbidden is as if it were empty, or as it was before."""
    known = before or Facts()
    config = known.config or _object(run.job_file)
    result = _object(run.result_file)
    return Facts(config, result, tuple(_last_lines(run.log_file)), run.path.is_dir())


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (HusaiError, OSError, ValueError):
        return {}


def _last_lines(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = text.splitlines()
    return lines[1:] if size > LOG_BYTES else lines


def _within(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def choose(snapshot: Snapshot) -> str:
    """Return the run directory of the job to show if nobody named one: one that runs and measures, else one
    that runs, else the last that ended, else the first that waits; empty: there is none."""
    running = [job for job in snapshot.jobs if job["state"] == "running"]
    measuring = [job for job in running if job["kind"] in WITH_CURVES]
    begun = [job for job in snapshot.jobs if job["started"]]
    measured = [job for job in begun if job["kind"] in WITH_CURVES]
    for found in (measuring, running, measured, begun):
        if found:
            last = max(found, key=lambda job: (job["ended"] or 0.0, job["started"] or 0.0))
            return str(last["directory"])
    return str(snapshot.jobs[0]["directory"]) if snapshot.jobs else ""


def find(snapshot: Snapshot, target: str) -> str:
    """Return the run directory of a target that the snapshot knows: one itself, `study/job`, or a study,
    whose job is chosen as if there were no other; empty: it knows none."""
    if snapshot.job(target):
        return target
    study, _, name = target.partition("/")
    mine = tuple(job for job in snapshot.jobs if job["study"] == study)
    if name:
        return next((str(job["directory"]) for job in mine if job["name"] == name), "")
    return choose(Snapshot(jobs=mine))


def neighbour(snapshot: Snapshot, directory: str, by: int) -> str:
    """Return the next or last job of the same study that has begun to measure; empty: there is no other."""
    job = snapshot.job(directory)
    study = job["study"] if job else None
    mine = [
        str(other["directory"])
        for other in snapshot.jobs
        if other["study"] == study
        and (other["directory"] == directory or (other["kind"] in WITH_CURVES and other["started"]))
    ]
    if len(mine) < 2:
        return ""
    return mine[(mine.index(directory) + by) % len(mine)]


def headline(
    job: Job, curves: Curves, facts: Facts, paces: Paces, now: float
) -> tuple[list[Part], list[Part]]:
    """Return the first line: state and name; how far it is."""
    state = job["state"]
    glyph, tone = GLYPHS.get(state, ("?", "warn"))
    left: list[Part] = [
        (f"{glyph} {state}", tone),
        (f"  {job['study']}/", "faint"),
        (job["name"], "strong"),
    ]
    steps = max(job.get("step") or 0, int(curves.data.steps[-1]) if len(curves.data) else 0)
    right: list[Part] = []
    if job["kind"] not in WITH_CURVES:
        return left, right
    if job["steps"]:
        share = min(1.0, steps / job["steps"])
        right.append((f"step {steps:,} of {job['steps']:,}", ""))
        if state == "running":
            right.append((f"  {int(100 * share)} %", "accent"))
            seconds = paces.left(job, now)
            right.append(
                (f"  {duration(seconds)} left", "faint") if seconds is not None else ("", "")
            )
    elif steps:
        budget = f" of at most {facts.budget:,}" if facts.budget and state != "done" else ""
        right.append((f"step {steps:,}{budget}", ""))
    return left, right


def details(job: Job, curves: Curves, facts: Facts, now: float) -> list[Part]:
    """Return the second line: seeds, place, attempt, time."""
    seconds = spent(job, now)
    told = [f"{len(curves.seeds)} seeds" if curves.seeds else job["kind"], facts.place]
    told.append(f"try {job['attempt']}" if job["attempt"] > 1 else "")
    # By the minute after the first: each second's change would be sent.
    told.append(_roughly(seconds, job["state"] == "running") if seconds is not None else "")
    parts: list[Part] = [("  " + " · ".join(part for part in told if part), "faint")]
    flags = len(curves.data.flags)
    if flags:
        parts.append((f"  ! {flags} red flag{'s' * (flags != 1)}", "warn"))
    if lost := lost_text(curves):
        parts.append((f"  {lost}", "warn"))
    return parts


def _roughly(seconds: float, running: bool) -> str:
    return duration(seconds) if not running or seconds < 60 else f"{int(seconds // 60)} m"


def notes(job: Job, facts: Facts, trouble: str) -> list[Part]:
    """Return what must be known before the curves are looked at: why it failed, and what would help."""
    found: list[Part] = []
    if job["state"] == "failed":
        reason = ": ".join(part for part in (job["failure"], job["reason"]) if part)
        found.append((f"✗ {reason}", "bad"))
        if job.get("advice"):
            found.append((f"  {job['advice']}", "warn"))
    elif job["reason"] and job["state"] != "done":
        found.append((f"  {job['reason']}", "faint"))
    if not facts.there and job["state"] not in ("queued", "skipped"):
        found.append(("! the run directory is gone; what is shown was read before", "warn"))
    elif trouble:
        found.append((f"! {trouble}", "warn"))
    return found


def looking(curves: Curves, weight: float) -> list[Part]:
    """Return how the curves are looked at, where it is not the usual way."""
    parts: list[Part] = []
    if curves.only:
        shown = ", ".join(curves.label(place) for place in sorted(curves.only))
        parts.append((f"  seeds {shown}", "accent"))
    if weight:
        parts.append((f"  smoothed {weight:g}", "faint"))
    if curves.axis == "time":
        parts.append(("  by time", "faint"))
    if curves.zoomed:
        left, right = curves.window()
        if curves.axis == "time":
            parts.append((f"  {duration(left)} – {duration(right)}", "faint"))
        else:
            parts.append((f"  steps {left:,.0f} – {right:,.0f}", "faint"))
    if curves.cursor is not None:
        parts.append((f"  at step {curves.cursor:,.0f}", "accent"))
    return parts


def sentence(job: Job, curves: Curves) -> str:
    """Return what is shown, in full sentences, for those who cannot see it."""
    said = f"{job['study']}/{job['name']} is {job['state']}"
    if not len(curves.data):
        return f"{said}; there are no curves."
    at = curves.data.steps[-1] if curves.cursor is None else curves.cursor
    told = []
    for panel in curves.panels:
        lines = curves.lines(panel, plain=True)
        row = lines.row(curves.cursor)
        if row < 0:
            continue
        values = lines.raw_TL[row]
        if len(panel.names) > 1:
            pairs = zip(lines.labels, values.tolist(), strict=True)
            each = ", ".join(f"{label} {panel.told(value)}" for label, value in pairs)
            told.append(f"{panel.title}: {each}")
        elif np.isfinite(values).any() and len(values) > 1:
            low, high = panel.told(float(np.nanmin(values))), panel.told(float(np.nanmax(values)))
            told.append(
                f"{panel.title} {panel.told(middle(lines, row))} ({low} to {high} over its seeds)"
            )
        else:
            told.append(f"{panel.title} {panel.told(middle(lines, row))}")
    flags = len(curves.data.flags)
    ending = f"{flags} red flag{'s' * (flags != 1)}" if flags else "No red flags"
    lost = lost_text(curves)
    here = f" Here: {curves.flag.message}." if curves.flag else ""
    return f"{said}. At step {at:,.0f}: {'; '.join(told)}. {ending}{f'; {lost}' if lost else ''}.{here}"
