"""Every column of features.parquet is described, in the file and on the page."""

from __future__ import annotations

import pyarrow as pa
import pytest

from engine.report.columns import COLUMNS, Column, columns_table, describe


def test_names_are_there_once_and_every_meaning_is_told() -> None:
    names = [column.name for column in COLUMNS]
    assert len(set(names)) == len(names)
    assert all(column.meaning and column.type for column in COLUMNS)


def test_descriptions_stand_in_the_metadata() -> None:
    told = describe(pa.table({"density": [0.5, 0.25], "invented": [1, 2]}))
    assert told["density"].to_pylist() == [0.5, 0.25]
    metadata = told.schema.field("density").metadata
    assert metadata[b"unit"] == b"share, 0 to 1"
    assert b"fires" in metadata[b"meaning"]
    assert told.schema.field("invented").metadata is None


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_the_page_has_every_column(column: Column) -> None:
    assert f">{column.name}</th>" in columns_table()
