"""A supervisor's life: the lock, the queue or what can be saved of it, the log, the state that it shows."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from logging.handlers import RotatingFileHandler
from typing import Self

from engine.disk.failpoints import enter_role, failpoint
from engine.disk.heartbeat import boot_id, start_of
from engine.disk.inbox import Inbox
from engine.disk.root import PRIVATE_UMASK, RunsRoot
from engine.errors import CorruptArtifact, InputError, Interrupted
from engine.jobs.events import Event, silence
from engine.jobs.launch import Launcher
from engine.jobs.lock import Mode, hold
from engine.jobs.messages import Submission
from engine.jobs.orders import pause_study
from engine.jobs.queue import Queue
from engine.jobs.schema import back_up, set_aside
from engine.jobs.supervisor import Limits, Supervisor, log, supervising
from engine.study.profile import Placement

LOG_BYTES, LOG_FILES = 4 << 20, 3
STATE_SECONDS = 1.0
BACKUP_SECONDS = 300.0
MOST_RESTORED = 5
"""How often a queue that is damaged under its supervisor is restored by it: then the disk is at fault."""


def serve(
    root: RunsRoot,
    placement: Placement,
    launcher: Launcher,
    *,
    stop: Callable[[], bool],
    mode: Mode = "service",
    submission: Submission | None = None,
    report: Callable[[Event], None] = silence,
    limits: Limits | None = None,
) -> None:
    """Supervise a runs root until asked to stop.

    Args:
        root: prepared runs root.
        placement: what this machine gives.
        launcher: starts workers.
        stop: asked between ticks; true means: let workers save and leave, then return.
        mode: how this supervisor came to be.
        submission: work for this study alone, and return when it has ended.
        report: told of every event.
        limits: how patient to be.

    Raises:
        EnvironmentUnfit: another supervisor is there, or a newer version wrote the queue.
        Interrupted: it was stopped before the study had ended; the study's jobs are paused.
    """
    os.umask(PRIVATE_UMASK)
    enter_role("supervisor")
    study = submission.study if submission else None
    with hold(root.lock_file, root.path, mode), _logging(root):
        name = Inbox(root.inbox).drop(submission.model_dump(mode="json")) if submission else ""
        restored = 0
        while True:
            with closing(open_or_restore(root, stop)) as queue:
                supervisor = Supervisor(
                    root, queue, placement, launcher, study=study, report=report, limits=limits
                )
                log.info(
                    "up: process %d, %s, %d slots", os.getpid(), placement.profile, placement.slots
                )
                try:
                    with _Life(root, queue, supervisor, mode, placement) as life:
                        _work(supervisor, life, stop, study, name)
                except sqlite3.DatabaseError as damage:
                    # The kinds of this error are a full disk, a lock, a bug; itself it is damage.
                    restored += 1
                    if type(damage) is not sqlite3.DatabaseError or restored > MOST_RESTORED:
                        raise
                    log.error("the queue was damaged meanwhile: %s", damage)
                    set_aside(root.database)  # so that it is restored
                    continue
                if study and not _ended(supervisor, name):
                    with contextlib.suppress(sqlite3.OperationalError):  # locked: it just goes on
                        pause_study(queue, study)
                    raise Interrupted("stopped; the same command goes on where it was")
                return


def _work(
    supervisor: Supervisor,
    life: _Life,
    stop: Callable[[], bool],
    study: str | None,
    submission: str,
) -> None:
    """Work until asked to stop, or until the one study to work for has ended; raise InputError if that study
    was refused."""
    refused = supervisor.inbox.refused / submission
    while not stop() and not _ended(supervisor, submission):
        supervisor.careful_tick()
        life.show()
        if refused.is_file():
            said = f"see {supervisor.root.log_file}"
            raise InputError(study or "", "its submission was refused", said)
        supervisor.wait()


def _ended(supervisor: Supervisor, submission: str) -> bool:
    """Return whether the one study to work for has ended.

    What an earlier call has left of it says nothing about this one, and who has locked the queue keeps us from
    knowing, not from going on.
    """
    with contextlib.suppress(sqlite3.OperationalError):
        return supervisor.queue.applied(submission) and supervisor.ended()
    return False


class _Life:
    """Shows in a file that the supervisor is well, copies the queue now and then, and drains at the end."""

    def __init__(
        self, root: RunsRoot, queue: Queue, supervisor: Supervisor, mode: Mode, placement: Placement
    ) -> None:
        self._root, self._queue, self._supervisor = root, queue, supervisor
        self._shown = self._copied = float("-inf")
        self._changes = -1
        self._fixed = {
            "pid": os.getpid(),
            "started": start_of(os.getpid()),
            "boot": boot_id(),
            "mode": mode,
            "profile": placement.profile,
            "device": placement.device,
            "slots": placement.slots,
            "threads": placement.threads,
            "since": time.time(),
        }

    def __enter__(self) -> Self:
        self.show()
        return self

    def __exit__(self, *_: object) -> None:
        log.info("down: %d workers save and leave", len(self._supervisor.running))
        with supervising(self._supervisor):
            self._supervisor.draining = True
            self.show(at_once=True)
        self._copy()
        with contextlib.suppress(OSError):
            self._root.state_file.unlink(missing_ok=True)
        log.info("down: every worker has left")

    def show(self, *, at_once: bool = False) -> None:
        """Write what clients are told, once a second; a full disk keeps nobody from working."""
        now = time.monotonic()
        if now - self._shown >= STATE_SECONDS or at_once:
            self._shown = now
            state = {
                **self._fixed,
                "state": "draining" if self._supervisor.draining else "up",
                "beat": time.time(),
                "running": len(self._supervisor.running),
                "trouble": self._supervisor.trouble,
            }
            aside = self._root.state_file.with_name(".supervisor.json.tmp")
            with contextlib.suppress(OSError):
                aside.write_text(json.dumps(state))
                os.replace(aside, self._root.state_file)
        if now - self._copied >= BACKUP_SECONDS:
            self._copy()

    def _copy(self) -> None:
        self._copied = time.monotonic()
        changes = self._queue.connection.total_changes
        if changes != self._changes:
            try:
                back_up(self._queue.connection, self._root.backup)
                self._changes = changes
                Inbox(self._root.inbox).forget_old()  # the copy holds what they did
            except CorruptArtifact as damage:
                log.error("the queue is damaged (%s); its last copy is kept", damage)
            except (OSError, sqlite3.Error) as error:
                log.warning("the queue could not be copied now: %s", error)


def open_or_restore(root: RunsRoot, stop: Callable[[], bool]) -> Queue:
    """Open the queue. A damaged one is set aside; its last copy and the messages since then make a new one.

    Raises:
        EnvironmentUnfit: a newer version wrote it.
        Interrupted: asked to stop while another program had it locked.
    """
    while True:
        try:
            if _is_lost(root):
                _restore(root)
            return Queue(root.database)
        except CorruptArtifact as damage:
            damaged = set_aside(root.database)
            log.error("the queue is damaged (%s); it is kept as %s", damage, damaged.name)
        except sqlite3.OperationalError as error:
            log.warning("the queue cannot be opened now: %s", error)
            if stop():
                raise Interrupted(f"{root.database}: {error}; stopped while waiting") from None
            time.sleep(0.5)


def _is_lost(root: RunsRoot) -> bool:
    """Return whether there is no queue where there was one: it was set aside, removed, or cut to nothing."""
    there = root.database.is_file() and root.database.stat().st_size > 0
    return not there and (root.backup.is_file() or bool(Inbox(root.inbox).archive()))


def _restore(root: RunsRoot) -> None:
    """Put the last copy in the place of the queue. A kill at any place leaves the queue lost: the next start
    begins this again."""
    # What the copy has not seen is applied again, in order; results lie in the run directories.
    inbox = Inbox(root.inbox)
    for path in inbox.archive():
        os.replace(path, inbox.path / path.name)
    failpoint("restore.before-copy")
    set_aside(root.database)  # a journal that is left would be rolled back into the copy
    if root.backup.is_file():
        try:
            with closing(Queue(root.backup)) as copy:
                back_up(copy.connection, root.database)
            log.warning("restored from its last copy")
        except CorruptArtifact as error:
            set_aside(root.backup)
            log.error("its copy is damaged, too: %s", error)


@contextmanager
def _logging(root: RunsRoot) -> Iterator[None]:
    handler = RotatingFileHandler(root.log_file, maxBytes=LOG_BYTES, backupCount=LOG_FILES)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
