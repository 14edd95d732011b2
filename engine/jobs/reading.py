"""The queue as those see it who must not write: command line, app, scripts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import EnvironmentUnfit
from engine.jobs.entry import PAUSE
from engine.jobs.failures import ADVICE
from engine.jobs.schema import MIGRATIONS

PATIENCE_SECONDS = 2.0
STATES = ("running", "queued", "paused", "failed", "done", "cancelled", "skipped")
_SHOWN = (
    f"CASE WHEN jobs.state = 'queued' AND jobs.held = {PAUSE} THEN 'paused' ELSE jobs.state END"
)
_JOBS = f"""
    SELECT jobs.directory, jobs.name, jobs.kind, jobs.key, {_SHOWN} AS state, jobs.attempt, jobs.priority,
        jobs.slots, jobs.steps, jobs.failure, jobs.reason, jobs.submitted, jobs.started, jobs.ended,
        jobs.seconds, (SELECT MIN(study) FROM members WHERE members.directory = jobs.directory) AS study
    FROM jobs"""


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the queue for reading; None where there is none yet.

    Raises:
        EnvironmentUnfit: a newer version wrote it, it is locked for longer than two seconds, or damaged.
    """
    if not path.is_file() or path.stat().st_size == 0:
        yield None
        return
    connection = _open(path)
    try:
        yield connection
    except sqlite3.Error as error:
        raise EnvironmentUnfit(f"{path}: {error}; try again in a moment") from None
    finally:
        connection.close()


def _open(path: Path) -> sqlite3.Connection:
    # A supervisor that was killed in a commit leaves a journal, which a reader may not roll back but a writer
    # may, even one that writes nothing.
    for mode in ("ro", "rw"):
        uri = f"{path.resolve().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=PATIENCE_SECONDS, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            break
        except sqlite3.Error as error:
            connection.close()
            if mode == "rw" or "locked" in str(error):
                raise EnvironmentUnfit(f"{path}: {error}; try again in a moment") from None
    if version > len(MIGRATIONS):
        connection.close()
        raise EnvironmentUnfit(f"{path}: a newer husai wrote it (schema {version}); use that one")
    return connection


def list_jobs(
    connection: sqlite3.Connection,
    study: str | None = None,
    directories: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Return jobs, inputs first, as plain values; `state` may be `paused`, too."""
    where, values = "", list(directories or ())
    if study is not None:
        where, values = (
            "WHERE jobs.directory IN (SELECT directory FROM members WHERE study = ?)",
            [study],
        )
    elif directories is not None:
        where = f"WHERE jobs.directory IN ({', '.join('?' * len(values))})"
    rows = connection.execute(f"{_JOBS} {where} ORDER BY jobs.rank", values)
    found = []
    for row in rows:
        job = dict(row)
        if study is not None:
            job["study"] = study
        job["advice"] = ADVICE.get(job["failure"], "") if job["state"] == "failed" else ""
        found.append(job)
    return found


def list_studies(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the studies, oldest first, with how many of their jobs are in which state."""
    studies = {
        row["name"]: {**dict(row), **dict.fromkeys(STATES, 0)}
        for row in connection.execute(
            "SELECT name, profile, report, submitted FROM studies ORDER BY submitted"
        )
    }
    counts = connection.execute(
        f"SELECT members.study, {_SHOWN} AS shown, COUNT(*) AS jobs FROM members "
        "JOIN jobs ON jobs.directory = members.directory GROUP BY members.study, shown"
    )
    for study, state, jobs in counts:
        if study in studies:
            studies[study][state] = jobs
    return list(studies.values())


def referred(connection: sqlite3.Connection, studies: Sequence[str]) -> set[str]:
    """Return the run directories that some of these studies refer to."""
    rows = connection.execute("SELECT study, directory FROM members")
    return {row["directory"] for row in rows if row["study"] in set(studies)}
