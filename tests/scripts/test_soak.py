"""A small soak: what `scripts/soak --kills 200` does at length."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "soak.py"


@pytest.fixture(scope="module")
def soak() -> Any:
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_kills_of_every_kind_lose_nothing(soak: Any, tmp_path: Path) -> None:
    counts = soak.soak(3, seed=0, cohorts=2, epochs=40, wait=0.3, folder=tmp_path)
    assert counts["kills"] == {"worker": 1, "supervisor": 1, "client": 1}
    # A study: subject, activations, 2 cohorts, 2 analyses, report.
    assert counts["jobs"] * 2 == counts["cohorts"] * 7
    assert soak.held(counts), counts


@pytest.mark.parametrize(
    "broken", ["lost", "twice", "different_weights", "orphans", "results", "integrity"]
)
def test_a_broken_promise_is_seen(soak: Any, broken: str) -> None:
    counts = {"jobs": 9, "results": 9, "lost": 0, "twice": 0, "different_weights": 0, "orphans": 0}
    assert soak.held({**counts, "integrity": "ok"})
    assert not soak.held(
        {**counts, "integrity": "ok", broken: "torn" if broken == "integrity" else 1}
    )
