from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.doctor.clock import EARLIEST, clock

NOON = 1_780_000_000.0


@pytest.mark.parametrize(
    ("ahead", "state", "told"),
    [
        (-10.0, "ok", ""),
        (60.0, "ok", ""),
        (3600.0, "warning", "60 minutes before the time of queue.sqlite3"),
        (3 * 86_400.0, "warning", "3 days before"),
    ],
)
def test_a_clock_that_was_set_back_is_found_by_the_newest_file(
    tmp_path: Path, ahead: float, state: str, told: str
) -> None:
    file = tmp_path / "queue.sqlite3"
    file.touch()
    os.utime(file, (NOON + ahead, NOON + ahead))
    found = clock(tmp_path, NOON)
    assert found.state == state
    assert told in found.what
    assert ("set-ntp" in found.remedy) == (state == "warning")


def test_folders_of_jobs_are_looked_at_too(tmp_path: Path) -> None:
    job = tmp_path / "jobs" / "cohort-1"
    job.mkdir(parents=True)
    for path in (tmp_path / "jobs", job):
        os.utime(path, (NOON - 5, NOON + 7200 * (path == job)))
    assert "2.0 hours before the time of cohort-1" in clock(tmp_path, NOON).what


def test_a_clock_before_this_program_was_written_is_wrong(tmp_path: Path) -> None:
    found = clock(tmp_path / "none", EARLIEST - 1)
    assert found.state == "warning"
    assert "2024-12-31" in found.what
    assert clock(tmp_path / "none", EARLIEST + 1).state == "ok"


def test_the_real_clock_is_asked(tmp_path: Path) -> None:
    assert clock(tmp_path).what.endswith("UTC")
