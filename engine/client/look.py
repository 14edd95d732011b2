"""Looking at the queue again and again, twice a second: it is read only when it has changed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

from engine.client.queue import Job, step_of, supervisor, waiting_studies
from engine.disk.root import RunsRoot
from engine.errors import HusaiError
from engine.jobs.reading import list_jobs, list_studies, reading

TICK_NS = 50_000_000


@dataclass(frozen=True)
class Snapshot:
    """What the engine does at one moment."""

    jobs: tuple[Job, ...] = ()
    """Every job of the queue, inputs first; running ones with their `step`."""
    studies: tuple[dict[str, Any], ...] = ()
    """`name`, `profile`, `report`, `submitted`, and jobs per state; oldest first."""
    counts: dict[str, int] = field(default_factory=dict)
    """State → jobs."""
    waiting: tuple[str, ...] = ()
    """Studies whose submission no supervisor has taken yet."""
    supervisor: dict[str, Any] | None = None
    """What the supervisor says of itself; None: none is up."""
    taken: float = 0.0
    """When, seconds since 1970; 0: nobody has looked yet."""
    trouble: str = ""
    """Why the queue could not be read this time; the rest is then what was read last."""

    def job(self, directory: str) -> Job | None:
        """Return the job of a run directory; None: the queue has none."""
        return next((job for job in self.jobs if job["directory"] == directory), None)


class Watcher:
    """Keeps the newest snapshot of a runs root."""

    def __init__(self, root: RunsRoot) -> None:
        self.root = root
        self.last = Snapshot()
        self._mark: tuple[int, ...] | None = None

    def look(self) -> Snapshot:
        """Return what is there now. What is wrong on the disk is told in `trouble`, never raised."""
        try:
            mark = self._fingerprint()
            if mark != self._mark or not self.last.taken:
                found, studies = self._read()
                self._mark = mark if _settled(mark) else None
            else:
                found, studies = [dict(job) for job in self.last.jobs], self.last.studies
            for job in found:
                if job["state"] == "running" or "step" not in job:
                    job["step"] = step_of(self.root, job)
            counts: dict[str, int] = {}
            for job in found:
                counts[job["state"]] = counts.get(job["state"], 0) + 1
            self.last = Snapshot(
                jobs=tuple(found),
                studies=studies,
                counts=counts,
                waiting=tuple(waiting_studies(self.root)),
                supervisor=supervisor(self.root),
                taken=time.time(),
            )
        except (HusaiError, OSError) as error:
            self._mark = None
            self.last = replace(self.last, trouble=str(error), taken=time.time())
        return self.last

    def _read(self) -> tuple[list[Job], tuple[dict[str, Any], ...]]:
        with reading(self.root.database) as connection:
            if connection is None:
                return [], ()
            return list_jobs(connection), tuple(list_studies(connection))

    def _fingerprint(self) -> tuple[int, ...]:
        """Return what changes with every commit: in rollback journals each one writes the database's pages."""
        try:
            found = self.root.database.stat()
        except FileNotFoundError:
            return ()
        return (found.st_ino, found.st_size, found.st_mtime_ns)


def _settled(mark: tuple[int, ...]) -> bool:
    """Return whether a second commit would have given another mark: clocks of files tick every few ms."""
    return not mark or time.time_ns() - mark[2] > TICK_NS
