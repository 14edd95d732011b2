"""A card that fetches what it shows: from the table at once, from the microscope when that has looked."""

from __future__ import annotations

import threading
from typing import ClassVar

from textual.binding import Binding
from textual.message import Message

from engine.client.features import Features
from engine.client.microscope import Card
from husai_tui.bindings import bindings
from husai_tui.state.card import partner_slides, slide
from husai_tui.state.lens import Lens
from husai_tui.widgets.card import FeatureCard, Told

FAR = 1 << 40
"""Rows that no table has."""
MOVES = ("move", "half", "page", "first", "last")
"""Keys of tables that go from card to card, too."""


class CloseUp(FeatureCard):
    """The card of one row, or of none; the keys that move in a table go to the card of another row."""

    BINDINGS: ClassVar[list[Binding]] = [  # type: ignore[assignment]
        key for key in bindings("table") if key.action.partition("(")[0] in MOVES
    ]

    class Moved(Message):
        """Another row is wanted, so many further down."""

        def __init__(self, by: int) -> None:
            self.by = by
            super().__init__()

    class Drawn(Message):
        """There is more to see than before."""

    class Arrived(Message):
        """A card has come, or why it does not."""

    class Idle(Message):
        """Nothing more is asked of the microscope."""

    def __init__(self, lens: Lens, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lens = lens
        self._at_row: tuple[Features, int] | None = None
        self._fetching = False

    def on_unmount(self) -> None:
        """Let the microscope go; nobody waits for it."""
        threading.Thread(target=self.lens.close, daemon=True).start()

    def on_resize(self) -> None:
        """Fetch the maps of the matches once there is room for them."""
        self.call_after_refresh(self._fetch)

    def look_at(self, features: Features, row: int) -> None:
        """Show a row."""
        self._at_row = (features, row)
        self._fetch()
        self._draw()
        # Only when it has been laid out is it known whether there is room for the maps of the matches.
        self.call_after_refresh(self._fetch)

    def look_again(self) -> None:
        """Fetch anew what is shown."""
        self._fetch(again=True)
        self._draw()

    def look_away(self) -> None:
        """Show nothing."""
        self._at_row, self.whole = None, False

    def resize_map(self) -> None:
        """Give the map all the room, or all parts theirs."""
        self.whole = not self.whole
        self._draw()

    def action_move(self, by: int) -> None:
        """Go to the next card, or to the one before."""
        self.post_message(self.Moved(by))

    def action_half(self, by: int) -> None:
        """Go on by five cards."""
        self.post_message(self.Moved(5 * by))

    def action_page(self, by: int) -> None:
        """Go on by ten cards."""
        self.post_message(self.Moved(10 * by))

    def action_first(self) -> None:
        """Go to the card of the first row."""
        self.post_message(self.Moved(-FAR))

    def action_last(self) -> None:
        """Go to the card of the last row."""
        self.post_message(self.Moved(FAR))

    @property
    def card(self) -> Card | None:
        """What the microscope says of the row; None: nothing yet."""
        return self.lens.card(slide(*self._at_row)) if self._at_row else None

    @property
    def problem(self) -> str:
        """Why there is no map; empty: none is known."""
        return self.lens.problem(slide(*self._at_row)) if self._at_row else ""

    def _fetch(self, again: bool = False) -> None:
        if self._at_row is None:
            return
        slides = [slide(*self._at_row)]
        if self.wants_partners:
            slides += partner_slides(*self._at_row)
        if self.lens.want(slides, again=again) and not self._fetching:
            self._fetching = True
            self.run_worker(self._work, thread=True, exit_on_error=False, group="lens")

    def _work(self) -> None:
        self.lens.fetch(lambda: self.post_message(self.Arrived()))
        self.post_message(self.Idle())

    def on_close_up_arrived(self) -> None:
        """Draw what has come."""
        self._draw()

    def on_close_up_idle(self) -> None:
        """Ask again if something else is wanted by now."""
        self._fetching = False
        self._fetch()

    def _draw(self) -> None:
        if self._at_row is None:
            return
        found = self.card
        partners = tuple(self.lens.card(one) for one in partner_slides(*self._at_row))
        said = "" if found else "no map" if self.problem else "the map comes"
        self.tell(Told(*self._at_row, found, partners, said))
        self.call_after_refresh(self.post_message, self.Drawn())
