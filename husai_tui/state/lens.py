"""Which cards the microscope is asked for: always the newest wish, never one twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from engine.client.microscope import Card
from engine.errors import HusaiError

KEPT = 64
"""Cards that are kept: 13 KB each at p = 113."""


class Slide(NamedTuple):
    """One feature."""

    study: str
    cohort: str
    seed: int
    feature: int


class Looks(Protocol):
    """The microscope, as far as it is used here."""

    def look(self, study: str, cohort: str, seed: int, feature: int) -> Card:
        """Return a card; blocks."""

    def close(self) -> None:
        """End; whoever looks gets an error."""


class Lens:
    """Fetches cards one after another; the screen only ever says what it would like to see now."""

    def __init__(self, make: Callable[[], Looks]) -> None:
        self._make = make
        self._microscope: Looks | None = None
        self._lock = threading.Lock()
        self._wanted: tuple[Slide, ...] = ()
        self._cards: OrderedDict[Slide, Card] = OrderedDict()
        self._problems: dict[Slide, str] = {}
        self._closed = False

    def card(self, slide: Slide) -> Card | None:
        """Return the card of a feature, None if it has not come."""
        with self._lock:
            return self._cards.get(slide)

    def problem(self, slide: Slide) -> str:
        """Return why there is no card; empty: none is known."""
        with self._lock:
            return self._problems.get(slide, "")

    def want(self, slides: Sequence[Slide], *, again: bool = False) -> bool:
        """Say what should be fetched now, the most wanted first; `again`: although it was fetched. Return
        whether there is anything to do."""
        with self._lock:
            self._wanted = tuple(slides)
            if again:
                for slide in slides:
                    self._cards.pop(slide, None)
                    self._problems.pop(slide, None)
            return self._next() is not None

    def forget(self, study: str, cohort: str) -> None:
        """Forget the cards of a cohort, which was written anew."""
        with self._lock:
            for kept in (self._cards, self._problems):
                for slide in [one for one in kept if one[:2] == (study, cohort)]:
                    kept.pop(slide)

    def fetch(self, arrived: Callable[[], object]) -> None:
        """Fetch what is wanted until nothing is (in a thread); `arrived` is called after each."""
        while (slide := self._take()) is not None:
            try:
                assert self._microscope is not None
                card = self._microscope.look(*slide)
            except Exception as error:  # whatever is wrong there, the app lives on
                known = isinstance(error, (HusaiError, OSError))
                with self._lock:
                    self._problems[slide] = str(error) if known else repr(error)
            else:
                with self._lock:
                    self._cards[slide] = card
                    while len(self._cards) > KEPT:
                        self._cards.popitem(last=False)
            arrived()

    def close(self) -> None:
        """Ask for nothing more, and end the microscope; blocks until it has gone."""
        with self._lock:
            self._wanted, self._closed = (), True
            microscope = self._microscope
        if microscope is not None:
            microscope.close()

    def _take(self) -> Slide | None:
        with self._lock:
            if self._microscope is None and not self._closed:
                self._microscope = self._make()
            return self._next()

    def _next(self) -> Slide | None:
        known = (self._cards, self._problems)
        waiting = (one for one in self._wanted if not any(one in kept for kept in known))
        return next(waiting, None) if not self._closed else None
