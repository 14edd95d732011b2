"""The form on the screen: typing, moving, and planning while nobody types."""

from __future__ import annotations

import copy
import traceback
from functools import partial
from typing import Any

from textual.app import ComposeResult
from textual.timer import Timer

from engine.client.studies import list_placements
from engine.errors import HusaiError
from husai_tui.screens.view import View
from husai_tui.state.draft import FRESH, Data
from husai_tui.state.estimate import Estimate, estimate
from husai_tui.state.form import FormLines
from husai_tui.state.planning import plan_lines
from husai_tui.state.sweep import Form
from husai_tui.widgets.sheet import ActiveSheet, Sheet

PAUSE_SECONDS = 0.35
"""Silence of the keys after which the plan is made anew."""
BESIDE = 100
"""Columns from which form and plan stand side by side."""


class Drafting(View):
    """A form and its plan, which is made anew whenever the keys have been silent for a moment."""

    NAME = "sweep"
    DEFAULT_CSS = """
    Drafting > #plan { height: 5; }
    Drafting.-beside { layout: horizontal; }
    Drafting.-beside > #form { width: 5fr; max-width: 110; }
    Drafting.-beside > #plan { width: 4fr; height: 1fr; margin: 0 0 0 2; }
    Drafting.-plan > #form { display: none; }
    Drafting.-plan > #plan { height: 1fr; width: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._form = Form()
        self._lines = FormLines()
        self._found = Estimate()
        self._known: tuple[Any, ...] = ()
        """What the estimate was made of: draft, profile, jobs that are done."""
        self._planning = False
        self._wanted: tuple[int, str] | None = None
        """Which draft to queue as soon as there is a plan of it: never one that was changed since."""
        self._timer: Timer | None = None
        self._misfits: dict[str, str] = {}
        self._profile = ""
        self._scroll = 0

    def compose(self) -> ComposeResult:
        """Return the form, and the plan beside or below it."""
        yield ActiveSheet(id="form")
        yield Sheet(id="plan")

    def on_mount(self) -> None:
        """Take what is typed."""
        sheet = self.query_one(ActiveSheet)
        sheet.press, sheet.paste = self._press, self._paste
        self._profile = self._form.profile = self.session.profile

    # The clock

    def load(self) -> dict[str, str]:
        """Return why each profile does not fit this machine, empty where it does."""
        if self._misfits:
            return self._misfits
        return {
            profile.name: "" if placement else reason
            for profile, placement, reason in list_placements()
        }

    def show(self, loaded: Any) -> None:
        """Take note of profiles, and of jobs that have come to an end."""
        self._misfits = loaded
        names = tuple(loaded)
        own = () if self.session.profile in names else (self.session.profile,)
        self._form.profiles = (*names, *own)
        if self._profile != self.session.profile:
            self._profile = self._form.profile = self.session.profile
        self._touch()

    def on_resize(self) -> None:
        """Lay out anew, once the parts have their new size."""
        self.set_class(self.size.width >= BESIDE, "-beside")
        self.call_after_refresh(self._paint)

    # Painting

    def _paint(self) -> None:
        if not self.query("#plan"):
            return
        form, plan = self.query_one("#form", Sheet), self.query_one("#plan", Sheet)
        if form.size:
            form.tell(
                self._lines.lines(self._form, form.size.width, form.size.height, self._misfits)
            )
        lines = plan_lines(
            self._form, self._found, self._made != self._known, plan.size.width, plan.size.height
        )
        self._scroll = max(0, min(self._scroll, len(lines) - plan.size.height))
        plan.tell(lines[self._scroll :])

    @property
    def _made(self) -> tuple[Any, ...]:
        return (*self._form.key, self.session.snapshot.counts.get("done", 0))

    def _touch(self) -> None:
        """Show the draft, and plan it once the keys have been silent for a moment."""
        if self._form.profile != self.session.profile:
            self._profile = self.session.profile = self._form.profile
        if self._made != self._known and not self._planning:
            if self._timer is not None:
                self._timer.stop()
            pause = 0.0 if self._found.plan is None and self._form.entry is None else PAUSE_SECONDS
            self._timer = self.set_timer(max(pause, 0.01), self._plan)
        self._paint()

    def _plan(self) -> None:
        """Plan the draft (in a thread); one plan at a time."""
        self._timer = None
        if self._planning:
            return
        made = self._made
        if not self._form.sound:
            self._arrived(made, Estimate())
            return
        self._planning = True
        data, profile = copy.deepcopy(self._form.data), self._form.profile
        self.run_worker(
            partial(self._work, made, data, profile), thread=True, exit_on_error=False, group="plan"
        )

    def _work(self, made: tuple[Any, ...], data: Data, profile: str) -> None:
        try:
            found = estimate(data, profile, self.session.root.path)
        except (HusaiError, OSError) as error:
            found = Estimate(fault=HusaiError(str(error)))
        except Exception:  # a fault of ours must not end what somebody lives in
            found = Estimate(fault=HusaiError(self.husai.keep_fault(traceback.format_exc())))
        self.app.call_from_thread(self._arrived, made, found)

    def _arrived(self, made: tuple[Any, ...], found: Estimate) -> None:
        self._planning = False
        wanted, self._wanted = self._wanted, None
        if made[:2] != self._form.key:
            if wanted is not None and wanted == self._form.key:
                self._wanted = wanted
            elif wanted is not None:
                self.app.notify("not queued: it was changed meanwhile", severity="warning")
            self._touch()  # what was typed meanwhile
            return
        self._found, self._known = found, made
        self._form.plan_fault = found.fault
        self._paint()
        if wanted == self._form.key:
            self._enqueue(found)

    # Typing and moving

    def _press(self, key: str, character: str | None) -> bool:
        if self._form.entry is None:
            return False
        taken = self._form.press(key, character)
        self._touch()
        return taken

    def _paste(self, text: str) -> None:
        self._form.paste(text)
        self._touch()

    def on_active_sheet_clicked(self, event: ActiveSheet.Clicked) -> None:
        """Put the cursor where the click was; a second one changes the line."""
        event.stop()
        name = self._lines.places.get(event.line)
        if name:
            self._form.commit()
            self._form.cursor = name
            if event.again:
                self._form.begin()
            self._touch()

    def action_go(self, by: int) -> None:
        """Go to another line; in the plan, scroll."""
        if self.has_class("-plan"):
            self._scroll += by
        else:
            self._form.move(by)
        self._touch()

    def action_type(self) -> None:
        """Type into the line, or take its next choice."""
        self._form.begin()
        self._touch()

    def action_flip(self) -> None:
        """Turn the option, the switch or the choice."""
        self._form.flip()
        self._touch()

    def action_step(self, by: int) -> None:
        """Take another choice, or go to another option."""
        self._form.step(by)
        self._touch()

    def action_undo(self) -> None:
        """Bring back what was there before the last change."""
        if not self._form.undo():
            self.app.notify("nothing to undo", timeout=3)
        self._touch()

    def action_fresh(self) -> None:
        """Start with a small study of no name that is taken."""
        data, number = copy.deepcopy(FRESH), 1
        while (self.session.root.path / data["name"]).exists():
            number += 1
            data["name"] = f"sweep-{number}"
        self._form.start(data, "")
        self._touch()

    def _enqueue(self, found: Estimate) -> None:
        """Queue what was planned."""

    def maximise(self) -> None:
        """Give the plan all the room, or the form its own."""
        self.toggle_class("-plan")
        self._scroll = 0
        self.focus_main()
        self.call_after_refresh(self._paint)

    def focus_main(self) -> None:
        """Put the keys on the form, or on this screen where only the plan is shown."""
        if found := self.query("#form"):
            found.first().focus()
        elif self.husai.current == self.NAME:  # its parts come a moment after it
            self.call_after_refresh(self.focus_main)
