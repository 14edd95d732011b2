"""Differences between cohorts in the app: told with their interval, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from husai_tui.state.compare import Comparison
from husai_tui.state.contrasts import contrast_lines, joint_sentence

SUMMARY = Path(__file__).parents[1] / "summary.json"
TOPK, LOSS = "topk 8 k2", "topk 8 k2 consistency 0.1"


@pytest.fixture
def summary() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SUMMARY.read_text())
    one = found["contrasts"][0]
    one |= {"kind": "objective", "interval": [0.5, 0.7], "refusals": [], "finding": "higher"}
    return found


def text(summary: dict[str, Any], width: int = 76) -> str:
    lines = contrast_lines(Comparison(summary), width)
    return "\n".join("".join(part for part, _ in line) for line in lines)


def test_objectives_have_their_interval_or_their_refusal(summary: dict[str, Any]) -> None:
    assert "+.60 [.50, .70]" in text(summary)
    summary["contrasts"][0] |= {"refusals": ["L0 2 against 9"]}
    said = text(summary)
    assert "refused: L0 2 against 9" in said
    assert "+.60" not in said
    assert "κ .20 [.10, .30] and .80 [.70, .90]" in said


def test_other_cohorts_and_trends_follow(summary: dict[str, Any]) -> None:
    other = {**summary["contrasts"][0], "kind": "cohorts", "objective": "", "variant": "relu 8"}
    refused = {**other, "refusals": ["different hooks"]}
    line = {
        "line": "topk", "name": "width", "x": [8, 32], "slope": None, "interval": None,
        "refusals": ["2 points"], "direction": "refused",
    }  # fmt: skip
    said = text({**summary, "contrasts": [other, refused], "trends": [line]})
    assert "topk 8 k2 → relu 8" in said
    assert "Δκ +.60 [.50, .70]: agrees more" in said
    assert "refused: different hooks" in said
    assert "topk, width 8.0 to 32.0" in said or "topk, width 8 to 32" in said


def test_a_pinned_cohort_is_compared_as_the_report_does(summary: dict[str, Any]) -> None:
    found = Comparison(summary)
    assert "Δκ +.60 [.50, .70]" in joint_sentence(found, TOPK, LOSS)
    assert "Δκ −.60 [−.70, −.50]" in joint_sentence(found, LOSS, TOPK)
    assert joint_sentence(found, TOPK, TOPK) == ""
    summary["contrasts"][0] |= {"refusals": ["L0 2 against 9"]}
    said = joint_sentence(Comparison(summary), TOPK, LOSS)
    assert said == "The report refuses the difference: L0 2 against 9."
