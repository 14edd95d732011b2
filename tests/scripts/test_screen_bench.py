"""The measuring of the app, briefly; a busy machine decides nothing here but traffic and memory."""

from __future__ import annotations

from pathlib import Path

from scripts.screen_bench import TARGETS, bench


def test_what_the_app_costs_is_within_its_bounds(tmp_path: Path) -> None:
    found = bench(
        seconds=2.5, presses=4, queued=10, rows=300, starts=1, folder=tmp_path, only=("runs", "run")
    )
    assert found["start_s"][0] > 0
    for state in ("live", "still"):
        assert found[state]
        for name, row in found[state].items():
            assert row["bytes_per_s"] <= TARGETS[state], (state, name)
            assert row["rss_mb"] <= TARGETS["rss_mb"], (state, name)
    assert found["live"]["runs"]["keys"] == 4
