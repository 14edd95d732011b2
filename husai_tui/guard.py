"""The way out: signals are heard, the process ends soon whatever hangs, and the terminal is left sane."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from husai_tui.terminal import Manners

HEARD = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
HUNG_UP = 128 + signal.SIGHUP
"""Exit code when the terminal is gone, told by a signal or by the end of the input."""
PATIENCE_SECONDS = 2.0
"""How long each step of leaving may take: Textual's own, then the one that waits for nothing."""
THREADS_SECONDS = 0.3
"""How long threads may still work once the terminal is back."""


class Guard:
    """Ends the process: politely, then without waiting for a terminal that takes nothing, then by force."""

    def __init__(
        self,
        *,
        patience: float = PATIENCE_SECONDS,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self.code = 0
        self.farewell = ""
        """A line for the terminal once it is back."""
        self.hurry: Callable[[], object] = lambda: None
        """Makes the writing thread throw away what the terminal does not take."""
        self._patience, self._end = patience, end
        self._manners = Manners(0)
        self._armed = threading.Lock()
        self._saying = threading.Lock()
        self._entered = self._hurried = False
        self._back = threading.Event()

    def entered(self) -> None:
        """The app has changed the terminal."""
        self._entered = True
        self._back.clear()

    def left(self) -> None:
        """The terminal is as it was, unless what says so was thrown away."""
        self._entered = self._hurried
        self._back.set()

    def hear(self, ask: Callable[[int], object]) -> None:
        """Ask the app to leave when a signal comes; one that is ignored, as under nohup, stays ignored."""

        def heard(number: int, _frame: FrameType | None) -> None:
            self.arm(128 + number)
            ask(128 + number)

        for number in HEARD:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, heard)

    def arm(self, code: int) -> None:
        """The app was asked to leave: from now on it has a deadline."""
        if self._armed.acquire(blocking=False):
            self.code = code
            threading.Thread(target=self._watch, name="husai-guard", daemon=True).start()

    def say_farewell(self) -> None:
        """Bring the terminal back if the app did not, and say what is to be said."""
        with self._saying:
            if self._entered:
                self._manners.restore(2)
                self._entered = False
            if self.farewell:
                line, self.farewell = self.farewell, ""
                print(f"husai: {line}", file=sys.__stderr__, flush=True)

    def _watch(self) -> None:
        if not self._back.wait(self._patience):
            self._hurried = True
            self.hurry()
            self._back.wait(self._patience)
        # Threads that still wait for an engine to start would hold the process for long.
        threading.Event().wait(THREADS_SECONDS)
        talk = threading.Thread(target=self.say_farewell, daemon=True)
        talk.start()
        talk.join(1.0)
        self._end(self.code)
