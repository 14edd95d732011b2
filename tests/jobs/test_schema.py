from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.errors import CorruptArtifact, EnvironmentUnfit
from engine.jobs.schema import back_up, open_queue

FIRST = ("CREATE TABLE jobs (name TEXT)",)
SECOND = (*FIRST, "ALTER TABLE jobs ADD COLUMN state TEXT DEFAULT 'queued'")
BROKEN = (*FIRST, "ALTER TABLE jobs ADD COLUMN state TEXT; CREATE TABLE jobs (again TEXT)")


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of the first schema with one row."""
    path = tmp_path / "queue.sqlite3"
    with closing(open_queue(path, FIRST)) as connection:
        connection.execute("INSERT INTO jobs VALUES ('kept')")
    return path


def test_a_new_database_is_private_and_survives_the_loss_of_power(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite3"
    with closing(open_queue(path)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL"
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "truncate"
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_old_database_is_copied_and_then_migrated(old: Path) -> None:
    with closing(open_queue(old, SECOND)) as connection:
        rows = [tuple(row) for row in connection.execute("SELECT name, state FROM jobs")]
    assert rows == [("kept", "queued")]
    assert (version(old), version(old.with_name("queue.sqlite3.schema-1"))) == (2, 1)


def test_a_migration_that_fails_leaves_the_schema_before_it(old: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        open_queue(old, BROKEN)
    assert version(old) == 1
    with closing(open_queue(old, FIRST)) as connection:
        assert [row["name"] for row in connection.execute("SELECT * FROM jobs")] == ["kept"]


def test_a_newer_database_is_refused_and_left_alone(old: Path) -> None:
    open_queue(old, SECOND).close()
    before = old.read_bytes()
    with pytest.raises(EnvironmentUnfit, match=r"has schema 2, this version knows 1.*newer husai"):
        open_queue(old, FIRST)
    assert old.read_bytes() == before


@pytest.mark.parametrize("damage", ["no database", "overwritten page"])
def test_a_damaged_database_is_never_worked_on(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite3"
    with closing(open_queue(path, FIRST)) as connection:
        connection.executemany("INSERT INTO jobs VALUES (?)", [("x" * 500,)] * 200)
    data = bytearray(path.read_bytes())
    if damage == "no database":
        data[:16] = b"not a database.."
    else:
        data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(data)
    with pytest.raises(CorruptArtifact, match=r"queue\.sqlite3"):
        open_queue(path, FIRST)


def test_a_damaged_database_never_replaces_its_last_copy(tmp_path: Path) -> None:
    path, copy = tmp_path / "queue.sqlite3", tmp_path / "copy"
    with closing(open_queue(path, FIRST)) as connection:
        connection.executemany("INSERT INTO jobs VALUES (?)", [("x" * 500,)] * 200)
        back_up(connection, copy)
    whole, data = copy.read_bytes(), bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(data)
    with (
        closing(sqlite3.connect(path)) as connection,
        pytest.raises(CorruptArtifact, match="copy"),
    ):
        back_up(connection, copy)
    assert copy.read_bytes() == whole


def test_a_copy_is_whole(old: Path, tmp_path: Path) -> None:
    with closing(open_queue(old, FIRST)) as connection:
        back_up(connection, tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("SELECT name FROM jobs").fetchall() == [("kept",)]
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
