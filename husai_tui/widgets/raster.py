"""An activation map in half blocks: two dots in a character; in shades where there are no colours to blend."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.strip import Strip
from textual.widget import Widget

from husai_tui.state.raster import STEPS, Picture, levels, picture, shaded

KNEE = 0.65
"""Share of the largest activation at which the accent is reached; above it the colour goes on to the text's."""


class Raster(Widget):
    """A square map, as large as the room allows."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "raster--nothing",
        "raster--middle",
        "raster--most",
        "raster--said",
    }
    DEFAULT_CSS = """
    Raster { height: 1fr; width: 1fr; }
    Raster > .raster--nothing { color: $panel; }
    Raster > .raster--middle { color: $accent; }
    Raster > .raster--most { color: $foreground; }
    Raster > .raster--said { color: $faint; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._map: NDArray[np.uint8] | None = None
        self._said = ""
        self._drawn: tuple[object, list[Strip]] | None = None

    def tell(self, values: NDArray[np.uint8] | None, said: str = "") -> None:
        """Show a map [P, P], or say why there is none."""
        if values is self._map and said == self._said:
            return
        self._map, self._said, self._drawn = values, said, None
        self.refresh()

    @property
    def picture(self) -> Picture | None:
        """The map in the dots that there are."""
        if self._map is None:
            return None
        return picture(self._map, self.size.width, self.size.height)

    @property
    def in_colours(self) -> bool:
        """Whether the terminal can blend colours: else it is drawn in shades."""
        plain = self.has_pseudo_class("nocolor") or self.has_pseudo_class("ansi")
        return not plain and self.app.console.color_system in ("truecolor", "256")

    def render_line(self, y: int) -> Strip:
        """Return one line of dots."""
        if self._map is None:
            text = self._said if y == 0 else ""
            style = self.rich_style + self.get_component_rich_style("raster--said", partial=True)
            return Strip([Segment(text, style)]).adjust_cell_length(
                self.size.width, self.rich_style
            )
        setting = (self.size, self.app.theme, self.in_colours)
        if self._drawn is None or self._drawn[0] != setting:
            self._drawn = (setting, self._draw())
        strips = self._drawn[1]
        drawn = strips[y] if y < len(strips) else Strip([])
        return drawn.adjust_cell_length(self.size.width, self.rich_style)

    def _draw(self) -> list[Strip]:
        found = self.picture
        if found is None:
            return []
        if not self.in_colours:
            style = self.rich_style + self.get_component_rich_style("raster--middle", partial=True)
            return [Strip([Segment(line, style)]) for line in shaded(found)]
        ramp = self._ramp()
        ground = self.rich_style.bgcolor
        level = levels(found.dots)
        strips = []
        for upper in range(0, len(level), 2):
            lower = level[upper + 1] if upper + 1 < len(level) else np.full_like(level[upper], -1)
            strips.append(Strip(_runs(level[upper], lower, ramp, ground)))
        return strips

    def _ramp(self) -> list[RichColor]:
        nothing, middle, most = (
            self.get_component_styles(f"raster--{name}").color
            for name in ("nothing", "middle", "most")
        )
        colours: list[Color] = []
        for step in range(STEPS + 1):
            share = step / STEPS
            if share <= KNEE:
                colours.append(nothing.blend(middle, share / KNEE))
            else:
                colours.append(middle.blend(most, (share - KNEE) / (1 - KNEE)))
        return [colour.rich_color for colour in colours]


def _runs(
    upper: NDArray[np.int64],
    lower: NDArray[np.int64],
    ramp: list[RichColor],
    ground: RichColor | None,
) -> list[Segment]:
    """Return a line as few segments: neighbours of one colour are one."""
    segments = []
    edges = np.flatnonzero((np.diff(upper) != 0) | (np.diff(lower) != 0)) + 1
    for begin, end in zip([0, *edges], [*edges, len(upper)], strict=True):
        up, low = int(upper[begin]), int(lower[begin])
        below = ground if low < 0 else ramp[low]
        if up == low:
            segments.append(Segment(" " * int(end - begin), Style(bgcolor=below)))
        else:
            segments.append(Segment("▀" * int(end - begin), Style(color=ramp[up], bgcolor=below)))
    return segments
