"""Braille dots by hand: which ones a curve sets, and where it leaves a gap."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from husai_tui.state.canvas import NO_INK, Canvas, gather

NAN = np.nan


def drawn(y: list[float], x: list[float] | None = None, *, columns: int = 2, rows: int = 1) -> str:
    """Draw one curve of dot rows, points in the middle of the dot columns, and return the cells."""
    canvas = Canvas(columns, rows)
    places = np.array(x if x is not None else np.arange(len(y)) + 0.5, dtype=float)
    canvas.curve(gather(places, np.array(y, dtype=float)[:, None], 2 * columns), 0, 3)
    return "\n".join("".join(row) for row in canvas.text())


def test_a_level_line_is_one_row_of_dots() -> None:
    assert drawn([0, 0, 0, 0]) == "⠉⠉"
    assert drawn([3, 3, 3, 3]) == "⣀⣀"


def test_a_slope_of_one_is_one_dot_a_column() -> None:
    assert drawn([0, 1, 2, 3]) == "⠑⢄"
    assert drawn([3, 2, 1, 0]) == "⡠⠊"


def test_a_steep_line_is_joined() -> None:
    assert drawn([0, 3], columns=1) == "⢣"
    assert drawn([3, 0], columns=1) == "⡜"


@pytest.mark.parametrize("hole", [NAN, np.inf, -np.inf])
def test_what_is_not_finite_is_a_gap(hole: float) -> None:
    cells = drawn([0, 0, hole, hole, 0, 0], columns=3)
    assert cells == "⠉ ⠉"


def test_a_single_point_between_gaps_is_a_dot() -> None:
    assert drawn([NAN, NAN, 0, NAN], columns=2) == " ⠁"


def test_only_gaps_draw_nothing() -> None:
    assert drawn([NAN, NAN]) == "  "
    assert drawn([]) == "  "


def test_many_points_in_a_column_keep_their_extremes() -> None:
    # A thousand points in one dot column, one of them an outlier: no other drawing shows it.
    y = np.zeros(1000)
    y[500] = 3
    assert drawn(list(y), list(np.linspace(0, 0.99, 1000)), columns=1) == "⡇"


def test_lines_reach_the_edge_towards_points_out_of_sight() -> None:
    assert drawn([0, 0], [-100.0, 100.0]) == "⠉⠉"


def test_values_out_of_sight_are_cut_off() -> None:
    assert drawn([-50, -50, -50, -50]) == "  "
    assert (ord(drawn([1e300, -1e300], columns=1)) - 0x2800).bit_count() >= 4


def test_the_last_curve_gives_the_cell_its_ink() -> None:
    canvas = Canvas(1, 1)
    points = gather(np.array([0.5, 1.5]), np.array([[0.0, 3.0], [0.0, 3.0]]), 2)
    canvas.curve(points, 0, 4)
    canvas.curve(points, 1, 5)
    assert canvas.ink[0, 0] == 5
    assert canvas.text()[0, 0] == "⣉"  # both curves are there


def test_a_curve_may_take_the_place_of_what_is_below() -> None:
    canvas = Canvas(2, 1)
    points = gather(np.array([0.5, 1.5]), np.array([[0.0, 3.0], [0.0, 3.0]]), 4)
    canvas.curve(points, 0, 4)
    canvas.curve(points, 1, 5, over=True)
    assert canvas.text()[0, 0] == "⣀"
    assert canvas.ink[0].tolist() == [5, NO_INK]


def test_a_band_fills_every_second_dot_between_its_edges() -> None:
    canvas = Canvas(1, 1)
    points = gather(np.array([0.5, 1.5]), np.array([[3.0, 0.0], [3.0, 0.0]]), 2)
    canvas.band(points, 0, 1, 7)
    assert canvas.text()[0, 0] == chr(0x2800 + 0x01 + 0x04 + 0x10 + 0x80)
    assert canvas.ink[0, 0] == 7


def test_a_band_has_the_gaps_of_its_edges() -> None:
    canvas = Canvas(3, 1)
    y = np.array([[3.0, 0.0]] * 2 + [[NAN, NAN]] * 2 + [[3.0, 0.0]] * 2)
    canvas.band(gather(np.arange(6) + 0.5, y, 6), 0, 1, 7)
    assert [character == " " for character in canvas.text()[0]] == [False, True, False]


def test_a_curve_of_nothing_but_gaps_has_no_band() -> None:
    canvas = Canvas(2, 1)
    canvas.band(gather(np.arange(4) + 0.5, np.full((4, 2), NAN), 4), 0, 1, 7)
    assert (canvas.bits == 0).all()


def test_of_many_points_only_the_extremes_of_each_column_are_kept() -> None:
    y = np.cumsum(np.random.default_rng(0).normal(size=(100_000, 8)), axis=0)
    points = gather(np.arange(100_000) / 100_000 * 320, y, 320)
    kept = [np.size(getattr(points, field.name)) for field in fields(points)]
    assert max(kept) == 8 * 320
