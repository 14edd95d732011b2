"""What a supervisor still knows after a commit that failed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.jobs.bench import Bench
from tests.jobs.conftest import FakeLauncher, asked, study_of


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "runs")
    made.restart(FakeLauncher(polls=1000))
    return made


def fail_commit(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the n-th commit from now fail as on a full disk, and no other."""
    left = [number]

    def fail(name: str) -> None:
        if name == "queue.before-commit":
            left[0] -= 1
            if left[0] == 0:
                raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("engine.jobs.queue.failpoint", fail)


def test_what_needs_a_cancelled_job_is_given_up_though_the_first_commit_failed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = asked("one")
    bench.submit(study_of(one, asked("two", [one])))
    bench.order("cancel", "one")
    fail_commit(3, monkeypatch)  # after those of the two messages
    bench.supervisor.careful_tick()
    assert "full" in bench.supervisor.trouble
    assert bench.until_ended(seconds=5.0) == {"one": "cancelled", "two": "skipped"}


def test_a_worker_that_left_when_asked_is_not_blamed_though_the_commit_failed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked("one")
    bench.submit(study_of(job))
    bench.until(lambda: bool(bench.supervisor.running))
    bench.order("pause", "one")
    fail_commit(2, monkeypatch)
    bench.supervisor.careful_tick()
    assert "full" in bench.supervisor.trouble
    bench.until(lambda: bench.find(job).state == "queued", seconds=5.0)
    assert bench.queue.strikes(job.directory, "lost") == 0
    assert [event.what for event in bench.events].count("started") == 1
