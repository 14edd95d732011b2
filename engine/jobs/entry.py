"""One job as the queue knows it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields

PAUSE, CANCEL = 1, 2
"""Values of `held`: stay, or leave for good, once its worker has saved."""
MOST_PRIORITY = 1_000_000
"""Largest priority, and with a minus the smallest."""
ENDED = ("done", "failed", "cancelled", "skipped")
LOST = ("failed", "cancelled", "skipped")
"""States of jobs that will have no result, unless they are tried again."""


@dataclass(frozen=True)
class Entry:
    """One job as the queue knows it."""

    directory: str
    key: str
    kind: str
    name: str
    state: str
    held: int
    alone: int
    """Whether it runs with nothing beside it: it ran out of memory before."""
    priority: int
    attempt: int
    failure: str
    """Sort of its last failure (see `failures`)."""
    reason: str
    device: str
    slots: int
    threads: int
    memory_bytes: int
    disk_bytes: int
    steps: int
    submitted: float
    """Wall clock, for people; so are `started` and `ended`."""
    started: float | None
    ended: float | None
    seconds: float | None


COLUMNS = ", ".join(f"jobs.{field.name}" for field in fields(Entry))


def entry(row: sqlite3.Row) -> Entry:
    """Return a row of `COLUMNS` as an entry."""
    return Entry(**dict(row))
