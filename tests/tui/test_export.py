"""What is exported: numbers as numbers, lists in a cell, nothing that a spreadsheet would run."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from husai_tui.export import Exported

TABLE = Exported(
    "curves",
    ("name", "value", "seeds"),
    [
        ("a", 1.5, [1, 2]),
        ("=1+1", math.nan, (None, math.inf)),
        (None, np.float32(2.5), np.arange(2)),
    ],
    "husai run x",
)


def test_csv_has_a_line_per_row_and_no_formulas() -> None:
    lines = TABLE.to_csv().splitlines()
    assert lines[:3] == ["name,value,seeds", "a,1.5,1;2", "'=1+1,nan,;inf"]


def test_json_has_null_for_what_is_not_finite() -> None:
    told = json.loads(TABLE.to_json())
    assert told["command"] == "husai run x"
    assert told["rows"] == [
        {"name": "a", "value": 1.5, "seeds": [1, 2]},
        {"name": "=1+1", "value": None, "seeds": [None, None]},
        {"name": None, "value": 2.5, "seeds": [0, 1]},
    ]


def test_a_value_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(TypeError, match="object cannot be written"):
        Exported("x", ("a",), [(object(),)]).to_json()
