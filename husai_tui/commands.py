"""The palette: everything in the key table by its name, and the studies and jobs of the queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.await_complete import AwaitComplete
from textual.command import Command, CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.css.query import NoMatches

from engine.disk.text import visible_line
from husai_tui.host import Host
from husai_tui.keys import TITLES, keys_of
from husai_tui.state.frame import pressed
from husai_tui.tones import THEMES

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_JOBS = 500


class Palette(CommandPalette):
    """Textual's palette, which falls when a page is turned in a list that has no lines yet, when it is left
    twice, and when commands are found after it was left."""

    _over = False

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Leave, once."""
        if self._over:
            return AwaitComplete()
        self._over = True
        return super().dismiss(result)

    def _refresh_command_list(
        self, command_list: CommandList, commands: list[Command], clear_current: bool
    ) -> None:
        if not self._over:
            with suppress(NoMatches):  # its parts go before it does
                super()._refresh_command_list(command_list, commands, clear_current)

    def _watch__list_visible(self) -> None:
        with suppress(NoMatches):
            super()._watch__list_visible()

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError, IndexError, NoMatches):
            super()._action_command_list(action)


class Commands(Provider):
    """What can be done now."""

    @property
    def _husai(self) -> Host:
        return cast("Host", self.app)

    async def discover(self) -> Hits:
        """Offer what works here, before anything is typed."""
        for name, text, do in self._keys():
            yield DiscoveryHit(name, do, help=text)

    async def search(self, query: str) -> Hits:
        """Offer what matches."""
        matcher = self.matcher(query)
        for name, text, do in (*self._keys(), *self._themes(), *self._places()):
            if (score := matcher.match(name)) > 0:
                yield Hit(score, matcher.highlight(name), do, help=text)

    def _keys(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        app = self._husai
        for key in keys_of(*app.places()):
            if key.writes and app.session.readonly:
                continue
            name = f"{key.title}  ({pressed(key, app.session.settings.keymap)})"
            yield name, TITLES[key.where], partial(app.perform, key)

    def _themes(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        for theme in THEMES:
            yield f"theme {theme}", "Everywhere", partial(setattr, self.app, "theme", theme)

    def _places(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        app = self._husai
        for job in app.session.snapshot.jobs[:MOST_JOBS]:
            name = visible_line(f"{job['study']}/{job['name']}")
            yield name, job["state"], partial(app.go, "run", job["directory"])
