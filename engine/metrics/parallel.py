"""Work on as many threads at once as torch was given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
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
    threads, left, found = torch.get_num_threads(), iter(items), deque[Future[Found]]()
    results = list[Found]()
    if threads == 1:
        return [task(item) for item in left]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            # As many as there are threads: all items of a large study at once would not fit in memory.
            for item in left:
                found.append(pool.submit(task, item))
                if len(found) > threads:
                    results.append(found.popleft().result())
            results += [one.result() for one in found]
    finally:
        # Each of the pool's threads has set the default of those to come as well.
        torch.set_num_threads(threads)
    return results


def together(
    first: Callable[[], One], second: Callable[[], Other], *rest: Callable[[], object]
) -> tuple[One, Other]:
    """What two tasks find, with others that are begun before them; none needs another."""
    found: list[object] = side_by_side(lambda task: task(), [*rest, first, second])
    one, other = found[-2:]
    return cast(One, one), cast(Other, other)
