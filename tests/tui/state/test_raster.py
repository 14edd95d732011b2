"""Maps and bars made of characters, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from husai_tui.state.raster import Picture, bars, levels, picture, scale, shaded, shrink, ticks


def test_a_dot_is_the_mean_of_the_area_under_it() -> None:
    grid = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    # Halves of 3 cells: 1 and a half cell on each side; the middle one counts half to both.
    expected = [
        [(1 + 2 / 2 + 4 / 2 + 5 / 4) / 2.25, (2 / 2 + 3 + 5 / 4 + 6 / 2) / 2.25],
        [(4 / 2 + 5 / 4 + 7 + 8 / 2) / 2.25, (5 / 4 + 6 / 2 + 8 / 2 + 9) / 2.25],
    ]
    np.testing.assert_allclose(shrink(grid, 2, 2), expected)
    np.testing.assert_allclose(shrink(grid, 3, 3), grid)
    np.testing.assert_allclose(shrink(grid, 1, 1), [[5]])


def test_the_mean_stays_whatever_the_room() -> None:
    grid = np.random.default_rng(0).random((113, 113))
    for side in (2, 26, 80, 112):
        assert shrink(grid, side, side).mean() == pytest.approx(grid.mean())


@pytest.mark.parametrize(
    ("side", "columns", "lines", "drawn", "told"),
    [
        (113, 26, 13, (26, 13), "dots of 4.3×4.3 pairs"),
        (113, 27, 50, (26, 13), "dots of 4.3×4.3 pairs"),
        (113, 113, 57, (113, 57), "a dot for each pair"),
        (11, 50, 13, (22, 11), "2×2 dots for each pair"),
    ],
)
def test_a_map_is_as_large_as_the_room_allows(
    side: int, columns: int, lines: int, drawn: tuple[int, int], told: str
) -> None:
    found = picture(np.ones((side, side)), columns, lines)
    assert found is not None
    assert (found.columns, found.lines) == drawn
    assert found.told() == told
    assert found.dots == pytest.approx(np.ones(found.dots.shape))


def test_a_shade_stands_for_two_dots() -> None:
    assert Picture(np.ones((26, 26)), 4.0).told(in_shades=True) == "dots of 8.0×4.0 pairs"
    assert Picture(np.ones((26, 26)), 0.5).told(in_shades=True) == "2×2 dots for each pair"


def test_no_room_no_map() -> None:
    assert picture(np.ones((5, 5)), 1, 10) is None
    assert picture(np.ones((5, 5)), 10, 0) is None
    assert picture(np.ones((0, 0)), 10, 10) is None


def test_levels_show_all_that_is_above_zero() -> None:
    assert levels(np.array([[0, 0.001, 0.5, 1.0]]), 4).tolist() == [[0, 1, 2, 4]]
    assert levels(np.zeros((1, 2)), 4).tolist() == [[0, 0]]


def test_shades_take_two_rows_at_once() -> None:
    dots = np.array([[4, 0, 2, 0], [4, 0, 2, 1], [0, 0, 0, 4]], dtype=float)
    assert shaded(Picture(dots, 1)) == ["█ ▒░", "   █"]


def test_bars_by_hand() -> None:
    along = scale(4, 4)
    values = np.array([0, 1, 4, 8])
    assert bars(values, along, 1, 8) == [" ▁▄█"]
    assert bars(values, along, 2, 8) == ["   █", " ▂██"]
    assert bars(np.array([0.01, np.nan, 8, 9]), along, 1, 8) == ["  ██"]
    assert bars(values, along, 1, 0) == ["    "]


def test_bars_are_wider_where_there_is_room() -> None:
    along = scale(2, 7)
    assert (along.bars, along.pitch) == (2, 3)
    assert bars(np.array([8, 4]), along, 1, 8) == ["██ ▄▄ "]


def test_the_largest_of_neighbours_stands_for_them() -> None:
    along = scale(6, 3)
    assert bars(np.array([1, 8, 0, 0, 4, 2]), along, 1, 8) == ["█ ▄"]
    assert [along.column(place) for place in range(6)] == [0, 0, 1, 1, 2, 2]


def test_no_bars_in_no_room() -> None:
    assert bars(np.array([1.0]), scale(1, 0), 1, 1) == [""]
    assert bars(np.array([]), scale(0, 9), 1, 1) == [""]
    assert ticks(scale(0, 9), 1) == ""


def test_ticks_stand_under_their_bars() -> None:
    line = ticks(scale(56, 60), 1)
    for number in (1, 5, 10, 55):
        place = line.index(str(number))
        assert place == scale(56, 60).column(number - 1)
    assert ticks(scale(4, 12), 1) == "1  2     4"
