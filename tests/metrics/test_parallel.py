"""Work on several threads: in order, with its errors, and of one thread of torch's each."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from engine.metrics.parallel import side_by_side, together


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_two_results_and_what_was_done_beside_them(threads: int) -> None:
    done: list[str] = []
    found = together(lambda: 7, lambda: "seven", lambda: done.append("a"), lambda: done.append("b"))
    assert found == (7, "seven")
    assert sorted(done) == ["a", "b"]
    assert torch.get_num_threads() == threads


def test_the_error_of_any_task_is_raised(threads: int) -> None:
    def fail() -> None:
        raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        together(lambda: 1, lambda: 2, fail)
    assert torch.get_num_threads() == threads


def test_of_several_errors_that_of_the_first_item_is_raised(threads: int) -> None:
    """The first item fails last; what is begun afterwards is not."""
    failed, begun = threading.Event(), list[int]()

    def task(number: int) -> None:
        begun.append(number)
        if number == 0 and threads > 1:
            failed.wait(10)
        failed.set()
        raise ValueError(f"item {number}")

    with pytest.raises(ValueError, match="item 0"):
        side_by_side(task, range(20))
    assert len(begun) <= 2 * threads + 1


def test_a_slow_task_does_not_hold_up_the_others(threads: int) -> None:
    """The first ends after the last has: others go on beside it, and results keep their order."""
    last = threading.Event()

    def task(number: int) -> tuple[int, bool]:
        if number == 4:
            last.set()
        return number, number > 0 or threads == 1 or last.wait(10)

    assert side_by_side(task, range(5)) == [(number, True) for number in range(5)]


def test_tasks_within_tasks_take_no_threads_of_their_own(threads: int) -> None:
    """Threads of threads would take turns: what a task does side by side is done by its own thread."""

    def inner(_: int) -> list[int]:
        return side_by_side(lambda _: threading.get_ident(), range(4))

    outer = side_by_side(inner, range(4))
    if threads > 1:
        assert all(len(set(idents)) == 1 for idents in outer)
    assert torch.get_num_threads() == threads
