"""Whose log is shown, and what the lines around it say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from engine.client.look import Snapshot
from engine.disk.root import RunsRoot, is_name
from engine.errors import InputError
from husai_tui.state.frame import duration
from husai_tui.state.logs import LogPage
from husai_tui.state.runs import GLYPHS, Job, reason, spent
from husai_tui.tones import Part

_STEP = re.compile(r"(.*)@(\d+)")
SUPERVISOR = "supervisor"


@dataclass(frozen=True)
class LogPlace:
    """Where a log is, and whose it is."""

    path: Path
    directory: str = ""
    """Run directory of the job; empty: the supervisor's own log."""
    study: str = ""
    name: str = ""

    @property
    def title(self) -> str:
        """`study/job`, or whose log it is."""
        if not self.directory:
            return SUPERVISOR
        return f"{self.study}/{self.name}" if self.study else self.directory


def split_step(target: str) -> tuple[str, int | None]:
    """Return a target without its `@STEP`, and the step."""
    found = _STEP.fullmatch(target)
    return (found[1], int(found[2])) if found else (target, None)


def find_place(root: RunsRoot, snapshot: Snapshot, target: str) -> LogPlace:
    """Return the log that a target names: a run directory, `study/job`, or nothing for the supervisor's.

    Raises:
        InputError: it names nothing here.
    """
    if target in ("", SUPERVISOR):
        return LogPlace(root.log_file)
    for job in snapshot.jobs:
        if target in (job["directory"], f"{job['study']}/{job['name']}"):
            return place_of(root, job)
    if is_name(target) and root.run(target).path.is_dir():
        return LogPlace(root.run(target).log_file, target)
    raise InputError(target, "no such job here", "a run directory, or study/job")


def place_of(root: RunsRoot, job: Job) -> LogPlace:
    """Return the log of a job."""
    path = root.run(job["directory"]).log_file
    return LogPlace(path, job["directory"], job["study"] or "", job["name"])


def neighbour(snapshot: Snapshot, place: LogPlace, by: int) -> Job | None:
    """Return the job before or after this one in its study; None: there is none."""
    jobs = [job for job in snapshot.jobs if job["study"] == place.study]
    at = [job["directory"] for job in jobs].index(place.directory) if place.directory else -1
    return jobs[at + by] if place.directory and 0 <= at + by < len(jobs) else None


def heading(place: LogPlace, snapshot: Snapshot, path: str) -> tuple[list[Part], list[Part]]:
    """Say whose log this is and how its job stands; at the right the file."""
    left: list[Part] = [(place.title, "strong")]
    job = snapshot.job(place.directory) if place.directory else None
    if job is not None:
        glyph, tone = GLYPHS.get(job["state"], ("?", "warn"))
        left.append((f"   {glyph} {job['state']}", tone))
        if job["state"] == "running" and job["steps"] and job.get("step") is not None:
            left.append((f"   step {job['step']:,} of {job['steps']:,}", ""))
        taken = spent(job, snapshot.taken)
        if taken is not None:
            left.append((f"   {duration(taken)}", "faint"))
        if why := reason(job):
            left.append((f"   {why}", "bad" if job["state"] == "failed" else "faint"))
    return left, [(path, "faint")]


def standing(page: LogPage) -> tuple[list[Part], list[Part]]:
    """Say what is searched and found; at the right where we are, how long the log is, what is wrong in it."""
    file = page.file
    left: list[Part] = []
    if file.note:
        left.append((f"{file.note}   ", "warn"))
    if page.query:
        left.append((f"/{page.query.text}   ", "accent"))
    if page.quest is not None:
        left.append((f"searching, {int(100 * file.share)} % of the log read   ", "faint"))
    elif page.said:
        left.append((f"{page.said}   ", "warn"))
    return left, _counted(page)


def _counted(page: LogPage) -> list[Part]:
    file, narrow = page.file, page.width < 96
    lines, bad, warn = file.counts()
    more, gap = "" if file.whole else "+", "  " if narrow else "   "
    right: list[Part] = []
    if bad:
        said = "" if narrow else f" error{'s' * (bad != 1)}"
        right.append((f"✗ {bad:,}{more}{said}{gap}", "bad"))
    if warn:
        said = "" if narrow else f" warning{'s' * (warn != 1)}"
        right.append((f"! {warn:,}{more}{said}{gap}", "warn"))
    number = page.number_of(page.cursor)
    if not lines:
        right.append(("no lines", "faint"))
    elif number is None:
        right.append((f"{file.end - 1 - page.cursor:,} from the end of {size(file.size)}", ""))
    else:
        right.append((f"line {number:,} of {lines:,}", ""))
    if page.wrap:
        right.append((f"{gap}wrapped", "faint"))
    right.append((f"{gap}● follows", "good") if page.follow else (f"{gap}○ stays", "faint"))
    return right


def size(count: int) -> str:
    """Return bytes for people: `640 KB`, `1.2 GB` (powers of ten)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            amount = count / scale
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{count} B"


def described(place: LogPlace, page: LogPage) -> str:
    """Return how long the log is, what is wrong in it, and its last line, in a sentence or two."""
    lines, bad, warn = page.file.counts()
    whose = "The supervisor's log" if not place.directory else f"The log of {place.title}"
    if not lines:
        return f"{whose} has no lines{': ' + page.file.note if page.file.note else ''}."
    part = "" if page.file.whole else f" in the {int(100 * page.file.share)} % read so far"
    errors = f"{bad:,} that tell of an error and {warn:,} of a warning"
    last = page.file.line(page.file.end - 1)
    return f"{whose} has {lines:,} lines, {errors}{part}. The last line is: {last}"
