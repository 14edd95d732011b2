"""The app: seven screens behind one frame, one clock, and the engine in another process."""

from __future__ import annotations

import time
import traceback
from ast import literal_eval
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from rich.console import RenderableType
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import ComposeResult
from textual.binding import Binding
from textual.command import Provider
from textual.containers import Container
from textual.css.query import NoMatches
from textual.driver import Driver
from textual.events import Resize
from textual.filter import Monochrome, NoColor
from textual.screen import Screen
from textual.widget import AwaitMount
from textual.widgets import ContentSwitcher, Static

from engine.client.daemon import start_supervisor
from engine.errors import HusaiError
from husai_tui.bindings import bindings
from husai_tui.commands import Commands, Palette
from husai_tui.guard import HUNG_UP, Guard
from husai_tui.keys import Key, Where
from husai_tui.link import Link
from husai_tui.painting import Narrowed, Painted
from husai_tui.screens.actions import Actions
from husai_tui.screens.compare import Compare
from husai_tui.screens.features import Features
from husai_tui.screens.logs import Logs
from husai_tui.screens.run import Run
from husai_tui.screens.runs import Runs
from husai_tui.screens.sweep import Sweep
from husai_tui.screens.system import System
from husai_tui.screens.view import View
from husai_tui.session import Session
from husai_tui.settings import write_memory
from husai_tui.state.frame import footer, header
from husai_tui.teardown import comes_too_late
from husai_tui.themes import DARK, LIGHT
from husai_tui.widgets.bars import Bar

SCREENS: dict[Where, type[View]] = {
    "runs": Runs,
    "run": Run,
    "compare": Compare,
    "features": Features,
    "sweep": Sweep,
    "logs": Logs,
    "system": System,
}
"""Name → the screen; each is made when it is first shown."""
SMALLEST = (60, 15)
"""Columns and lines below which nothing useful can be shown."""

MOST_WAITING_SECONDS = 0.3
"""While the terminal has not taken what was sent so long ago, nothing more is painted on the clock."""


class HusaiApp(Actions):
    """`husai`: looks at a runs root, and gives orders to the engine there."""

    TITLE = "husai"
    CSS_PATH = "husai.tcss"
    COMMANDS: ClassVar[set[type[Provider]]] = {Commands}  # type: ignore[assignment]
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[Binding]] = bindings("everywhere")  # type: ignore[assignment]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012

    def __init__(
        self,
        session: Session,
        *,
        view: Where | None = None,
        target: str = "",
        start: bool = True,
        driver_class: type[Driver] | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Make the app.

        Args:
            session: runs root, settings, memory.
            view: screen to begin with; None: the one of the last time.
            target: what to show there, as in its address.
            start: whether to start a supervisor if none answers; never under `readonly`.
            driver_class: how to talk to the terminal; None: Textual's own.
            guard: sees to it that the process ends; None: nobody does.
        """
        super().__init__(driver_class=driver_class)
        if self.no_color:  # not even greys, and under every theme
            self._filters = [one for one in self._filters if not isinstance(one, Monochrome)]
            self._filters.append(NoColor())
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.session = session
        self.guard = guard
        self._painted = Painted()
        self.link = Link()
        self.current: Where = view if view in SCREENS else _known(session.memory.view)
        self._target = target
        self.starts_engine = start and not session.readonly
        self._before: Where = "runs"
        self._looking = False
        self._ticks = 0
        self._last_seen = time.time()

    def compose(self) -> ComposeResult:
        """Return the frame."""
        yield Bar(id="head")
        with ContentSwitcher(id="views"):
            yield Container(id="nothing")
        yield Bar(id="foot")
        yield Static(id="small", markup=False)

    def on_load(self) -> None:
        """Take the colours before anything is made that has some."""
        self.theme = self.session.settings.theme or self.first_theme()

    def on_mount(self) -> None:
        """Show the first screen, then start to look."""
        self.set_keymap(self.session.settings.keymap)
        for problem in self.session.settings.problems:
            self.notify(problem, title="settings", severity="warning", timeout=15, markup=False)
        self.go(self.current, self._target)
        self.set_interval(self.session.settings.refresh, self._tick)
        if self.starts_engine:
            self.start_engine(quietly=True)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return the colours that Textual's own themes do not name."""
        return {"faint": "ansi_bright_black", "rule": "ansi_bright_black"}

    def on_resize(self, event: Resize) -> None:
        """Say in a window too small for anything else how large it should be."""
        self._painted.forget()  # terminals cut and move what they show
        small = event.size.width < SMALLEST[0] or event.size.height < SMALLEST[1]
        screen = self.screen_stack[0]
        screen.set_class(small, "-too-small")
        if small:
            screen.query_one("#small", Static).update(
                f"{event.size.width} × {event.size.height} is too small:\nhusai needs "
                f"{SMALLEST[0]} × {SMALLEST[1]}"
            )

    # Painting

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        narrowed: Any = renderable
        if isinstance(renderable, LayoutUpdate | ChopsUpdate):
            narrowed = Narrowed(renderable, self._painted)
        super()._display(screen, narrowed)

    def repaint(self) -> None:
        """Paint everything anew, whatever the terminal shows."""
        self._painted.forget()
        self.refresh(repaint=True, layout=True)

    # Screens

    def view(self, name: Where | None = None) -> View | None:
        """Return a screen, None if it was not shown yet; without a name the one in front."""
        found = self.screen_stack[0].query(SCREENS[name or self.current])
        return found.first(View) if found else None

    def go(self, name: Where, target: str = "") -> None:
        """Show a screen, and there what an address names."""
        if name not in SCREENS:
            self.notify(f"there is no screen {name} yet", severity="warning")
            return
        views = self.screen_stack[0].query("#views")
        if not views or not views.first().is_mounted or not views.first().is_attached:
            return  # a key before the first frame, or after the last
        if name != self.current:
            self._before, self.current = self.current, name
        view = self.view(name)
        if view is None:
            view = SCREENS[name]()
            view.belong_to(self)
            view.id = name
            mounted = views.first().mount(view)
            self.call_later(self._first, mounted, view, target)
        elif view.ready:
            self._front(view, target)

    def action_command_palette(self) -> None:
        """Find a command by its name."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette())  # without an id: the one before may still be going

    def go_before(self) -> None:
        """Show the screen before this one."""
        self.go(self._before)

    async def _first(self, mounted: AwaitMount, view: View, target: str) -> None:
        await mounted
        if not view.is_attached:
            return  # the app was left meanwhile
        view.ready = True
        try:
            view.recall(self.session.memory.views.get(view.NAME, {}))
        except Exception:  # the file may hold anything
            self.keep_fault(traceback.format_exc())
        self._front(view, target)

    def _front(self, view: View, target: str) -> None:
        if self.current != view.NAME:
            return
        self.screen_stack[0].query_one("#views", ContentSwitcher).current = view.NAME
        if target:
            try:
                view.open(target)
            except (HusaiError, OSError) as error:
                view.fail(str(error))
        view.focus_main()
        self._frame()
        self.look()

    def places(self) -> tuple[Where, ...]:
        """Return where the keys that work now belong."""
        view = self.view()
        return (*((view.NAME, *view.PARTS) if view else ()), "everywhere")

    # The clock

    def _tick(self) -> None:
        self._ticks += 1
        if self._ticks % self.link.pace() == 0 and self.link.waiting < MOST_WAITING_SECONDS:
            self.look()

    def look(self) -> None:
        """Look at the engine, and show what is new; one look at a time."""
        view = self.view()
        if self._looking or view is None or not view.ready:
            return
        self._looking = True
        self.run_worker(partial(self._load, view), thread=True, exit_on_error=False, group="look")

    def _load(self, view: View) -> None:
        """Look (in a thread); whatever goes wrong is told, and the next look tries again."""
        problem, loaded = "", None
        try:
            self.session.watcher.look()
            loaded = view.load()
        except (HusaiError, OSError) as error:
            problem = str(error)
        except Exception:  # a fault of ours must not end what somebody lives in
            problem = "" if self._exit else self.keep_fault(traceback.format_exc())
        self.call_from_thread(self._show, view, loaded, problem)

    def _show(self, view: View, loaded: Any, problem: str) -> None:
        self._looking = False
        self._last_seen = time.time()
        if self.current != view.NAME:
            self.look()
            return
        try:
            if problem:
                view.fail(problem)
            else:
                view.show(loaded)
        except Exception as error:  # as above
            if self._exit or comes_too_late(error):
                return
            view.fail(self.keep_fault(traceback.format_exc()))
        self._frame()

    def _frame(self) -> None:
        """Bring the first and the last line up to date."""
        view = self.view()
        if view is None or not self.screen_stack[0].query("#head"):
            return
        screen, session = self.screen_stack[0], self.session
        screen.query_one("#head", Bar).tell(
            *header(session.host, session.profile, view.title, session.snapshot, session.readonly)
        )
        screen.query_one("#foot", Bar).tell(
            *footer(
                self.places(),
                session.settings.keymap,
                session.readonly,
                self.link.rate,
                self.link.lag,
                self.link.pace() * session.settings.refresh if self.link.pace() > 1 else 0.0,
            )
        )

    # Orders

    def give(self, order: Callable[[], Any]) -> None:
        """Give an order to the engine (in a thread); what is wrong with it is told."""
        if self.session.readonly:
            self.notify("read-only: nothing was changed", severity="warning")
            return

        def work() -> None:
            try:
                order()
            except (HusaiError, OSError) as error:
                self.call_from_thread(self.notify, str(error), severity="error", markup=False)

        self.run_worker(work, thread=True, exit_on_error=False, group="orders")

    def start_engine(self, *, quietly: bool = False) -> None:
        """Start a supervisor if none answers (in a thread)."""

        def start() -> None:
            found = start_supervisor(self.session.root, self.session.profile)
            if not quietly and found.get("already"):
                self.call_from_thread(self.notify, "the engine is up already")

        self.give(start)

    def perform(self, key: Key) -> None:
        """Do what a key does, for the palette: its action, on the part of the screen it belongs to."""
        if key.writes and self.session.readonly:
            return
        name, _, arguments = key.action.partition("(")
        values = [literal_eval(one) for one in arguments.rstrip(")").split(",") if one]
        view = self.view()
        parts = [self.screen_stack[0].focused, *(view.query("*") if view else ()), view, self]
        for part in parts:
            method = getattr(part, f"action_{name}", None)
            if method is not None:
                method(*values)
                return

    # The way out

    def exit(
        self, result: None = None, return_code: int = 0, message: RenderableType | None = None
    ) -> None:
        """Leave, and soon: what should come back is written down first."""
        self.remember()
        if self.guard:
            self.guard.arm(return_code)
        super().exit(result, return_code, message)

    def asked_to_leave(self, code: int) -> None:
        """Leave with a code (called from a signal, between any two steps of the app)."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(partial(self.exit, return_code=code))

    def lost_terminal(self) -> None:
        """Leave: nobody sees this any more (told by the reading or the writing thread)."""
        if self.guard:
            self.guard.arm(HUNG_UP)
        self.asked_to_leave(HUNG_UP)

    def input_failed(self, trace: str) -> None:
        """Leave: keys are not heard any more (told by the reading thread)."""
        self._farewell(trace)
        self.asked_to_leave(1)

    def _handle_exception(self, error: Exception) -> None:
        if not (comes_too_late(error) or (self._exit and isinstance(error, NoMatches))):
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        # Textual prints the values of all variables on the terminal, and one may be a token.
        self._farewell(traceback.format_exc())
        if self.guard:
            self.remember()
            self.guard.arm(1)
        self._close_messages_no_wait()

    def _farewell(self, trace: str) -> None:
        line = self.keep_fault(trace)
        if self.guard:
            self.guard.farewell = line

    def remember(self) -> None:
        """Write down what should come back at the next start."""
        memory = self.session.memory
        memory.view, memory.seen = self.current, self._last_seen
        for view in self.screen_stack[0].query(View):
            try:
                memory.views[view.NAME] = view.remember()
            except Exception:  # leaving must not fail
                self.keep_fault(traceback.format_exc())
        write_memory(self.session.folder, self.session.root.path, memory)


def _known(name: str) -> Where:
    return next((view for view in SCREENS if view == name), "runs")
