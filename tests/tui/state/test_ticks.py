"""Round numbers, and axes that stay where they are."""

from __future__ import annotations

import math

import pytest

from husai_tui.state.ticks import (
    decades,
    fit,
    fit_log,
    holds,
    labels,
    number,
    percent,
    powers,
    reach,
    round_up,
    spaced,
)


@pytest.mark.parametrize(
    ("value", "want"), [(1, 1), (1.1, 2), (3, 5), (6, 10), (0.03, 0.05), (0.1, 0.1), (200, 200)]
)
def test_round_up(value: float, want: float) -> None:
    assert round_up(value) == pytest.approx(want)


def test_spaced() -> None:
    assert spaced(0, 898, 5) == [0, 200, 400, 600, 800]
    assert spaced(0, 1, 3) == [0, 0.5, 1.0]
    assert spaced(-11.5, 0.97, 4) == [-10, -5, 0]
    assert spaced(3, 3, 4) == [3]


@pytest.mark.parametrize("most", range(1, 12))
def test_there_are_never_more_numbers_than_have_room(most: int) -> None:
    for low, high in [(0, 898), (0.28, 0.33), (-3, 1e6), (1e-9, 2e-9)]:
        assert 1 <= len(spaced(low, high, most)) <= most


def test_decades() -> None:
    assert decades(3, 7, 5) == [3, 4, 5, 6, 7]
    assert decades(2, 200, 7) == [2, 5, 10, 20, 50, 100, 200]
    assert decades(1, 200, 6) == pytest.approx([1, 3, 10, 30, 100])
    assert decades(1e-4, 10, 6) == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10])
    assert decades(1e-8, 1, 4) == pytest.approx([1e-8, 1e-5, 1e-2])


def test_ranges_are_round() -> None:
    assert fit(0.2, 9.7, 4) == (0, 10)
    assert fit(32, 32, 4)[0] < 32 < fit(32, 32, 4)[1]
    assert fit(0, 0, 4) == (-1, 1)
    assert fit_log(3.8, 178) == (3, 200)
    assert fit_log(3.6, 5.1) == (3, 7)
    assert fit_log(2e-4, 4.7) == pytest.approx((2e-4, 5))
    low, high = fit_log(1, 1)
    assert low < 1 < high


def test_an_axis_stays_while_the_values_are_on_it_and_fill_it() -> None:
    assert holds((0, 10), 1, 9, False)
    assert not holds((0, 10), 1, 11, False)
    assert not holds((0, 10), 1, 2, False)
    assert holds((1, 1000), 10, 900, True)
    assert not holds((1, 1000), 10, 20, True)


def test_the_horizontal_axis_reaches_to_the_next_power_of_two() -> None:
    assert reach(513, None) == 1024
    assert reach(1024, None) == 1024
    assert reach(0, None) == 1
    assert reach(513, 898) == 898
    assert reach(300, 898) == 512
    assert reach(900, 898) == 1024  # more steps than were told


def test_numbers_are_short() -> None:
    told = {0: "0", 3.868: "3.87", 477.8: "478", 32.0: "32", 0.0137: ".014", 0.97: ".970"}
    told |= {1608: "1.61k", 2.4e-4: "2.4e-4", 1e-4: "1e-4", -11.5: "-11.5", math.nan: "–"}
    told |= {999.7: "1k", 2_500_000: "2.50M", 1e15: "1e15", math.inf: "–"}
    assert {value: number(value) for value in told} == told


def test_shares_are_percentages() -> None:
    assert percent(0.0176) == "1.8 %"
    assert percent(1.0) == "100 %"
    assert percent(math.nan) == "–"


def test_numbers_on_axes_have_as_many_digits_as_they_need() -> None:
    assert labels([0.28, 0.30, 0.32]) == [".28", ".30", ".32"]
    assert labels([0, 200, 400]) == ["0", "200", "400"]
    assert labels([0, 5000, 10000]) == ["0", "5k", "10k"]
    assert labels([0, 2.5e6, 5e6]) == ["0", "2500k", "5000k"]
    assert labels([5]) == ["5"]
    assert labels([0, 1e-5, 2e-5]) == ["0", "1e-5", "2e-5"]
    assert powers([1e-4, 0.01, 1, 500, 1e4]) == ["1e-4", ".01", "1", "500", "10k"]
