"""A sheet of charts that takes keys: only the cells that have changed are sent."""

from __future__ import annotations

from typing import ClassVar, Protocol

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.color import Color
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from husai_tui.bindings import bindings
from husai_tui.state.paper import DIM, INKS, SERIES, Paper
from husai_tui.themes import SERIES as DARK_SERIES
from husai_tui.themes import SERIES_LIGHT

ANSI_SERIES = ("blue", "yellow", "green", "magenta", "cyan", "red", "bright_blue", "white")
"""Of the sixteen colours of a terminal."""
SUBDUED = 0.6
"""How far subdued curves are on the way to the background."""


class Plot(Protocol):
    """What a chart shows. What cannot be done is answered with a sentence, what was done with nothing."""

    def draw(self, width: int, height: int) -> Paper:
        """Return the sheet for a window of this size."""

    def zoom(self, by: int) -> str:
        """Show less (1) or more (-1) at once."""

    def pan(self, by: int) -> str:
        """Show what is to the right (1) or to the left (-1)."""

    def reset(self) -> str:
        """Show everything, without a cursor."""

    def scrub(self, cells: int) -> str:
        """Move the cursor."""

    def smooth(self, by: int) -> str:
        """Smooth more (1) or less (-1)."""

    def toggle(self, what: str) -> str:
        """Change `band`, `axis` or `log`."""

    def select(self, by: int) -> str:
        """Go to the next panel (1) or the one before (-1)."""


class Chart(Widget, can_focus=True):
    """Shows a plot, and gives it the keys."""

    BINDINGS: ClassVar[list[Binding]] = bindings("chart")  # type: ignore[assignment]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{ink}" for ink in INKS if ink}
    DEFAULT_CSS = """
    Chart { height: 1fr; width: 1fr; }
    Chart > .chart--faint { color: $faint; }
    Chart > .chart--rule { color: $rule; }
    Chart > .chart--good { color: $success; }
    Chart > .chart--warn { color: $warning; }
    Chart > .chart--bad { color: $error; text-style: bold; }
    Chart > .chart--accent { color: $accent; text-style: bold; }
    Chart > .chart--strong { text-style: bold; }
    """

    def __init__(self, plot: Plot, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.plot = plot
        self._paper = Paper(0, 0)
        self._styles: dict[int, Style] = {}
        self._theme = ""

    def repaint(self) -> None:
        """Draw the plot anew, and send the cells that differ from those painted."""
        if not self.is_attached or not self.size:
            return
        before, self._paper = self._paper, self._drawn()
        if (before.width, before.height) != (self._paper.width, self._paper.height):
            self.refresh()
            return
        regions = [Region(x, y, width, 1) for x, y, width in self._paper.changes(before)]
        if regions:
            self.refresh(*regions)

    def _drawn(self) -> Paper:
        return self.plot.draw(self.size.width, self.size.height)

    def on_resize(self) -> None:
        """Draw for the new size; what was painted meanwhile is the old drawing."""
        self._paper = self._drawn()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one line of the window."""
        if y >= self._paper.height:
            return Strip.blank(self.size.width, self.rich_style)
        segments = [Segment(text, self._style(ink)) for text, ink in self._paper.runs(y)]
        return Strip(segments, self._paper.width)

    @property
    def text(self) -> str:
        """What is shown, without its colours."""
        return "\n".join(self._paper.lines())

    def _style(self, ink: int) -> Style:
        if self._theme != self.app.theme:
            self._theme, self._styles = self.app.theme, {}
        style = self._styles.get(ink)
        if style is None:
            style = self._styles[ink] = self.rich_style + self._made(ink)
        return style

    def _made(self, ink: int) -> Style:
        if ink < SERIES:
            name = INKS[ink]
            if not name:
                return Style()
            return self.get_component_rich_style(f"chart--{name}", partial=True)
        place = ink - (DIM if ink >= DIM else SERIES)
        if self.app.native_ansi_color:
            name = "bright_black" if ink >= DIM else ANSI_SERIES[place]
            return Style(color=name)
        colours = DARK_SERIES if self.app.current_theme.dark else SERIES_LIGHT
        colour = Color.parse(colours[place])
        if ink >= DIM:
            colour = colour.blend(self.background_colors[1], SUBDUED)
        return Style(color=colour.rich_color)

    # Keys

    def _done(self, refused: str) -> None:
        """Show what was done, or tell why it was not."""
        if refused:
            self.app.notify(refused, severity="warning", timeout=4, markup=False)
        self.repaint()

    def action_zoom(self, by: int) -> None:
        """Show less or more at once."""
        self._done(self.plot.zoom(by))

    def action_pan(self, by: int) -> None:
        """Show what is to the left or right."""
        self._done(self.plot.pan(by))

    def action_reset(self) -> None:
        """Show everything."""
        self._done(self.plot.reset())

    def action_scrub(self, cells: int) -> None:
        """Move the cursor."""
        self._done(self.plot.scrub(cells))

    def action_smooth(self, by: int) -> None:
        """Smooth more or less."""
        self._done(self.plot.smooth(by))

    def action_change(self, what: str) -> None:
        """Change between two ways to draw."""
        self._done(self.plot.toggle(what))

    def action_panel(self, by: int) -> None:
        """Go to another panel."""
        self._done(self.plot.select(by))
