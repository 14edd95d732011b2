"""How a person names jobs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from engine.errors import InputError

_KEY = re.compile(r"[0-9a-f]{6,64}")


def select(connection: sqlite3.Connection, target: str) -> list[str]:
    """Return the run directories that a target names, inputs first.

    A target is a study, one of its jobs as `study/name`, a run directory, the beginning of a content key (six
    digits or more), the name of a job that only one has, or `all`.

    Raises:
        InputError: it names nothing, or more than it may.
    """
    for where, values in _readings(target):
        rows = connection.execute(
            f"SELECT DISTINCT jobs.rank, jobs.directory FROM jobs "
            f"LEFT JOIN members ON members.directory = jobs.directory WHERE {where} ORDER BY rank",
            values,
        ).fetchall()
        if len(rows) > 1 and not where.startswith(("members.study = ?1", "1")):
            names = ", ".join(row["directory"] for row in rows[:3])
            raise InputError(target, f"names {len(rows)} jobs", f"one of {names}, or study/job")
        if rows:
            return [row["directory"] for row in rows]
    raise InputError(
        target,
        "no such study or job here",
        "`husai-engine jobs` lists them; study, study/job or a key",
    )


def _readings(target: str) -> list[tuple[str, Sequence[str]]]:
    study, _, name = target.partition("/")
    readings: list[tuple[str, Sequence[str]]] = [("1", ())] if target == "all" else []
    readings += [
        ("members.study = ?1", (target,)),
        ("jobs.directory = ?1", (target,)),
        ("members.study || '' = ?1 AND jobs.name = ?2", (study, name)),
        ("jobs.name = ?1", (target,)),
    ]
    if _KEY.fullmatch(target):
        readings.append(("jobs.key LIKE ?1 || '%'", (target,)))
    return readings
