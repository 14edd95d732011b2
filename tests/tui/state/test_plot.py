"""Charts on paper: what stands above, beside and below the curves."""

from __future__ import annotations

import numpy as np
import pytest

from husai_tui.state.curves import Curves
from husai_tui.state.panels import Flag
from husai_tui.state.paper import Paper
from husai_tui.state.plot import AXIS, Box, chart, lost_text, small, time_ticks
from tests.tui.curves import NAN, SEEDS, data


def cohort(loss: np.ndarray, *, live: bool = False, **more) -> Curves:
    curves = Curves("cohort", SEEDS)
    curves.update(data(range(len(loss)), {"loss": loss}, **more), live=live)
    return curves


def painted(curves: Curves, width: int = 70, height: int = 14, place: int = 0) -> list[str]:
    paper = Paper(width, height)
    chart(paper, Box(0, 0, width, height), curves, place)
    return paper.lines()


def falling(rows: int = 101) -> np.ndarray:
    t = np.arange(rows, dtype=float)
    return np.stack([100 - t / 2, 200 - t, 150 - t], axis=1)


def test_the_title_tells_median_and_range_and_the_legend_each_seed() -> None:
    lines = painted(cohort(falling()))
    assert lines[0].startswith("▸ loss  50  50 – 100  log")
    assert lines[0].endswith("42 50  123 100  456 50")


def test_a_narrow_legend_leaves_out_values_then_names() -> None:
    assert painted(cohort(falling()), 50)[0].endswith("42  123  456")
    assert painted(cohort(falling()), 38)[0].endswith("3 seeds")


def test_a_live_legend_names_the_seeds_alone() -> None:
    assert painted(cohort(falling(), live=True))[0].endswith("  42  123  456")


def test_the_cursor_tells_the_values_there() -> None:
    curves = cohort(falling())
    curves.look_at(50)
    lines = painted(curves)
    assert lines[0].startswith("▸ loss  100  75 – 150")
    column = lines[-2].index("▲")
    assert sum(line[column : column + 1] == "┊" for line in lines[1:-2]) >= 5


def test_axes_have_round_numbers() -> None:
    curves = cohort(falling())
    curves.toggle_log()
    lines = painted(curves)
    assert {line[:AXIS].strip() for line in lines[1:-2]} - {""} == {"50", "100", "150", "200"}
    assert lines[-1].split() == ["0", "20", "40", "60", "80", "100"]
    assert lines[-2].count("┴") == 6


def test_the_axis_stays_while_new_rows_fit_on_it() -> None:
    curves = cohort(falling(50), live=True)
    painted(curves)
    ranges = dict(curves.ranges)
    curves.update(data(range(60), {"loss": falling(60)}), live=True)
    painted(curves)
    assert curves.ranges == ranges
    higher = falling(61)
    higher[60] = 900
    curves.update(data(range(61), {"loss": higher}), live=True)
    painted(curves)
    assert curves.ranges != ranges


def test_old_columns_stay_where_they_are_while_a_curve_grows() -> None:
    curves = cohort(falling(70), live=True)
    before = painted(curves)
    curves.update(data(range(90), {"loss": falling(90)}), live=True)
    now = painted(curves)
    shown = AXIS + int(69 / 128 * (70 - AXIS)) - 1
    kept = [[line.ljust(70)[:shown] for line in lines[1:-2]] for lines in (before, now)]
    assert kept[0] == kept[1]


def test_values_that_are_not_finite_are_gaps() -> None:
    loss = falling()
    loss[40:60] = NAN
    curves = cohort(loss)
    rows = [line[AXIS:].ljust(63) for line in painted(curves)[1:-2]]
    empty = [all(row[x] == " " for row in rows) for x in range(63)]
    assert any(empty[26:36])
    assert not any(empty[:24])
    assert not any(empty[39:])


def test_a_diverged_seed_is_named() -> None:
    loss = falling()
    loss[30:, 1] = NAN
    curves = cohort(loss)
    assert painted(curves)[0].endswith("  42 50  123 –  456 50")
    assert painted(curves, 46)[0].endswith("2 of 3 seeds")
    assert lost_text(curves) == "123 lost after 29"
    curves.toggle_band()
    assert painted(curves)[0].endswith("median · range of 2 of 3 seeds")
    loss[:, 2] = NAN
    assert lost_text(cohort(loss)) == "123 lost after 29, 456 missing"
    many = Curves("cohort", tuple(range(9)))
    many.update(data([0, 5], {"loss": [[1] * 9, [NAN] * 8 + [1]]}), live=True)
    assert lost_text(many) == "0 lost after 0, 1 lost after 0, 2 lost after 0 and 5 more"


def test_nothing_but_gaps_is_said() -> None:
    lines = painted(cohort(np.full((5, 3), NAN)))
    assert any("no values here" in line for line in lines)
    assert lines[0].startswith("▸ loss  –")


def test_a_single_row_is_drawn() -> None:
    assert any(
        "⠁" <= character <= "⣿" for line in painted(cohort(falling(1))) for character in line
    )


def test_values_below_zero_are_gaps_on_a_logarithmic_axis() -> None:
    loss = falling()
    loss[0] = -1
    lines = painted(cohort(loss))
    assert "log" in lines[0]


def test_a_floor_keeps_a_bad_start_from_stretching_the_axis() -> None:
    ev = np.linspace(-11, 0.97, 50)[:, None].repeat(3, axis=1)
    curves = Curves("cohort", SEEDS)
    curves.update(data(range(50), {"explained_variance": ev}), live=False)
    assert {line[:AXIS].strip() for line in painted(curves)[1:-2]} - {""} == {"0", ".5", "1.0"}
    curves.update(data(range(50), {"explained_variance": ev - 5}), live=False)
    assert any("-" in line[:AXIS] for line in painted(curves)[1:-2])


def test_flags_stand_on_the_axis() -> None:
    curves = cohort(
        falling(), flags=[Flag(50, 42, "loss_rising", "rises"), Flag(900, 42, "x", "y")]
    )
    assert painted(curves)[-2].count("!") == 1


def test_smoothing_leaves_the_raw_curve_behind() -> None:
    noisy = falling() + 40 * np.random.default_rng(0).normal(size=(101, 3))
    curves = cohort(np.abs(noisy) + 1)
    curves.smooth(1)
    paper = Paper(70, 14)
    chart(paper, Box(0, 0, 70, 14), curves, 0)
    inks = set(paper.inks[1:-2, AXIS:].ravel().tolist())
    assert inks & {20, 21, 22}
    assert inks & {10, 11, 12}


def test_a_small_chart_tells_its_value() -> None:
    paper = Paper(16, 4)
    small(paper, Box(0, 0, 16, 4), cohort(falling()), 0)
    assert paper.lines()[0] == "▸loss 50"
    assert any(line.strip() for line in paper.lines()[1:])


def test_times_are_round() -> None:
    assert time_ticks(0, 100, 50) == [(s, f"{s} s") for s in (0, 20, 40)] + [
        (60, "1 m 00 s"), (80, "1 m 20 s"), (100, "1 m 40 s"),
    ]  # fmt: skip
    assert [text for _, text in time_ticks(0, 7200, 30)] == ["0 s", "1 h 00 m", "2 h 00 m"]
    assert [text for _, text in time_ticks(0, 1, 30)] == ["0 s", "0.5 s", "1.0 s"]


def test_by_time_the_axis_tells_times() -> None:
    curves = cohort(falling(), seconds=np.arange(101) * 3.0)
    curves.toggle_axis()
    assert "1 m 00 s" in painted(curves)[-1]


def test_every_size_can_be_drawn() -> None:
    curves = cohort(falling())
    for width in (1, 8, 20, 300):
        for height in (1, 4, 5, 60):
            painted(curves, width, height)


def test_a_hundred_thousand_rows_look_like_all_of_them() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(100_003, dtype=float)
    loss = (t / 1000)[:, None] + rng.normal(size=(len(t), 3))
    loss[50_000:60_000, 1] = NAN
    loss[20_000, 2] = 300  # one outlier in one row
    curves = cohort(loss)
    curves.log["loss"] = False
    thinned = painted(curves)
    curves.thinned = lambda lines, values, which: (lines.x_T, values)  # type: ignore[method-assign]
    every = painted(curves)
    cells = [
        a == b
        for one, other in zip(thinned, every, strict=True)
        for a, b in zip(one, other, strict=False)
    ]
    assert sum(cells) / len(cells) > 0.97
    assert any("⡇" in line or "⢸" in line for line in thinned[1:6])  # the outlier is there


def test_each_new_row_is_thinned_once() -> None:
    t = np.arange(40_000, dtype=float)
    loss = np.stack([t, t + 1, t + 2], axis=1) + 1
    curves = cohort(loss[:30_000], live=True)
    before = painted(curves)
    curves.update(data(range(40_000), {"loss": loss}), live=True)
    painted(curves)
    fresh = cohort(loss, live=True)
    assert painted(curves)[1:] == painted(fresh)[1:]
    assert painted(fresh) != before


def test_what_is_smoothed_is_in_sight_where_it_differs_much() -> None:
    # A start a thousand times higher weighs on the average for long.
    loss = np.concatenate([np.full((5, 3), 1600.0), np.full((96, 3), 3.0)])
    curves = cohort(loss)
    curves.smooth(1)
    curves.smooth(1)
    curves.zoom(1)
    curves.zoom(1)
    curves.pan(-1)
    paper = Paper(70, 14)
    chart(paper, Box(0, 0, 70, 14), curves, 0)
    assert set(paper.inks[1:-2, AXIS:].ravel().tolist()) & {10, 11, 12}


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values",
    [(1e308, -1e308, 5.0), (5e-324, 1e-323, 0.0), (1e-15, 1e-15, 1e-15), (1e38, 1.0, 1e-38)],
)
def test_numbers_at_the_ends_of_what_can_be_written(values: tuple[float, ...], log: bool) -> None:
    curves = cohort(np.array([values, values[::-1]]))
    curves.log["loss"] = log
    for band in (False, True):
        curves.band = band
        with np.errstate(all="ignore"):
            painted(curves)
            curves.smooth(1)
            painted(curves)
