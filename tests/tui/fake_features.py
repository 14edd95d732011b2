"""Features without a study, and a microscope without torch."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np

from engine.client.features import Features
from engine.client.microscope import Card, Grid, Top
from engine.errors import InputError, JobFailed

TITLE = "topk 2 k1"


def three(**columns: Any) -> Features:
    """Seeds 7, 5 and 9. Latents 0 of all name each other; so do latents 1 of 7 and 9. Latent 1 of 5 is named
    by 7's, but names another one there, and none of 9."""
    best = np.array(
        [[0.9, 0.8], [0.5, 0.7], [0.9, 0.6], [0.4, np.nan], [0.8, 0.6], [0.7, 0.3]], np.float32
    )
    given = {
        "seed": np.array([7, 7, 5, 5, 9, 9]),
        "feature": np.array([0, 1, 0, 1, 0, 1]),
        "density": np.array([0.25, 0.125, 0.5, 0.0, 0.0625, 0.00004]),
        "live": np.array([True, True, True, False, True, False]),
        "stability": np.array([1, 0.5, 0.5, 0, 0.5, 1 / 3]),
        "median_best_cosine": np.array([0.85, 0.6, 0.75, np.nan, 0.7, 0.5]),
        "p_surrogate": np.array([0.0001, 0.2, 0.01, 1, 0.02, 0.5]),
    }
    return Features(
        study="tiny",
        cohort=TITLE,
        hook="planted",
        seeds=(7, 5, 9),
        width=2,
        columns=given | {name: np.array(values) for name, values in columns.items()},
        best=best,
        # Columns: of 7 in (5, 9), of 5 in (7, 9), of 9 in (7, 5).
        partner=np.array([[0, 0], [1, 1], [0, 0], [0, -1], [0, 0], [1, 0]], np.int32),
        runner_up=best - np.array([0.5, 0.25, 0.125, 0.5, 0.25, 0.125], np.float32)[:, None],
    )


def on_grid() -> Features:
    """The same with what a modular subject adds."""
    return three(
        frequency=[23, 23, 4, 0, 5, 23],
        frequency_family=[0.9, 0.8, 0.7, np.nan, 0.5, 0.4],
        plane_frequency=[23, 7, 4, 0, 5, 23],
        plane_family=[2, 0, 3, -1, 2, 1],
        plane_energy=[0.9, 0.1, 0.3, 0.0, 0.4, 0.2],
        selectivity=[0.84, 0.5, 0.5, np.nan, 0.5, 0.5],
        localisation=[4, 1, 2, 0, 5, 6],
    )


def many(seeds: int = 5, width: int = 20_000) -> Features:
    """As many features as a large study has, with what a modular subject adds."""
    draw = np.random.default_rng(0)
    rows, others = seeds * width, seeds - 1
    best = draw.random((rows, others), dtype=np.float32)
    density = draw.random(rows)
    return Features(
        study="large",
        cohort="topk 20000 k32",
        hook="blocks.0.hook_resid_post",
        seeds=tuple(range(1, seeds + 1)),
        width=width,
        columns={
            "seed": np.repeat(np.arange(1, seeds + 1), width),
            "feature": np.tile(np.arange(width), seeds),
            "density": density,
            "live": density > 0.01,
            "stability": draw.random(rows),
            "median_best_cosine": np.median(best, axis=1),
            "p_surrogate": draw.random(rows),
            "frequency": draw.integers(1, 57, rows),
            "frequency_family": draw.random(rows),
            "selectivity": draw.random(rows),
            "plane_frequency": draw.integers(1, 57, rows),
            "plane_family": draw.integers(-1, 4, rows),
            "plane_energy": draw.random(rows),
            "localisation": draw.integers(0, 113, rows),
        },
        best=best,
        partner=draw.integers(0, width, (rows, others), dtype=np.int32),
        runner_up=best * np.float32(0.5),
    )


def card_of(study: str, cohort: str, seed: int, feature: int, *, grid: bool = True) -> Card:
    """A card whose map is largest on a+b = 3 modulo 5, most of it frequency 2 of a+b."""
    a, b = np.indices((5, 5))
    levels = np.where((a + b) % 5 == 3, 255, 0).astype(np.uint8)
    spectrum = np.zeros((4, 2))
    spectrum[0, 0], spectrum[2] = 0.05, [0.1, 0.84]
    top = (Top(3, 2.55, 0, 3, 3), Top(7, 2.5, 1, 2, 3)) if grid else (Top(3, 2.55), Top(7, 2.5))
    return Card(
        study=study,
        cohort=cohort,
        seed=seed,
        feature=feature,
        kind="modular" if grid else "planted",
        inputs=25,
        maximum=2.55,
        mean=0.51,
        density=0.2,
        histogram=np.array([0, 1, 4]),
        top=top,
        grid=Grid(5, "add", levels, 0.01, spectrum) if grid else None,
    )


class FakeMicroscope:
    """Knows every feature; `ready` holds it back, `broken` makes it fail."""

    def __init__(self, *, grid: bool = True) -> None:
        self.asked: list[tuple[int, int]] = []
        self.ready = threading.Event()
        self.ready.set()
        self.broken = ""
        self.closed = False
        self.grid = grid

    def look(self, study: str, cohort: str, seed: int, feature: int) -> Card:
        """Return a card as soon as it may."""
        self.asked.append((seed, feature))
        self.ready.wait(20)
        if self.closed:
            raise JobFailed("the microscope is closed")
        if self.broken:
            raise JobFailed(self.broken)
        return card_of(study, cohort, seed, feature, grid=self.grid)

    def close(self) -> None:
        """End; whoever waits gets an error."""
        self.closed = True
        self.ready.set()


class FakeStudies:
    """Studies of two cohorts each, without a disk; what is read can be made to fail."""

    def __init__(self, features: Features | None = None) -> None:
        self.features = features or on_grid()
        self.names = ["tiny"]
        self.titles = {TITLE: "done", "relu 2": "done", "gated 2": "queued"}
        self.problem: Exception | None = None
        self.read: list[str] = []

    def cohorts(self, _: object, study: str) -> list[Any]:
        """Stand for `engine.client.features.cohorts`."""
        if study not in self.names:
            raise InputError(study, "no such study in the queue")
        return [
            SimpleNamespace(title=title, state=state, directory=f"analysis-{place}")
            for place, (title, state) in enumerate(self.titles.items())
        ]

    def open(self, _: object, study: str, cohort: str) -> Features:
        """Stand for `engine.client.features.open_features`."""
        self.read.append(f"{study}/{cohort}")
        if self.problem:
            raise self.problem
        if study not in self.names:
            raise InputError(study, "no such study in the queue")
        if cohort not in self.titles:
            raise InputError(study, f"no cohort {cohort!r}")
        if self.titles[cohort] != "done":
            raise JobFailed(f"{study}: {cohort} is not analysed yet")
        return Features(**{**self.features.__dict__, "study": study, "cohort": cohort})
