"""The queue's tables, and how a database of any age becomes one of today.

One file of stdlib `sqlite3` with a rollback journal: SQLite's write-ahead log has a corruption bug in 3.7.0 to
3.51.2, and only one process writes here anyway. `synchronous=FULL`: a commit survives the loss of power.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from engine.disk.atomic import sync_directory
from engine.errors import CorruptArtifact, EnvironmentUnfit

BUSY_SECONDS = 1.0
"""How long a writer waits for a lock before it goes on with other things and tries again."""

MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE jobs (
        rank INTEGER PRIMARY KEY AUTOINCREMENT,
        directory TEXT NOT NULL UNIQUE,
        key TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'queued'
            CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'skipped')),
        held INTEGER NOT NULL DEFAULT 0,
        alone INTEGER NOT NULL DEFAULT 0,
        priority INTEGER NOT NULL DEFAULT 0,
        attempt INTEGER NOT NULL DEFAULT 0,
        strikes TEXT NOT NULL DEFAULT '{}',
        progress INTEGER NOT NULL DEFAULT 0,
        failure TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '',
        device TEXT NOT NULL,
        slots INTEGER NOT NULL,
        threads INTEGER NOT NULL,
        memory_bytes INTEGER NOT NULL,
        disk_bytes INTEGER NOT NULL,
        steps INTEGER NOT NULL,
        work REAL NOT NULL,
        submitted REAL NOT NULL,
        started REAL,
        ended REAL,
        seconds REAL,
        file TEXT NOT NULL
    );
    CREATE INDEX ready ON jobs (state, priority DESC, rank);
    CREATE TABLE needs (
        directory TEXT NOT NULL,
        needed TEXT NOT NULL,
        PRIMARY KEY (directory, needed)
    ) WITHOUT ROWID;
    CREATE INDEX needed ON needs (needed);
    CREATE TABLE results (
        directory TEXT NOT NULL UNIQUE,
        attempt INTEGER NOT NULL,
        recorded REAL NOT NULL
    );
    CREATE TABLE studies (
        name TEXT PRIMARY KEY,
        profile TEXT NOT NULL,
        whole TEXT NOT NULL,
        report TEXT NOT NULL,
        submitted REAL NOT NULL
    );
    CREATE TABLE members (
        study TEXT NOT NULL,
        directory TEXT NOT NULL,
        PRIMARY KEY (study, directory)
    ) WITHOUT ROWID;
    CREATE INDEX member_of ON members (directory);
    CREATE TABLE messages (id TEXT PRIMARY KEY, applied REAL NOT NULL) WITHOUT ROWID;
    """,
)
"""Step n makes schema n of schema n − 1; a step that was ever released is never edited."""


def open_queue(path: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """Open the queue for writing, made or migrated as needed; rows are `sqlite3.Row`.

    Before the steps of a migration run, the database is copied to `<name>.schema-<n>`.

    Raises:
        EnvironmentUnfit: a newer version of the program wrote it.
        CorruptArtifact: it is damaged, or no database.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, path, migrations)
        check(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):  # locked, full, not writable: not damaged
            raise
        raise CorruptArtifact(f"{path}: {error}") from None
    except BaseException:
        connection.close()
        raise
    return connection


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise CorruptArtifact unless SQLite finds the database whole."""
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check")]
    if found != ["ok"]:
        raise CorruptArtifact(f"{path}: {found[0]}")


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(migrations):
        raise EnvironmentUnfit(
            f"{path}: has schema {version}, this version knows {len(migrations)}; "
            "a newer husai wrote it: use that one, or another --runs folder"
        )
    if 0 < version < len(migrations):
        back_up(connection, path.with_name(f"{path.name}.schema-{version}"))
    for number in range(version, len(migrations)):
        # One transaction per step: a kill leaves the schema before it or the one after it.
        script = (
            f"BEGIN IMMEDIATE; {migrations[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
        )
        connection.executescript(script)


def back_up(connection: sqlite3.Connection, copy: Path) -> None:
    """Copy a database as it is now: written aside, looked through, renamed into place.

    Raises:
        CorruptArtifact: the copy is damaged, so the database is; an earlier copy stays.
    """
    aside = copy.with_name(f".{copy.name}.tmp")
    aside.unlink(missing_ok=True)
    os.close(os.open(aside, os.O_RDWR | os.O_CREAT, 0o600))
    try:
        with closing(sqlite3.connect(aside)) as target:
            connection.backup(target)
            check(target, aside)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise CorruptArtifact(f"{aside}: {error}") from None
    os.replace(aside, copy)
    sync_directory(copy.parent)


def set_aside(path: Path) -> Path:
    """Rename a damaged database and its journal so that nothing opens it by mistake; return its new name."""
    damaged = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    # The database first: without its journal it might pass for a whole one.
    if path.exists():
        os.replace(path, damaged)
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists():
        os.replace(journal, damaged.with_name(f"{damaged.name}-journal"))
    return damaged
