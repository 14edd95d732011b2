"""What works everywhere: help, filter, copy, export, themes, leaving."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from typing import Any

from rich.text import Text
from textual.notifications import Notify, SeverityLevel

from engine.disk.atomic import write_bytes
from husai_tui.clipboard import copy_sequence
from husai_tui.export import FORMATS, Exported
from husai_tui.faults import keep_fault
from husai_tui.host import Host
from husai_tui.keys import KEYS, TITLES, Where, keys_of
from husai_tui.notices import Notice
from husai_tui.screens.dialogs import Ask, Choose, Reading
from husai_tui.screens.view import View
from husai_tui.state.frame import pressed
from husai_tui.terminal import few_colours, is_dark
from husai_tui.themes import DARK, LIGHT
from husai_tui.tones import THEMES

WITHOUT_VIEW = ("leave", "quit", "redraw", "suspend_process", "theme", "view")
"""Actions that need no screen to be ready."""

PAGE = 74
"""Columns of a page of text in a window of 80."""


class Actions(Host):
    """Actions of the app that act on the screen in front."""

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show a message that passes (from any thread)."""
        seconds = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        self.post_message(Notify(Notice(message, title, severity, seconds, markup)))

    @abstractmethod
    def view(self, name: Where | None = None) -> View | None:
        """Return a screen, None if it was not shown yet; without a name the one in front."""

    @property
    def _view(self) -> View:
        view = self.view()
        assert view is not None, "keys come after the first screen"
        return view

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keep keys from working before there is a screen, and those that write under `--readonly`."""
        mine = {key.action.split("(")[0]: key for key in KEYS}.get(action)
        if mine is None or action in WITHOUT_VIEW:
            return True
        view = self.view()
        if view is None or not view.ready or not view.is_attached:
            return False
        return not (mine.writes and self.session.readonly)

    def action_view(self, name: Where) -> None:
        """Show a screen."""
        self.go(name)

    def action_last_view(self) -> None:
        """Go to the screen before."""
        self.go_before()

    def action_help(self) -> None:
        """Show the keys that work here."""
        view = self._view
        self.push_screen(
            Reading(
                f"Keys: {view.title}",
                help_text((view.NAME, *view.PARTS, "everywhere"), self.session.settings.keymap),
            )
        )

    def action_filter(self) -> None:
        """Show only what matches, while it is typed; leaving brings the filter before back."""
        view, before = self._view, self._view.filter_text
        if wrong := view.set_filter(before):
            self.notify(wrong, severity="warning")
            return

        def answered(text: str | None) -> None:
            view.set_filter(before if text is None else text)

        self.push_screen(Ask(view.FILTER_HINT, before, view.set_filter), answered)

    def action_describe(self) -> None:
        """Say in a sentence what is shown."""
        self.push_screen(Reading(self._view.title, Text(self._view.describe())))

    def action_maximise(self) -> None:
        """Give one panel all the room, or all panels theirs."""
        self._view.maximise()

    def action_close_up(self) -> None:
        """Leave what is open, then clear the filter."""
        view = self._view
        if not view.back() and view.filter_text:
            view.set_filter("")

    def action_redraw(self) -> None:
        """Paint everything anew."""
        self.repaint()

    def action_theme(self) -> None:
        """Take the next theme."""
        place = THEMES.index(self.theme) if self.theme in THEMES else -1
        self.theme = THEMES[(place + 1) % len(THEMES)]

    def first_theme(self) -> str:
        """Return the theme that fits the terminal."""
        if few_colours():
            return "ansi-dark" if is_dark() else "ansi-light"
        return DARK.name if is_dark() else LIGHT.name

    def action_leave(self) -> None:
        """Close the app; all work goes on."""
        self.exit()

    def action_yank(self) -> None:
        """Copy the row, the address, or the command."""
        view = self._view
        choices = [
            ("a", "address", f"address   {view.address}"),
            ("c", "command", f"command   {view.command}"),
        ]
        if row := view.row_text():
            choices.insert(0, ("y", "row", f"row       {row}"))
        texts = {"row": row, "address": f"husai {view.address}", "command": view.command}

        def answered(choice: str | None) -> None:
            if choice:
                self.copy(texts[choice])

        self.push_screen(Choose("Copy", choices), answered)

    def copy(self, text: str) -> None:
        """Copy a text to the clipboard of the terminal, through tmux, too."""
        sequence, problem = copy_sequence(text)
        if problem:
            self.notify(problem, severity="warning")
        elif self._driver is not None:
            self._driver.write(sequence)
            self.notify(f"copied: {text}", markup=False, timeout=3)

    def action_export(self) -> None:
        """Export what is shown."""
        view = self._view
        exported = view.exported()
        told = {
            "csv": "CSV    every row, for a spreadsheet",
            "json": "JSON   every row, for a program",
            "svg": "SVG    a picture of the screen",
            "txt": "text   the screen as it is",
        }
        can = [name for name in FORMATS if exported or name in ("svg", "txt")]
        choices = [(name[0], name, told[name]) for name in can]

        def answered(choice: str | None) -> None:
            if choice:
                self._write(choice, exported, view)

        self.push_screen(Choose("Export", choices), answered)

    def _write(self, form: str, exported: Exported | None, view: View) -> None:
        name = exported.name if exported else view.NAME
        path = _unused(Path(f"husai-{name}-{time.strftime('%Y%m%d-%H%M%S')}.{form}"))
        try:
            if form == "svg":
                text = self.export_screenshot(title=view.address)
            elif form == "txt":
                text = screen_text(self)
            else:
                assert exported is not None, "only offered where there is something"
                text = exported.to_csv() if form == "csv" else exported.to_json()
            write_bytes(path, text.encode())
        except OSError as error:
            self.notify(f"{path}: {error.strerror}", severity="error", markup=False)
            return
        self.notify(f"{path.resolve()}", title="written", markup=False)

    def keep_fault(self, trace: str) -> str:
        """Keep the traceback of a fault where it can be found, and return one line about it."""
        return keep_fault(self.session.folder, trace)


def _unused(path: Path) -> Path:
    """Return a path beside this one where nothing is yet."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found


def help_text(places: tuple[Where, ...], keymap: dict[str, str]) -> Text:
    """Return the keys of some places, with their names for the keymap."""
    text = Text()
    for place in places:
        keys = keys_of(place)
        if not keys:
            continue
        text.append(f"{chr(10) if text else ''}{TITLES[place]}\n", style="bold")
        for key in keys:
            begin = f"  {pressed(key, keymap):<7}"
            text.append(begin, style="bold")
            # At 80 columns a page has 75: a long title has the name below itself.
            taken = len(begin) + 2 + len(key.title) + len(key.id)
            gap = "  " if taken <= PAGE else f"\n{'':9}"
            pad = max(0, PAGE - taken) if gap == "  " else 0
            text.append(f"{key.title}{' ' * pad}{gap}")
            text.append(f"{key.id}\n", style="dim")
    text.append("\nNames at the right are for [keymap] in config.toml.\n", style="dim")
    return text


def screen_text(app: Any) -> str:
    """Return what is on the screen as lines of text."""
    size = app.size
    lines = app.screen._compositor.render_strips(size) if size else []
    return "\n".join(strip.text.rstrip() for strip in lines) + "\n"
