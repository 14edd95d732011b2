"""Bars, histories and amounts as text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

_LEVELS = "▁▂▃▄▅▆▇█"
_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """Return bytes with three digits at most: `412 MB`, `12.4 GB`."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return (
        f"{value:.1f} {_UNITS[unit]}"
        if unit > 2 and value < 99.95
        else f"{value:.0f} {_UNITS[unit]}"
    )


def plural(count: int, noun: str) -> str:
    """Return `1 job`, `2 jobs`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def bar(share: float, width: int) -> tuple[str, str]:
    """Return the heavy and the light part of a bar, to half a cell; what is not nothing shows."""
    halves = round(min(max(share, 0.0), 1.0) * width * 2)
    if share > 0 and not halves:
        halves = 1
    full, rest = divmod(halves, 2)
    done = "━" * full + "╸" * rest
    return done, "─" * (width - len(done))


def levels(shares: Iterable[float | None]) -> str:
    """Return one block per share of 1, eight heights; a blank where nothing is known."""
    return "".join(
        " " if share is None else _LEVELS[min(7, int(min(max(share, 0.0), 1.0) * 8))]
        for share in shares
    )


class Steady:
    """A number that is shown, and stays until what is measured has moved away from it: noise is not sent."""

    def __init__(self, slack: float) -> None:
        self._slack = slack
        self._shown: float | None = None

    def take(self, value: float) -> float:
        """Return what to show for a measured value."""
        if self._shown is None or abs(value - self._shown) >= self._slack:
            self._shown = value
        return self._shown


class History:
    """The mean of a share over equal spans of time, the newest last."""

    def __init__(self, spans: int = 60, seconds: float = 5.0) -> None:
        self._spans: deque[float | None] = deque(maxlen=spans)
        self._seconds = seconds
        self._begun: float | None = None
        self._values: list[float] = []

    def add(self, share: float, now: float) -> None:
        """Take in a share that was measured now; spans without any stay empty."""
        if self._begun is None:
            self._begun = now
        while now - self._begun >= self._seconds:
            self._spans.append(sum(self._values) / len(self._values) if self._values else None)
            self._values.clear()
            self._begun += self._seconds
            if now - self._begun > self._seconds * (self._spans.maxlen or 1):
                self._spans.clear()
                self._begun = now
        self._values.append(share)

    def last(self, width: int) -> Sequence[float | None]:
        """Return the newest spans that have ended, older ones before them; None where nothing was measured."""
        found = list(self._spans)[-width:] if width > 0 else []
        return [*([None] * (width - len(found))), *found]
