from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from engine.jobs.failures import Failure
from engine.jobs.messages import Order
from engine.jobs.orders import carry_out
from engine.jobs.queue import Queue
from engine.jobs.targets import select
from tests.jobs.conftest import asked, study_of

LOST = Failure("lost", "killed")


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue.sqlite3")


def states(queue: Queue, study: str = "s") -> dict[str, str]:
    return {job.name: job.state for job in queue.members(study)}


def run_next(queue: Queue, state: str = "done") -> str:
    """Take the next job and end it; return its name."""
    job = queue.ready()
    assert job is not None
    claimed = queue.claim(job.directory)
    assert claimed is not None
    attempt = claimed[0].attempt
    if state == "done":
        assert queue.finish(job.directory, attempt, 1.0)
    else:
        assert queue.fail(job.directory, attempt, Failure("bug", "broken"), 1.0)
    return job.name


def test_inputs_go_first_then_priority_then_age(queue: Queue) -> None:
    one, two = asked("one"), asked("two")
    queue.submit("m1", study_of(one, two, asked("three", [one])))
    queue.submit("m2", study_of(asked("urgent"), name="t", priority=5))
    assert [run_next(queue) for _ in range(4)] == ["urgent", "one", "two", "three"]
    assert queue.ready() is None


def test_a_job_that_is_passed_over_lets_the_next_one_go(queue: Queue) -> None:
    one = asked("one")
    queue.submit("m", study_of(one, asked("two")))
    found = queue.ready([one.directory])
    assert found is not None
    assert found.name == "two"


def test_one_study_alone_can_be_worked_for(queue: Queue) -> None:
    queue.submit("m1", study_of(asked("one")))
    queue.submit("m2", study_of(asked("two"), name="t"))
    found = queue.ready(study="t")
    assert found is not None
    assert found.name == "two"


def test_what_a_stale_attempt_says_changes_nothing(queue: Queue) -> None:
    job = asked("one")
    queue.submit("m", study_of(job))
    assert queue.claim(job.directory)
    assert queue.strike(job.directory, 1, LOST, 0)
    claimed = queue.claim(job.directory)
    assert claimed is not None
    assert claimed[0].attempt == 2
    assert not queue.finish(job.directory, 1, 1.0)
    assert not queue.fail(job.directory, 1, LOST, 1.0)
    assert not queue.release(job.directory, 1)
    assert not queue.strike(job.directory, 1, LOST, 0)
    assert queue.finish(job.directory, 2, 1.0)
    assert not queue.finish(job.directory, 2, 1.0), "a second time"


def test_an_attempt_is_above_what_the_run_directory_remembers(queue: Queue) -> None:
    job = asked("one")
    queue.submit("m", study_of(job))
    claimed = queue.claim(job.directory, above=7)
    assert claimed is not None
    assert claimed[0].attempt == 8


def test_a_result_is_recorded_once(queue: Queue) -> None:
    job = asked("one")
    queue.submit("m", study_of(job))
    run_next(queue)
    with pytest.raises(sqlite3.IntegrityError):
        queue.connection.execute("INSERT INTO results VALUES (?, 9, 0)", (job.directory,))


def test_the_same_job_of_two_studies_runs_once(queue: Queue) -> None:
    shared = asked("one")
    queue.submit("m1", study_of(shared))
    queue.submit("m2", study_of(shared, name="t"))
    run_next(queue)
    assert queue.ready() is None
    assert states(queue) == states(queue, "t") == {"one": "done"}


def test_a_job_that_was_submitted_again_is_looked_at_again_unless_it_runs(queue: Queue) -> None:
    one, two = asked("one"), asked("two")
    queue.submit("m1", study_of(one, two))
    run_next(queue)
    assert queue.claim(two.directory)
    queue.submit("m2", study_of(one, two))
    assert states(queue) == {"one": "queued", "two": "running"}
    assert queue.accept(one.directory, 1)
    assert states(queue)["one"] == "done"
    assert queue.finish(two.directory, 1, 1.0)


def test_a_study_that_is_submitted_anew_drops_what_it_no_longer_asks_for(queue: Queue) -> None:
    one, two = asked("one"), asked("two")
    queue.submit("m1", study_of(one, two))
    queue.submit("m2", study_of(two, name="t"))
    queue.submit("m3", study_of(asked("three")))
    assert states(queue) == {"three": "queued"}
    found = queue.find(one.directory)
    assert found is not None
    assert found.state == "cancelled"
    assert states(queue, "t") == {"two": "queued"}, "another study waits for it"


def test_failures_are_counted_by_sort_and_progress_forgives_losses(queue: Queue) -> None:
    job = asked("one")
    queue.submit("m", study_of(job))
    for attempt, progress in ((1, 0), (2, 0), (3, 50)):
        assert queue.claim(job.directory)
        assert queue.strike(job.directory, attempt, LOST, progress)
    assert queue.strikes(job.directory, "lost") == 1
    assert queue.claim(job.directory)
    assert queue.strike(job.directory, 4, Failure("memory", "full"), 50)
    assert queue.strikes(job.directory, "lost") == 1, "no further than before"
    assert queue.strikes(job.directory, "memory") == 1
    found = queue.find(job.directory)
    assert found is not None
    assert found.alone, "after running out of memory it runs with nothing beside it"


def test_a_lost_job_takes_along_what_needs_it_but_for_the_report(queue: Queue) -> None:
    one, two = asked("one"), asked("two")
    three = asked("three", [one])
    report = asked("report", [two, three], kind="report")
    queue.submit("m", study_of(one, two, three, asked("four", [three]), report))
    run_next(queue, "failed")
    assert [job.name for job in queue.skip_orphans()] == ["three", "four"]
    assert states(queue) == {
        "one": "failed", "two": "queued", "three": "skipped", "four": "skipped", "report": "queued",
    }  # fmt: skip
    assert queue.broken_reports() == [], "two may still come"
    run_next(queue)
    assert [job.name for job in queue.broken_reports()] == ["report"]


def order(queue: Queue, command: str, target: str, value: int = 0) -> list[str]:
    message = Order.model_validate({"command": command, "target": target, "value": value})
    return carry_out(queue, f"{command} {time.monotonic_ns()}", message)


def test_a_paused_job_stays_until_it_is_resumed(queue: Queue) -> None:
    queue.submit("m", study_of(asked("one")))
    assert order(queue, "pause", "s/one")
    assert queue.ready() is None
    assert order(queue, "pause", "s/one") == [], "a second time changes nothing"
    assert order(queue, "resume", "s")
    assert queue.ready() is not None


def test_a_running_job_that_is_held_goes_back_or_away(queue: Queue) -> None:
    one, two = asked("one"), asked("two")
    queue.submit("m", study_of(one, two))
    assert queue.claim(one.directory)
    assert queue.claim(two.directory)
    order(queue, "pause", "one")
    order(queue, "cancel", "two")
    assert states(queue) == {"one": "running", "two": "running"}
    assert queue.release(one.directory, 1)
    assert queue.strike(two.directory, 1, LOST, 0), "it was killed before it could leave"
    assert states(queue) == {"one": "queued", "two": "cancelled"}
    assert queue.ready() is None


def test_cancelling_a_study_leaves_what_another_waits_for(queue: Queue) -> None:
    shared = asked("one")
    queue.submit("m1", study_of(shared, asked("two")))
    queue.submit("m2", study_of(shared, asked("three", [shared]), name="t"))
    order(queue, "cancel", "s")
    assert states(queue) == {"one": "queued", "two": "cancelled"}


def test_retry_brings_back_the_whole_family(queue: Queue) -> None:
    one = asked("one")
    two = asked("two", [one])
    report = asked("report", [two], kind="report")
    queue.submit("m", study_of(one, two, report, report=report.directory))
    run_next(queue, "failed")
    queue.skip_orphans()
    queue.replace_report(report.directory, "needs two", None)
    order(queue, "retry", "s/two")
    assert states(queue) == {"one": "queued", "two": "queued", "report": "queued"}
    assert [run_next(queue) for _ in range(3)] == ["one", "two", "report"]


def test_retry_makes_the_whole_report_instead_of_the_partial_one(queue: Queue) -> None:
    one, two = asked("one"), asked("two")
    whole = asked("report", [one, two], kind="report")
    rest = asked("report", [two], kind="report", config={"rest": True})
    queue.submit("m", study_of(one, two, whole, report=whole.directory))
    run_next(queue, "failed")
    run_next(queue)
    queue.replace_report(whole.directory, "needs one", rest)
    assert queue.study_of_report(rest.directory) == "s"
    order(queue, "retry", "s/one")
    assert queue.study_of_report(whole.directory) == "s"
    assert [run_next(queue) for _ in range(2)] == ["one", "report"]
    assert queue.ready() is None


def test_priority_changes_the_turn(queue: Queue) -> None:
    queue.submit("m", study_of(asked("one"), asked("two")))
    order(queue, "priority", "two", 3)
    assert run_next(queue) == "two"


def test_targets_name_jobs_in_several_ways(queue: Queue) -> None:
    one, two = asked("one"), asked("two")
    queue.submit("m1", study_of(one, two))
    queue.submit("m2", study_of(asked("one", config={"other": 1}), name="t"))
    connection = queue.connection
    assert select(connection, "s") == [one.directory, two.directory]
    assert select(connection, "all")[:2] == [one.directory, two.directory]
    for name in ("s/two", "two", two.directory, two.file.key, two.file.key[:10]):
        assert select(connection, name) == [two.directory]
    with pytest.raises(InputError, match="names 2 jobs"):
        select(connection, "one")
    for nothing in ("none", "s/three", "", "%", "'; DROP TABLE jobs"):
        with pytest.raises(InputError, match="no such study or job"):
            select(connection, nothing)


def test_a_message_has_its_effect_once_and_with_it(queue: Queue) -> None:
    queue.submit("m", study_of(asked("one")))
    assert queue.applied("m")
    with pytest.raises(InputError):
        carry_out(queue, "bad", Order(command="pause", target="none"))
    assert not queue.applied("bad")


def test_a_transaction_that_fails_leaves_nothing(queue: Queue) -> None:
    def broken() -> None:
        with queue.transaction():
            queue.submit("m", study_of(asked("one")))
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert queue.ready() is None
    assert not queue.applied("m")


def _claim_all(path: Path, start: Any, found: Any) -> None:
    queue, mine = Queue(path), []
    start.wait(60)
    while True:
        try:
            job = queue.ready()
            if job is None:
                break
            if (claimed := queue.claim(job.directory)) is not None:
                mine.append(job.directory)
                assert queue.finish(job.directory, claimed[0].attempt, 0.0)
                time.sleep(0.005)  # let the others in: SQLite's lock knows no turns
        except sqlite3.OperationalError:  # locked for a moment: try again
            continue
    found.put(mine)


def test_four_claimers_take_every_job_once(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite3"
    queue = Queue(path)
    queue.submit("m", study_of(*(asked(f"job {number}") for number in range(120))))
    context = multiprocessing.get_context("spawn")
    found, start = context.Queue(), context.Barrier(4)
    claimers = [context.Process(target=_claim_all, args=(path, start, found)) for _ in range(4)]
    for claimer in claimers:
        claimer.start()
    taken = [found.get(timeout=60) for _ in claimers]
    for claimer in claimers:
        claimer.join()
    counts = Counter(directory for mine in taken for directory in mine)
    assert len(counts) == 120
    assert set(counts.values()) == {1}
    assert sum(bool(mine) for mine in taken) >= 2, "they really raced"


def test_retry_takes_back_a_cancellation_whose_worker_has_not_left(queue: Queue) -> None:
    queue.submit("m", study_of(asked("one"), asked("two")))
    one = queue.ready()
    assert one is not None
    assert queue.claim(one.directory) is not None
    for number, (command, target) in enumerate([("cancel", "s/one"), ("pause", "s/two")]):
        assert carry_out(queue, f"a{number}", Order(command=command, target=target))  # type: ignore[arg-type]
    assert len(carry_out(queue, "b", Order(command="retry", target="s"))) == 2
    assert [job.held for job in queue.members("s")] == [0, 0]
    assert queue.release(one.directory, 1)
    assert states(queue) == {"one": "queued", "two": "queued"}
