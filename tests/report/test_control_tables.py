"""Planted controls on the terminal: what was measured beside what must come out."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from engine.report.control_tables import accepted, controls_table

Record = dict[str, Any]


def check(measure: str, value: float, low: float | None, high: float | None) -> Record:
    return {
        "measure": measure, "text": measure, "low": 0.9, "high": None, "source": "s", "published": "",
        "value": value, "ci_low": low, "ci_high": high, "per_seed": [], "passed": True,
    }  # fmt: skip


def shown(*checks: Record) -> str:
    row = {"row": "A", "asks": "?", "seeds": [1, 2, 3], "checks": list(checks), "passed": True}
    found = {"rows": [row], "processes": 1, "device": "cpu", "seconds": 1.0}
    file = io.StringIO()
    Console(file=file, width=100).print(controls_table(found))
    return file.getvalue()


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (check("explained_variance", 0.98, 0.94, 1.02), ".980 [.940, 1.000]"),
        (check("found", 0.02, -0.04, 0.08), ".020 [.000, .080]"),
        (check("found", 0.97, 0.9, 1.04), ".970 [.900, 1.000]"),
        (check("kappa", -0.1, -0.4, 0.2), "−.100 [−.400, .200]"),
        (check("gt_mcc", 0.95, None, None), ".950  (≥ .9)"),
    ],
)
def test_intervals_end_where_the_quantity_does(one: Record, said: str) -> None:
    assert said in shown(one)


def test_what_is_accepted_is_told_as_a_bound_a_value_or_a_range() -> None:
    ends = {"low": 0.84, "high": 0.94}
    assert accepted(ends) == "(.84 to .94)"
    assert accepted({"low": None, "high": 0.1}) == "(≤ .1)"
    assert accepted({"low": 1.0, "high": 1.0}) == "(must be 1)"
