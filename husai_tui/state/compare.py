"""The cohorts of a study side by side, at one metric and subset, or as differences to a pinned one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from engine.client.findings import (
    MISSING,
    cohort_label,
    fraction,
    incomparable,
    kappa_digits,
    metric_title,
    percent,
    quantity,
    sentence_at,
    short_null,
)
from husai_tui.state.heat import Heat, figure, make_heat
from husai_tui.state.intervals import Axis, axis_of, draw
from husai_tui.tones import Cell, Tone

Record = dict[str, Any]
SUBSETS = ("live", "all")
COLUMNS = (
    "cohort", "architecture", "width", "sparsity", "seeds", "explained_variance", "l0", "dead",
    "observed", "null", "kappa", "interval", "verdict", "warnings",
)  # fmt: skip
INTERVAL = 12
"""Cells of the drawn interval in a narrow window."""
TONES: dict[str, Tone] = {
    "strong": "good",
    "moderate": "accent",
    "weak": "",
    "chance": "faint",
    "undetermined": "warn",
}
NOT_MEASURED = "not measured"


class Comparison:
    """One study's summary, read once: what does not fit raises KeyError, TypeError or AttributeError here."""

    def __init__(self, summary: Record) -> None:
        self.summary = summary
        self.study = str(summary["study"])
        self.cohorts: dict[str, Record] = {}
        for cohort in summary["cohorts"]:
            self.cohorts[cohort_label(summary, cohort)] = cohort
        self.metrics = list(
            dict.fromkeys(
                metric for cohort in self.cohorts.values() for metric in cohort["stability"]
            )
        )
        heads = Counter(
            (cohort["headline"]["metric"], cohort["headline"]["subset"])
            for cohort in self.cohorts.values()
        )
        self.headline: tuple[str, str] = heads.most_common(1)[0][0] if heads else ("", "live")
        for cohort in self.cohorts.values():
            _check(cohort)

    def cell(self, label: str, metric: str, subset: str) -> tuple[Record, str]:
        """Return what was measured of a cohort, and of which features: where the study's verdicts rest, that
        of the features on which this cohort's rests; elsewhere nothing, rather than something else."""
        cohort = self.cohorts[label]
        stability = cohort["stability"].get(metric) or {}
        found = stability.get(subset)
        if (not found or found.get("observed") is None) and (metric, subset) == self.headline:
            where = cohort["headline"]
            if where["metric"] == metric and stability.get(where["subset"]):
                return stability[where["subset"]], str(where["subset"])
        return found or {}, subset

    def verdict(self, label: str, metric: str, subset: str) -> str:
        """Return the verdict on a cohort at a metric and subset."""
        cohort = self.cohorts[label]
        cell, used = self.cell(label, metric, subset)
        if not cell:
            return NOT_MEASURED
        if cohort["headline"] == {"metric": metric, "subset": used}:
            return str(cohort["verdict"])
        return str(cell.get("verdict") or NOT_MEASURED)

    def sentence(self, label: str, metric: str, subset: str) -> str:
        """Return the verdict on a cohort in a sentence."""
        cell, used = self.cell(label, metric, subset)
        if not cell:
            return f"{metric_title(metric)} of {subset} features was not measured here."
        return sentence_at(self.cohorts[label], metric, used)

    def heat(self, label: str, metric: str, subset: str) -> Heat:
        """Return the agreement of every pair of seeds."""
        cell, _ = self.cell(label, metric, subset)
        labels = [str(seed) for seed in self.cohorts[label]["seeds"]]
        if not cell or not cell.get("pairs"):
            return Heat()
        name = short_null(cell.get("null_name"))
        return make_heat(
            labels,
            cell["pairs"],
            cell.get("observed"),
            cell.get("null"),
            name,
            cell.get("null_pairs"),
        )


def _check(cohort: Record) -> None:
    """Read whatever is read of a cohort later."""
    size = len(cohort["seeds"])
    mean(cohort, "explained_variance"), str(cohort["verdict"]), str(cohort["title"])
    for subsets in cohort["stability"].values():
        for cell in subsets.values():
            if not cell:
                continue
            for name in ("observed", "null", "kappa", "ci_low", "ci_high"):
                if cell[name] is not None:
                    float(cell[name])
            for row in cell.get("pairs") or ():
                if len(row) != size:
                    raise ValueError("a matrix that does not fit its seeds")
            for null in cell["nulls"]:
                null["name"], null["value"], null["admissible"]


def mean(cohort: Record, name: str) -> float | None:
    """Return the mean of a quality over the seeds; None: it was not measured."""
    found = (cohort["quality"].get(name) or {}).get("mean")
    return None if found is None else float(found)


class Cohorts:
    """The rows in sight of a filter, in an order."""

    def __init__(self) -> None:
        self.comparison: Comparison | None = None
        self.metric, self.subset = "", "live"
        self.pinned, self.delta = "", False
        """The baseline, and whether all others are shown as differences to it."""
        self.filter, self.sort = "", (-1, False)
        self.interval = INTERVAL
        """Cells of the drawn interval."""
        self.axis, self.digits = Axis(), 2
        self._labels: list[str] = []

    def set_comparison(self, comparison: Comparison | None) -> None:
        """Take the summary of a study; another study begins where its verdicts rest."""
        before = self.comparison
        self.comparison = comparison
        if comparison is None:
            self._labels = []
            return
        if before is None or before.study != comparison.study:
            if self.metric not in comparison.metrics:
                self.metric, self.subset = comparison.headline
        elif self.metric not in comparison.metrics:
            self.metric, self.subset = comparison.headline
        if self.pinned not in comparison.cohorts:
            self.pinned, self.delta = "", False
        self.arrange()

    def next_metric(self) -> None:
        """Take the next metric."""
        if self.comparison and self.comparison.metrics:
            metrics = self.comparison.metrics
            at = metrics.index(self.metric) if self.metric in metrics else -1
            self.metric = metrics[(at + 1) % len(metrics)]
            self.arrange()

    def flip_subset(self) -> None:
        """Take all features for the live ones, or the live ones for all."""
        self.subset = SUBSETS[1 - SUBSETS.index(self.subset)]
        self.arrange()

    def pin(self, label: str) -> None:
        """Make a cohort the baseline; the baseline itself: none."""
        self.pinned = "" if label == self.pinned else label
        self.delta = self.delta and bool(self.pinned)

    def arrange(self) -> None:
        """Filter and sort anew."""
        found = self.comparison
        if found is None:
            return
        words = self.filter.lower().split()
        self._labels = [label for label in found.cohorts if self._matches(label, words)]
        cells = [found.cell(label, self.metric, self.subset)[0] for label in found.cohorts]
        self.digits = max([kappa_digits(cell) for cell in cells if cell], default=2)
        self.axis = axis_of(
            cell.get(name) for cell in cells for name in ("kappa", "ci_low", "ci_high")
        )
        column, descending = self.sort
        if column >= 0:
            value = self._value(COLUMNS[column])
            known = [label for label in self._labels if value(label) is not None]
            rest = [label for label in self._labels if value(label) is None]
            self._labels = sorted(known, key=value, reverse=descending) + rest

    def _matches(self, label: str, words: Sequence[str]) -> bool:
        assert self.comparison is not None, "asked for its cohorts"
        verdict = self.comparison.verdict(label, self.metric, self.subset)
        text = f"{label} {self.comparison.cohorts[label]['architecture']} {verdict}".lower()
        return all(w[1:] not in text if w.startswith("!") and w[1:] else w in text for w in words)

    def _value(self, column: str) -> Callable[[str], Any]:
        assert self.comparison is not None, "asked for its cohorts"
        found = self.comparison

        def cell(label: str) -> Record:
            return found.cell(label, self.metric, self.subset)[0]

        by: dict[str, Callable[[str], Any]] = {
            "cohort": lambda label: label,
            "architecture": lambda label: found.cohorts[label]["architecture"],
            "width": lambda label: found.cohorts[label]["d_sae"],
            "sparsity": lambda label: (
                found.cohorts[label].get("k") or found.cohorts[label].get("l1")
            ),
            "seeds": lambda label: len(found.cohorts[label]["seeds"]),
            "explained_variance": lambda label: mean(found.cohorts[label], "explained_variance"),
            "l0": lambda label: mean(found.cohorts[label], "l0"),
            "dead": lambda label: mean(found.cohorts[label], "dead_fraction"),
            "observed": lambda label: cell(label).get("observed"),
            "null": lambda label: cell(label).get("null"),
            "kappa": lambda label: cell(label).get("kappa"),
            "interval": lambda label: cell(label).get("ci_low"),
            "verdict": lambda label: found.verdict(label, self.metric, self.subset),
            "warnings": lambda label: len(found.cohorts[label].get("warnings") or ()),
        }
        return by[column]

    def value(self, label: str, column: str) -> Any:
        """Return the value of a cohort in a column, as it is sorted and exported."""
        return self._value(column)(label)

    # As a table shows it

    def __len__(self) -> int:
        return len(self._labels)

    def key(self, row: int) -> str:
        """Return the label of a row."""
        return self._labels[row]

    def find(self, key: str) -> int | None:
        """Return the row of a label."""
        return self._labels.index(key) if key in self._labels else None

    def cells(self, row: int) -> Sequence[Cell]:
        """Return the cells of a row, in the order of `COLUMNS`."""
        assert self.comparison is not None, "there are no rows without"
        label = self._labels[row]
        cohort = self.comparison.cohorts[label]
        cell, used = self.comparison.cell(label, self.metric, self.subset)
        warnings = len(cohort.get("warnings") or ())
        pinned = label == self.pinned
        name: Cell = (f"◆ {label}", "accent") if pinned else (label, "strong")
        numbers = (
            self._differences(label)
            if self.delta and not pinned
            else _figures(cohort, cell, self.digits)
        )
        drawn = draw(
            cell.get("kappa"), cell.get("ci_low"), cell.get("ci_high"), self.axis, self.interval
        )
        verdict = self.comparison.verdict(label, self.metric, self.subset)
        said: Cell = (verdict, TONES.get(verdict, "faint"))
        if used != self.subset and cell:
            said = (f"{verdict} ({used})", TONES.get(verdict, "faint"))
        if self.delta:
            said = ("baseline", "accent") if pinned else _apart(self._cell(self.pinned), cell)
        return (
            name,
            (str(cohort["architecture"]), "faint"),
            (f"{cohort['d_sae']:,}", "faint"),
            (sparsity(cohort), "faint"),
            (str(len(cohort["seeds"])), "faint"),
            *numbers,
            (drawn, "accent"),
            said,
            (f"!{warnings}" if warnings else "", "warn"),
        )

    def _cell(self, label: str) -> Record:
        assert self.comparison is not None, "asked for its cohorts"
        return self.comparison.cell(label, self.metric, self.subset)[0]

    def difference(self, label: str, column: str) -> float | None:
        """Return a cohort's value minus the baseline's; None: one of them was not measured, or they are raw
        similarities of which chance gives another to each."""
        if column == "observed" and self.refused(label):
            return None
        mine, base = self.value(label, column), self.value(self.pinned, column)
        return None if mine is None or base is None else float(mine - base)

    def refused(self, label: str) -> list[str]:
        """Return why a cohort's raw similarity must not be compared with the baseline's; nothing if it may."""
        assert self.comparison is not None, "asked for its cohorts"
        one, other = (self.comparison.cohorts[name] for name in (self.pinned, label))
        return incomparable(one, other, [self._cell(self.pinned), self._cell(label)])

    def _differences(self, label: str) -> tuple[Cell, ...]:
        cell, base = self._cell(label), self._cell(self.pinned)
        change = {
            name: self.difference(label, name)
            for name in ("explained_variance", "l0", "dead", "observed", "null", "kappa")
        }
        dead = change["dead"]
        same = cell.get("null_name") == base.get("null_name")
        null = signed(change["null"], 3) + ("" if same else " ≠")
        return (
            signed(change["explained_variance"], 3),
            MISSING if change["l0"] is None else _plus(quantity(change["l0"])),
            MISSING if dead is None else _plus(fraction(dead * 100, 0)) + " pp",
            signed(change["observed"], 3),
            (null, "faint"),
            (signed(change["kappa"], self.digits), "strong"),
        )


def _figures(cohort: Record, cell: Record, digits: int) -> tuple[Cell, ...]:
    null = cell.get("null")
    name = short_null(cell.get("null_name"))
    return (
        figure(mean(cohort, "explained_variance")),
        quantity(mean(cohort, "l0")),
        percent(mean(cohort, "dead_fraction")),
        figure(cell.get("observed")),
        (MISSING if null is None else f"{figure(null)} {name}", "faint"),
        (fraction(cell.get("kappa"), digits), "strong"),
    )


def sparsity(cohort: Record) -> str:
    """Return what keeps the features few: `k 32`, `l1 .001`."""
    if cohort.get("k") is not None:
        return f"k {cohort['k']}"
    if cohort.get("target_l0") is not None:
        return f"L0 {quantity(cohort['target_l0'])}"
    return f"l1 {cohort['l1']:g}" if cohort.get("l1") is not None else MISSING


def signed(value: float | None, digits: int) -> str:
    """Return a difference with its sign: `+.12`, `−.03`."""
    return MISSING if value is None else _plus(fraction(value, digits))


def _plus(text: str) -> str:
    return text if text.startswith("−") else f"+{text}"


def _apart(base: Record, cell: Record) -> Cell:
    """Say whether the intervals of two cohorts have anything in common: no test, but all that was measured."""
    bounds = [record.get(name) for record in (base, cell) for name in ("ci_low", "ci_high")]
    if any(bound is None for bound in bounds):
        return ("no interval", "faint")
    low, high, mine, top = (float(bound) for bound in bounds if bound is not None)
    return ("overlap", "faint") if mine <= high and low <= top else ("apart", "accent")
