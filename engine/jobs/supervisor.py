"""The supervisor: takes messages, gives ready jobs to free slots, watches workers, settles what they leave.

Everything that it must not forget is in the queue and the run directories; what it holds in memory can be found
again from those. A tick may end anywhere by an error of the disk or a locked database: the next one goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.disk.inbox import Inbox
from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.disk.text import visible_line
from engine.errors import CorruptArtifact, HusaiError, InputError
from engine.jobs import failures
from engine.jobs.capacity import RESERVE_BYTES, Beside, Capacity
from engine.jobs.entry import CANCEL, ENDED, Entry
from engine.jobs.events import Event, silence
from engine.jobs.launch import Handle, Launcher
from engine.jobs.messages import Submission, read_message
from engine.jobs.orders import carry_out
from engine.jobs.publication import publish_report, write_study
from engine.jobs.queue import Queue
from engine.jobs.rest import report_over_the_rest
from engine.jobs.settle import Verdict, decide, gate_refusal, result_attempt, result_seconds
from engine.jobs.workers import LEASE_SECONDS, Gone, Lease, Placed, adopt
from engine.study.profile import Placement

log = logging.getLogger("husai.supervisor")

_UNFIT_MESSAGE = (InputError, OSError, ValueError, OverflowError, sqlite3.IntegrityError)
"""What a message raises that the table cannot hold: it is refused, or every later start would fail by it."""


@dataclass(frozen=True)
class Limits:
    """How patient a supervisor is; tests are less so."""

    lease_seconds: float = LEASE_SECONDS
    """Silence after which a worker is given up."""
    grace_seconds: float = 30.0
    """Time that workers have to save and leave."""
    reserve_bytes: int = RESERVE_BYTES
    """Space on disk that is never planned for."""
    backoff_seconds: float = failures.BACKOFF_SECONDS
    """Wait before a second attempt; later ones wait longer."""
    busy_seconds: float = 0.05
    """Longest wait between two looks while workers run."""
    idle_seconds: float = 0.25
    """The same while none does."""


class Supervisor:
    """Works off the queue of one runs root; whoever makes one holds the root's lock."""

    def __init__(
        self,
        root: RunsRoot,
        queue: Queue,
        placement: Placement,
        launcher: Launcher,
        *,
        study: str | None = None,
        report: Callable[[Event], None] = silence,
        limits: Limits | None = None,
    ) -> None:
        """Prepare.

        Args:
            root: where everything is.
            queue: its queue.
            placement: what this machine gives.
            launcher: starts workers.
            study: work for this study alone; None: for all.
            report: told of every event.
            limits: how patient to be.
        """
        self.root, self.queue = root, queue
        self.inbox = Inbox(root.inbox)
        self.limits = limits or Limits()
        self.capacity = Capacity(placement, root.path, self.limits.reserve_bytes)
        self.trouble = ""
        """Why nothing starts now: a full disk, a locked database; nothing if all is well."""
        self.draining = False
        self._launcher, self._study, self._report = launcher, study, report
        self._placed: dict[str, Placed] = {}
        self._later: dict[str, float] = {}
        """Directory → monotonic time before which it is not tried again."""
        self._orphans = True
        """Whether jobs may have been lost that others wait for; looking is dear in a long queue."""

    @property
    def running(self) -> list[Placed]:
        """The attempts that run now."""
        return list(self._placed.values())

    def tick(self) -> None:
        """Do everything that is due now."""
        self._take_messages()
        self._adopt()
        # What has ended and what takes its place is one commit: each costs several fsyncs. If it fails, the
        # next tick settles the ended ones again, knowing how they ended and what they were asked.
        before = dict(self._placed)
        try:
            with self.queue.transaction():
                self._collect()
                self._give_up()
                claimed = [] if self.draining else self._claim_ready()
        except BaseException:
            self._placed, self._orphans = before, True
            raise
        for one, file in claimed:
            self._start(one.job, file, one.gpu)

    def careful_tick(self) -> None:
        """Do everything that is due now; what a full disk or a locked database keeps from being done waits."""
        try:
            self.tick()
        except sqlite3.OperationalError as error:
            self._set_trouble(f"the queue cannot be written now: {error}")
        except OSError as error:
            if not (lack := failures.want_of_room(error)):
                raise
            self._set_trouble(lack)

    def wait(self) -> None:
        """Wait until something may be due."""
        idle = not self._placed
        self._launcher.wait(self.limits.idle_seconds if idle else self.limits.busy_seconds)

    def ended(self) -> bool:
        """Return whether the study that this works for has no job left to do."""
        if self._study is None or self._placed:
            return False
        jobs = self.queue.members(self._study)
        return bool(jobs) and all(job.state in ENDED or job.held for job in jobs)

    def drain(self) -> None:
        """Ask all workers to save and leave, and wait; end those that do not in time."""
        self.draining = True
        deadline = time.monotonic() + self.limits.grace_seconds
        while self._placed and time.monotonic() < deadline:
            for placed in self.running:
                placed.ask_to_leave()
            self._drain_step()
            time.sleep(min(0.02, self.limits.busy_seconds))
        for placed in self.running:
            log.warning("%s: did not leave in time; it is ended", visible_line(placed.job.name))
            placed.handle.kill()
        deadline = time.monotonic() + 5.0
        while self._placed and time.monotonic() < deadline:
            self._drain_step()
            time.sleep(0.02)

    def _drain_step(self) -> None:
        with contextlib.suppress(sqlite3.OperationalError, OSError):
            self._collect()

    def _set_trouble(self, reason: str) -> None:
        if reason != self.trouble:
            log.warning("%s", visible_line(reason)) if reason else log.info("going on")
        self.trouble = reason

    def _take_messages(self) -> None:
        for path in self.inbox.waiting():
            if not self.queue.applied(path.name):
                try:
                    self._apply(path.name, self.inbox.read(path))
                except _UNFIT_MESSAGE as error:
                    if failures.want_of_room(error):
                        raise
                    log.warning("refused message %s: %s", path.name, visible_line(str(error)))
                    self.inbox.put_away(path, self.inbox.refused)
                    continue
            self.inbox.put_away(path, self.inbox.taken)

    def _apply(self, name: str, data: dict[str, object]) -> None:
        message = read_message(data, name)
        self._orphans = True
        if isinstance(message, Submission):
            write_study(self.root, message.study, message.yaml)
            self.queue.submit(name, message)
            log.info("submitted %s: %d jobs", message.study, len(message.jobs))
            return
        changed = carry_out(self.queue, name, message)
        for directory in changed:
            self._later.pop(directory, None)
        log.info("%s %s: %d jobs", message.command, visible_line(message.target), len(changed))

    def _adopt(self) -> None:
        """Take over running jobs that are not ours yet; one without a worker is settled by what it left."""
        for job in self.queue.running():
            placed = self._placed.get(job.directory)
            if placed is not None:
                if job.held:
                    placed.ask_to_leave()
                continue
            try:
                run = self.root.run(job.directory)
            except InputError as error:
                self._spoil(job, error)
                continue
            handle = adopt(run, job.attempt)
            said = "taken over" if handle else "found without a worker"
            log.info("%s: attempt %d %s", visible_line(job.name), job.attempt, said)
            there = handle or Gone()
            self._place(Beside(job, there.gpu), run, there, adopted=True)

    def _place(self, one: Beside, run: RunDirectory, handle: Handle, *, adopted: bool) -> None:
        job, lease = one.job, Lease(self.limits.lease_seconds)
        placed = Placed(job, job.attempt, run, handle, lease, adopted=adopted, gpu=one.gpu)
        self._placed[job.directory] = placed
        self._report(Event("started", job))

    def _collect(self) -> None:
        for placed in self.running:
            code = placed.poll()
            if code is None:
                placed.watch()
                self._report(Event("running", placed.job, placed.seconds))
                continue
            self._orphans = True
            try:
                self._settle(placed, code)
            except (HusaiError, OSError) as error:
                self._spoil(placed.job, error)
            del self._placed[placed.job.directory]

    def _settle(self, placed: Placed, code: int) -> None:
        job, attempt, seconds = placed.job, placed.attempt, placed.seconds
        full = bool(self.capacity.short_of_disk())
        verdict = decide(placed, code, self.queue, disk_is_full=full)
        if verdict.what == "done":
            if placed.adopted:  # we have seen only the end of it
                seconds = result_seconds(placed.run) or seconds
            self._publish(job)
            self.queue.finish(job.directory, attempt, seconds)
            log.info("%s: done in %.1f s", visible_line(job.name), seconds)
            self._report(Event("done", job, seconds))
        elif verdict.what == "released":
            cancelled = (now := self.queue.find(job.directory)) is not None and now.held == CANCEL
            self.queue.release(job.directory, attempt)
            log.info("%s: saved and left", visible_line(job.name))
            if cancelled:
                self._report(Event("failed", job, seconds, "cancelled"))
        elif verdict.what == "again":
            self._try_again(placed, verdict)
        else:
            self._fail(job, verdict.failure, seconds)

    def _fail(self, job: Entry, failure: failures.Failure, seconds: float) -> None:
        why = visible_line(failure.message)
        self.queue.fail(job.directory, job.attempt, failure, seconds)
        log.error("%s: failed (%s): %s", visible_line(job.name), failure.sort, why)
        log.error("  advice: %s", failures.ADVICE[failure.sort])
        self._report(Event("failed", job, seconds, why))

    def _spoil(self, job: Entry, error: HusaiError | OSError) -> None:
        """End one running job for an error of its folder, which is no reason to stop the others."""
        if failures.want_of_room(error):
            raise error
        self._orphans = True
        self._fail(job, failures.spoiled(error), 0.0)

    def _try_again(self, placed: Placed, verdict: Verdict) -> None:
        job, failure = placed.job, verdict.failure
        if failure.sort == "damaged":
            self._redo_inputs(job)
        progress = placed.run.progress()
        if not self.queue.strike(job.directory, placed.attempt, failure, progress):
            return
        count = self.queue.strikes(job.directory, failure.sort)
        pause = failures.backoff(count, self.limits.backoff_seconds)
        self._later[job.directory] = time.monotonic() + pause
        said = f"failed ({failure.message}); trying once more"
        log.warning("%s: %s in %.0f s", visible_line(job.name), visible_line(said), pause)
        self._report(Event("note", job, placed.seconds, said))

    def _redo_inputs(self, job: Entry) -> None:
        damaged = [
            n for n in self.queue.needs(job.directory) if not self.root.run(n.directory).sound()
        ]
        for one in damaged:
            log.warning("%s: its result is damaged; it is made again", visible_line(one.name))
            self.root.run(one.directory).discard()
        self.queue.redo([one.directory for one in damaged])

    def _publish(self, job: Entry) -> None:
        # Before the result is recorded: a kill between the two only publishes again.
        if job.kind == "report" and (study := self.queue.study_of_report(job.directory)):
            publish_report(self.root, study, self.root.run(job.directory))

    def _give_up(self) -> None:
        if not self._orphans:
            return
        for job in self.queue.skip_orphans():
            reason = (found := self.queue.find(job.directory)) and found.reason
            log.info("%s: skipped, %s", visible_line(job.name), reason)
            self._report(Event("skipped", job, message=reason or ""))
        for job in self.queue.broken_reports():
            reason, rest = report_over_the_rest(self.queue, job)
            self.queue.replace_report(job.directory, reason, rest)
            if rest is None:
                self._report(Event("skipped", job, message=reason))
        self._orphans = False

    def _claim_ready(self) -> list[tuple[Beside, str]]:
        """Claim what there is room for; return each, its GPU decided, with its job file."""
        claimed: list[tuple[Beside, str]] = []
        now = time.monotonic()
        self._later = {one: due for one, due in self._later.items() if due > now}
        trouble = ""
        while (job := self.queue.ready(list(self._later), self._study)) is not None:
            try:
                run = self.root.run(job.directory)
                if run.done() and self._accept(job, run):
                    continue
            except (HusaiError, OSError) as error:
                if failures.want_of_room(error):
                    raise
                failure = failures.spoiled(error)
                self._refuse(job, failure.sort, failure.message)
                continue
            # Strictly in turn: a job that needs every slot would otherwise wait for ever behind small ones.
            beside = [Beside(placed.job, placed.gpu) for placed in self.running]
            beside += [one for one, _ in claimed]
            if (gpu := self.capacity.room(job, beside)) is None:
                break
            if trouble := self.capacity.short_of_disk(job):
                if not self.trouble:
                    self._report(Event("note", job, message=f"waits: {trouble}"))
                break
            # The run directory may remember attempts that the queue, restored from a copy, does not.
            if (found := self.queue.claim(job.directory, above=run.newest_attempt())) is not None:
                claimed.append((Beside(found[0], gpu), found[1]))
        self._set_trouble(trouble)
        return claimed

    def _accept(self, job: Entry, run: RunDirectory) -> bool:
        """Settle a job that has its result already; return whether it had a sound one."""
        if not run.sound():
            log.warning("%s: its result is damaged; it is made again", visible_line(job.name))
            run.discard()
            return False
        self._follow_policy(job, run)
        self._orphans = True
        if reason := gate_refusal(run):
            self._refuse(job, "gate", reason)
            return True
        self._publish(job)
        self.queue.accept(job.directory, result_attempt(run))
        self._report(Event("cached", job))
        return True

    def _refuse(self, job: Entry, sort: failures.Sort, reason: str) -> None:
        self._orphans = True
        self.queue.refuse(job.directory, sort, reason)
        log.error("%s: %s", visible_line(job.name), visible_line(reason))
        self._report(Event("failed", job, message=reason))

    def _follow_policy(self, job: Entry, run: RunDirectory) -> None:
        """Let a cached job follow the policy of the newest request, which decides no digit of it."""
        policy = json.loads(self.queue.file(job.directory))["policy"]
        with contextlib.suppress(CorruptArtifact):
            if run.read_job()["policy"] != policy:
                run.set_policy(policy)

    def _start(self, job: Entry, file: str, gpu: str) -> None:
        try:
            run = self.root.run(job.directory)
            run.create(json.loads(file))
            run.begin_attempt(job.attempt)
            handle = self._launcher.start(run, job.attempt, gpu)
        except (HusaiError, OSError) as error:
            if not (lack := failures.want_of_room(error)):
                self._spoil(job, error)
                return
            self.queue.release(job.directory, job.attempt)
            self._later[job.directory] = time.monotonic() + self.limits.backoff_seconds
            self._set_trouble(lack)
            return
        log.info("%s: attempt %d started", visible_line(job.name), job.attempt)
        self._place(Beside(job, gpu), run, handle, adopted=False)


@contextmanager
def supervising(supervisor: Supervisor) -> Iterator[Supervisor]:
    """Drain the supervisor at the end, whatever happens inside."""
    try:
        yield supervisor
    finally:
        supervisor.drain()
