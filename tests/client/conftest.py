"""Features worked by hand, and a finished study."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.client.features import Features
from engine.client.studies import run_plan
from engine.study.plan import make_plan
from engine.study.profile import place, read_profile
from engine.study.spec import check_study
from tests.stages.conftest import MACHINE, InProcess


def features_of_three(**columns: list[float]) -> Features:
    """Seeds 7, 5 and 9. Latents 0 of all name each other; so do latents 1 of 7 and 9. Latent 1 of 5 is named
    by 7's, but names another one there, and none of 9."""
    best = np.array(
        [[0.9, 0.8], [0.5, 0.7], [0.9, 0.6], [0.4, np.nan], [0.8, 0.6], [0.7, 0.3]], np.float32
    )
    return Features(
        study="tiny",
        cohort="TopK 2",
        hook="planted",
        seeds=(7, 5, 9),
        width=2,
        columns={
            "seed": np.array([7, 7, 5, 5, 9, 9]),
            "feature": np.array([0, 1, 0, 1, 0, 1]),
            "density": np.array([0.25, 0.125, 0.5, 0.0, 0.0625, 0.004]),
            "live": np.array([True, True, True, False, True, False]),
            "stability": np.array([1, 0.5, 0.5, 0, 0.5, 1 / 3]),
            "median_best_cosine": np.array([0.85, 0.6, 0.75, np.nan, 0.7, 0.5]),
            **{name: np.array(values) for name, values in columns.items()},
        },
        best=best,
        # Columns: of 7 in (5, 9), of 5 in (7, 9), of 9 in (7, 5).
        partner=np.array([[0, 0], [1, 1], [0, 0], [0, -1], [0, 0], [1, 0]], np.int32),
        runner_up=best - np.array([0.5, 0.25, 0.125, 0.5, 0.25, 0.125], np.float32)[:, None],
    )


@pytest.fixture
def three() -> Features:
    return features_of_three()


@pytest.fixture
def three_on_a_grid() -> Features:
    """The same with what a modular subject adds."""
    return features_of_three(
        frequency=[23, 23, 4, 0, 5, 23], plane_family=[2, 0, 3, -1, 2, 1], selectivity=[0.5] * 6
    )


TINY: dict[str, Any] = {
    "name": "tiny",
    "subject": {"kind": "planted", "d_in": 8, "features": 12, "l0": 2, "samples": 400},
    "hooks": ["planted"],
    "saes": [
        {"architecture": "topk", "d_sae": 12, "k": 2},
        {"architecture": "relu", "d_sae": 12, "l1": 1e-2},
    ],
    "seeds": [1, 2, 3],
    "training": {"epochs": 2, "batch_size": 50, "warmup_steps": 5},
    "analysis": {"surrogate": False},
}

GRID: dict[str, Any] = {
    **TINY,
    "name": "grid",
    "subject": {
        "kind": "modular",
        "modulus": 11,
        "split": {"train": 0.5},
        "transformer": {"d_model": 16, "heads": 2, "d_mlp": 32},
        "training": {"steps": 150, "batch_size": 64, "lr": 7e-3, "weight_decay": 1.0},
        "gates": "warn",
    },
    "hooks": ["blocks.0.hook_resid_post"],
    "saes": [
        {"architecture": "topk", "d_sae": 24, "k": 3},
        {"architecture": "relu", "d_sae": 24, "l1": 1e-2},
    ],
}
"""A transformer that need not grok: its maps are maps all the same."""


FINISHED: dict[str, Path] = {}


def finished_study(data: dict[str, Any], factory: pytest.TempPathFactory) -> Path:
    """Return a runs root with a finished study, the same one in all modules."""
    name = data["name"]
    if name not in FINISHED:
        runs = factory.mktemp(name)
        execute(data, runs)
        FINISHED[name] = runs
    return FINISHED[name]


def execute(data: dict[str, Any], runs: Path) -> None:
    """Run a whole study, given as plain data, in this process."""
    plan = make_plan(check_study(data, "study"), place(read_profile("cpu"), MACHINE))
    outcome = run_plan(
        plan, runs, on_event=lambda event: None, stop=lambda: False, launcher=InProcess()
    )
    assert not outcome.failed, outcome.failed


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs root with one finished study, `tiny`, of two cohorts; not to be changed."""
    return finished_study(TINY, tmp_path_factory)


@pytest.fixture
def finished(tiny: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    shutil.copytree(tiny, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs root with one finished study on a grid, `grid`, of two cohorts; not to be changed."""
    return finished_study(GRID, tmp_path_factory)
