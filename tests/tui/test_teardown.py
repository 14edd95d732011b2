"""Parts of the screen that go while something is still to be done to them."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.css.query import NoMatches
from textual.widget import Widget
from textual.widgets import Label

from husai_tui.teardown import comes_too_late


class Asks(Widget):
    """Needs a part of itself that may be gone."""

    def compose(self) -> ComposeResult:
        yield Label("part")

    def ask(self) -> None:
        self.query_one("#nothing")


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield Asks()


def failure(asks: Asks) -> NoMatches:
    with pytest.raises(NoMatches) as raised:
        asks.ask()
    return raised.value


async def test_only_what_goes_is_excused() -> None:
    async with Shown().run_test() as pilot:
        asks = pilot.app.query_one(Asks)
        assert not comes_too_late(failure(asks))
        await asks.remove()
        assert comes_too_late(failure(asks))
        assert not comes_too_late(ValueError("another fault"))
