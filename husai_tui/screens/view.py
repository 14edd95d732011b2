"""What every screen is: it loads in a thread, shows on the clock, and can be addressed, described, exported."""

from __future__ import annotations

import shlex
from typing import Any, ClassVar, cast

from textual.widget import Widget

from husai_tui.export import Exported
from husai_tui.host import Host
from husai_tui.keys import TITLES, Where, keys_of
from husai_tui.session import Session


class View(Widget):
    """One of the seven screens.

    Twice a second, while it is in front: `load` in a thread, which reads and computes and touches no widget,
    then `show` with what it returned. `load` may raise `HusaiError` and `OSError`, which are told in place.
    """

    NAME: ClassVar[Where]
    ready = False
    """Whether all that it is made of is there: before, nothing of it may be asked for."""
    PARTS: ClassVar[tuple[Where, ...]] = ()
    """Kinds of panels in it whose keys work: `table`, `chart`."""
    FILTER_HINT: ClassVar[str] = "words that must be there; !word leaves out"
    DEFAULT_CSS = """
    View { height: 1fr; width: 1fr; layout: vertical; }
    """

    @property
    def session(self) -> Session:
        """The runs root and what is known of it."""
        return self.husai.session

    @property
    def husai(self) -> Host:
        """The app, by its own type; found once, because threads outlive the context that names it."""
        if self._husai is None:
            self._husai = cast("Host", self.app)
        return self._husai

    _husai: Host | None = None

    def belong_to(self, host: Host) -> None:
        """Belong to an app."""
        self._husai = host

    @property
    def title(self) -> str:
        """Name for people."""
        return TITLES[self.NAME]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keep keys that write from working under `--readonly`."""
        writing = any(
            key.writes and key.action.partition("(")[0] == action
            for key in keys_of(self.NAME, *self.PARTS)
        )
        return not (writing and self.session.readonly)

    def load(self) -> Any:
        """Read what is to be shown (in a thread)."""
        return None

    def show(self, loaded: Any) -> None:
        """Show what was read."""

    def fail(self, problem: str) -> None:
        """Tell why nothing new can be shown; what is there stays."""
        if problem != self._problem:
            self._problem = problem
            self.app.notify(problem, severity="error", timeout=10, markup=False)

    _problem = ""

    def open(self, target: str) -> None:
        """Show what an address names, the part after the screen's name; empty: what was shown last."""

    @property
    def target(self) -> str:
        """The part of the address that names what is shown."""
        return ""

    @property
    def address(self) -> str:
        """What brings this view back: `husai ADDRESS`; a target with spaces is quoted for the shell."""
        return f"{self.NAME} {shlex.quote(self.target)}" if self.target else self.NAME

    @property
    def command(self) -> str:
        """The command that reproduces what is shown."""
        return f"husai {self.address}{self.session.runs_option}"

    def describe(self) -> str:
        """Return what is shown in a sentence or two: for monochrome terminals and screen readers."""
        return f"{self.title}."

    def exported(self) -> Exported | None:
        """Return the numbers behind what is shown; None: there are none."""
        return None

    def row_text(self) -> str:
        """Return what `y` copies of the row or the figure in hand; empty: nothing is."""
        return ""

    def set_filter(self, text: str) -> str:
        """Show only what matches; return what is wrong with the filter, empty if nothing."""
        return "this screen has no filter"

    @property
    def filter_text(self) -> str:
        """The filter in force."""
        return ""

    def back(self) -> bool:
        """Leave what is open inside this screen; return whether anything was."""
        return False

    def maximise(self) -> None:
        """Give one panel all the room, or all panels theirs."""

    def remember(self) -> dict[str, Any]:
        """Return what should come back at the next start: plain values."""
        return {}

    def recall(self, remembered: dict[str, Any]) -> None:
        """Take what `remember` returned, of this version or an older one."""

    def focus_main(self) -> None:
        """Put the keys where they are of most use."""
        for child in self.query("*"):
            if child.can_focus and child.display:
                child.focus()
                return
