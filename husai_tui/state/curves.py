"""The curves of one job as they are looked at: which panels, smoothed how, from where to where.

Shapes: T rows, L lines of a panel (one per seed, or one per measurement).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from husai_tui.state.derived import BLOCK, Kept, Smoother, extremes, spread
from husai_tui.state.panels import Data, Flag, Panel, continues, panels_of
from husai_tui.state.ticks import reach

Floats = NDArray[np.float64]
WEIGHTS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
"""Weights of the smoothing that one steps through; 0: none."""
CLOSEST = 2.0**-20
"""Smallest share of the axis that can be in sight."""


@dataclass(frozen=True)
class Lines:
    """What a panel draws."""

    x_T: Floats
    steps_T: Floats
    raw_TL: Floats
    smooth_TL: Floats | None
    band_T3: Floats | None
    """Median, lowest and highest over the seeds."""
    labels: tuple[str, ...]
    places: tuple[int, ...]
    """Which seed or measurement each line is; decides its colour."""
    key: tuple[Any, ...] = ()
    """What it is made of, for what is kept of it."""

    def row(self, step: float | None) -> int:
        """Return the last row up to a step; None: the last one of all; -1: there is none."""
        if step is None:
            return len(self.steps_T) - 1
        return int(np.searchsorted(self.steps_T, step, side="right")) - 1


class Curves:
    """The curves of one job, and how somebody looks at them.

    What a person asks for that cannot be is answered with a sentence, and changes nothing.
    """

    def __init__(self, kind: str, seeds: Sequence[int] = (), end: float | None = None) -> None:
        """Begin without rows.

        Args:
            kind: of the job.
            seeds: names of the lines, as the study gives them.
            end: last step, where it is known.
        """
        self.kind, self.seeds, self.end = kind, tuple(seeds), end
        self.data, self.panels = Data(), panels_of(kind, ())
        self.selected, self.live = 0, True
        self.axis, self.weight, self.band = "step", 0, False
        self.log: dict[str, bool] = {}
        """Title of a panel → whether its axis is logarithmic, where somebody chose."""
        self.only: frozenset[int] = frozenset()
        """Places of the seeds that are shown; empty: all."""
        self.cursor: float | None = None
        """Step that is looked at; None: the newest."""
        self.ranges: dict[Any, tuple[float, float]] = {}
        """Axes as they were painted, so that they stay while they fit."""
        self._zoom, self._right = 1.0, None
        self._kept: dict[Any, Kept] = {}

    _right: float | None
    """Where the part in sight ends; None: it follows the newest row."""

    # Data

    def update(self, data: Data, *, live: bool) -> None:
        """Take newer rows, or those of a file that replaced the one before."""
        if not continues(self.data, data):
            self._kept.clear()
            self.ranges.clear()
        if live != self.live:
            self.live = live
            self.ranges.clear()
        self.data, self.panels = data, panels_of(self.kind, tuple(data.series))
        self.selected = min(self.selected, max(0, len(self.panels) - 1))
        if self.axis == "time" and not self.has_time():
            self.axis = "step"

    def has_time(self) -> bool:
        """Return whether the rows tell how long the training took."""
        return bool(np.isfinite(self.data.seconds).any())

    def label(self, place: int) -> str:
        """Return the name of a seed by its place."""
        return str(self.seeds[place]) if place < len(self.seeds) else str(place)

    def lines(self, panel: Panel, *, plain: bool = False) -> Lines:
        """Return what a panel draws; plain: neither smoothed nor with a band."""
        data = self.data
        single = len(panel.names) == 1
        if single:
            values = data.series[panel.names[0]]
            every = range(values.shape[1])
            places = tuple(p for p in every if not self.only or p in self.only) or tuple(every)
            if len(places) < values.shape[1]:
                values = values[:, list(places)]
            # What is measured once for all has no seed.
            labels = tuple(self.label(place) for place in places) if len(every) > 1 else ("",)
        else:
            places = tuple(p for p, name in enumerate(panel.names) if name in data.series)
            values = np.stack([data.series[panel.names[p]][:, 0] for p in places], axis=1)
            labels = tuple(panel.labels[place] for place in places)
        rows = np.isfinite(data.seconds) if self.axis == "time" else np.ones(len(data), np.bool_)
        if panel.rare:
            rows &= np.isfinite(values).any(axis=1)
        x, steps = data.seconds if self.axis == "time" else data.steps, data.steps
        if not rows.all():
            x, steps, values = x[rows], steps[rows], values[rows]
        smooth = band = None
        key = (panel.title, self.axis, self.only)
        if self.weight and not plain:
            smoother = Smoother(WEIGHTS[self.weight])
            smooth = self._keep((*key, "smooth", self.weight), smoother.extend).of(values)
        if self.band and not plain and single and len(places) > 1:
            best = values if smooth is None else smooth
            band = self._keep((*key, "band", self.weight), spread).of(best)
        return Lines(x, steps, values, smooth, band, labels, places, key)

    def thinned(self, lines: Lines, values_TL: Floats, which: str) -> tuple[Floats, Floats]:
        """Return places and values of much fewer points that look the same where many rows fall into a dot.

        Args:
            lines: of a panel.
            values_TL: some of its values.
            which: name of them.
        """
        whole = len(values_TL) // BLOCK * BLOCK
        key = (*lines.key, which, 0 if which == "raw" else self.weight, "thin")
        pairs = self._keep(key, extremes).of(values_TL[:whole])
        x_T = np.empty(2 * (whole // BLOCK))
        x_T[0::2], x_T[1::2] = lines.x_T[:whole:BLOCK], lines.x_T[BLOCK - 1 : whole : BLOCK]
        rest = lines.x_T[whole:]
        return np.concatenate((x_T, rest)), np.concatenate((pairs, values_TL[whole:]))

    def _keep(self, key: Any, make: Any) -> Kept:
        return self._kept.setdefault(key, Kept(make))

    def is_log(self, panel: Panel) -> bool:
        """Return whether the axis of a panel is logarithmic; not where nothing is above zero."""
        return self.log.get(panel.title, panel.log) and self._above_zero(panel)

    def _above_zero(self, panel: Panel) -> bool:
        names = [name for name in panel.names if name in self.data.series]
        found = [self.data.series[name] for name in names]
        # The last row first: it nearly always settles it.
        return any(bool((v[-1:] > 0).any()) or bool((v > 0).any()) for v in found)

    def lost_seeds(self) -> dict[int, int | None]:
        """Return the places of seeds without values now → their last step with one; None: there is none."""
        for panel in self.panels:
            values = self.data.series.get(panel.names[0])
            if values is None or values.shape[1] < 2 or panel.rare or not len(values):
                continue
            lost = np.flatnonzero(~np.isfinite(values[-1])).tolist()
            last = {place: np.flatnonzero(np.isfinite(values[:, place])) for place in lost}
            return {
                p: int(self.data.steps[found[-1]]) if len(found) else None
                for p, found in last.items()
            }
        return {}

    # The horizontal axis

    @property
    def x(self) -> Floats:
        """Places of the rows on the horizontal axis, [T]."""
        if self.axis == "time":
            return self.data.seconds[np.isfinite(self.data.seconds)]
        return self.data.steps

    def x_of(self, step: float) -> float:
        """Return where a step is on the horizontal axis."""
        if self.axis == "step":
            return step
        there = np.isfinite(self.data.seconds)
        if not there.any():
            return 0.0
        return float(np.interp(step, self.data.steps[there], self.data.seconds[there]))

    def step_of(self, x: float) -> float:
        """Return the step of a place on the horizontal axis."""
        if self.axis == "step":
            return x
        there = np.isfinite(self.data.seconds)
        return float(np.interp(x, self.data.seconds[there], self.data.steps[there]))

    def whole(self) -> tuple[float, float]:
        """Return the whole horizontal axis: while the job runs it reaches further than the rows, so that what
        is drawn stays in its place."""
        x = self.x
        last = float(x[-1]) if len(x) else 0.0
        first = float(x[0]) if len(x) and not self.live and self.axis == "step" else 0.0
        if self.live or last <= first:
            last = reach(last, self.end if self.axis == "step" else None)
        return first, last

    def window(self) -> tuple[float, float]:
        """Return the part of the horizontal axis in sight."""
        first, last = self.whole()
        if self._zoom >= 1.0:
            return first, last
        span = (last - first) * self._zoom
        right = self._right
        if right is None:
            # It follows in quarters: between them nothing moves.
            newest, quarter = float(self.x[-1]) if len(self.x) else last, span / 4
            right = first + quarter * float(np.ceil((newest - first) / quarter - 1e-9))
        right = min(max(right, first + span), last)
        return right - span, right

    def zoom(self, by: int) -> str:
        """Halve (1) or double (-1) what is in sight, around the cursor; without one at the newest row."""
        if by < 0 and self._zoom >= 1.0:
            return "all of it is in sight"
        if by > 0 and self._zoom <= CLOSEST:
            return "this is as close as it gets"
        first, last = self.whole()
        left, right = self.window()
        self._zoom = min(1.0, self._zoom * 2.0**-by)
        span = (last - first) * self._zoom
        if self._zoom >= 1.0:
            self._right = None
        elif self.cursor is not None:
            at = self.x_of(self.cursor)
            self._right = at + (right - at) / (right - left) * span
        elif self._right is not None:
            self._right = (left + right + span) / 2
        self.ranges.clear()
        return ""

    def pan(self, by: int) -> str:
        """Move what is in sight by a quarter of it."""
        if self._zoom >= 1.0:
            return "all of it is in sight: + zooms in"
        first, last = self.whole()
        left, right = self.window()
        moved = min(max(right + by * (right - left) / 4, first + right - left), last)
        self._right = None if by > 0 and moved >= last and self.live else moved
        self.ranges.clear()
        return ""

    def reset(self) -> str:
        """Show everything, and the newest values."""
        self._zoom, self._right, self.cursor = 1.0, None, None
        self.ranges.clear()
        return ""

    @property
    def zoomed(self) -> bool:
        """Whether only a part of the horizontal axis is in sight."""
        return self._zoom < 1.0

    # The cursor

    def scrub(self, cells: int, columns: int) -> str:
        """Move the cursor by so many cells of a chart with so many columns, at least by one row."""
        steps = self._rows()
        if not len(steps):
            return "no rows yet"
        left, right = self.window()
        at = self.x_of(self.cursor) if self.cursor is not None else min(float(self.x[-1]), right)
        row = self._row_of(self.step_of(at))
        wanted = at + cells * (right - left) / max(1, columns)
        moved = self._row_of(self.step_of(wanted))
        if moved == row:
            moved = row + (1 if cells > 0 else -1)
        moved = min(max(moved, 0), len(steps) - 1)
        self.look_at(float(steps[moved]))
        return ""

    def look_at(self, step: float) -> None:
        """Put the cursor on a step, and bring it into sight."""
        self.cursor = step
        at = self.x_of(step)
        left, right = self.window()
        if not left <= at <= right:
            self._right = at + (right - left) / 2
            self.ranges.clear()

    def _rows(self) -> Floats:
        if self.axis == "time":
            return self.data.steps[np.isfinite(self.data.seconds)]
        return self.data.steps

    def _row_of(self, step: float) -> int:
        steps = self._rows()
        row = int(np.searchsorted(steps, step))
        if row == len(steps) or (row and step - steps[row - 1] <= steps[row] - step):
            row -= 1
        return max(0, row)

    @property
    def flag(self) -> Flag | None:
        """The red flag that the cursor was put on."""
        return self._flag if self._flag and self.cursor == self._flag.step else None

    def next_flag(self) -> Flag | None:
        """Put the cursor on the next red flag, after the last one on the first; None: there is none."""
        flags = sorted(self.data.flags, key=lambda flag: flag.step)
        if not flags:
            return None
        if self._flag is not None and self.cursor == self._flag.step and self._flag in flags:
            place = (flags.index(self._flag) + 1) % len(flags)
        else:
            at = -1.0 if self.cursor is None else self.cursor
            place = next((p for p, flag in enumerate(flags) if flag.step > at), 0)
        self._flag = flags[place]
        self.look_at(float(flags[place].step))
        return flags[place]

    _flag: Flag | None = None

    # How it is drawn

    def smooth(self, by: int) -> str:
        """Take the next (1) or the last (-1) weight of the smoothing."""
        weight = min(max(self.weight + by, 0), len(WEIGHTS) - 1)
        if weight == self.weight:
            return "not smoothed at all" if by < 0 else "smoother than this hides too much"
        self.weight = weight
        # What is smoothed by another weight takes as much memory as the curves themselves.
        self._kept = {key: kept for key, kept in self._kept.items() if key[4] == 0}
        self.ranges.clear()
        return ""

    def toggle_log(self) -> str:
        """Make the axis of the selected panel logarithmic, or linear."""
        if not self.panels:
            return "no curves yet"
        panel = self.panels[self.selected]
        if not self.is_log(panel) and not self._above_zero(panel):
            return (
                f"{panel.title}: no value is above zero, so a logarithmic axis has no place for any"
            )
        self.log[panel.title] = not self.is_log(panel)
        return ""

    def toggle_band(self) -> str:
        """Draw median and range over the seeds, or a line per seed."""
        if not any(values.shape[1] > 1 for values in self.data.series.values()):
            return "one curve each: there are no seeds to take a range over"
        self.band = not self.band
        return ""

    def toggle_axis(self) -> str:
        """Measure the horizontal axis in steps, or in time."""
        if self.axis == "step" and not self.has_time():
            return "these curves do not tell the time"
        self.axis = "time" if self.axis == "step" else "step"
        self._kept.clear()
        self._zoom, self._right = 1.0, None
        self.ranges.clear()
        return ""

    def select(self, by: int) -> str:
        """Go to the next panel, or to the one before."""
        if self.panels:
            self.selected = (self.selected + by) % len(self.panels)
        return ""

    def show_only(self, words: str) -> str:
        """Show only these seeds; `!seed` leaves one out. Return what is wrong, empty if nothing."""
        names = {name: place for place, name in enumerate(map(str, self.seeds))}
        wanted, without = set[int](), set[int]()
        for word in words.split():
            place = names.get(word.removeprefix("!"))
            if place is None:
                return f"{word}: no such seed; {', '.join(names) or 'this job has none'}"
            (without if word.startswith("!") else wanted).add(place)
        shown = (wanted or set(names.values())) - without
        if not shown and words.strip():
            return "no seed would be left"
        self.only = frozenset() if len(shown) == len(names) else frozenset(shown)
        self._kept.clear()
        self.ranges.clear()
        return ""
