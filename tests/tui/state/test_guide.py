from __future__ import annotations

import json
from pathlib import Path

from engine.client.guide import CHAPTERS
from husai_tui.state.compare import Comparison
from husai_tui.state.evidence import Line
from husai_tui.state.guide import guide_lines

SUMMARY = Path(__file__).parents[1] / "summary.json"


def told(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def test_without_a_study_the_terms_are_told_in_the_width_asked_for() -> None:
    lines = told(guide_lines(None, "", 60))
    assert max(map(len, lines)) <= 60
    text = " ".join(" ".join(lines).split())
    for chapter in CHAPTERS:
        assert chapter.title in text
        assert all(term.means in text for term in chapter.terms)
    assert "What would change" not in text


def test_a_study_comes_first_with_what_would_change_its_verdict() -> None:
    comparison = Comparison(json.loads(SUMMARY.read_text()))
    label = next(iter(comparison.cohorts))
    lines = told(guide_lines(comparison, label, 74))
    assert lines[0] == f"What would change the verdict on {label}"
    assert lines[1].startswith("• ")
    assert max(map(len, lines)) <= 74
    assert "What not to conclude" in lines
