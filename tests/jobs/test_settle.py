"""What is read of a worker that another process has started."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.disk.rundir import RunDirectory
from engine.jobs.settle import result_seconds


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        ('{"provenance": {"seconds": 4.5}}', 4.5),
        ('{"provenance": {}}', None),
        ('{"provenance": 7}', None),
        ("{", None),
    ],
)
def test_a_result_says_how_long_its_worker_took(
    tmp_path: Path, content: str, seconds: float | None
) -> None:
    (tmp_path / "result.json").write_text(content)
    assert result_seconds(RunDirectory(tmp_path)) == seconds
