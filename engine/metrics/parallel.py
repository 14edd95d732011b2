"""Work on as many threads at once as torch was given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar, cast

import torch

Item = TypeVar("Item")
Found = TypeVar("Found")
One = TypeVar("One")
Other = TypeVar("Other")


def side_by_side(task: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """The results of a task for each item, in order, on as many threads at once as torch was given.

    Matching features one to one runs on one core and lets go of the interpreter. A task has one thread of
    torch's: threads of threads would take turns, and results would depend on their number.
    """
    threads, left = torch.get_num_threads(), iter(items)
    if threads == 1:
        return [task(item) for item in left]
    begun, running = list[Future[Found]](), set[Future[Found]]()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in left:
                begun.append(pool.submit(task, item))
                running.add(begun[-1])
                # One waits in line: all items of a large study at once would not fit in memory.
                if len(running) > threads:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    if any(one.exception() for one in done):
                        break
            # Of several errors that of the first item, whichever came first: all before it were begun.
            return [one.result() for one in begun]
    finally:
        # Each of the pool's threads has set the default of those to come as well.
        torch.set_num_threads(threads)


def together(
    first: Callable[[], One], second: Callable[[], Other], *between: Callable[[], object]
) -> tuple[One, Other]:
    """What two tasks find, with others that are begun between them; none needs another. What takes longest
    comes first: what is short fills the gaps at the end."""
    found: list[object] = side_by_side(lambda task: task(), [first, *between, second])
    return cast(One, found[0]), cast(Other, found[-1])
