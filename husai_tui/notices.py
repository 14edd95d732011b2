"""Messages that pass, which Textual's timers can live with."""

from __future__ import annotations

from textual.notifications import Notification

SHORTEST_SECONDS = 0.05


class Notice(Notification):
    """A message that passes.

    Its time may run out between being chosen to be shown and the start of the timer that takes it away, and a
    timer of no time or less lets nothing else run: it asks again and again whether it is late (Textual 8.2.8,
    `Timer._run`).
    """

    @property
    def time_left(self) -> float:
        """Seconds for which it is still shown."""
        return max(SHORTEST_SECONDS, super().time_left)

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return super().time_left <= 0
