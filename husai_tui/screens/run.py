"""Run: one job, live: its curves over all seeds, how far it is, what is wrong with it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding

from engine.client.queue import chosen
from husai_tui.bindings import bindings
from husai_tui.export import Exported
from husai_tui.screens.view import View
from husai_tui.state.facts import choose, find, neighbour, sentence
from husai_tui.state.run import Follower, Loaded, Measurements, RunSheet
from husai_tui.widgets.chart import Chart

MOST_TOASTS = 3
"""Red flags told one by one; more of them at once are told as a number."""


class Run(View):
    """The job that runs, the last that ended, or the one that was asked for."""

    NAME = "run"
    PARTS = ("chart",)
    FILTER_HINT = "seeds to show: 42 123; !42 leaves out"
    BINDINGS: ClassVar[list[Binding]] = bindings("run")  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self._sheet = RunSheet()
        self._wanted = ""
        """What was asked for, until it is found."""
        self._directory = ""
        self._follower: Follower | None = None
        self._filter = ""

    def compose(self) -> ComposeResult:
        """Return the sheet."""
        yield Chart(self._sheet)

    # Looking

    def load(self) -> tuple[str, Loaded]:
        """Find the job and read its files (in a thread); return them with what was asked for."""
        session, wanted = self.session, self._wanted
        directory = self._directory
        if wanted:
            directory = find(session.snapshot, wanted)
            if not directory:
                self._wanted = "" if self._wanted == wanted else self._wanted
                directory = str(chosen(session.root, wanted)[0]["directory"])
        directory = directory or choose(session.snapshot)
        if not directory:
            return wanted, Loaded()
        follower = self._follower
        if follower is None or follower.directory != directory:
            follower = Follower(session.root.run(directory), directory)
            self._follower = follower
        return wanted, follower.read()

    def show(self, loaded: Any) -> None:
        """Show what was read, and tell the red flags that are new."""
        snapshot, sheet = self.session.snapshot, self._sheet
        wanted, loaded = loaded
        if wanted != self._wanted:
            return  # something else was asked for meanwhile
        self._wanted = ""
        if loaded.directory != self._directory:
            self._filter = ""
        self._directory = loaded.directory
        sheet.paces.add(snapshot)
        flags = sheet.update(snapshot.job(loaded.directory), loaded, snapshot.taken)
        for flag in flags[:MOST_TOASTS]:
            self.app.notify(
                flag.message,
                title=f"step {flag.step:,}: e goes there",
                severity="error" if flag.name == "diverged" else "warning",
                timeout=10,
                markup=False,
            )
        if len(flags) > MOST_TOASTS:
            more = len(flags) - MOST_TOASTS
            self.app.notify(f"and {more} red flags more: e goes through them", severity="warning")
        self._problem = ""
        self._chart.repaint()

    @property
    def _chart(self) -> Chart:
        return self.query_one(Chart)

    def open(self, target: str) -> None:
        """Show a run directory, `study/job`, or a study's newest job."""
        self._sheet.keep_wish()
        self._wanted = target

    @property
    def target(self) -> str:
        """The run directory shown."""
        return self._wanted or self._directory

    # Keys

    def action_flag(self) -> None:
        """Put the cursor on the next red flag; what it says stands above the curves."""
        flag = self._sheet.curves.next_flag()
        if flag is None:
            self.app.notify("no red flags", timeout=3)
            return
        self._chart.repaint()

    def action_logs(self) -> None:
        """Read the job's log, at the cursor's step."""
        if self._directory:
            cursor = self._sheet.curves.cursor
            at = "" if cursor is None else f"@{cursor:.0f}"
            self.husai.go("logs", f"{self._directory}{at}")

    def action_job(self, by: int) -> None:
        """Show the next job of the study, or the one before."""
        other = neighbour(self.session.snapshot, self._directory, by)
        if not other:
            self.app.notify("no other job of this study has curves", timeout=3)
            return
        self.open(other)
        self.husai.look()

    def maximise(self) -> None:
        """Give the selected panel all the room, or all panels theirs."""
        self._sheet.maximised = not self._sheet.maximised
        self._chart.repaint()

    def back(self) -> bool:
        """Take the cursor away, then the zoom, then the large panel."""
        sheet = self._sheet
        if sheet.curves.cursor is not None:
            sheet.curves.cursor = None
        elif sheet.curves.zoomed:
            sheet.reset()
        elif sheet.maximised:
            sheet.maximised = False
        else:
            return False
        self._chart.repaint()
        return True

    def set_filter(self, text: str) -> str:
        """Show only some of the seeds."""
        wrong = self._sheet.curves.show_only(text)
        if not wrong:
            self._filter = text.strip()
            self._chart.repaint()
        return wrong

    @property
    def filter_text(self) -> str:
        """The filter in force."""
        return self._filter

    # For others

    def describe(self) -> str:
        """Return the job's state and its newest values, or those at the cursor."""
        job = self._sheet.job
        return sentence(job, self._sheet.curves) if job else "No job has run yet."

    def exported(self) -> Exported | None:
        """Return every row of the curves, with a column per measurement and seed."""
        if not len(self._sheet.curves.data):
            return None
        rows = Measurements(self._sheet.curves)
        return Exported("curves", rows.columns, rows, self.command)

    def row_text(self) -> str:
        """Return the values now, or at the cursor."""
        return self._sheet.values_text()

    def remember(self) -> dict[str, Any]:
        """Return the job, and how its curves are looked at."""
        return {"job": self._directory, **self._sheet.keep_wish()}

    def recall(self, remembered: dict[str, Any]) -> None:
        """Look at curves as the last time; the job itself is chosen anew."""
        self._sheet.wish = dict(remembered)
