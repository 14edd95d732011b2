"""Work on as many threads at once as torch was given.

Tasks may ask for work side by side themselves: all of it is done by the threads of the outermost call. One
without work helps with what was begun last; one that waits for the last items of its own list helps with what
those ask for, and begins nothing beside them. So no more items of a list are under way than there are threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch

Item = TypeVar("Item")
Found = TypeVar("Found")
One = TypeVar("One")
Other = TypeVar("Other")


def side_by_side(task: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """The results of a task for each item, in order, on as many threads at once as torch was given.

    Matching features one to one runs on one core and lets go of the interpreter. A task has one thread of
    torch's: threads of threads would take turns, and results would depend on their number. Items are taken from
    the iterable when a thread is free for them, in order and one at a time: those of a large study would not
    fit in memory all at once. Of several errors that of the first item is raised, as if they were done one
    after the other: after it no item is begun, and what later ones ask for is given up.
    """
    if _own.crew is not None:
        return cast(list[Found], _own.crew.work(task, items))
    threads = torch.get_num_threads()
    if threads == 1:
        return [task(item) for item in items]
    crew = _Crew(task, items)
    try:
        return cast(list[Found], crew.run(threads))
    finally:
        # Each of the crew's threads has set the default of those to come as well.
        torch.set_num_threads(threads)


def together(
    first: Callable[[], One], second: Callable[[], Other], *between: Callable[[], object]
) -> tuple[One, Other]:
    """What two tasks find, with others that are begun between them; none needs another. What takes longest
    comes first: what is short fills the gaps at the end."""
    found: list[object] = side_by_side(lambda task: task(), [first, *between, second])
    return cast(One, found[0]), cast(Other, found[-1])


class _InVain(BaseException):
    """Nobody waits for what is asked for any more. No error: what a task does about errors is not meant."""


class _Own(threading.local):
    """What a thread is at work on."""

    crew: _Crew | None = None
    item: tuple[_List, int] | None = None
    """The list and number of what it does."""


_own = _Own()


class _List:
    """The items of one call, and what became of them."""

    def __init__(self, crew: _Crew, task: Callable[[Any], Any], items: Iterable[Any]) -> None:
        self.around = _own.item
        """The item whose task asks for them; None for the outermost call."""
        self.depth: int = 0 if self.around is None else self.around[0].depth + 1
        self.running = 0
        self._crew, self._task, self._items = crew, task, iter(items)
        self._taking, self._taken, self._more = threading.Lock(), 0, True
        self._found: dict[int, Any] = {}
        self._errors: dict[int, BaseException] = {}
        # Whichever thread does an item does it as the caller would.
        self._grad, self._inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    @property
    def open(self) -> bool:
        """Whether there may be more to begin."""
        return self._more and not self._errors and not self.in_vain

    @property
    def in_vain(self) -> bool:
        """Whether nobody waits for the whole of it any more: the call was interrupted, or an item before the
        one it is for has failed, here or further out."""
        if self._crew.stopped:
            return True
        if self.around is None:
            return False
        one, number = self.around
        return any(failed < number for failed in tuple(one._errors)) or one.in_vain

    def do_one(self) -> bool:
        """Find what the task gives for the next item, or its error; whether there was one more."""
        before = _own.item
        try:
            with self._taking:
                if not self.open:
                    return False
                number = self._taken
                self._taken += 1
                _own.item = (self, number)
                try:
                    item = next(self._items)
                except StopIteration:
                    self._more = False
                    return False
            with torch.inference_mode(self._inference), torch.set_grad_enabled(self._grad):
                self._found[number] = self._task(item)
        except BaseException as error:
            self._errors[number] = error
        finally:
            _own.item = before
        return True

    def result(self) -> list[Any]:
        """What was found, in order, or the error of the first item that has one."""
        # A thread may still be about to look for an item here.
        self._more = False
        if self.in_vain:
            raise _InVain
        if not self._errors:
            return [self._found[number] for number in sorted(self._found)]
        error = self._errors[min(self._errors)]
        self._errors.clear()
        try:
            raise error
        finally:
            # It knows this frame: each would keep the other, and what the task held, for a while.
            del error


class _Crew:
    """The threads of one outermost call, and the lists they work off."""

    def __init__(self, task: Callable[[Any], Any], items: Iterable[Any]) -> None:
        self.stopped = False
        """Whether the caller was interrupted."""
        self._lists = [_List(self, task, items)]
        """Those under way: the outermost, and what was begun within it, in that order."""
        self._changed = threading.Condition()
        self._begun, self._ended, self._over = 0, 0, threading.Lock()

    def run(self, threads: int) -> list[Any]:
        """Work off the outermost list on threads of the crew's own, and return what was found, in order.

        Signals interrupt the main thread between any two steps, in the middle of a condition's as well. So the
        caller does nothing but wait, for a plain lock.
        """
        outermost = self._lists[0]
        given = (outermost, threads)
        crew = [
            threading.Thread(target=self._serve, args=given, daemon=True) for _ in range(threads)
        ]
        self._over.acquire()
        try:
            for one in crew:
                one.start()
            self._over.acquire()
            for one in crew:
                one.join()
        finally:
            # If it was interrupted, items under way come to their end; what they ask for is given up.
            self.stopped = self._ended < threads
            while self._ended < self._begun:
                time.sleep(0.001)
            # A list knows its crew: each would keep the other, and what was found, for a while.
            self._lists.clear()
        return outermost.result()

    def work(self, task: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Work off the list of a task with whoever is free, and return what was found, in order."""
        own = _List(self, task, items)
        with self._changed:
            self._lists.append(own)
            self._changed.notify_all()
        while self._help(own):
            pass
        self._until(lambda: own.running == 0, own.depth)
        with self._changed:
            self._lists.remove(own)
        return own.result()

    def _serve(self, outermost: _List, threads: int) -> None:
        """The life of a thread of the crew."""
        with self._changed:
            self._begun += 1
        torch.set_num_threads(1)
        _own.crew = self
        self._until(lambda: not outermost.open and outermost.running == 0, -1)
        with self._changed:
            self._ended += 1
            if self._ended == threads:
                self._over.release()

    def _until(self, over: Callable[[], bool], depth: int) -> None:
        """Help with lists deeper than that, the one begun last first, until something is over."""
        while True:
            with self._changed:
                # In that order: an interrupt wakes nobody up, and closes lists before something is over.
                self._changed.wait_for(lambda: self._open(depth) is not None or over())
                if over():
                    return
                one = self._open(depth)
            if one is not None:
                self._help(one)
            # Waiting for the next must not keep what was found for this one.
            del one

    def _help(self, one: _List) -> bool:
        """Do one item of a list, if it has one more."""
        with self._changed:
            one.running += 1
        more = one.do_one()
        with self._changed:
            one.running -= 1
            if one.running == 0:
                self._changed.notify_all()
        return more

    def _open(self, depth: int) -> _List | None:
        """The list begun last of those deeper than that which may have items left."""
        return next((one for one in reversed(self._lists) if one.depth > depth and one.open), None)
