"""Logs: what a job or the supervisor has written, followed, searched, and read back to its start."""

from __future__ import annotations

from shlex import quote
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding

from engine.disk.root import is_name
from engine.errors import InputError
from husai_tui.bindings import bindings
from husai_tui.export import Exported
from husai_tui.screens.view import View
from husai_tui.state.logfile import LogFile, trouble
from husai_tui.state.logplace import (
    LogPlace,
    described,
    find_place,
    heading,
    neighbour,
    place_of,
    split_step,
    standing,
)
from husai_tui.state.logs import LogPage
from husai_tui.widgets.bars import Bar
from husai_tui.widgets.log import Log

MOST_EXPORTED = 10_000
"""Lines that are exported: the last ones."""


class Logs(View):
    """One log."""

    NAME = "logs"
    FILTER_HINT = "words a line must have; ~ before a regular expression"
    BINDINGS: ClassVar[list[Binding]] = bindings("logs")  # type: ignore[assignment]
    DEFAULT_CSS = """
    Logs > Bar { background: transparent; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._wanted = ""
        self._place: LogPlace | None = None
        self._page: LogPage | None = None
        self._shown: LogPage | None = None
        self._wrap = False
        self._old_filter = ""

    def compose(self) -> ComposeResult:
        """Return whose log it is, the log, and where in it we are."""
        yield Bar(id="whose")
        yield Log()
        yield Bar(id="standing")

    # Looking

    def load(self) -> None:
        """Find the log, and read what is new of it."""
        wanted, step = split_step(self._wanted)
        place = self._find(wanted)
        page = self._page
        if page is None or place.path != page.file.path:
            page = LogPage(LogFile(place.path))
            page.wrap = self._wrap
            if self._page is not None:
                self._page.file.close()
            self._page = page
        self._place = place
        page.look()
        if step is not None:
            page.settle()
            page.to_step(step)
            self._wanted = wanted

    def _find(self, wanted: str) -> LogPlace:
        try:
            return find_place(self.session.root, self.session.snapshot, wanted)
        except InputError:
            shown = self._place
            if shown is not None and wanted in (shown.directory, shown.title):
                return shown  # its run directory is gone; what was read of it stays
            self._wanted = shown.directory if shown is not None else ""
            raise

    def show(self, loaded: Any) -> None:
        """Show the log as it is now."""
        page, log = self._page, self.query_one(Log)
        if page is None or self._place is None:
            return
        if page is not self._shown:
            self._shown = page
            if self._old_filter:
                page.search(self._old_filter)
        page.settle()
        log.empty = self._nothing(self._place, page)
        log.set_page(page)
        self._say()
        if page.quest is not None:
            self.husai.look()

    def _nothing(self, place: LogPlace, page: LogPage) -> str:
        if not place.directory:
            return "nothing was logged: no supervisor has worked in this runs root"
        job = self.session.snapshot.job(place.directory)
        state = f"the job is {job['state']}; " if job else ""
        return f"{state}{'it has written nothing' if not page.file.note else 'it has no log'}"

    def _say(self) -> None:
        if self._place is None or self._page is None:
            return
        snapshot = self.session.snapshot
        where = f"{self._place.path.parent.name}/{self._place.path.name}"
        self.query_one("#whose", Bar).tell(*heading(self._place, snapshot, where))
        self.query_one("#standing", Bar).tell(*standing(self._page))

    def on_log_moved(self, event: Log.Moved) -> None:
        """Tell where we are now."""
        event.stop()
        self._say()

    def _changed(self) -> None:
        self.query_one(Log).repaint()
        self._say()
        if self._page is not None and self._page.quest is not None:
            self.husai.look()

    # Keys

    def action_move(self, by: int) -> None:
        """Go down or up."""
        if self._page:
            self._page.move(by)
            self._changed()

    def action_page(self, by: int) -> None:
        """Go down or up a page."""
        if self._page:
            self._page.scroll(by * max(1, self._page.height - 1))
            self._changed()

    def action_half(self, by: int) -> None:
        """Go down or up half a page."""
        if self._page:
            self._page.scroll(by * max(1, self._page.height // 2))
            self._changed()

    def action_shift(self, by: int) -> None:
        """Show what is further left or right."""
        if self._page:
            self._page.shift(by)
            self._changed()

    def action_follow(self) -> None:
        """Stay at the end, or stay here."""
        if self._page:
            self._page.toggle_follow()
            self._changed()

    def action_first(self) -> None:
        """Go to the first line."""
        if self._page:
            self._page.to_start()
            self._changed()

    def action_last(self) -> None:
        """Go to the last line, and follow."""
        if self._page:
            self._page.to_end()
            self._changed()

    def action_next_match(self, way: int) -> None:
        """Go to the next line that matches, down or up."""
        if self._page:
            self._page.next_match(way)
            self._changed()

    def action_next_trouble(self, way: int) -> None:
        """Go to the next error, warning or NaN, down or up."""
        if self._page:
            self._page.next_trouble(way)
            self._changed()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        if self._page:
            self._page.toggle_wrap()
            self._wrap = self._page.wrap
            self._changed()

    def action_job(self, by: int) -> None:
        """Show the log of the job before or after this one in its study."""
        if self._place is None:
            return
        job = neighbour(self.session.snapshot, self._place, by)
        if job is None:
            self.app.notify("no job there in this study", severity="warning", timeout=3)
            return
        self.open(place_of(self.session.root, job).directory)
        self.husai.look()

    def action_supervisor(self) -> None:
        """Show the supervisor's log."""
        self._wanted = ""
        self.husai.look()

    # What every screen has

    def open(self, target: str) -> None:
        """Show the log of a run directory or of `study/job`, at a step if `@STEP` follows."""
        self._wanted = target

    @property
    def target(self) -> str:
        """The log in sight."""
        return self._place.title if self._place and self._place.directory else ""

    @property
    def command(self) -> str:
        """The command that prints the same log."""
        if self._place is None or not self._place.directory:
            return f"tail -f {quote(str(self.session.root.log_file))}"
        return f"husai-engine logs {quote(self._place.title)} -f{self.session.runs_option}"

    def set_filter(self, text: str) -> str:
        """Search; the newest line that matches comes into sight."""
        if self._page is None:
            return ""
        wrong = self._page.search(text)
        if not wrong:
            self._old_filter = self._page.query.text
            self._changed()
        return wrong

    @property
    def filter_text(self) -> str:
        """What is searched."""
        return self._page.query.text if self._page else ""

    def row_text(self) -> str:
        """Return the line in hand."""
        return self._page.file.line(self._page.cursor) if self._page else ""

    def describe(self) -> str:
        """Return how long the log is, what is wrong in it, and its last line."""
        if self._page is None or self._place is None:
            return "No log is shown."
        return described(self._place, self._page)

    def exported(self) -> Exported | None:
        """Return the last lines; while something is searched, those of them that match."""
        page = self._page
        if page is None or self._place is None:
            return None
        file, rows = page.file, []
        for number in range(max(file.first, file.end - MOST_EXPORTED), file.end):
            line = file.line(number)
            if not page.query or page.query.matches(line):
                rows.append([page.number_of(number), trouble(line), line])
        name = f"log-{self._place.directory or 'supervisor'}"
        return Exported(name, ("line", "trouble", "text"), rows, self.command)

    def remember(self) -> dict[str, Any]:
        """Return whose log, what was searched, and whether lines are wrapped."""
        directory = self._place.directory if self._place else ""
        return {"log": directory, "search": self._old_filter, "wrap": self._wrap}

    def recall(self, remembered: dict[str, Any]) -> None:
        """Take what was remembered; a job that is gone since gives way to the supervisor."""
        log = str(remembered.get("log", ""))
        if is_name(log) and self.session.root.run(log).path.is_dir():
            self._wanted = log
        self._wrap = bool(remembered.get("wrap"))
