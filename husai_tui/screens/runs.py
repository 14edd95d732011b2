"""Runs & queue: every job, how far it is, and what to do about it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding

from engine.client.look import Snapshot
from engine.client.queue import order
from husai_tui.bindings import bindings
from husai_tui.export import Exported
from husai_tui.screens.dialogs import Confirm
from husai_tui.screens.view import View
from husai_tui.state.frame import duration
from husai_tui.state.runs import (
    COLUMNS,
    TYPED_CONFIRMATION_SECONDS,
    Job,
    RunsTable,
    at_stake,
    can,
    closing,
    digest,
    why,
)
from husai_tui.tones import Part
from husai_tui.widgets.bars import Bar
from husai_tui.widgets.table import Column, Table

WIDTHS = (
    Column("state", 11),
    Column("study", 14, rank=1),
    Column("job", 20, grows=True),
    Column("progress", 15, rank=2),
    Column("left", 9, right=True, rank=3),
    Column("time", 9, right=True, rank=4),
    Column("try", 3, right=True, rank=6),
    Column("prio", 4, right=True, rank=7),
    Column("reason", 12, grows=True, rank=5),
)
EMPTY = "the queue is empty: 5 builds a sweep, or `husai-engine submit STUDY`"
WRITTEN = (
    "directory",
    "study",
    "name",
    "kind",
    "state",
    "step",
    "steps",
    "attempt",
    "priority",
    "seconds",
    "failure",
    "reason",
)
"""What of a job is exported."""


class Runs(View):
    """Thousands of jobs; the ones that run are on top."""

    NAME = "runs"
    PARTS = ("table",)
    BINDINGS: ClassVar[list[Binding]] = bindings("runs")  # type: ignore[assignment]
    DEFAULT_CSS = """
    Runs > Bar { background: transparent; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._table = RunsTable()
        self._told = False

    def compose(self) -> ComposeResult:
        """Return the table, and below it whether the window may be closed."""
        yield Table(WIDTHS, empty=EMPTY)
        yield Bar(id="why")
        yield Bar(id="closing")

    def show(self, loaded: Any) -> None:
        """Show the newest look at the queue."""
        snapshot = self.session.snapshot
        self._table.update(snapshot)
        table = self.query_one(Table)
        table.marked &= set(self._table.every())
        table.empty = (
            f"nothing matches {self._table.filter!r}; esc clears the filter"
            if self._table.filter and snapshot.jobs
            else EMPTY
        )
        table.set_rows(self._table)
        self._say(snapshot)
        if not self._told and snapshot.taken:
            self._told = True
            self._tell_digest(snapshot)

    def on_table_moved(self, event: Table.Moved) -> None:
        """Say of the job under the cursor what there is to say."""
        event.stop()
        self._tell_why()

    def _tell_why(self) -> None:
        self.query_one("#why", Bar).tell(why(self._table.job(self.query_one(Table).cursor_key)), [])

    def _say(self, snapshot: Snapshot) -> None:
        self._tell_why()
        marked = len(self.query_one(Table).marked)
        right: list[Part] = [(f"{marked} marked  ", "accent")] if marked else []
        if self._table.filter:
            right.append((f"/{self._table.filter}  ", "accent"))
        shown, every = len(self._table), len(snapshot.jobs)
        count = f"{shown} of {every}" if shown != every else str(every)
        right.append((f"{count} job{'s' * (every != 1)}", "faint"))
        waiting: list[Part] = [(f"{', '.join(snapshot.waiting)} waits to be queued   ", "warn")]
        self.query_one("#closing", Bar).tell(
            [*(waiting if snapshot.waiting else []), closing(snapshot)],
            right,
        )

    def _tell_digest(self, snapshot: Snapshot) -> None:
        lines = digest(snapshot, self.session.memory.seen)
        if lines:
            self.app.notify("\n".join(lines[1:]), title=lines[0], timeout=20, markup=False)

    def on_table_sorted(self, event: Table.Sorted) -> None:
        """Sort."""
        event.stop()
        self._table.sort = (event.column, event.descending)
        self._table.arrange()
        event.table.set_rows(self._table)

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Open the job's own screen."""
        event.stop()
        self.husai.go("run", event.key)

    def _chosen(self) -> list[Job]:
        table = self.query_one(Table)
        keys = table.marked or {table.cursor_key}
        return [job for key in self._table.every() if key in keys and (job := self._table.job(key))]

    def action_mark(self) -> None:
        """Mark the row, and go down."""
        self.query_one(Table).toggle_mark()
        self._say(self.session.snapshot)

    def action_pause(self) -> None:
        """Pause the jobs, or let them go on if all of them are paused."""
        chosen = self._chosen()
        self._order("pause" if can("pause", chosen) else "resume", chosen)

    def action_retry(self) -> None:
        """Try the jobs again."""
        self._order("retry", self._chosen())

    def action_raise(self) -> None:
        """Let the jobs go earlier."""
        self._prioritise(1)

    def action_lower(self) -> None:
        """Let the jobs go later."""
        self._prioritise(-1)

    def action_cancel(self) -> None:
        """Cancel the jobs, after a question; a word must be typed where much work would end."""
        chosen = can("cancel", self._chosen())
        if not chosen:
            self.app.notify("nothing here that could be cancelled", severity="warning")
            return
        stake = at_stake(chosen, self.session.snapshot.taken)
        what = chosen[0]["name"] if len(chosen) == 1 else f"{len(chosen)} jobs"
        kept = (
            f"\n{duration(stake)} of work; checkpoints stay, and retry goes on from them"
            if stake
            else ""
        )
        word = "cancel" if stake > TYPED_CONFIRMATION_SECONDS else ""

        def answered(yes: bool | None) -> None:
            if yes:
                self._order("cancel", chosen)

        self.app.push_screen(Confirm(f"Cancel {what}?{kept}", word), answered)

    def action_logs(self) -> None:
        """Read the job's log."""
        key = self.query_one(Table).cursor_key
        if key:
            self.husai.go("logs", key)

    def action_digest(self) -> None:
        """Say what happened while nobody looked."""
        lines = digest(self.session.snapshot, self.session.memory.seen)
        self.app.notify("\n".join(lines) or "nothing has ended since you last looked", markup=False)

    def action_engine(self) -> None:
        """Start the supervisor."""
        self.husai.start_engine()

    def _prioritise(self, by: int) -> None:
        chosen = can("priority", self._chosen())
        if not chosen:
            self.app.notify("nothing here whose turn could change", severity="warning")
            return
        name = chosen[0]["name"] if len(chosen) == 1 else f"{len(chosen)} jobs"
        self.app.notify(
            f"priority {chosen[0]['priority'] + by:+d}: {name}", markup=False, timeout=3
        )
        for job in chosen:
            self.husai.give(
                lambda job=job: order(  # type: ignore[misc]
                    self.session.root, "priority", job["directory"], job["priority"] + by
                )
            )

    def _order(self, what: str, jobs: list[Job]) -> None:
        meant = can(what, jobs)
        if not meant:
            self.app.notify(f"nothing here to {what}", severity="warning")
            return
        for job in meant:
            self.husai.give(
                lambda job=job: order(self.session.root, what, job["directory"])  # type: ignore[misc]
            )
        self.query_one(Table).marked.clear()
        told = meant[0]["name"] if len(meant) == 1 else f"{len(meant)} jobs"
        self.app.notify(f"{what}: {told}", markup=False)

    def set_filter(self, text: str) -> str:
        """Show the jobs that have all words; `!word` leaves out."""
        self._table.filter = text.strip()
        self.show(None)
        return ""

    @property
    def filter_text(self) -> str:
        """The filter in force."""
        return self._table.filter

    def describe(self) -> str:
        """Return the counts and what may be closed."""
        counts = ", ".join(
            f"{number} {state}" for state, number in self.session.snapshot.counts.items()
        )
        return f"{counts or 'no jobs'}; {closing(self.session.snapshot)[0]}."

    def row_text(self) -> str:
        """Return the job as `study/name`, which every command takes."""
        job = self._table.job(self.query_one(Table).cursor_key)
        return f"{job['study']}/{job['name']}" if job else ""

    @property
    def command(self) -> str:
        """The command that lists the same."""
        return f"husai-engine jobs{self.session.runs_option}"

    def exported(self) -> Exported:
        """Return the jobs in sight of the filter."""
        found = [self._table.job(key) for key in self._table.every()]
        rows = [[job.get(column) for column in WRITTEN] for job in found if job]
        return Exported("jobs", WRITTEN, rows, self.command)

    def remember(self) -> dict[str, Any]:
        """Return filter and order."""
        column, descending = self._table.sort
        name = COLUMNS[column] if column >= 0 else ""
        return {"filter": self._table.filter, "sort": name, "descending": descending}

    def recall(self, remembered: dict[str, Any]) -> None:
        """Take filter and order."""
        self._table.filter = str(remembered.get("filter", ""))
        name = remembered.get("sort")
        if name in COLUMNS:
            self._table.sort = (COLUMNS.index(name), bool(remembered.get("descending")))
            self.query_one(Table).sort = self._table.sort
