"""Curves drawn on paper: a chart with its axes and its legend, or a small one without.

Shapes: T rows, L lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from husai_tui.state.canvas import NO_INK, Canvas, Columns, gather
from husai_tui.state.curves import Curves, Lines
from husai_tui.state.derived import BLOCK
from husai_tui.state.frame import duration
from husai_tui.state.panels import Panel
from husai_tui.state.paper import COLOURS, DIM, SERIES, Ink, Paper, Part, length, series_ink
from husai_tui.state.ticks import decades, fit, fit_log, holds, labels, powers, spaced

Floats = NDArray[np.float64]
AXIS = 7
"""Columns left of a chart for the numbers of its axis."""
LEAST, MOST = 1e-300, 1e300
"""Values beyond are drawn at the edge: differences and quotients of them are no numbers any more."""
FAINT = 1
TICK_COLUMNS = 10
"""Columns that a number below the horizontal axis has at least."""


class Box(NamedTuple):
    """A part of a sheet, in cells."""

    x: int
    y: int
    width: int
    height: int


class Axis(NamedTuple):
    """The vertical axis of a chart."""

    low: float
    high: float
    log: bool

    def rows(self, dots: int) -> Callable[[Floats], Floats]:
        """Return what makes dot rows of values."""
        low, high = np.log([self.low, self.high]) if self.log else (self.low, self.high)

        def place(values: Floats) -> Floats:
            with np.errstate(divide="ignore", invalid="ignore"):
                placed = np.log(values) if self.log else values
            result: Floats = (1.0 - (placed - low) / (high - low)) * (dots - 1)
            return result

        return place

    def ticks(self, most: int) -> list[float]:
        """Return round numbers on it."""
        return (decades if self.log else spaced)(self.low, self.high, most)


def chart(paper: Paper, box: Box, curves: Curves, place: int, *, values: bool = True) -> None:
    """Draw a panel with its title, its axes and its legend.

    Args:
        paper: where.
        box: which part of it, at least 4 lines high.
        curves: what.
        place: which of its panels.
        values: whether the legend tells the value of each line.
    """
    panel = curves.panels[place]
    lines = curves.lines(panel)
    row = lines.row(curves.cursor)
    heading(paper, box, curves, panel, lines, row, values)
    inner = Box(box.x + AXIS, box.y + 1, max(2, box.width - AXIS), max(1, box.height - 3))
    canvas = Canvas(inner.width, inner.height)
    axis = _draw(canvas, curves, panel, lines, (place, inner.height))
    if axis is None:
        paper.write(inner.x + 1, inner.y + inner.height // 2, "no values here", "faint")
    else:
        _vertical(paper, inner, axis, panel)
        _cursor_line(paper, inner, curves)
        paper.paste(inner.x, inner.y, canvas.text(), canvas.ink)
    _horizontal(paper, inner, curves)


def small(paper: Paper, box: Box, curves: Curves, place: int) -> None:
    """Draw a panel as a short title with its value, and curves without axes below it."""
    panel = curves.panels[place]
    lines = curves.lines(panel, plain=True)
    chosen = place == curves.selected
    ink: Ink = "accent" if chosen else ""
    end = paper.write(box.x, box.y, f"{'▸' if chosen else ' '}{panel.short} ", ink, box.width)
    told = panel.told(standing(panel, lines, lines.row(curves.cursor)))
    paper.write(end, box.y, told, "accent" if chosen else "faint", box.x + box.width - end)
    canvas = Canvas(box.width - 2, box.height - 1)
    _draw(canvas, curves, panel, lines, ("small", place), plain=True)
    inks = np.where(canvas.ink == NO_INK, 0, canvas.ink).astype(np.int16)
    paper.paste(box.x + 1, box.y + 1, canvas.text(), inks)


def standing(panel: Panel, lines: Lines, row: int) -> float:
    """Return the value that stands for a panel at a row: of its main measurement, or the median over seeds."""
    if len(panel.names) > 1 and row >= 0 and panel.main in lines.places:
        return float(lines.raw_TL[row, lines.places.index(panel.main)])
    return middle(lines, row)


def middle(lines: Lines, row: int) -> float:
    """Return the median over the lines at a row; NaN where none has a value."""
    if row < 0:
        return float("nan")
    values = lines.raw_TL[row]
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


# What stands above a chart


def heading(
    paper: Paper, box: Box, curves: Curves, panel: Panel, lines: Lines, row: int, values: bool
) -> None:
    """Write the title with the value now (or at the cursor), and the legend."""
    chosen = curves.panels[curves.selected] is panel
    title: list[Part] = [("▸ " if chosen else "  ", "accent")]
    title.append((f"{panel.title}", "accent" if chosen else "strong"))
    if len(panel.names) == 1:
        title.append((f"  {panel.told(middle(lines, row))}", ""))
        if len(lines.labels) > 1 and row >= 0 and np.isfinite(lines.raw_TL[row]).any():
            low = panel.told(float(np.nanmin(lines.raw_TL[row])))
            high = panel.told(float(np.nanmax(lines.raw_TL[row])))
            title.append((f"  {low} – {high}" if low != high else "  all the same", "faint"))
    if curves.is_log(panel):
        title.append(("  log", "faint"))
    end = paper.parts(box.x, box.y, title, box.width)
    room = box.x + box.width - end - 2
    for legend in legends(curves, panel, lines, row, values):
        if length(legend) <= room:
            paper.right(box.y, legend, box.x + box.width, room)
            return


def legends(curves: Curves, panel: Panel, lines: Lines, row: int, values: bool) -> list[list[Part]]:
    """Return what may stand at the right above a chart, the longest first."""
    lost = curves.lost_seeds() if len(panel.names) == 1 else {}
    count = sum(place not in lost for place in lines.places)
    seeds = f"{count} of {len(lines.places)} seeds" if lost else f"{count} seeds"
    if lines.band_T3 is not None:
        return [[(f"median · range of {seeds}", "faint")], [(seeds, "faint")]]
    if len(lines.labels) < 2:
        return []
    # While it grows each value would be sent twice a second; the range beside the title says nearly as much.
    values = values and (curves.cursor is not None or not curves.live or len(panel.names) > 1)
    named: list[Part] = []
    told: list[Part] = []
    for line, (label, place) in enumerate(zip(lines.labels, lines.places, strict=True)):
        value = panel.told(float(lines.raw_TL[row, line])) if row >= 0 else ""
        name: Part = (
            (f"  {label} –", "faint") if place in lost else (f"  {label}", series_ink(place))
        )
        named.append(name)
        told += [name] if place in lost else [name, (f" {value}", "")]
    found: list[list[Part]] = [named, [(seeds, "faint")]]
    return [told, *found] if values else found


def lost_text(curves: Curves) -> str:
    """Say which seeds have no values any more."""
    lost = curves.lost_seeds()
    told = [
        f"{curves.label(place)} {'missing' if step is None else f'lost after {step}'}"
        for place, step in lost.items()
    ]
    return ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")


# Curves


def _draw(
    canvas: Canvas,
    curves: Curves,
    panel: Panel,
    lines: Lines,
    key: tuple[object, ...],
    *,
    plain: bool = False,
) -> Axis | None:
    """Draw the lines of a panel and return its vertical axis; None: nothing is in sight."""
    left, right = curves.window()
    wide, high = canvas.dots
    if not len(lines.x_T) or right <= left:
        return None
    log = curves.is_log(panel)
    first, last = np.searchsorted(lines.x_T, (left, right))
    many = last - first >= 2 * BLOCK * wide

    def gathered(values_TL: Floats, which: str) -> Columns:
        x_T = lines.x_T
        if many:
            thin_T, thin_TL = curves.thinned(lines, values_TL, which)
            if not log or not (thin_TL <= 0).any():
                x_T, values_TL = thin_T, thin_TL
        if log:
            values_TL = np.where(values_TL > 0, values_TL, np.nan)
        return gather(0.5 + (x_T - left) / (right - left) * (wide - 1), values_TL, wide)

    band = lines.band_T3 is not None and not plain
    if band and lines.band_T3 is not None:
        raw = gathered(lines.band_T3, "band")
    else:
        raw = gathered(lines.raw_TL, "raw")
    best = None
    if lines.smooth_TL is not None and not plain and not band:
        best = gathered(lines.smooth_TL, "smooth")
    seen = [columns for columns in (raw, best) if columns is not None]
    axis = _axis(seen, wide, log, panel, curves, (*key, band), max(4, canvas.rows // 3))
    if axis is None:
        return None
    rows = axis.rows(high)
    raw = raw.mapped(rows)
    if band:
        canvas.band(raw, 1, 2, DIM)
        canvas.curve(raw, 0, SERIES, over=True)
        return axis
    single = len(panel.names) == 1
    for line, place in enumerate(lines.places):
        ink = DIM + place % COLOURS if best is not None else series_ink(place)
        canvas.curve(raw, line, FAINT if plain and single else ink)
    if best is not None:
        best = best.mapped(rows)
        for line, place in enumerate(lines.places):
            canvas.curve(best, line, series_ink(place), over=True)
    return axis


def _axis(
    seen: Sequence[Columns],
    wide: int,
    log: bool,
    panel: Panel,
    curves: Curves,
    key: tuple[object, ...],
    most: int,
) -> Axis | None:
    """Return an axis for what is in sight: the one before, where it still fits."""
    inside = [(columns.at_K >= 0) & (columns.at_K < wide) for columns in seen]
    pairs = list(zip(seen, inside, strict=True))
    low_K = np.concatenate([columns.low_KS[where].ravel() for columns, where in pairs])
    high_K = np.concatenate([columns.high_KS[where].ravel() for columns, where in pairs])
    if not np.isfinite(low_K).any():
        return None
    low, high = float(np.nanmin(low_K)), float(np.nanmax(high_K))
    newest = float(np.nanmax(seen[0].high_KS[inside[0]][-1:], initial=-np.inf))
    if panel.floor is not None and not log and low < panel.floor < newest:
        low = panel.floor
    low, high = max(low, LEAST if log else -MOST), min(high, MOST)
    kept = curves.ranges.get((*key, log))
    if kept is None or not holds(kept, low, high, log):
        kept = fit_log(low, high) if log else fit(low, high, most)
        if panel.share and low >= 0.0 and high <= 1.0:  # a damaged file may hold anything
            kept = max(0.0, kept[0]), min(1.0, kept[1])
        curves.ranges[(*key, log)] = kept
    return Axis(*kept, log)


# Axes


def _vertical(paper: Paper, inner: Box, axis: Axis, panel: Panel) -> None:
    ticks = axis.ticks(max(3, inner.height // 2 if axis.log else inner.height * 2 // 5))
    if panel.share:
        told = [f"{text} %" for text in labels([100 * tick for tick in ticks])]
    else:
        told = powers(ticks) if axis.log else labels(ticks)
    places = axis.rows(4 * inner.height)(np.array(ticks)) / 4
    for text, at in zip(told, places.tolist(), strict=True):
        y = inner.y + min(inner.height - 1, max(0, int(at)))
        paper.right(y, [(text, "faint")], inner.x - 1, AXIS - 1)


def _horizontal(paper: Paper, inner: Box, curves: Curves) -> None:
    """Draw the horizontal axis: a rule with its ticks, the red flags and the cursor, and numbers below it."""
    left, right = curves.window()
    y = inner.y + inner.height
    paper.write(inner.x, y, "─" * inner.width, "rule")
    if right <= left:
        return
    ticks = (
        time_ticks(left, right, inner.width)
        if curves.axis == "time"
        else _steps(left, right, inner)
    )
    end = inner.x - 2
    for value, text in ticks:
        x = _cell(value, left, right, inner)
        paper.write(x, y, "┴", "rule")
        start = min(max(x - len(text) // 2, inner.x), inner.x + inner.width - len(text))
        if start > end + 1:
            end = paper.write(start, y + 1, text, "faint")
    for flag in curves.data.flags:
        at = curves.x_of(flag.step)
        if left <= at <= right:
            ink = "bad" if flag.name == "diverged" else "warn"
            paper.write(_cell(at, left, right, inner), y, "!", ink)
    if curves.cursor is not None and left <= curves.x_of(curves.cursor) <= right:
        paper.write(_cell(curves.x_of(curves.cursor), left, right, inner), y, "▲", "accent")


def _steps(left: float, right: float, inner: Box) -> list[tuple[float, str]]:
    values = spaced(left, right, max(2, inner.width // TICK_COLUMNS))
    return list(zip(values, labels(values), strict=True))


def time_ticks(left: float, right: float, width: int) -> list[tuple[float, str]]:
    """Return round times, in seconds, and how to write them."""
    span = (right - left) / max(1, width // TICK_COLUMNS)
    steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
    step = next((step for step in steps if step >= span), 86400 * np.ceil(span / 86400))
    if span < 0.5:
        values = spaced(left, right, max(2, width // TICK_COLUMNS))
        # Before a unit a zero stands, as in durations.
        told = [f"0{text}" if text.startswith(".") else text for text in labels(values)]
        return [(value, f"{text} s") for value, text in zip(values, told, strict=True)]
    places = range(int(np.ceil(left / step)), int(np.floor(right / step)) + 1)
    return [(place * step, duration(place * step)) for place in places]


def _cursor_line(paper: Paper, inner: Box, curves: Curves) -> None:
    left, right = curves.window()
    if curves.cursor is None or right <= left:
        return
    at = curves.x_of(curves.cursor)
    if left <= at <= right:
        x = _cell(at, left, right, inner)
        for y in range(inner.y, inner.y + inner.height):
            paper.write(x, y, "┊", "accent")


def _cell(value: float, left: float, right: float, inner: Box) -> int:
    """Return the column of a place on the horizontal axis: that of its dots."""
    dots = 2 * inner.width
    return inner.x + int((0.5 + (value - left) / (right - left) * (dots - 1)) // 2)


def columns_of(box_width: int) -> int:
    """Return how many cells of a chart of some width are for its curves."""
    return max(2, box_width - AXIS)


def strip(paper: Paper, box: Box, curves: Curves, count: Sequence[int]) -> None:
    """Draw several panels side by side without axes."""
    width = box.width // max(1, len(count))
    for column, place in enumerate(count):
        small(paper, Box(box.x + column * width, box.y, width, box.height), curves, place)
