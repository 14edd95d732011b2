"""System: what this machine does, what the profiles would make of it, and what the doctor finds."""

from __future__ import annotations

import subprocess
import time
import traceback
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from engine.client.machine import Probe, bytes_below
from engine.client.queue import garbage, remove_garbage
from engine.client.studies import list_placements
from engine.doctor import examine
from engine.errors import HusaiError
from husai_tui.bindings import bindings
from husai_tui.export import Exported
from husai_tui.screens.dialogs import Confirm
from husai_tui.screens.view import View
from husai_tui.state.meter import plural, size
from husai_tui.state.system import Details, Meters
from husai_tui.widgets.sheet import ActiveSheet, Sheet

LOOK_SECONDS = 2.0
"""Between two looks at the machine: more often, and its numbers are noise."""
BESIDE = 100
"""Columns from which meters and list stand side by side."""


class System(View):
    """The machine and its settings."""

    NAME = "system"
    BINDINGS: ClassVar[list[Binding]] = bindings("system")  # type: ignore[assignment]
    DEFAULT_CSS = """
    System > #meters { height: auto; margin: 0 0 1 0; }
    System > #rest { height: 1fr; width: 1fr; }
    System #about { height: 2; }
    System.-beside { layout: horizontal; }
    System.-beside > #meters { width: 1fr; height: 1fr; margin: 1 2 0 0; }
    System.-beside > #rest { width: 1fr; margin: 1 0 0 0; }
    System.-beside #about { height: 4; }
    System.-meters > #rest { display: none; }
    """
    doctor: Callable[..., Any] = staticmethod(examine)
    """Looks at the machine, and returns its findings."""

    def __init__(self) -> None:
        super().__init__()
        self._meters = Meters()
        self._details = Details()
        self._probe: Probe | None = None
        self._looked = 0.0
        self._begun = False

    def compose(self) -> ComposeResult:
        """Return the meters, the list, and what is known of its row."""
        yield Sheet(id="meters")
        with Vertical(id="rest"):
            yield ActiveSheet(id="details")
            yield Sheet(id="about")

    # The clock

    def load(self) -> Any:
        """Look at the machine, not oftener than its numbers mean something."""
        if self._probe is None:
            self._probe = Probe(self.session.root)
            self._details.placed = list_placements()
            time.sleep(0.1)  # the first shares are those of this moment
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS and self._looked:
            return None
        self._looked = now
        running = [job for job in self.session.snapshot.jobs if job["state"] == "running"]
        return self._probe.look(running), now

    def show(self, loaded: Any) -> None:
        """Show what the machine does; let the doctor come when this is first seen."""
        if loaded is not None:
            load, now = loaded
            self._meters.take(load, now)
            self._details.load = load
        if not self._begun:
            self._begun = True
            self.action_examine()
            self._count()
        self._paint()

    def on_resize(self) -> None:
        """Lay out anew, once the parts have their new size."""
        self.set_class(self.size.width >= BESIDE, "-beside")
        self.call_after_refresh(self._paint)

    def _paint(self) -> None:
        if not self.query("#about"):
            return
        details, session = self._details, self.session
        details.profile = session.profile
        details.running_profile = str((session.snapshot.supervisor or {}).get("profile", ""))
        details.root = str(session.root.path)
        meters = self.query_one("#meters", Sheet)
        beside = self.has_class("-beside")
        lines = self._meters.lines(meters.size.width or self.size.width, tall=beside)
        alone = beside or self.has_class("-meters")
        meters.styles.height = (
            "1fr" if alone else min(len(lines), max(3, self.size.height // 2 - 1))
        )
        meters.tell(lines)
        sheet, about = self.query_one("#details", Sheet), self.query_one("#about", Sheet)
        roomy = beside and details.length + 6 < self.size.height
        sheet.styles.height = details.length + 1 if roomy else "1fr"
        if sheet.size:
            sheet.tell(details.lines(sheet.size.height, sheet.size.width))
            about.tell(details.about(about.size.width, about.size.height))

    # Keys

    def action_go(self, by: int) -> None:
        """Go up or down."""
        self._details.move(by)
        self._paint()

    def on_active_sheet_clicked(self, event: ActiveSheet.Clicked) -> None:
        """Put the cursor where the click was; a second one takes the profile."""
        event.stop()
        if key := self._details.places.get(event.line):
            self._details.cursor = key
            self._paint()
            if event.again:
                self.action_take()

    def action_take(self) -> None:
        """Take the profile under the cursor for the next sweep and the next engine."""
        row = self._details.at
        if row is None or not row.key.startswith("profile "):
            self.app.notify(
                "no profile: the cursor is on something else", severity="warning", timeout=4
            )
            return
        name = row.key.removeprefix("profile ")
        fits = next(
            (placement for one, placement, _ in self._details.placed if one.name == name), None
        )
        if fits is None:
            self.app.notify(row.about, severity="warning", markup=False)
            return
        self.session.profile = name
        up = self.session.snapshot.supervisor
        said = "; the engine that is up keeps its own" if up else ""
        self.app.notify(
            f"profile {name} for the next sweep and the next engine{said}", markup=False
        )
        self._paint()

    def action_examine(self) -> None:
        """Let the doctor look (in a thread; torch is imported in another process)."""
        if self._details.looking:
            return
        self._details.looking, self._details.trouble = True, ""

        def work() -> None:
            findings, trouble = None, ""
            try:
                findings = self.doctor(self.session.root.path)
            except subprocess.TimeoutExpired:
                trouble = "importing torch takes too long"
            except (HusaiError, OSError, ValueError) as error:
                trouble = str(error)
            except Exception:  # a fault of ours must not end what somebody lives in
                trouble = self.husai.keep_fault(traceback.format_exc())
            self.app.call_from_thread(self._examined, findings, trouble)

        self.run_worker(work, thread=True, exit_on_error=False, group="doctor")
        self._paint()

    def _examined(self, findings: Any, trouble: str) -> None:
        self._details.looking, self._details.trouble = False, trouble
        self._details.findings = findings if findings is not None else self._details.findings
        self._paint()

    def _count(self) -> None:
        """Count what the runs root holds (in a thread)."""

        def work() -> None:
            self.app.call_from_thread(self._counted, bytes_below(self.session.root.path), None)

        self.run_worker(work, thread=True, exit_on_error=False, group="size", exclusive=True)

    def _counted(self, stored: int, removable: int | None) -> None:
        self._details.stored, self._details.garbage = stored, removable
        self._paint()

    def action_collect(self) -> None:
        """See what no study refers to, and ask whether to remove it."""

        def work() -> None:
            try:
                found = garbage(self.session.root)
            except (HusaiError, OSError) as error:
                self.app.call_from_thread(self.fail, str(error))
                return
            stored = bytes_below(self.session.root.path)
            self.app.call_from_thread(self._found, found, stored)

        self.run_worker(work, thread=True, exit_on_error=False, group="garbage", exclusive=True)

    def _found(self, found: dict[str, Any], stored: int) -> None:
        removable = sum(row["bytes"] for row in found["garbage"])
        self._counted(stored, removable)
        kept = ""
        if found["unknown"]:
            some = ", ".join(found["unknown"][:3]) + (" …" if len(found["unknown"]) > 3 else "")
            kept = f"\nRun directories are all kept: the queue does not know {some}."
        if not found["garbage"]:
            self.app.notify(f"nothing to remove{kept}", markup=False)
            return
        what = f"{plural(len(found['garbage']), 'folder')}, {size(removable)}"
        if self.session.readonly:
            self.app.notify(f"{what} could be removed; read-only: nothing is{kept}", markup=False)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.husai.give(lambda: self._remove(found))

        question = f"Remove {what}, that no study refers to or that a kill left behind?{kept}"
        self.app.push_screen(Confirm(question), answered)

    def _remove(self, found: dict[str, Any]) -> None:
        freed = remove_garbage(found)
        stored = bytes_below(self.session.root.path)
        self.app.call_from_thread(self._counted, stored, 0)
        self.app.call_from_thread(self.app.notify, f"{size(freed)} removed")

    # What every view has

    def open(self, target: str) -> None:
        """Put the cursor on a profile."""
        self._details.cursor = f"profile {target}"

    @property
    def command(self) -> str:
        """The command that tells the doctor's findings."""
        return f"husai-engine doctor{self.session.runs_option}"

    def describe(self) -> str:
        """Return the meters, the profile and what is wrong."""
        said = f"{self._meters.told()}. {self._details.told()}."
        return said[:1].upper() + said[1:]

    def row_text(self) -> str:
        """Return all that is known of the row under the cursor."""
        return self._details.at.about if self._details.at else ""

    def exported(self) -> Exported:
        """Return profiles, findings, workers and storage."""
        rows = [row.values for row in self._details.rows()]
        return Exported(
            "system", ("section", "name", "state", "what", "remedy"), rows, self.command
        )

    def maximise(self) -> None:
        """Give the meters all the room, or the list its own."""
        self.toggle_class("-meters")
        self.call_after_refresh(self._paint)

    def back(self) -> bool:
        """Leave the meters."""
        if self.has_class("-meters"):
            self.maximise()
            return True
        return False

    def remember(self) -> dict[str, Any]:
        """Return where the cursor stands."""
        return {"cursor": self._details.cursor}

    def recall(self, remembered: dict[str, Any]) -> None:
        """Put the cursor where it stood."""
        self._details.cursor = str(remembered.get("cursor", ""))

    def focus_main(self) -> None:
        """Put the keys on the list."""
        if found := self.query("#details"):
            found.first().focus()
        elif self.husai.current == self.NAME:  # its parts come a moment after it
            self.call_after_refresh(self.focus_main)
