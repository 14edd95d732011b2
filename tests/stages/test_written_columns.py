"""The columns that studies really write are those that are described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.report.columns import COLUMNS
from tests.stages.conftest import MODULAR, Execute

ALWAYS = {
    "cohort", "hook", "seed", "feature", "density", "live", "enc_dec_alignment", "stability", "best_cosine",
    "partner", "runner_up", "median_best_cosine", "p_surrogate", "coherence", "dimensionality",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["planted", "modular"])
def test_every_column_that_is_written_is_described(
    execute: Execute, study_data: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    if kind == "modular":
        study_data |= {"subject": MODULAR, "hooks": ["blocks.0.hook_resid_post"]}
        study_data["training"]["epochs"] = 10
    _, outcome = execute(study_data)
    assert not outcome.failed
    described = {column.name: column for column in COLUMNS}
    files = [tmp_path / "tiny" / "report" / "features.parquet"]
    files += tmp_path.glob("jobs/analysis-*/artifacts/features.parquet")
    assert len(files) == 2
    for path in files:
        schema = pq.read_schema(path)
        undescribed = [field.name for field in schema if field.name not in described]
        assert not undescribed, f"engine/report/columns.py does not describe {undescribed}"
        wrong = {field.name: str(field.type) for field in schema
                 if str(field.type) != described[field.name].type}  # fmt: skip
        assert not wrong, f"engine/report/columns.py has other types than the file: {wrong}"
        for field in schema:
            assert field.metadata[b"meaning"].decode() == described[field.name].meaning
        assert set(schema.names) >= ALWAYS
        if kind == "modular":
            assert {"swap_symmetry", "plane_energy", "eta2_sum"} <= set(schema.names)
