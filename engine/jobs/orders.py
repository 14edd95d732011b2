"""What a person may do with queued jobs: pause, resume, cancel, retry, change the priority."""

from __future__ import annotations

import json
import sqlite3

from engine.jobs.entry import CANCEL, PAUSE
from engine.jobs.messages import Order
from engine.jobs.queue import Queue
from engine.jobs.targets import select


def carry_out(queue: Queue, message: str, order: Order) -> list[str]:
    """Apply an order to the queue and return the run directories that it changed.

    What it means for running workers follows from the table: whoever supervises them asks those to leave
    whose job is held.
    """
    chosen = select(queue.connection, order.target)
    with queue.transaction():
        queue.mark(message)
        if order.command == "retry":
            return _retry(queue.connection, chosen)
        if order.command == "cancel" and len(chosen) > 1:
            chosen = _not_shared(queue.connection, chosen, order.target)
        return [one for one in chosen if _change(queue.connection, one, order)]


def _change(connection: sqlite3.Connection, directory: str, order: Order) -> bool:
    statements = {
        "pause": f"held = {PAUSE} WHERE directory = ? AND state IN ('queued', 'running') AND held = 0",
        "resume": f"held = 0 WHERE directory = ? AND held = {PAUSE}",
        "priority": "priority = ? WHERE directory = ? AND state IN ('queued', 'running')",
        "cancel": (
            "state = CASE state WHEN 'queued' THEN 'cancelled' ELSE state END, "
            "reason = CASE state WHEN 'queued' THEN 'cancelled' ELSE reason END, "
            f"held = CASE state WHEN 'running' THEN {CANCEL} ELSE 0 END "
            "WHERE directory = ? AND state IN ('queued', 'running')"
        ),
    }
    values = (order.value, directory) if order.command == "priority" else (directory,)
    statement = f"UPDATE jobs SET {statements[order.command]}"
    return connection.execute(statement, values).rowcount == 1


def _not_shared(connection: sqlite3.Connection, chosen: list[str], study: str) -> list[str]:
    """Leave out the jobs that another study still waits for."""
    shared = {
        row["directory"]
        for row in connection.execute(
            "SELECT DISTINCT members.directory FROM members WHERE members.study != ?1 AND EXISTS ("
            "SELECT 1 FROM members AS own JOIN jobs ON jobs.directory = own.directory "
            "WHERE own.study = members.study AND jobs.state IN ('queued', 'running')) "
            "AND ?1 IN (SELECT name FROM studies)",
            (study,),
        )
    }
    return [one for one in chosen if one not in shared]


def _retry(connection: sqlite3.Connection, chosen: list[str]) -> list[str]:
    """Queue lost jobs again with what they need, and what was given up because of them; jobs that are held, or
    about to be cancelled, go on."""
    family = _closure(connection, chosen, "needed", "directory")
    family |= _closure(connection, list(family), "directory", "needed")
    lost = sorted(_among(connection, family, "('failed', 'cancelled', 'skipped')"))
    names = json.dumps(lost)
    connection.execute(
        "UPDATE jobs SET state = 'queued', held = 0, alone = 0, strikes = '{}', failure = '', reason = '' "
        "WHERE directory IN (SELECT value FROM json_each(?))",
        (names,),
    )
    # A report over what was left makes way for the whole one.
    for row in connection.execute(
        "SELECT report, whole FROM studies WHERE report != whole "
        "AND whole IN (SELECT value FROM json_each(?))",
        (names,),
    ).fetchall():
        connection.execute(
            "UPDATE jobs SET state = 'cancelled', reason = 'the whole report is made instead' "
            "WHERE directory = ? AND state = 'queued'",
            (row["report"],),
        )
        connection.execute("UPDATE studies SET report = whole WHERE report = ?", (row["report"],))
    held = sorted(set(chosen) & _among(connection, set(chosen), "('queued', 'running')"))
    freed = connection.execute(
        # A worker that was asked to leave does so; its job is then queued, not ended.
        "UPDATE jobs SET held = 0 WHERE held != 0 AND directory IN (SELECT value FROM json_each(?)) "
        "RETURNING directory",
        (json.dumps(held),),
    ).fetchall()
    return [*lost, *(row["directory"] for row in freed)]


def _closure(connection: sqlite3.Connection, start: list[str], to: str, given: str) -> set[str]:
    """Return the jobs that can be reached over `needs` from given ones, those included."""
    found, new = set(start), set(start)
    while new:
        rows = connection.execute(
            f"SELECT {to} FROM needs WHERE {given} IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(new)),),
        ).fetchall()
        new = {row[0] for row in rows} - found
        found |= new
    return found


def _among(connection: sqlite3.Connection, directories: set[str], states: str) -> set[str]:
    rows = connection.execute(f"SELECT directory FROM jobs WHERE state IN {states}")
    return {row["directory"] for row in rows} & directories


def pause_study(queue: Queue, study: str) -> None:
    """Hold the jobs of a study that no other one waits for: whoever stopped it decides when it goes on."""
    chosen = [job.directory for job in queue.members(study)]
    with queue.transaction():
        for directory in _not_shared(queue.connection, chosen, study):
            _change(queue.connection, directory, Order(command="pause", target=study))
