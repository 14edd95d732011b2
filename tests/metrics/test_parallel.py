"""Work on several threads: in order, with its errors, and of one thread of torch's each."""

from __future__ import annotations

import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from engine.metrics.parallel import side_by_side, together


@contextmanager
def of_threads(count: int) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    with of_threads(request.param) as count:
        yield count


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
    assert len(begun) <= threads


def test_a_slow_task_does_not_hold_up_the_others(threads: int) -> None:
    """The first ends after the last has: others go on beside it, and results keep their order."""
    last = threading.Event()

    def task(number: int) -> tuple[int, bool]:
        if number == 4:
            last.set()
        return number, number > 0 or threads == 1 or last.wait(10)

    assert side_by_side(task, range(5)) == [(number, True) for number in range(5)]


def test_tasks_within_tasks_take_no_threads_of_their_own(threads: int) -> None:
    """Threads of threads would take turns: all there is to do is done by as many as torch was given."""
    at_once, most, lock = 0, 0, threading.Lock()

    def innermost(_: int) -> tuple[int, int]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1
        return threading.get_ident(), torch.get_num_threads()

    found = side_by_side(lambda _: side_by_side(innermost, range(8)), range(6))
    assert most <= threads
    assert len({ident for inner in found for ident, _ in inner}) <= threads
    assert {count for inner in found for _, count in inner} == {1}
    assert torch.get_num_threads() == threads


def test_who_has_nothing_to_do_helps_with_what_tasks_ask_for() -> None:
    """Each of a lone task's items waits for the other: it ends only if two threads do them."""
    with of_threads(2):
        both = threading.Barrier(2)
        side_by_side(lambda _: side_by_side(lambda _: both.wait(10), range(2)), range(1))


def test_no_more_tasks_are_under_way_than_there_are_threads(threads: int) -> None:
    """One that waits for the last items of its own list begins none of those beside it: what they hold would
    add up."""
    begun, most, lock = 0, 0, threading.Lock()

    def task(number: int) -> int:
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun)
        found = sum(side_by_side(lambda n: time.sleep(0.004 * (n % 2)) or n, range(3)))
        with lock:
            begun -= 1
        return number + found

    assert side_by_side(task, range(12)) == [number + 3 for number in range(12)]
    assert most <= threads


def test_one_that_waits_helps_with_what_it_waits_for() -> None:
    """The second thread's item asks for two that need two threads; the first has nothing else left."""
    with of_threads(2):
        both, taken = threading.Barrier(2), threading.Event()

        def task(number: int) -> None:
            if number == 0:
                assert taken.wait(10)
                return
            taken.set()
            side_by_side(lambda _: both.wait(10), range(2))

        side_by_side(task, range(2))


def test_items_are_taken_one_at_a_time_when_a_thread_is_free(threads: int) -> None:
    """Those of a large study at once would not fit in memory."""
    waiting, most, lock = 0, 0, threading.Lock()

    def items() -> Iterator[int]:
        nonlocal waiting, most
        for number in range(30):
            with lock:
                waiting += 1
                most = max(most, waiting)
            yield number

    def task(number: int) -> int:
        nonlocal waiting
        time.sleep(0.001)
        with lock:
            waiting -= 1
        return number

    assert side_by_side(task, items()) == list(range(30))
    assert most <= threads + 1


def test_an_error_of_the_items_is_raised_after_those_before_it(threads: int) -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("no second item")

    done: list[int] = []
    with pytest.raises(ValueError, match="no second item"):
        side_by_side(done.append, items())
    assert done == [0]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_within_ends_what_is_around_it(threads: int, error: type[BaseException]) -> None:
    begun: list[int] = []

    def inner(number: int) -> None:
        if number == 2:
            raise error("within")

    def outer(number: int) -> None:
        begun.append(number)
        side_by_side(inner, range(50))

    with pytest.raises(error, match="within"):
        side_by_side(outer, range(50))
    assert len(begun) <= threads
    assert side_by_side(lambda n: n, range(3)) == [0, 1, 2]


def test_threads_end_with_the_call(threads: int) -> None:
    before = threading.active_count()
    side_by_side(lambda _: time.sleep(0.001), range(5))
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda n: 1 // n, range(5))
    assert threading.active_count() == before


def test_crews_of_two_threads_do_not_meet() -> None:
    """Two threads that each ask for work side by side have each their own."""
    with of_threads(2):
        found: dict[str, list[int]] = {}

        def ask(name: str, base: int) -> None:
            torch.set_num_threads(2)
            found[name] = side_by_side(lambda n: base + n, range(50))

        others = [threading.Thread(target=ask, args=(str(base), base)) for base in (0, 1000)]
        for other in others:
            other.start()
        for other in others:
            other.join(20)
        assert found == {"0": list(range(50)), "1000": list(range(1000, 1050))}


def test_what_was_begun_last_is_helped_first() -> None:
    """When the second thread has done its item, items of three lists are left: it takes the innermost."""
    with of_threads(2):
        free, taken, order = threading.Event(), threading.Event(), list[str]()

        def innermost(number: int) -> None:
            if number == 0:
                free.set()
                taken.wait(10)
            else:
                order.append("innermost")
                taken.set()

        def middle(number: int) -> None:
            if number == 0:
                side_by_side(innermost, range(2))
            else:
                order.append("middle")
                taken.set()

        def outer(number: int) -> None:
            if number == 0:
                side_by_side(middle, range(2))
            elif number == 1:
                free.wait(10)
            else:
                order.append("outer")
                taken.set()

        side_by_side(outer, range(3))
        assert order[0] == "innermost"
        assert sorted(order) == ["innermost", "middle", "outer"]


def test_what_items_after_an_error_ask_for_is_given_up() -> None:
    with of_threads(2):
        begun, done = threading.Event(), list[int]()

        def later(number: int) -> None:
            done.append(number)
            begun.set()
            time.sleep(0.002)

        def task(number: int) -> None:
            if number == 1:
                side_by_side(later, range(5000))
            begun.wait(10)
            raise ValueError(f"item {number}")

        with pytest.raises(ValueError, match="item 0"):
            side_by_side(task, range(2))
        assert len(done) < 4000


def test_what_items_before_an_error_ask_for_is_done_as_if_they_were_alone() -> None:
    """Which error is raised does not depend on which comes first."""
    with of_threads(2):
        failed, done = threading.Event(), list[int]()

        def task(number: int) -> None:
            if number == 0:
                failed.wait(10)
                side_by_side(done.append, range(100))
            failed.set()
            raise ValueError(f"item {number}")

        with pytest.raises(ValueError, match="item 0"):
            side_by_side(task, range(2))
        assert sorted(done) == list(range(100))


@pytest.fixture
def interrupt_after() -> Iterator[Callable[[float], None]]:
    """Interrupts the main thread, as Ctrl-C does, after some seconds."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("needs a timer that sends signals")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_an_interrupt_ends_the_call_soon(
    threads: int, interrupt_after: Callable[[float], None]
) -> None:
    """At any time, whatever the threads are at: items under way end, no other is begun, no thread is left."""
    running = threading.active_count()
    for milliseconds in range(10, 40, 2):
        # Python cannot be interrupted while it starts a thread: the time runs once all are there.
        there = threading.Barrier(threads, action=partial(interrupt_after, milliseconds / 1000))

        def task(number: int, there: threading.Barrier = there) -> None:
            if number < threads:
                there.wait(10)
            side_by_side(lambda _: time.sleep(0.0005), range(200))

        begun = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            side_by_side(task, range(1000))
        assert time.perf_counter() - begun < 5, "all there is to do would take longer"
        assert threading.active_count() == running
        assert torch.get_num_threads() == threads
        assert side_by_side(lambda n: n, range(3)) == [0, 1, 2]


def test_an_interrupt_is_raised_whatever_else_went_wrong(
    interrupt_after: Callable[[float], None],
) -> None:
    """An item that fails while the interrupt waits for it does not hide it."""
    with of_threads(2):
        begun = threading.Event()

        def task(_: int) -> None:
            begun.set()
            time.sleep(0.2)
            raise ValueError("an item's")

        interrupt_after(0.05)
        with pytest.raises(KeyboardInterrupt):
            side_by_side(task, range(2))
        assert begun.is_set()


def test_items_may_ask_for_work_side_by_side_before_they_are_there(threads: int) -> None:
    def items() -> Iterator[int]:
        for number in range(6):
            yield sum(side_by_side(lambda n: time.sleep(0.001) or n, range(number)))

    def outer(_: int) -> list[int]:
        return side_by_side(lambda n: time.sleep(0.001) or n, items())

    assert side_by_side(outer, range(3)) == [[0, 0, 1, 3, 6, 10]] * 3


class Large:
    """Something whose memory matters."""


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_kept_once_the_caller_has_dropped_it(threads: int, fails: bool) -> None:
    """Neither by threads that wait for more to do, nor until the garbage collector comes."""
    kept: list[weakref.ref[Large]] = []

    def inner(_: int, large: Large) -> Large:
        found = Large()
        kept.append(weakref.ref(found))
        time.sleep(0.005)
        if fails:
            raise ValueError(found, large)
        return found

    def call() -> None:
        large = Large()
        kept.append(weakref.ref(large))
        try:
            side_by_side(lambda n: inner(n, large), range(5))
        except ValueError:
            assert fails

    def outer(_: int) -> list[bool]:
        call()
        time.sleep(0.05)
        return [one() is not None for one in kept]

    gc.disable()
    try:
        assert not any(side_by_side(outer, range(1))[0])
        call()
        assert not any(one() is not None for one in kept)
    finally:
        gc.enable()


def test_every_thread_computes_as_the_caller_would(threads: int) -> None:
    def modes(_: int) -> tuple[bool, bool]:
        time.sleep(0.001)
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with torch.no_grad():
        assert set(side_by_side(modes, range(6))) == {(False, False)}
    with torch.inference_mode():
        assert set(side_by_side(modes, range(6))) == {(False, True)}
    found = side_by_side(torch.no_grad()(lambda _: side_by_side(modes, range(4))), range(3))
    assert {mode for inner in found for mode in inner} == {(False, False)}
    assert set(side_by_side(modes, range(6))) == {(True, False)}
