"""The features of a cohort as a table: which rows, in which order, and what each cell says.

Shapes: S seeds, F latents of each, R = S·F rows, O = S − 1 other seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.client.features import FAMILIES, Features
from engine.client.filters import choose, order
from engine.disk.text import bare
from engine.errors import InputError
from husai_tui.tones import Cell, Tone

Rows = NDArray[np.int64]
FOUND_AGAIN = 0.7
"""Cosine from which a mutual best match counts as the same feature: the threshold of `stability`, too."""
MOST_CELLS = 16
"""Other seeds up to which the strip has a cell for each; beyond, it counts."""
NOT_KNOWN = "–"


@dataclass(frozen=True)
class Shown:
    """One column, as far as it does not depend on the terminal."""

    name: str
    """As it is remembered and addressed."""
    title: str
    width: int
    right: bool = True
    rank: int = 0
    """The highest rank gives way first where the window is narrow."""
    key: str = ""
    """What `engine.client.filters.order` calls it; empty: the table has its own order, or none."""
    sorts: bool = True


def columns_of(features: Features | None) -> tuple[Shown, ...]:
    """Return the columns that a cohort has values for."""
    others = len(features.seeds) - 1 if features else 4
    strip = max(6, others if others <= MOST_CELLS else len(f"{others}/{others}"))
    seed = max(5, *(len(str(one)) for one in features.seeds)) if features else 5
    every = (
        Shown("seed", "seed", seed, key="seed"),
        Shown("feature", "feature", 8, key="feature"),
        Shown("density", "density", 8, key="density"),
        Shown("state", "", 4, right=False, rank=2, key="density", sorts=False),
        Shown("match", "match", strip),
        Shown("cosine", "cosine", 7, key="cos"),
        Shown("margin", "margin", 7, rank=1, key="margin"),
        Shown("stability", "stable", 7, rank=3, key="stability"),
        Shown("k", "k", 3, rank=4, key="freq"),
        Shown("share", "share", 6, rank=5, key="harmonics"),
        Shown("plane", "plane", 7, rank=7),
        Shown("energy", "energy", 7, rank=6, key="energy"),
        Shown("p", "p", 6, rank=8, key="p"),
        Shown("cosines", "  in each other seed", max(20, 2 + 6 * others), False, 9, sorts=False),
    )
    return tuple(one for one in every if features is None or _has(features, one.name))


def _has(features: Features, name: str) -> bool:
    needs = {
        "k": ("frequency",),
        "share": ("frequency_family",),
        "plane": ("plane_family", "plane_frequency"),
        "energy": ("plane_energy",),
        "p": ("p_surrogate",),
    }
    if name == "cosines":
        return 1 < len(features.seeds) <= MOST_CELLS + 1
    return all(one in features.columns for one in needs.get(name, ()))


class FeaturesTable:
    """The rows in sight of a filter and perhaps of one seed, in an order."""

    def __init__(self) -> None:
        self.filter = ""
        self.seed: int | None = None
        """The only seed that is shown; None: all."""
        self.sort = ("match", True)
        """Name of a column (empty: by seed and feature), and whether the largest come first."""
        self.refused = ""
        """Why the filter was left when another cohort was opened; empty: it was not."""
        self.features: Features | None = None
        self.columns: tuple[Shown, ...] = columns_of(None)
        self.found: NDArray[np.bool_] = np.zeros((0, 0), dtype=np.bool_)
        """[R, O]: whether a feature is found again in each other seed."""
        self._orders: dict[tuple[str, bool], Rows] = {}
        self._rows: Rows = np.zeros(0, dtype=np.int64)
        self._place: Rows = np.zeros(0, dtype=np.int64)

    def take(self, features: Features | None) -> None:
        """Show the features of a cohort; None: of none."""
        self.features, self.columns, self._orders = features, columns_of(features), {}
        if features is None:
            self._rows = self._place = np.zeros(0, dtype=np.int64)
            return
        with np.errstate(invalid="ignore"):
            self.found = features.mutual & (features.best >= FOUND_AGAIN)
        if self.seed not in features.seeds:
            self.seed = None
        if self.sort[0] not in {column.name for column in self.columns if column.sorts}:
            self.sort = ("", False)
        self.refused = ""
        try:
            self.arrange()
        except InputError as error:  # the filter asks for what this cohort does not have
            self.filter, self.refused = "", str(error)
            self.arrange()

    def set_filter(self, text: str) -> str:
        """Show only what matches; return what is wrong with the filter, which then stays as it was."""
        before, self.filter = self.filter, text.strip()
        try:
            self.arrange()
        except InputError as error:
            self.filter = before
            return str(error)
        return ""

    def arrange(self) -> None:
        """Filter anew; what was sorted once stays sorted.

        Raises:
            InputError: what is wrong with the filter; the rows stay as they were.
        """
        if self.features is None:
            return
        chosen = choose(self.features, self.filter)
        if self.seed is not None:
            chosen = chosen & (self.features.columns["seed"] == self.seed)
        ordered = self._ordered()
        self._rows = ordered[chosen[ordered]]
        self._place = np.full(len(self.features), -1, dtype=np.int64)
        self._place[self._rows] = np.arange(len(self._rows))

    def _ordered(self) -> Rows:
        assert self.features is not None
        if self.sort not in self._orders:
            name, falling = self.sort
            column = next((one for one in self.columns if one.name == name), None)
            if column is None:
                rows: Rows = np.arange(len(self.features), dtype=np.int64)
            elif column.key:
                rows = order(self.features, f"-{column.key}" if falling else column.key)
            else:
                rows = self._own_order(name)
                rows = rows[::-1] if falling else rows
            self._orders[self.sort] = rows
        return self._orders[self.sort]

    def _own_order(self, name: str) -> Rows:
        """Return the rows by what has more than one number: the strip, then its cosines; or the plane."""
        assert self.features is not None
        columns = self.features.columns
        if name == "match":
            cosine = np.nan_to_num(columns["median_best_cosine"], nan=-2.0)
            return np.lexsort((cosine, self.found.sum(1)))
        return np.lexsort((columns["plane_frequency"], columns["plane_family"]))

    # What the table asks for

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, place: int) -> int:
        """Return the row of the cohort that stands at a place."""
        return int(self._rows[place])

    def place(self, row: int) -> int | None:
        """Return where a row of the cohort stands; None: the filter hides it."""
        found = int(self._place[row]) if 0 <= row < len(self._place) else -1
        return None if found < 0 else found

    def key(self, row: int) -> str:
        """Return `seed:feature` of a place."""
        assert self.features is not None
        return name_of(self.features, self.row(row))

    def find(self, key: str) -> int | None:
        """Return the place of `seed:feature`; None: it is not shown."""
        row = row_of(self.features, key)
        return None if row is None else self.place(row)

    def cells(self, row: int) -> Sequence[Cell]:
        """Return the cells of a place, one for each of `columns`."""
        assert self.features is not None
        at = self.row(row)
        return [_CELLS[column.name](self, self.features, at) for column in self.columns]

    def strip(self, row: int) -> Cell:
        """Return in which other seeds a row of the cohort is found again: `▮▮▯▮`."""
        found = self.found[row]
        tone: Tone = "accent" if found.any() else "faint"
        if len(found) > MOST_CELLS:
            return f"{int(found.sum())}/{len(found)}", tone
        return "".join("▮" if one else "▯" for one in found), tone

    # What is said and exported

    def step_seed(self, by: int) -> None:
        """Show the next seed alone; after the last one all of them."""
        if self.features is None:
            return
        choices: list[int | None] = [None, *self.features.seeds]
        at = choices.index(self.seed) if self.seed in choices else 0
        self.seed = choices[(at + by) % len(choices)]
        self.arrange()

    def counts(self) -> dict[str, int]:
        """Return how many of the rows shown are live, rare and dead."""
        assert self.features is not None
        live = self.features.columns["live"][self._rows].astype(bool)
        dead = self.features.columns["density"][self._rows] == 0
        return {
            "live": int(live.sum()),
            "rare": int((~live & ~dead).sum()),
            "dead": int((~live & dead).sum()),
        }

    def told(self) -> str:
        """Return what is shown in full sentences."""
        features = self.features
        if features is None:
            return "No features are open."
        seeds = f"seed {self.seed}" if self.seed is not None else f"{len(features.seeds)} seeds"
        shown = f"{len(self):,} of {len(features):,} features"
        by = f", with the filter {self.filter}" if self.filter else ""
        first = f"{features.cohort} of the study {features.study}: {shown} are shown ({seeds}{by})"
        name, falling = self.sort
        if name:
            first += f", sorted by {name}, the {'largest' if falling else 'smallest'} first"
        if not len(self):
            return f"{first}."
        counts = ", ".join(f"{number:,} {what}" for what, number in self.counts().items())
        found = self.found[self._rows]
        again = (
            f"{int(found.all(1).sum()):,} are found again in every other seed, "
            f"{int((~found.any(1)).sum()):,} in none: a match counts from a cosine of "
            f"{number_text(FOUND_AGAIN, 1)} on, where each of the two is the other's best"
        )
        return f"{first}. Of these, {counts}. {again}."

    def written(self) -> tuple[tuple[str, ...], list[list[Any]]]:
        """Return the columns and rows of what is shown, as numbers; what is not known is None."""
        features = self.features
        if features is None:
            return (), []
        extra = {
            "margin": features.margin,
            "found_again": self.found.sum(1),
            "best_cosine": features.best,
            "partner": features.partner,
            "runner_up": features.runner_up,
            "mutual": features.mutual,
        }
        every = {**features.columns, **extra}
        return tuple(every), _plain_rows([values[self._rows] for values in every.values()])


def _plain_rows(columns: Sequence[NDArray[Any]]) -> list[list[Any]]:
    plain = []
    for values in columns:
        told = values.astype(object)
        if values.dtype.kind == "f":
            told[~np.isfinite(values)] = None
        plain.append(told.tolist())
    return [list(row) for row in zip(*plain, strict=True)]


def name_of(features: Features, row: int) -> str:
    """Return `seed:feature` of a row."""
    return f"{features.seeds[row // features.width]}:{row % features.width}"


def row_of(features: Features | None, key: str) -> int | None:
    """Return the row of `seed:feature`; None: there is none."""
    seed, _, feature = key.partition(":")
    if features is None or not (seed.lstrip("-").isdigit() and feature.isdigit()):
        return None
    try:
        return features.row(int(seed), int(feature))
    except InputError:
        return None


def density_text(density: float) -> str:
    """Return the share of inputs on which a feature fires: `19.93 %`, `6.3e-05`, `0`."""
    if not density > 0:
        return "0"
    return f"{100 * density:.2f} %" if density >= 1e-4 else f"{density:.1e}"


def number_text(value: float, digits: int = 2) -> str:
    """Return a number, or a dash where it is not known."""
    return bare(f"{value:.{digits}f}") if np.isfinite(value) else NOT_KNOWN


def state_of(features: Features, row: int) -> str:
    """Return `live`, `rare` (it fires, but too seldom to be counted) or `dead`."""
    if features.columns["live"][row]:
        return "live"
    return "rare" if features.columns["density"][row] > 0 else "dead"


def plane_text(features: Features, row: int) -> str:
    """Return the Fourier plane nearest to a decoder row: `a+b 23`."""
    family = int(features.columns["plane_family"][row])
    if family < 0:
        return NOT_KNOWN
    return f"{FAMILIES[family]} {int(features.columns['plane_frequency'][row])}"


def p_text(p: float) -> str:
    """Return how often a feature of the surrogate matches as well."""
    return "<.001" if p < 0.001 else number_text(p, 3)


def _share(features: Features, row: int) -> str:
    share = features.columns["frequency_family"][row]
    return f"{100 * share:.0f} %" if np.isfinite(share) else NOT_KNOWN


def _faint(text: str) -> Cell:
    return (text, "faint")


def _state(_: FeaturesTable, features: Features, row: int) -> Cell:
    state = state_of(features, row)
    return state if state == "live" else _faint(state)


def _cosine(_: FeaturesTable, features: Features, row: int) -> Cell:
    cosine = features.columns["median_best_cosine"][row]
    return number_text(cosine), "strong" if cosine >= FOUND_AGAIN else ""


def _cosines(_: FeaturesTable, features: Features, row: int) -> Cell:
    parts = [f"{number_text(one):>5}" for one in features.best[row]]
    return _faint("  " + " ".join(parts))


def _value(name: str, digits: int, _: FeaturesTable, features: Features, row: int) -> Cell:
    return number_text(float(features.columns[name][row]), digits)


_CELLS: dict[str, Callable[[FeaturesTable, Features, int], Cell]] = {
    "seed": lambda _, f, row: _faint(str(f.seeds[row // f.width])),
    "feature": lambda _, f, row: str(row % f.width),
    "density": lambda _, f, row: density_text(float(f.columns["density"][row])),
    "state": _state,
    "match": lambda table, _, row: table.strip(row),
    "cosine": _cosine,
    "margin": lambda _, f, row: number_text(float(f.margin[row])),
    "stability": partial(_value, "stability", 2),
    "k": lambda _, f, row: str(int(f.columns["frequency"][row]) or NOT_KNOWN),
    "share": lambda _, f, row: _share(f, row),
    "plane": lambda _, f, row: plane_text(f, row),
    "energy": partial(_value, "plane_energy", 2),
    "p": lambda _, f, row: _faint(p_text(float(f.columns["p_surrogate"][row]))),
    "cosines": _cosines,
}
