"""The link to the terminal: how much goes over it, how long it makes us wait, and how often to paint then."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 5.0
SLOW_SHARE = 0.2
"""Share of time spent waiting for the terminal to take bytes from which the link counts as slow."""
PACES = (1, 2, 4, 8)
"""How many ticks of the clock lie between two paintings, from a good link to a bad one."""


class Link:
    """Counts what is written to the terminal; told by the writing thread, asked by the app."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._written: deque[tuple[float, int, float]] = deque()
        self._begun: float | None = None
        self._pace = 0
        self._changed = clock()
        self.total = 0
        """Bytes since the start."""

    def begin(self) -> None:
        """A write begins: until `end`, the terminal makes us wait."""
        with self._lock:
            self._begun = self._clock()

    def end(self, size: int) -> None:
        """A write of `size` bytes is done."""
        now = self._clock()
        with self._lock:
            waited = now - self._begun if self._begun is not None else 0.0
            self._begun = None
            self.total += size
            self._written.append((now, size, waited))
            self._trim(now)

    @property
    def rate(self) -> float:
        """Bytes per second over the last seconds."""
        with self._lock:
            self._trim(self._clock())
            return sum(size for _, size, _ in self._written) / WINDOW_SECONDS

    @property
    def waiting(self) -> float:
        """Seconds since which the terminal has not taken what was sent; 0: it has taken all."""
        with self._lock:
            return self._clock() - self._begun if self._begun is not None else 0.0

    @property
    def lag(self) -> float:
        """Longest wait for the terminal in the last seconds, in seconds."""
        now = self._clock()
        with self._lock:
            self._trim(now)
            still = now - self._begun if self._begun is not None else 0.0
            return max(still, max((waited for _, _, waited in self._written), default=0.0))

    def pace(self) -> int:
        """Return how many ticks to leave between two paintings: doubles while the link is slow, and comes
        back one step per window of quiet."""
        now = self._clock()
        with self._lock:
            if now - self._changed < WINDOW_SECONDS:
                return PACES[self._pace]
            self._trim(now)
            waited = sum(waited for _, _, waited in self._written)
            waited += now - self._begun if self._begun is not None else 0.0
            slow = waited / WINDOW_SECONDS > SLOW_SHARE
            place = min(self._pace + 1, len(PACES) - 1) if slow else max(0, self._pace - 1)
            if place != self._pace or slow:
                self._pace, self._changed = place, now
        return PACES[self._pace]

    def _trim(self, now: float) -> None:
        while self._written and self._written[0][0] < now - WINDOW_SECONDS:
            self._written.popleft()
