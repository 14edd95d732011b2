"""Curves followed while they are written: by the writer itself, and by hand where it goes wrong."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.client.curves import CurveTail, Raised
from engine.disk.curves import CurveWriter, Flag
from engine.errors import InputError


def append(path: Path, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def row(step: int, **values: Any) -> str:
    return json.dumps({"step": step, **values}) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.jsonl"


def test_it_follows_the_writer(path: Path) -> None:
    tail = CurveTail(path)
    assert not tail.poll(), "there is no file yet"
    assert (len(tail), tail.names, tail.steps.tolist()) == (0, (), [])
    with CurveWriter(path) as curves:
        assert not tail.poll(), "nothing is in it"
        curves.write(0, {"loss": [2.0, math.nan], "rate": 0.5}, seconds=0.0)
        assert tail.poll()
        assert not tail.poll()
        flags = [Flag("dead_latents", "seed 7: 40 % dead", 7), Flag("odd", "all of it")]
        curves.write(10, {"loss": [1.0, 3.0], "rate": math.inf}, flags, seconds=1.5)
        curves.write(20, {"loss": [0.5, 2.5], "agreement": [0.25, 0.75]})
        assert tail.poll()
    assert tail.names == ("loss", "rate", "agreement")
    assert tail.steps.tolist() == [0, 10, 20]
    assert tail.steps.dtype == np.int64
    np.testing.assert_array_equal(tail.series("loss"), [[2, math.nan], [1, 3], [0.5, 2.5]])
    np.testing.assert_array_equal(tail.series("rate"), [[0.5], [math.nan], [math.nan]])
    np.testing.assert_array_equal(
        tail.series("agreement"), [[math.nan] * 2, [math.nan] * 2, [0.25, 0.75]]
    )
    np.testing.assert_array_equal(tail.seconds, [0, 1.5, math.nan])
    assert tail.flags == [
        Raised(10, 7, "dead_latents", "seed 7: 40 % dead"),
        Raised(10, None, "odd", "all of it"),
    ]
    with pytest.raises(InputError, match=r"no curve 'lsos': loss, rate, agreement"):
        tail.series("lsos")


def test_a_torn_line_waits_for_its_end(path: Path) -> None:
    tail = CurveTail(path)
    append(path, row(0, loss=1) + '{"step": 5, "lo')
    assert tail.poll()
    assert tail.steps.tolist() == [0]
    append(path, 'ss": 0.5}')
    assert not tail.poll()
    append(path, "\n" + row(10, loss=0.25))
    assert tail.poll()
    assert tail.series("loss").tolist() == [[1], [0.5], [0.25]]


def test_garbage_is_left_out_and_hides_nothing(path: Path) -> None:
    path.write_bytes(
        b'{"step": 0, "loss": 1}\n\xff\xfe nonsense\n[1]\n\n{"step": "x"}\n{"step": true}\n'
        b'1, {"step": 3}\n{"step": 9, "loss": "?", "flags": 3}\n{"step": 10, "loss": [1, null, "x"]}\n'
        b'{"step": 11, "loss": [[1], 2], "flags": [1, {"name": "n"}]}\n'
    )
    tail = CurveTail(path)
    assert tail.poll()
    assert tail.steps.tolist() == [0, 9, 10, 11]
    nan = math.nan
    np.testing.assert_array_equal(
        tail.series("loss"), [[1, nan, nan], [nan] * 3, [1, nan, nan], [nan, 2, nan]]
    )
    assert tail.flags == [Raised(11, None, "n", "None")]


def test_a_resumed_run_is_read_from_its_beginning(path: Path) -> None:
    tail = CurveTail(path)
    with CurveWriter(path) as curves:
        for step in (0, 10, 20, 30):
            curves.write(step, {"loss": [1.0, 1.0]}, [Flag("x", "y")] if step == 30 else [])
    assert tail.poll()
    with CurveWriter(path, keep_through=10) as curves:
        assert tail.poll()
        assert tail.steps.tolist() == [0, 10]
        assert tail.flags == []
        curves.write(20, {"loss": [2.0, 2.0]})
    assert tail.poll()
    assert tail.series("loss").tolist() == [[1, 1], [1, 1], [2, 2]]


@pytest.mark.parametrize("keep_inode", [True, False])
def test_another_file_in_the_same_place_is_noticed_even_if_it_is_longer(
    path: Path, keep_inode: bool
) -> None:
    tail = CurveTail(path)
    path.write_text(row(0, loss=1) + row(1, loss=1))
    assert tail.poll()
    other = path if keep_inode else path.with_suffix(".tmp")
    other.write_text("".join(row(step, loss=7) for step in range(100, 104)))
    os.replace(other, path)
    assert tail.poll()
    assert tail.steps.tolist() == [100, 101, 102, 103]


def test_a_file_that_shrank_or_went_is_noticed(path: Path) -> None:
    tail = CurveTail(path)
    path.write_text(row(0, loss=1) + row(1, loss=1))
    assert tail.poll()
    os.truncate(path, len(row(0, loss=1)))
    assert tail.poll()
    assert tail.steps.tolist() == [0]
    path.unlink()
    assert tail.poll()
    assert len(tail) == 0
    assert not tail.poll()


def test_what_was_shown_does_not_change_under_the_screen(path: Path) -> None:
    tail = CurveTail(path)
    append(path, row(0, loss=[1, 2]))
    tail.poll()
    shown = tail.series("loss")
    for step in range(1, 200):
        append(path, row(step, loss=[step, step, step]))
        tail.poll()
    assert shown.tolist() == [[1, 2]]
    assert tail.series("loss").shape == (200, 3)
    assert tail.series("loss")[150].tolist() == [150] * 3
    assert np.isnan(tail.series("loss")[0, 2])


def test_a_long_file_is_read_in_pieces_and_then_costs_one_stat(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.client.curves.PIECE", 1000)
    path.write_text("".join(row(step, loss=[step, -step]) for step in range(500)))
    tail = CurveTail(path)
    assert tail.poll()
    assert tail.series("loss").tolist() == [[step, -step] for step in range(500)]
    monkeypatch.setattr("builtins.open", None)  # nothing is opened any more
    assert not tail.poll()


def test_a_hundred_thousand_rows_are_read_in_about_a_second(path: Path) -> None:
    names = ("loss", "explained_variance", "l0", "dead_fraction", "train_loss", "aux_loss")
    values = {name: [0.123456789012345] * 3 for name in names}
    line = json.dumps({"step": 0, "seconds": 12.345, **values})[len('{"step": 0') :]
    path.write_text("".join(f'{{"step": {step}{line}\n' for step in range(100_000)))
    tail = CurveTail(path)
    started = time.process_time()
    assert tail.poll()
    spent = time.process_time() - started
    assert len(tail) == 100_000
    assert spent < 3, "measured: .5 s"
    append(path, f'{{"step": 100000{line}\n')
    started = time.process_time()
    assert tail.poll()
    assert time.process_time() - started < 0.05
