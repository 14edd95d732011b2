"""A supervisor with real workers, ticked by hand."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.disk.heartbeat import Sign, read_sign
from engine.disk.inbox import Inbox
from engine.disk.root import RunsRoot
from engine.disk.rundir import RunDirectory
from engine.jobs.entry import ENDED, Entry
from engine.jobs.events import Event
from engine.jobs.launch import Launcher, LocalLauncher
from engine.jobs.messages import AskedJob, Submission
from engine.jobs.queue import Queue
from engine.jobs.supervisor import Limits, Supervisor
from engine.study.profile import Placement, place, read_profile
from tests.jobs.conftest import MACHINE, QUICK


class Bench:
    """One runs root; `restart` is what a supervisor that was killed and started again knows."""

    def __init__(
        self, path: Path, limits: Limits = QUICK, placement: Placement | None = None
    ) -> None:
        self.root, self.limits = RunsRoot(path), limits
        self.placement = placement or place(read_profile("cpu"), MACHINE)
        self.root.prepare()
        self.events: list[Event] = []
        self.before: list[Supervisor] = []
        self.restart()

    def restart(self, launcher: Launcher | None = None) -> None:
        self.before += [self.supervisor] if hasattr(self, "supervisor") else []
        self.queue = Queue(self.root.database)
        self.supervisor = Supervisor(
            self.root,
            self.queue,
            self.placement,
            launcher or LocalLauncher(leash=False),
            report=self.events.append,
            limits=self.limits,
        )

    def submit(self, asked: Submission) -> None:
        Inbox(self.root.inbox).drop(asked.model_dump(mode="json"))

    def order(self, command: str, target: str, value: int = 0) -> None:
        Inbox(self.root.inbox).drop({"command": command, "target": target, "value": value})

    def until(self, done: Callable[[], bool], seconds: float = 60.0) -> None:
        """Tick until something holds."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"not in {seconds} s: {self.jobs()}"
            self.supervisor.careful_tick()
            time.sleep(0.02)

    def until_ended(self, study: str = "s", seconds: float = 60.0) -> dict[str, str]:
        """Tick until every job of a study has ended; return the states by name."""
        self.until(lambda: bool(self.jobs(study)) and not self.open(study), seconds)
        return {job.name: job.state for job in self.jobs(study)}

    def close(self) -> None:
        """End every worker."""
        for supervisor in (*self.before, self.supervisor):
            for placed in supervisor.running:
                placed.handle.kill()
                while placed.handle.poll() is None:
                    time.sleep(0.01)
            supervisor.queue.close()

    def jobs(self, study: str = "s") -> list[Entry]:
        return self.queue.members(study)

    def open(self, study: str = "s") -> list[Entry]:
        return [job for job in self.jobs(study) if job.state not in ENDED]

    def find(self, asked: AskedJob) -> Entry:
        found = self.queue.find(asked.directory)
        assert found is not None
        return found

    def run(self, asked: AskedJob) -> RunDirectory:
        return self.root.run(asked.directory)

    def sign(self, asked: AskedJob, attempt: int = 1) -> Sign:
        """Wait for an attempt's first sign of life."""
        path = self.run(asked).sign_file

        def there() -> bool:
            sign = read_sign(path)
            return sign is not None and sign.attempt == attempt

        self.until(there)
        sign = read_sign(path)
        assert sign is not None
        return sign

    def results(self) -> int:
        return int(self.queue.connection.execute("SELECT COUNT(*) FROM results").fetchone()[0])


@contextmanager
def limited(kind: int, size: int) -> Iterator[None]:
    """Limit this process and those that it starts."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)
