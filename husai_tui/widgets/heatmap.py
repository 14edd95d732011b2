"""A matrix in colours of one hue, dark to bright, beside what chance would give on the same scale."""

from __future__ import annotations

from typing import ClassVar

from rich.color import Color as RichColor
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.client.findings import MISSING, fraction
from husai_tui.state.heat import GAP, LEGEND, Heat, Layout, figure, layout

STEPS = 16
"""Colours of the ramp; fewer than the eye tells apart, so that 256 colours hold them in their order."""
SHADES = " ░▒▓█"
"""The ramp without colours."""
Cells = list[tuple[str, Style]]


def ramp(cold: Color, hot: Color, steps: int = STEPS) -> list[RichColor]:
    """Return colours from one to the other, evenly spaced for the eye (by way of Oklab)."""
    first, last = _oklab(cold), _oklab(hot)
    mixed = (
        [a + (b - a) * step / (steps - 1) for a, b in zip(first, last, strict=True)]
        for step in range(steps)
    )
    return [RichColor.from_rgb(*_rgb(lab)) for lab in mixed]


def _oklab(color: Color) -> list[float]:
    """Björn Ottosson, "A perceptual color space for image processing" (2020)."""
    r, g, b = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (color.r / 255, color.g / 255, color.b / 255)
    )
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    middle = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return [
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    ]


def _rgb(lab: list[float]) -> tuple[float, float, float]:
    lightness, a, b = lab
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    red, green, blue = (
        255 * (12.92 * c if c <= 0.0031308 else 1.055 * max(c, 0.0) ** (1 / 2.4) - 0.055)
        for c in linear
    )
    return _byte(red), _byte(green), _byte(blue)


def _byte(value: float) -> int:
    return min(255, max(0, round(value)))


class Heatmap(Widget):
    """The matrix observed, the null's beside it, and the colour key with the mark of the null."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "heatmap--cold",
        "heatmap--hot",
        "heatmap--faint",
        "heatmap--title",
        "heatmap--mark",
    }
    DEFAULT_CSS = """
    Heatmap { height: auto; width: auto; }
    Heatmap > .heatmap--cold { background: $background; color: $foreground; }
    Heatmap > .heatmap--hot { background: $accent; color: $background; }
    Heatmap > .heatmap--faint { color: $faint; }
    Heatmap > .heatmap--title { text-style: bold; }
    Heatmap > .heatmap--mark { color: $accent; text-style: bold; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.heat = Heat()
        self.layout_now = layout(self.heat, 80, 24)
        self._painted: dict[int, Cells] = {}
        self._looks: dict[str, Style] = {}
        """Styles by name, until the theme changes: asking for one takes a fifth of a millisecond."""

    def set_heat(self, heat: Heat, how: Layout) -> None:
        """Show another matrix, or the same one in another size; only changed lines are sent."""
        self.heat, self.layout_now = heat, how
        if not self.is_attached or not self.size:
            return
        for y in range(self.size.height):
            if self._painted.get(y) != self._line(y):
                self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self) -> None:
        """Paint all anew."""
        self._painted.clear()

    def notify_style_update(self) -> None:
        """Take the colours of another theme."""
        super().notify_style_update()
        self._painted.clear()
        self._looks.clear()

    def render_line(self, y: int) -> Strip:
        """Return one line."""
        cells = self._line(y)
        self._painted[y] = cells
        strip = Strip([Segment(text, style) for text, style in cells])
        return strip.adjust_cell_length(self.size.width, self._part(""))

    @property
    def plain(self) -> bool:
        """Whether there are too few colours for a ramp: then shades stand for them."""
        if self.has_pseudo_class("ansi") or self.has_pseudo_class("nocolor"):
            return True
        few = (None, "standard", "windows")
        return not self.app.is_headless and self.app.console.color_system in few

    def _line(self, y: int) -> Cells:
        heat, how, size = self.heat, self.layout_now, len(self.heat.values)
        if not size:
            return []
        width = how.width(size)
        plain = self._part("")
        faint, title = self._part("faint"), self._part("title")
        if y == 0:
            line = [_padded("observed", width, title)]
            if how.both:
                line += [(" " * GAP, plain), (f"chance: {_null(heat)}", title)]
            return line
        if y == 1:
            head = self._head(faint)
            return [*head, (" " * GAP, plain), *head] if how.both else head
        row = y - 2
        if row < how.height(size):
            line = self._row(row, null=False)
            return [*line, (" " * GAP, plain), *self._row(row, null=True)] if how.both else line
        return self._key(row - how.height(size), faint)

    def _head(self, faint: Style) -> Cells:
        how, labels = self.layout_now, self.heat.labels
        if how.cell < 3 or max(len(one) for one in labels) > how.cell - 1:
            return [(" " * how.width(len(labels)), faint)]
        text = "".join(_middle(one, how.cell) for one in labels)
        return [(" " * (how.label + 1) + text, faint)]

    def _row(self, row: int, *, null: bool) -> Cells:
        how, heat = self.layout_now, self.heat
        if how.halves:
            return self._halves(row, null=null)
        row, line = divmod(row, how.lines)
        label = "" if line else heat.labels[row]
        cells: Cells = [(f"{label:>{how.label}} ", self._part("faint"))]
        for column, value in enumerate(heat.values[row]):
            if row == column:
                cells.append((_middle("" if line else "·", how.cell), self._part("faint")))
            else:
                cells.append(
                    self._cell(heat.null_at(row, column) if null else value, first=not line)
                )
        return cells

    def _cell(self, value: float | None, *, first: bool) -> tuple[str, Style]:
        how = self.layout_now
        if value is None:
            return _middle(MISSING if first else "", how.cell), self._part("faint")
        said = figure(value, how.digits) if first and how.digits else ""
        text = _middle(said, how.cell)
        share = self.heat.share(value)
        if self.plain:
            if not how.digits:
                return SHADES[min(4, int(share * 5))] * how.cell, self._part("")
            above = self.heat.null is not None and value > self.heat.null
            return text, self._part("title" if above else "")
        ground = self._ramp[round(share * (STEPS - 1))]
        ink = self._ink(ground)
        return text, Style(color=ink, bgcolor=ground)

    def _halves(self, row: int, *, null: bool) -> Cells:
        """Return two rows of the matrix in one line: the upper half of each cell is the first of them."""
        how, heat = self.layout_now, self.heat
        cells: Cells = [(f"{heat.labels[2 * row]:>{how.label}} ", self._part("faint"))]
        base = self._part("cold").bgcolor
        for column in range(len(heat.values)):
            pair = list[float | None]()
            for place in (2 * row, 2 * row + 1):
                same = place == column or place >= len(heat.values)
                if same:
                    pair.append(None)
                else:
                    pair.append(heat.null_at(place, column) if null else heat.values[place][column])
            if self.plain:
                known = [heat.share(value) for value in pair if value is not None]
                mean = sum(known) / len(known) if known else 0.0
                cells.append((SHADES[min(4, int(mean * 5))] * how.cell, self._part("")))
                continue
            top, bottom = (
                base if value is None else self._ramp[round(heat.share(value) * (STEPS - 1))]
                for value in pair
            )
            cells.append(("▀" * how.cell, Style(color=top, bgcolor=bottom)))
        return cells

    def _key(self, line: int, faint: Style) -> Cells:
        heat, plain, start = self.heat, self._part(""), self.layout_now.label + 1
        low, high = f"{fraction(heat.low, 2)} ", f" {fraction(heat.high, 2)}"
        begin = " " * max(0, start - len(low)) + low
        if line == 0:
            cells = [(begin, faint)]
            for place in range(LEGEND):
                share = place / (LEGEND - 1)
                if self.plain:
                    cells.append((SHADES[min(4, int(share * 5))], plain))
                else:
                    cells.append((" ", Style(bgcolor=self._ramp[round(share * (STEPS - 1))])))
            return [*cells, (high, faint)]
        if line == 1:
            marks = [" "] * LEGEND
            for value, glyph in ((heat.observed, "●"), (heat.null, "▲")):
                if value is not None:
                    place = round(heat.share(value) * (LEGEND - 1))
                    marks[place] = glyph if marks[place] == " " else "◆"
            both = "◆" in marks
            said = f"  {'◆' if both else '▲'} {_null(heat)}"
            said += "" if both else f"  ● {fraction(heat.observed, 3)}"
            room = self.size.width - len(begin) - LEGEND
            said = said if len(said) <= room else ""
            return [(" " * len(begin), plain), ("".join(marks), self._part("mark")), (said, faint)]
        return []

    @property
    def _ramp(self) -> list[RichColor]:
        cold, hot = self._part("cold").bgcolor, self._part("hot").bgcolor
        key = (cold, hot)
        if key != getattr(self, "_ramp_key", None):
            self._ramp_key = key
            ends = [Color.from_rich_color(one) for one in key if one is not None]
            self._ramp_now = ramp(ends[0].blend(ends[1], 0.12), ends[1])
        return self._ramp_now

    def _ink(self, ground: RichColor) -> RichColor | None:
        """Return which of the two text colours is read more easily on a ground."""
        inks = [self._part("cold").color, self._part("hot").color]
        brightness = Color.from_rich_color(ground).brightness
        known = [ink for ink in inks if ink is not None]
        return max(
            known,
            key=lambda ink: abs(Color.from_rich_color(ink).brightness - brightness),
            default=None,
        )

    def _part(self, name: str) -> Style:
        found = self._looks.get(name)
        if found is None:
            found = self.rich_style
            if name:
                found += self.get_component_rich_style(f"heatmap--{name}", partial=True)
            self._looks[name] = found
        return found


def _middle(text: str, width: int) -> str:
    """Return a figure of a cell, under the label of its column."""
    left = (width + len(text) + 1) // 2
    return text.rjust(left).ljust(width)


def _padded(text: str, width: int, style: Style) -> tuple[str, Style]:
    return text.ljust(width)[:width], style


def _null(heat: Heat) -> str:
    return f"{heat.null_name or 'null'} {fraction(heat.null, 3)}"


def eight_bit(color: RichColor) -> RichColor:
    """Return the colour that a terminal of 256 colours shows for one."""
    return color.downgrade(ColorSystem.EIGHT_BIT)
