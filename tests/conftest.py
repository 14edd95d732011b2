"""Fixtures that several rooms share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.disk.curves import Row, read_curves


def timeless(path: Path) -> list[Row]:
    """Return the rows of curves without how long they took: what is bitwise the same after a resumption."""
    rows = read_curves(path)
    assert all(row.pop("seconds") >= 0 for row in rows)
    return rows


@pytest.fixture
def study_data() -> dict[str, Any]:
    """A small correct study as plain data."""
    return {
        "name": "tiny",
        "subject": {"kind": "planted", "d_in": 8, "features": 12, "l0": 2, "samples": 400},
        "hooks": ["planted"],
        "saes": [{"architecture": "topk", "d_sae": 12, "k": 2}],
        "seeds": [1, 2, 3],
        "training": {"epochs": 2, "batch_size": 50, "warmup_steps": 5},
    }


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write a study to a file and return its path."""

    def write(data: dict[str, Any]) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write
