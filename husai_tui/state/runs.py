"""The queue as a table: which jobs, in which order, how far, how long still, and what may be closed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from engine.client.look import Snapshot
from engine.client.queue import MEANT, STALE_SECONDS
from husai_tui.state.frame import duration
from husai_tui.tones import Cell, Part, Tone

Job = dict[str, Any]
GLYPHS: dict[str, tuple[str, Tone]] = {
    "running": ("●", "good"),
    "queued": ("○", ""),
    "paused": ("‖", "warn"),
    "failed": ("✗", "bad"),
    "done": ("✓", "faint"),
    "cancelled": ("–", "faint"),
    "skipped": ("–", "faint"),
}
COLUMNS = ("state", "study", "job", "progress", "left", "time", "try", "priority", "reason")
_ORDER = {state: place for place, state in enumerate(GLYPHS)}
_BLOCKS = " ▏▎▍▌▋▊▉█"
PACE_SECONDS = 60.0
"""How far back the pace of a job is taken from."""
TYPED_CONFIRMATION_SECONDS = 3600.0
"""Work at stake from which a cancellation is confirmed by typing."""


class Paces:
    """How fast running jobs go, from what was seen of them."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def add(self, snapshot: Snapshot) -> None:
        """Take note of a look at the queue."""
        running = {job["directory"]: job for job in snapshot.jobs if job["state"] == "running"}
        self._seen = {name: seen for name, seen in self._seen.items() if name in running}
        for name, job in running.items():
            if not job["steps"] or job.get("step") is None:
                continue
            seen = self._seen.setdefault(name, deque())
            step = int(job["step"])
            if seen and step < seen[-1][1]:
                seen.clear()
            if not seen or step != seen[-1][1]:
                seen.append((snapshot.taken, step))
            while len(seen) > 2 and seen[0][0] < snapshot.taken - PACE_SECONDS:
                seen.popleft()

    def left(self, job: Job, now: float) -> float | None:
        """Return the seconds that a running job will still take; None: nobody can tell yet."""
        seen = self._seen.get(job["directory"])
        if not seen or len(seen) < 2:
            return None
        (then, before), (last, step) = seen[0], seen[-1]
        if step <= before or last <= then:
            return None
        pace = (step - before) / (last - then)
        return max(0.0, (int(job["steps"]) - step) / pace - (now - last))


class RunsTable:
    """The rows in sight of a filter, in an order."""

    def __init__(self) -> None:
        self.filter, self.sort = "", (-1, False)
        """Column (-1: the queue's own order, what runs first) and whether the largest come first."""
        self.paces = Paces()
        self._snapshot = Snapshot()
        self._jobs: list[Job] = []
        self._place: dict[str, int] = {}

    def update(self, snapshot: Snapshot) -> None:
        """Take a new look at the queue."""
        self.paces.add(snapshot)
        self._snapshot = snapshot
        self.arrange()

    def arrange(self) -> None:
        """Filter and sort anew."""
        shown = [job for job in self._snapshot.jobs if matches(job, self.filter)]
        column, descending = self.sort
        if column < 0:
            shown.sort(key=lambda job: _ORDER.get(job["state"], 9))
        else:
            shown.sort(key=self._value(COLUMNS[column]), reverse=descending)
        self._jobs = shown
        self._place = {job["directory"]: place for place, job in enumerate(shown)}

    def _value(self, column: str) -> Callable[[Job], Any]:
        now = self._snapshot.taken
        by: dict[str, Callable[[Job], Any]] = {
            "state": lambda job: _ORDER.get(job["state"], 9),
            "study": lambda job: job["study"] or "",
            "job": lambda job: job["name"],
            "progress": lambda job: share(job) or 0.0,
            "left": lambda job: self.paces.left(job, now) or 0.0,
            "time": lambda job: spent(job, now) or 0.0,
            "try": lambda job: job["attempt"],
            "priority": lambda job: job["priority"],
            "reason": lambda job: job["reason"] or "",
        }
        return by[column]

    def __len__(self) -> int:
        return len(self._jobs)

    def job(self, key: str) -> Job | None:
        """Return the job of a row's key."""
        place = self._place.get(key)
        return None if place is None else self._jobs[place]

    def every(self) -> list[str]:
        """Return the keys of all rows, from the top."""
        return list(self._place)

    def key(self, row: int) -> str:
        """Return the run directory of a row."""
        return str(self._jobs[row]["directory"])

    def find(self, key: str) -> int | None:
        """Return the row of a run directory."""
        return self._place.get(key)

    def cells(self, row: int) -> Sequence[Cell]:
        """Return the cells of a row, in the order of `COLUMNS`."""
        # Whole seconds: each change of a cell is sent, and nobody reads tenths.
        job, now = self._jobs[row], float(int(self._snapshot.taken))
        state = job["state"]
        glyph, tone = GLYPHS.get(state, ("?", "warn"))
        left = self.paces.left(job, now) if state == "running" else None
        time_spent = spent(job, now)
        priority = job["priority"]
        return (
            (f"{glyph} {state}", tone),
            (job["study"] or "", "faint" if state in ("done", "cancelled", "skipped") else ""),
            (job["name"], "strong" if state == "running" else ""),
            progress(job),
            duration(rounded(left)) if left is not None else "",
            (duration(time_spent) if time_spent is not None else "", "faint"),
            (str(job["attempt"]) if job["attempt"] > 1 else "", "warn"),
            (f"{priority:+d}" if priority else "", ""),
            (reason(job), "bad" if state == "failed" else "faint"),
        )


def rounded(seconds: float) -> float:
    """Return an estimate as exactly as it is worth: to ten seconds from two minutes on."""
    return seconds if seconds < 120 else 10.0 * round(seconds / 10)


def matches(job: Job, words: str) -> bool:
    """Return whether a job has every word of a filter; `!word`: has it not."""
    text = f"{job['state']} {job['study']} {job['name']} {job['kind']} {job['failure']} {job['reason']}".lower()
    for word in words.lower().split():
        if word.startswith("!"):
            if word[1:] and word[1:] in text:
                return False
        elif word not in text:
            return False
    return True


def share(job: Job) -> float | None:
    """Return how much of a job is done, 0 to 1; None: it has no steps to count."""
    if job["state"] == "done":
        return 1.0
    step = job.get("step")
    return min(1.0, step / job["steps"]) if job["steps"] and step is not None else None


def progress(job: Job) -> Cell:
    """Return a bar of ten cells and a percentage; of what has ended, how long it took."""
    if job["state"] != "running":
        took = spent(job, 0.0) if job["state"] in ("done", "failed") else None
        return ("" if took is None else f"took {duration(took)}", "faint")
    done = share(job)
    if done is None:
        return ("· · · · ·      ", "faint")
    eighths = int(done * 80)
    full, rest = divmod(eighths, 8)
    bar = ("█" * full + (_BLOCKS[rest] if rest else "")).ljust(10, "·")
    return (f"{bar} {int(100 * done):3d}%", "accent")


def spent(job: Job, now: float) -> float | None:
    """Return the seconds that the last attempt of a job has taken."""
    if job["state"] == "running" and job["started"]:
        return max(0.0, now - float(job["started"]))
    return float(job["seconds"]) if job["seconds"] else None


def reason(job: Job) -> str:
    """Return why a job is where it is: the sort of its failure, what was said, what helps."""
    parts = [job["failure"], job["reason"]] if job["state"] == "failed" else [job["reason"]]
    if job["state"] == "done":
        return ""
    return ": ".join(part for part in parts if part)


def why(job: Job | None) -> list[Part]:
    """Say of the job under the cursor why it failed or waits, and what helps; nothing if all is well."""
    told = reason(job) if job else ""
    if not job or not told:
        return []
    failed = job["state"] == "failed"
    parts: list[Part] = [
        (f"{GLYPHS.get(job['state'], ('?', ''))[0]} {told}", "bad" if failed else "warn")
    ]
    parts += [(f"  {job['advice']}", "faint")] if job.get("advice") else []
    return [*parts, ("  R tries again", "faint")] if failed else parts


def at_stake(jobs: Sequence[Job], now: float) -> float:
    """Return the seconds of work that a cancellation would end: what running jobs have done so far."""
    return sum(spent(job, now) or 0.0 for job in jobs if job["state"] == "running")


def can(order: str, jobs: Sequence[Job]) -> list[Job]:
    """Return those of the jobs that an order changes."""
    return [job for job in jobs if job["state"] in MEANT[order]]


def closing(snapshot: Snapshot) -> Part:
    """Say whether this window may be closed, and what will happen then."""
    found = snapshot.supervisor
    busy = snapshot.counts.get("running", 0) + snapshot.counts.get("queued", 0)
    if found is None:
        if busy or snapshot.waiting:
            return ("nothing works on the queue: u starts the engine", "warn")
        done = "all is done" if snapshot.jobs else "the queue is empty"
        return (f"{done}: 5 builds a sweep", "faint")
    if found.get("silent", 0.0) > STALE_SECONDS:
        return ("the engine does not answer: `husai-engine health` says more", "bad")
    if found.get("trouble"):
        return (str(found["trouble"]), "bad")
    if found.get("mode") != "service":
        return ("a `run` in another terminal does this; closing that one stops it", "warn")
    if busy:
        return ("safe to close: the engine works on without this window", "good")
    return ("safe to close: " + ("all is done" if snapshot.jobs else "the queue is empty"), "good")


def digest(snapshot: Snapshot, since: float) -> list[str]:
    """Return what happened since somebody last looked, in lines; empty: nothing, or nobody ever looked."""
    if not since:
        return []
    ended = [job for job in snapshot.jobs if (job["ended"] or 0.0) > since]
    done = [job for job in ended if job["state"] == "done"]
    failed = [job for job in ended if job["state"] == "failed"]
    finished = [
        study["name"]
        for study in snapshot.studies
        if study["report"]
        and any(job["directory"] == study["report"] and job in done for job in done)
    ]
    lines = []
    if done:
        took = sum(job["seconds"] or 0.0 for job in done)
        lines.append(f"{len(done)} job{'s' * (len(done) != 1)} done, {duration(took)} of work")
    lines += [f"study {name} has its report" for name in finished]
    lines += [f"failed: {job['study']}/{job['name']}: {reason(job)}" for job in failed[:5]]
    if len(failed) > 5:
        lines.append(f"and {len(failed) - 5} more failed")
    if lines:
        away = duration(snapshot.taken - since)
        lines.insert(0, f"while you were away ({away}):")
    return lines
