"""What the parts of the app may ask of the app."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from textual.app import App

from husai_tui.guard import Guard
from husai_tui.keys import Key, Where
from husai_tui.link import Link
from husai_tui.session import Session


class Host(App[None]):
    """The app as its screens, its palette and its driver know it."""

    session: Session
    """Runs root, settings, memory, and the newest look at the queue."""
    link: Link
    """The link to the terminal."""
    guard: Guard | None
    """Sees to it that the process ends; None: somebody else does, as in tests."""
    starts_engine: bool
    """Whether the app may start a supervisor."""
    current: Where
    """Name of the screen in front."""

    @abstractmethod
    def go(self, name: Where, target: str = "") -> None:
        """Show a screen, and there what an address names."""

    @abstractmethod
    def go_before(self) -> None:
        """Show the screen before this one."""

    @abstractmethod
    def look(self) -> None:
        """Load and show the screen in front now, not only at the next tick."""

    @abstractmethod
    def places(self) -> tuple[Where, ...]:
        """Return where the keys that work now belong: the screen in front, its panels, everywhere."""

    @abstractmethod
    def perform(self, key: Key) -> None:
        """Do what a key does."""

    @abstractmethod
    def give(self, order: Callable[[], Any]) -> None:
        """Give an order to the engine (in a thread); what is wrong with it is told."""

    @abstractmethod
    def start_engine(self, *, quietly: bool = False) -> None:
        """Start a supervisor if none answers."""

    @abstractmethod
    def keep_fault(self, trace: str) -> str:
        """Keep the traceback of a fault where it can be found, and return one line about it."""

    @abstractmethod
    def lost_terminal(self) -> None:
        """Leave: nobody sees this any more (may be called from any thread)."""

    @abstractmethod
    def input_failed(self, trace: str) -> None:
        """Leave: keys are not heard any more (may be called from any thread)."""

    @abstractmethod
    def repaint(self) -> None:
        """Paint everything anew."""
