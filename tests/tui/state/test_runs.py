"""The queue as a table: order, filter, pace, what is at stake, what may be closed, what happened meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from engine.client.look import Snapshot
from husai_tui.state.runs import (
    Paces,
    RunsTable,
    at_stake,
    can,
    closing,
    digest,
    matches,
    progress,
    reason,
    rounded,
    share,
    spent,
    why,
)


def job(name: str, state: str = "queued", **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "directory": f"cohort-{name}",
        "study": "study",
        "name": name,
        "kind": "cohort",
        "state": state,
        "step": None,
        "steps": 0,
        "attempt": 1,
        "priority": 0,
        "seconds": None,
        "started": None,
        "ended": None,
        "failure": "",
        "reason": "",
    }
    return {**plain, **more}


def snapshot(*jobs: dict[str, Any], taken: float = 1000.0, **more: Any) -> Snapshot:
    counts: dict[str, int] = {}
    for one in jobs:
        counts[one["state"]] = counts.get(one["state"], 0) + 1
    return Snapshot(jobs=jobs, counts=counts, taken=taken, **more)


def names(table: RunsTable) -> list[str]:
    return [str(table.cells(row)[2][0]) for row in range(len(table))]


def test_what_runs_is_on_top_and_the_queue_keeps_its_order() -> None:
    table = RunsTable()
    states = ("done", "queued", "failed", "running", "queued", "cancelled", "paused")
    table.update(snapshot(*(job(f"{n} {state}", state) for n, state in enumerate(states))))
    assert names(table) == [
        "3 running", "1 queued", "4 queued", "6 paused", "2 failed", "0 done", "5 cancelled",
    ]  # fmt: skip
    assert table.find("cohort-6 paused") == 3
    assert table.key(3) == "cohort-6 paused"
    assert table.find("elsewhere") is None


@pytest.mark.parametrize(
    ("column", "descending", "expected"),
    [(2, False, "abc"), (2, True, "cba"), (7, True, "bca"), (5, True, "cab"), (6, True, "acb")],
)
def test_every_column_sorts(column: int, descending: bool, expected: str) -> None:
    table = RunsTable()
    table.update(
        snapshot(
            job("a", seconds=5.0, attempt=3),
            job("b", priority=4),
            job("c", seconds=9.0, priority=1, attempt=2),
        )
    )
    table.sort = (column, descending)
    table.arrange()
    assert "".join(names(table)) == expected


@pytest.mark.parametrize("column", range(9))
def test_no_column_falls_over_what_is_missing(column: int) -> None:
    table = RunsTable()
    table.sort = (column, True)
    table.update(
        snapshot(job("a", study=None, reason=None), job("b", "running", steps=10, step=None))
    )
    assert len(table) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", True),
        ("topk", True),
        ("TOPK Failed", True),
        ("topk done", False),
        ("!done", True),
        ("!topk", False),
        ("!", True),
        ("memory", True),
    ],
)
def test_a_filter_wants_every_word_and_none_that_is_excluded(words: str, expected: bool) -> None:
    one = job("topk 64", "failed", failure="memory", reason="8 GB needed")
    assert matches(one, words) is expected


def test_the_pace_is_that_of_the_last_minute() -> None:
    paces = Paces()
    for taken, step in ((0.0, 0), (30.0, 300), (60.0, 360), (90.0, 420)):
        running = job("a", "running", steps=1000, step=step)
        paces.add(snapshot(running, taken=taken))
    # From 30 s to 90 s: 120 steps in 60 s; 580 steps are left: 290 s, 5 of which have passed since.
    assert paces.left(job("a", "running", steps=1000, step=420), 95.0) == pytest.approx(285.0)


def test_nobody_can_tell_a_pace_from_one_look_and_a_new_attempt_begins_anew() -> None:
    paces, running = Paces(), job("a", "running", steps=100, step=50)
    paces.add(snapshot(running, taken=1.0))
    assert paces.left(running, 1.0) is None
    paces.add(snapshot({**running, "step": 60}, taken=2.0))
    assert paces.left(running, 2.0) == pytest.approx(4.0)
    paces.add(snapshot({**running, "step": 0}, taken=3.0))
    assert paces.left(running, 3.0) is None
    paces.add(snapshot(taken=4.0))
    assert paces.left(running, 4.0) is None


def test_a_job_that_stands_still_is_never_overdue() -> None:
    paces = Paces()
    for taken, step in ((0.0, 0), (1.0, 99)):
        paces.add(snapshot(job("a", "running", steps=100, step=step), taken=taken))
    assert paces.left(job("a", "running", steps=100), 500.0) == 0.0


def test_an_estimate_is_as_exact_as_it_is_worth() -> None:
    assert [rounded(one) for one in (7.3, 119.0, 124.9, 125.1)] == [7.3, 119.0, 120.0, 130.0]


def test_progress_is_a_bar_of_ten_cells() -> None:
    half = job("a", "running", steps=200, step=101)
    assert share(half) == 0.505
    assert progress(half) == ("█████·····  50%", "accent")
    assert progress({**half, "step": 103})[0] == "█████▏····  51%"
    assert progress({**half, "step": 400})[0] == "██████████ 100%"
    assert progress({**half, "steps": 0})[0].strip("· ") == ""
    assert progress(job("a"))[0] == ""
    assert progress(job("a", "done", seconds=72.4)) == ("took 1 m 12 s", "faint")
    assert share(job("a", "done")) == 1.0


def test_work_at_stake_is_what_running_jobs_have_done() -> None:
    jobs = [
        job("a", "running", started=900.0),
        job("b", "running", started=990.0),
        job("c", "queued", seconds=500.0),
    ]
    assert at_stake(jobs, 1000.0) == 110.0
    assert spent(jobs[2], 1000.0) == 500.0
    assert spent(job("d"), 1000.0) is None
    assert spent(job("e", "running", started=1010.0), 1000.0) == 0.0


def test_orders_mean_the_jobs_that_they_change() -> None:
    jobs = [job(state, state) for state in ("queued", "running", "paused", "failed", "done")]
    assert [one["state"] for one in can("pause", jobs)] == ["queued", "running"]
    assert [one["state"] for one in can("resume", jobs)] == ["paused"]
    assert [one["state"] for one in can("retry", jobs)] == ["paused", "failed"]
    assert [one["state"] for one in can("cancel", jobs)] == ["queued", "running", "paused"]


def test_a_failure_says_its_sort_and_why() -> None:
    assert reason(job("a", "failed", failure="memory", reason="8 GB")) == "memory: 8 GB"
    assert reason(job("a", "done", reason="late")) == ""
    assert reason(job("a", "queued", reason="waits for memory")) == "waits for memory"


UP = {"pid": 1, "mode": "service", "silent": 0.2}


@pytest.mark.parametrize(
    ("jobs", "more", "said", "tone"),
    [
        ([], {}, "the queue is empty", "faint"),
        ([job("a", "done")], {}, "all is done: 5", "faint"),
        ([job("a")], {}, "nothing works on the queue", "warn"),
        ([], {"waiting": ("study",)}, "nothing works on the queue", "warn"),
        ([job("a")], {"supervisor": UP}, "safe to close: the engine works on", "good"),
        ([job("a", "done")], {"supervisor": UP}, "safe to close: all is done", "good"),
        ([job("a")], {"supervisor": {**UP, "silent": 60.0}}, "does not answer", "bad"),
        ([job("a")], {"supervisor": {**UP, "trouble": "disk full"}}, "disk full", "bad"),
        ([job("a")], {"supervisor": {"pid": 1, "mode": "foreground"}}, "`run` in another", "warn"),
    ],
)
def test_the_closing_line_is_true(jobs: list[Any], more: Any, said: str, tone: str) -> None:
    text, meaning = closing(snapshot(*jobs, **more))
    assert said in text
    assert meaning == tone


def test_the_digest_tells_what_ended_since_somebody_looked() -> None:
    jobs = [
        job("old", "done", ended=10.0, seconds=9.0),
        job("new", "done", ended=900.0, seconds=90.0),
        job("report", "done", ended=950.0, seconds=30.0),
        *(
            job(f"bad {n}", "failed", ended=960.0, failure="memory", reason="8 GB")
            for n in range(7)
        ),
    ]
    found = snapshot(*jobs, studies=({"name": "study", "report": "cohort-report"},))
    assert digest(found, 400.0) == [
        "while you were away (10 m 00 s):",
        "2 jobs done, 2 m 00 s of work",
        "study study has its report",
        *(f"failed: study/bad {n}: memory: 8 GB" for n in range(5)),
        "and 2 more failed",
    ]
    assert digest(found, 0.0) == []
    assert digest(found, 999.0) == []


def test_of_a_job_that_failed_or_waits_it_is_said_why_and_what_helps() -> None:
    broken = job("a", "failed", failure="memory", reason="8 GB are not there", advice="fewer seeds")
    assert why(broken) == [
        ("✗ memory: 8 GB are not there", "bad"),
        ("  fewer seeds", "faint"),
        ("  R tries again", "faint"),
    ]
    waits = job("b", "queued", reason="trying once more in 4 s")
    assert why(waits) == [("○ trying once more in 4 s", "warn")]
    assert why(job("c", "done", reason="late")) == why(job("d")) == why(None) == []
