"""Looking again and again: read when something has changed, and never an error."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from engine.client import look
from engine.client.look import Watcher
from engine.disk.root import RunsRoot
from scripts.pretend import Pretence


class Counting(Watcher):
    """Counts how often the queue is read."""

    reads = 0

    def _read(self):  # type: ignore[no-untyped-def]
        self.reads += 1
        return super()._read()


@pytest.fixture
def pretence(tmp_path: Path) -> Pretence:
    return Pretence(tmp_path / "runs", running=2, queued=3, rows=5)


def settle(pretence: Pretence) -> None:
    """Let the last commit be older than files' clocks can tell."""
    past = time.time() - 1
    os.utime(pretence.root.database, (past, past))


def test_without_a_queue_there_is_nothing_and_no_trouble(tmp_path: Path) -> None:
    found = Watcher(RunsRoot(tmp_path / "none")).look()
    assert (found.jobs, found.studies, found.trouble, found.supervisor) == ((), (), "", None)


def test_what_is_there_is_told(pretence: Pretence) -> None:
    found = Watcher(pretence.root).look()
    assert found.counts == {"done": 2, "running": 2, "queued": 3}
    running = [job for job in found.jobs if job["state"] == "running"]
    assert sorted(job["step"] for job in running) == [40, 140]
    assert found.job(running[0]["directory"]) == running[0]
    assert found.job("elsewhere") is None


def test_the_queue_is_read_only_when_it_has_changed(pretence: Pretence) -> None:
    settle(pretence)
    watcher = Counting(pretence.root)
    for _ in range(3):
        watcher.look()
    assert watcher.reads == 1
    pretence.end()
    assert watcher.look().counts == {"done": 7}
    assert watcher.reads == 2


def test_steps_advance_though_the_queue_stands_still(pretence: Pretence) -> None:
    settle(pretence)
    watcher = Watcher(pretence.root)
    before = {job["directory"]: job["step"] for job in watcher.look().jobs}
    pretence.advance()
    after = {job["directory"]: job["step"] for job in watcher.look().jobs}
    assert all(after[name] == before[name] + 10 for name in pretence.running)


def test_two_commits_within_a_tick_of_the_clock_are_both_seen(pretence: Pretence) -> None:
    watcher = Watcher(pretence.root)
    watcher.look()
    found = pretence.root.database.stat()
    pretence.end()
    # As if the clock had not moved: the same size and time as before.
    os.utime(pretence.root.database, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert watcher.look().counts == {"done": 7}


def test_trouble_is_told_and_what_was_read_is_kept(pretence: Pretence) -> None:
    watcher = Watcher(pretence.root)
    before = watcher.look()
    whole = pretence.root.database.read_bytes()
    pretence.root.database.write_bytes(b"nonsense" * 1000)
    found = watcher.look()
    assert found.trouble
    assert found.jobs == before.jobs
    pretence.root.database.write_bytes(whole)
    assert watcher.look().trouble == ""


def test_a_run_that_vanishes_or_is_torn_is_no_trouble(pretence: Pretence) -> None:
    watcher = Watcher(pretence.root)
    first, second = (pretence.root.run(name) for name in pretence.running)
    first.curves_file.unlink()
    second.curves_file.write_bytes(b'{"step": 3\x00\xff')
    found = watcher.look()
    assert found.trouble == ""
    assert [job["step"] for job in found.jobs if job["state"] == "running"] == [0, 0]


def test_a_look_at_ten_thousand_jobs_that_stand_still_opens_the_files_of_running_ones_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretence = Pretence(tmp_path / "runs", running=8, queued=10_000, rows=2)
    settle(pretence)
    watcher = Watcher(pretence.root)
    watcher.look()
    asked: list[str] = []
    step_of = look.step_of

    def counted(root: RunsRoot, job: dict[str, Any]) -> int | None:
        asked.append(job["state"])
        return step_of(root, job)

    monkeypatch.setattr(look, "step_of", counted)
    monkeypatch.setattr(look, "reading", lambda path: pytest.fail("the queue was read again"))
    assert len(watcher.look().jobs) == 10_010
    assert asked == ["running"] * 8
