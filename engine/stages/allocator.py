"""Memory that a process frees stays with it.

glibc hands freed memory back to the system early, and the system clears every page that is asked for again. Of
the page faults of an analysis, whose matrices of a million cosines come and go by the hundred, these are most.
"""

from __future__ import annotations

import ctypes

ARENA_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = -8, -3, -1
"""Of mallopt(3)."""
LARGEST_KEPT = 32 * 2**20
"""Bytes from which an array is handed back at once: the most that every glibc takes."""
KEPT = 256 * 2**20
"""Bytes at the end of the heap that are kept at most."""


def keep_freed() -> bool:
    """Let this process keep what it frees, in one heap for all its threads; whether its allocator can be told.

    Only glibc's can. Call it before the threads that allocate are begun.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    told = ((ARENA_MAX, 1), (MMAP_THRESHOLD, LARGEST_KEPT), (TRIM_THRESHOLD, KEPT))
    return all(mallopt(name, value) == 1 for name, value in told)
