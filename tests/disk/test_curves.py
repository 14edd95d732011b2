from __future__ import annotations

import math
from pathlib import Path

from engine.disk.curves import CurveWriter, read_curves, read_last_row


def test_rows_come_back_with_gaps_for_what_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    with CurveWriter(path) as curves:
        curves.write(0, {"loss": 2.5, "l0": [3.0, math.nan]})
        curves.write(10, {"loss": math.inf}, seconds=1.23456)
    assert read_curves(path) == [
        {"step": 0, "loss": 2.5, "l0": [3.0, None]},
        {"step": 10, "seconds": 1.235, "loss": None},
    ]
    assert read_last_row(path) == {"step": 10, "seconds": 1.235, "loss": None}


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"step": 0, "loss": 1}\n{"step": 5, "lo')
    assert [row["step"] for row in read_curves(path)] == [0]
    assert read_last_row(path) == {"step": 0, "loss": 1}


def test_damaged_lines_do_not_hide_the_others(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"step": 0}\n\xff\xfe nonsense\n[1]\n{"step": "x"}\n{"step": 9}\n')
    assert [row["step"] for row in read_curves(path)] == [0, 9]


def test_a_resumed_run_keeps_each_step_once(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    with CurveWriter(path) as curves:
        for step in (0, 10, 20, 30):
            curves.write(step, {"loss": 1.0})
    with CurveWriter(path, keep_through=20) as curves:
        curves.write(30, {"loss": 2.0})
    assert [(row["step"], row["loss"]) for row in read_curves(path)] == [
        (0, 1.0),
        (10, 1.0),
        (20, 1.0),
        (30, 2.0),
    ]


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "none") == []
    assert read_last_row(tmp_path / "none") is None
