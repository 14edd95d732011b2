"""A short round of random keys: what `scripts/monkey --seconds 3600` does at length."""

from __future__ import annotations

from pathlib import Path

from scripts.monkey import play, pressable


def test_random_keys_on_living_and_breaking_runs_fail_nothing(tmp_path: Path) -> None:
    found = play(10, seed=7, folder=tmp_path)
    assert found["wrong"] == []
    assert found["keys"] > 50


def test_every_screen_that_there_is_can_be_reached() -> None:
    assert "1" in pressable()
    assert not {"ctrl+c", "ctrl+z"} & set(pressable())
