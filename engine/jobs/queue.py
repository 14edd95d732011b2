"""The queue: a thin table over SQLite, written by one process, in which no job is lost or done twice.

Every change is one transaction that takes the write lock first. A job carries the number of its attempt; what
an earlier attempt says of it changes nothing. The result of a job can be recorded once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.disk.failpoints import failpoint
from engine.jobs.entry import CANCEL, COLUMNS, LOST, PAUSE, Entry, entry
from engine.jobs.failures import Failure, Sort
from engine.jobs.messages import AskedJob, Submission
from engine.jobs.schema import open_queue

_UNMET = """EXISTS (SELECT 1 FROM needs JOIN jobs AS other ON other.directory = needs.needed
    WHERE needs.directory = jobs.directory AND other.state {condition})"""
_WAITS = _UNMET.format(condition="!= 'done'")
_ORPHAN = _UNMET.format(condition="IN ('failed', 'cancelled', 'skipped')")
_OPEN = _UNMET.format(condition="IN ('queued', 'running')")


_BACK = (
    f"state = CASE held WHEN {CANCEL} THEN 'cancelled' ELSE 'queued' END, "
    f"held = CASE held WHEN {PAUSE} THEN {PAUSE} ELSE 0 END"
)
"""What happens to a job that is to run again, unless somebody wants it to stay or to go."""


class Queue:
    """The queue of a runs root, open for writing."""

    def __init__(self, path: Path) -> None:
        """Open it, made or migrated as needed; for errors see `open_queue`."""
        self.connection = open_queue(path)

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all that happens inside, or nothing of it; one inside another is part of that."""
        if self.connection.in_transaction:
            yield
            return
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            failpoint("queue.before-commit")
            self.connection.execute("COMMIT")
            failpoint("queue.after-commit")
        except BaseException:
            # A full disk may have ended the transaction already.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def applied(self, message: str) -> bool:
        """Return whether a message has had its effect."""
        found = self.connection.execute("SELECT 1 FROM messages WHERE id = ?", (message,))
        return found.fetchone() is not None

    def mark(self, message: str) -> None:
        """Note, inside a transaction, that a message has its effect with it."""
        self.connection.execute("INSERT INTO messages VALUES (?, ?)", (message, time.time()))

    def submit(self, message: str, asked: Submission) -> None:
        """Add the jobs of a study.

        A job that is there already is queued again unless it runs: whether its result is sound is looked at
        when its turn comes, and then it costs nothing.
        """
        with self.transaction():
            for job in asked.jobs:
                self._add(job, asked.priority)
            now = time.time()
            study = (asked.study, asked.profile, asked.report, asked.report, now)
            self.connection.execute("INSERT OR REPLACE INTO studies VALUES (?, ?, ?, ?, ?)", study)
            self.connection.execute("DELETE FROM members WHERE study = ?", (asked.study,))
            members = [(asked.study, job.directory) for job in asked.jobs]
            self.connection.executemany("INSERT OR IGNORE INTO members VALUES (?, ?)", members)
            self.connection.execute(
                "UPDATE jobs SET state = 'cancelled', reason = 'its study was submitted anew without it' "
                "WHERE state = 'queued' AND directory NOT IN (SELECT directory FROM members)"
            )
            self.mark(message)

    def _add(self, job: AskedJob, priority: int) -> None:
        file = job.file
        values = {
            "directory": job.directory,
            "key": file.key,
            "kind": file.kind,
            "name": file.name,
            "device": str(file.placement.get("device", "cpu")),
            "priority": priority,
            "slots": job.slots,
            "threads": file.threads,
            "memory_bytes": job.memory_bytes,
            "disk_bytes": job.disk_bytes,
            "steps": job.steps,
            "work": file.work,
            "submitted": time.time(),
            "file": file.model_dump_json(),
        }
        new = "CASE jobs.state WHEN 'running' THEN 'running' ELSE 'queued' END"
        self.connection.execute(
            f"INSERT INTO jobs ({', '.join(values)}) VALUES ({', '.join(':' + name for name in values)}) "
            f"ON CONFLICT (directory) DO UPDATE SET state = {new}, held = 0, strikes = '{{}}', alone = 0, "
            "failure = '', reason = '', priority = max(priority, excluded.priority), file = excluded.file, "
            "slots = excluded.slots, memory_bytes = excluded.memory_bytes",
            values,
        )
        self.connection.execute("DELETE FROM results WHERE directory = ?", (job.directory,))
        needs = [(job.directory, needed) for needed in set(file.inputs.values())]
        self.connection.executemany("INSERT OR IGNORE INTO needs VALUES (?, ?)", needs)

    def ready(self, passing_over: Collection[str] = (), study: str | None = None) -> Entry | None:
        """Return the job whose turn it is: of the highest priority the oldest whose inputs are all there."""
        mine = (
            "AND jobs.directory IN (SELECT directory FROM members WHERE study = ?)" if study else ""
        )
        row = self.connection.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE state = 'queued' AND held = 0 "
            "AND jobs.directory NOT IN (SELECT value FROM json_each(?)) "
            f"AND NOT {_WAITS} {mine} ORDER BY priority DESC, rank LIMIT 1",
            [json.dumps(list(passing_over)), *([study] if study else [])],
        ).fetchone()
        return entry(row) if row else None

    def claim(self, directory: str, above: int = 0) -> tuple[Entry, str] | None:
        """Take a job that is ready, with an attempt of a number greater than `above`: return it and its job
        file, None if somebody was faster."""
        with self.transaction():
            row = self.connection.execute(
                "UPDATE jobs SET state = 'running', attempt = max(attempt, ?) + 1, started = ?, ended = NULL "
                "WHERE directory = ? AND state = 'queued' AND held = 0 "
                f"AND NOT {_WAITS} RETURNING {COLUMNS.replace('jobs.', '')}, file",
                (above, time.time(), directory),
            ).fetchone()
        if row is None:
            return None
        values = dict(row)
        file = str(values.pop("file"))
        return Entry(**values), file

    def accept(self, directory: str, attempt: int) -> bool:
        """Take a queued job as done: its result is there already, of an attempt that this queue may never have
        seen."""
        with self.transaction():
            new = self._one(
                "UPDATE jobs SET state = 'done', failure = '', reason = '', held = 0, "
                "attempt = max(attempt, ?) "
                "WHERE directory = ? AND state = 'queued'",
                (attempt, directory),
            )
            if new:
                self._record(directory, attempt)
        return new

    def _record(self, directory: str, attempt: int) -> None:
        values = (directory, attempt, time.time())
        self.connection.execute("INSERT INTO results VALUES (?, ?, ?)", values)

    def finish(self, directory: str, attempt: int, seconds: float) -> bool:
        """Record the result of an attempt; return whether it still was the attempt that counts."""
        with self.transaction():
            if not self._end(directory, attempt, ("done", "", ""), seconds):
                return False
            self._record(directory, attempt)
        return True

    def fail(self, directory: str, attempt: int, failure: Failure, seconds: float) -> bool:
        """End a job without a result; return whether it still was the attempt that counts."""
        with self.transaction():
            return self._end(directory, attempt, ("failed", failure.sort, failure.message), seconds)

    def _end(self, directory: str, attempt: int, how: tuple[str, str, str], seconds: float) -> bool:
        return self._one(
            "UPDATE jobs SET state = ?, failure = ?, reason = ?, held = 0, ended = ?, seconds = ? "
            "WHERE directory = ? AND attempt = ? AND state = 'running'",
            (*how, time.time(), seconds, directory, attempt),
        )

    def release(self, directory: str, attempt: int) -> bool:
        """Put a running job back, without blame: it was asked to leave. One that is to be cancelled is."""
        with self.transaction():
            return self._one(
                f"UPDATE jobs SET {_BACK}, reason = CASE held WHEN {CANCEL} THEN 'cancelled' ELSE '' END "
                "WHERE directory = ? AND attempt = ? AND state = 'running'",
                (directory, attempt),
            )

    def strikes(self, directory: str, sort: Sort) -> int:
        """Return how many failures of a sort a job has had."""
        row = self.connection.execute(
            "SELECT strikes FROM jobs WHERE directory = ?", (directory,)
        ).fetchone()
        return int(json.loads(row["strikes"]).get(sort, 0))

    def strike(
        self,
        directory: str,
        attempt: int,
        failure: Failure,
        progress: int,
    ) -> bool:
        """Queue a job again after a failure that may pass, and count it.

        Args:
            directory: the job.
            attempt: the attempt that failed.
            failure: why.
            progress: how far it has come, in steps; a job that has come further since it was last lost is
                not on its way to be given up.
        """
        with self.transaction():
            row = self.connection.execute(
                "SELECT strikes, progress FROM jobs WHERE directory = ? AND attempt = ? "
                "AND state = 'running'",
                (directory, attempt),
            ).fetchone()
            if row is None:
                return False
            counts = json.loads(row["strikes"])
            if progress > row["progress"]:
                counts.pop("lost", None)
            counts[failure.sort] = counts.get(failure.sort, 0) + 1
            return self._one(
                f"UPDATE jobs SET {_BACK}, strikes = ?, progress = max(progress, ?), failure = ?, "
                "reason = ?, alone = max(alone, ?) WHERE directory = ?",
                (
                    json.dumps(counts),
                    progress,
                    failure.sort,
                    failure.message,
                    failure.sort == "memory",
                    directory,
                ),
            )

    def redo(self, directories: Sequence[str]) -> None:
        """Queue finished jobs again: their results were found damaged."""
        with self.transaction():
            for directory in directories:
                self.connection.execute("DELETE FROM results WHERE directory = ?", (directory,))
                self.connection.execute(
                    "UPDATE jobs SET state = 'queued', reason = 'its result was damaged' "
                    "WHERE directory = ? AND state = 'done'",
                    (directory,),
                )

    def refuse(self, directory: str, sort: Sort, reason: str) -> None:
        """Fail a job without an attempt: it cannot be made, or nobody may build upon its result."""
        with self.transaction():
            self.connection.execute(
                "UPDATE jobs SET state = 'failed', held = 0, failure = ?, reason = ? WHERE directory = ?",
                (sort, reason, directory),
            )

    def skip_orphans(self) -> list[Entry]:
        """Give up queued jobs whose inputs will never come, but for reports; return them."""
        lost = self._entries(f"state = 'queued' AND kind != 'report' AND {_ORPHAN}")
        if not lost:
            return []
        with self.transaction():
            for orphan in lost:
                needs = ", ".join(n.name for n in self.needs(orphan.directory) if n.state in LOST)
                self.connection.execute(
                    "UPDATE jobs SET state = 'skipped', held = 0, reason = ? WHERE directory = ?",
                    (f"needs {needs}", orphan.directory),
                )
        return [*lost, *self.skip_orphans()]

    def broken_reports(self) -> list[Entry]:
        """Return queued reports that lack some input for good while nothing else of theirs is still to come."""
        return self._entries(
            f"state = 'queued' AND kind = 'report' AND held = 0 AND {_ORPHAN} AND NOT {_OPEN}"
        )

    def replace_report(self, broken: str, reason: str, rest: AskedJob | None) -> None:
        """Put a report over what is there in the place of one that lacks inputs; None: nothing is there."""
        with self.transaction():
            row = self.connection.execute(
                "SELECT priority FROM jobs WHERE directory = ?", (broken,)
            ).fetchone()
            self.connection.execute(
                "UPDATE jobs SET state = 'skipped', reason = ? WHERE directory = ?",
                (reason, broken),
            )
            if rest is None:
                return
            self._add(rest, int(row["priority"]))
            for (study,) in self.connection.execute(
                "SELECT name FROM studies WHERE report = ?", (broken,)
            ).fetchall():
                member = (study, rest.directory)
                self.connection.execute("INSERT OR IGNORE INTO members VALUES (?, ?)", member)
            self.connection.execute(
                "UPDATE studies SET report = ? WHERE report = ?", (rest.directory, broken)
            )

    def file(self, directory: str) -> str:
        """Return the text of a job's `job.json`."""
        row = self.connection.execute("SELECT file FROM jobs WHERE directory = ?", (directory,))
        return str(row.fetchone()["file"])

    def find(self, directory: str) -> Entry | None:
        """Return a job, None if it is unknown."""
        return next(iter(self._entries("directory = ?", (directory,))), None)

    def needs(self, directory: str) -> list[Entry]:
        """Return the jobs whose artifacts a job reads."""
        reads = "directory IN (SELECT needed FROM needs WHERE directory = ?)"
        return self._entries(reads, (directory,))

    def running(self) -> list[Entry]:
        """Return the jobs that have been claimed and not ended."""
        return self._entries("state = 'running'")

    def members(self, study: str) -> list[Entry]:
        """Return the jobs of a study, inputs first."""
        inside = "directory IN (SELECT directory FROM members WHERE study = ?)"
        return self._entries(inside, (study,))

    def study_of_report(self, directory: str) -> str | None:
        """Return the study whose report a job makes, None if it makes none."""
        row = self.connection.execute(
            "SELECT name FROM studies WHERE report = ?", (directory,)
        ).fetchone()
        return str(row["name"]) if row else None

    def _entries(self, where: str, values: Sequence[Any] = ()) -> list[Entry]:
        rows = self.connection.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE {where} ORDER BY rank", values
        )
        return [entry(row) for row in rows]

    def _one(self, statement: str, values: Sequence[Any]) -> bool:
        return self.connection.execute(statement, values).rowcount == 1
