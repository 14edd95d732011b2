"""What a job measures, at one moment, and in which charts it is shown.

Shapes: T rows, S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from husai_tui.state.ticks import number, percent

Floats = NDArray[np.float64]
SAMPLES = 64
"""Rows by which a file is recognised that was replaced by another one."""


class Flag(NamedTuple):
    """A red flag, and the step that it was raised at."""

    step: int
    seed: int | None
    name: str
    message: str


class Reader(Protocol):
    """What follows a curves file (`engine.client.curves.CurveTail`)."""

    @property
    def names(self) -> tuple[str, ...]:
        """What is measured."""

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps, [T]."""

    @property
    def seconds(self) -> Floats:
        """Seconds of training, [T]."""

    @property
    def flags(self) -> Sequence[Any]:
        """Red flags, with `step`, `seed`, `name`, `message`."""

    def series(self, name: str) -> Floats:
        """Return one measurement, [T, seeds]."""


@dataclass(frozen=True)
class Data:
    """Curves at one moment; nothing in it changes."""

    steps: Floats = field(default_factory=lambda: np.empty(0))
    seconds: Floats = field(default_factory=lambda: np.empty(0))
    series: Mapping[str, Floats] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()

    def __len__(self) -> int:
        return len(self.steps)


def take(reader: Reader) -> Data:
    """Return what a reader knows now; rows that are not in the order of their steps are left out."""
    steps, seconds = reader.steps.astype(np.float64), np.array(reader.seconds)
    series = {name: reader.series(name) for name in reader.names}
    if (np.diff(steps) <= 0).any():
        later = np.concatenate(([True], steps[1:] > np.maximum.accumulate(steps)[:-1]))
        steps, seconds = steps[later], seconds[later]
        series = {name: values[later] for name, values in series.items()}
    flags = tuple(Flag(flag.step, flag.seed, flag.name, flag.message) for flag in reader.flags)
    return Data(steps, seconds, series, flags)


@dataclass(frozen=True)
class Panel:
    """One chart: a measurement with a line per seed, or several measurements with a line each."""

    title: str
    short: str
    """For where there is little room."""
    names: tuple[str, ...]
    """Names in the curves file."""
    labels: tuple[str, ...] = ()
    """Of several measurements: what to call each."""
    share: bool = False
    """Whether values are shares, shown as percentages."""
    log: bool = False
    """Whether its axis is logarithmic at first."""
    rare: bool = False
    """Whether it is measured in some rows only; the others are then no gaps."""
    main: int = 0
    """Of several measurements: which one stands for all where there is little room."""
    floor: float | None = None
    """Values below do not stretch the axis once the curves are above."""

    def told(self, value: float) -> str:
        """Return a value of it in few characters."""
        return percent(value) if self.share else number(value)


COHORT = (
    Panel("loss", "loss", ("loss",), log=True),
    Panel("L0", "L0", ("l0",)),
    Panel("explained variance", "EV", ("explained_variance",), floor=0.0),
    Panel("dead latents", "dead", ("dead_fraction",), share=True),
    Panel("agreement of the seeds", "agree", ("mean_max_cos",), rare=True),
)
SUBJECT = (
    Panel(
        "accuracy",
        "acc",
        ("train_accuracy", "test_accuracy"),
        ("train", "test"),
        share=True,
        main=1,
    ),
    Panel("loss", "loss", ("train_loss", "test_loss"), ("train", "test"), log=True, main=1),
    Panel(
        "restricted and excluded loss",
        "restr.",
        ("restricted_loss", "excluded_loss"),
        ("restricted", "excluded"),
        log=True,
    ),
    Panel("key frequencies", "keys", ("key_count",)),
    Panel("logits explained by them", "FVE", ("fve",), floor=0.0),
)
MOST_PANELS = 6


def panels_of(kind: str, names: Sequence[str]) -> tuple[Panel, ...]:
    """Return the panels for a kind of job, those of which nothing was measured left out.

    Curves of another kind have a panel for each of their first measurements.
    """
    known = {"cohort": COHORT, "subject": SUBJECT}.get(kind, ())
    found = tuple(panel for panel in known if set(panel.names) & set(names))
    if found or not names:
        return found
    return tuple(Panel(name, name[:6], (name,)) for name in names[:MOST_PANELS])


def continues(before: Data, now: Data) -> bool:
    """Return whether rows are those of before and more."""
    length = len(before)
    if length > len(now) or not set(before.series) <= set(now.series):
        return False
    rows = np.unique(np.linspace(0, length - 1, min(length, SAMPLES)).astype(np.int64))
    same = np.array_equal(before.steps[rows], now.steps[rows])
    for name, values in before.series.items():
        newer = now.series[name]
        if not same or newer.shape[1] != values.shape[1]:
            return False
        same = np.array_equal(values[rows], newer[rows], equal_nan=True)
    return same
