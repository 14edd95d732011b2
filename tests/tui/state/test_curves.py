"""How curves are looked at: window, cursor, smoothing, what is refused and in which words."""

from __future__ import annotations

import numpy as np
import pytest

from husai_tui.state.curves import WEIGHTS, Curves
from husai_tui.state.panels import COHORT, SUBJECT, Data, Flag, continues, panels_of, take
from tests.tui.curves import NAN, SEEDS, data

LOSS, AGREE = COHORT[0], COHORT[4]


def cohort(rows: int = 101, *, live: bool = False, end: float | None = None, **more) -> Curves:
    """Curves of three seeds with a row at each step; seed 123 has twice the loss of 42."""
    t = np.arange(rows, dtype=float)
    loss = np.stack([100 - t / 2, 200 - t, 150 - t], axis=1)
    curves = Curves("cohort", SEEDS, end)
    curves.update(data(t, {"loss": loss, "l0": np.ones((rows, 3))}, **more), live=live)
    return curves


# Panels


def test_a_panel_for_each_measurement_that_is_there() -> None:
    assert [p.title for p in cohort().panels] == ["loss", "L0"]
    assert panels_of("cohort", ("loss", "mean_max_cos")) == (LOSS, AGREE)
    assert panels_of("subject", ("test_loss",)) == (SUBJECT[1],)
    assert [p.title for p in panels_of("language", ("a", "b"))] == ["a", "b"]
    assert len(panels_of("x", tuple("abcdefghij"))) == 6


def test_measurements_of_one_panel_are_lines_with_names() -> None:
    curves = Curves("subject")
    curves.update(data([0, 1], {"train_loss": [3, 1], "test_loss": [3, 2]}), live=False)
    lines = curves.lines(curves.panels[0])
    assert lines.labels == ("train", "test")
    assert lines.raw_TL.tolist() == [[3, 3], [1, 2]]
    curves.update(data([0, 1], {"test_loss": [3, 2]}), live=False)
    assert curves.lines(curves.panels[0]).labels == ("test",)
    assert curves.lines(curves.panels[0]).places == (1,)


def test_what_is_measured_in_some_rows_only_has_no_gaps_between() -> None:
    curves = Curves("cohort", SEEDS)
    rare = np.full((5, 3), NAN)
    rare[[0, 4]] = [[0.1, 0.2, 0.3], [0.2, NAN, 0.4]]
    curves.update(data(range(5), {"mean_max_cos": rare}), live=True)
    lines = curves.lines(AGREE)
    assert lines.x_T.tolist() == [0, 4]
    assert np.isnan(lines.raw_TL[1, 1])
    assert lines.row(3) == 0
    assert lines.row(None) == 1
    assert lines.row(-1) == -1


def test_rows_out_of_order_are_left_out() -> None:
    class Reader:
        names = ("loss",)
        steps = np.array([0, 10, 5, 10, 20])
        seconds = np.array([0.0, 1, 2, 3, 4])
        flags = (Flag(5, None, "loss_flat", "flat"),)

        def series(self, name: str) -> np.ndarray:
            return np.arange(5.0)[:, None]

    found = take(Reader())
    assert found.steps.tolist() == [0, 10, 20]
    assert found.series["loss"][:, 0].tolist() == [0, 1, 4]
    assert found.flags[0].step == 5


def test_a_file_in_the_place_of_another_is_noticed() -> None:
    before = data([0, 1], {"loss": [3, NAN]})
    assert continues(before, data([0, 1, 2], {"loss": [3, NAN, 1], "l0": [1, 1, 1]}))
    assert not continues(before, data([0], {"loss": [3]}))
    assert not continues(before, data([0, 1, 2], {"loss": [9, NAN, 1]}))
    assert not continues(before, data([0, 2, 3], {"loss": [3, NAN, 1]}))
    assert not continues(before, data([0, 1], {"l0": [3, 1]}))
    assert continues(Data(), before)


def test_smoothed_rows_are_made_anew_for_another_file() -> None:
    curves = cohort()
    curves.smooth(1)
    first = curves.lines(LOSS).smooth_TL
    curves.update(data(range(101), {"loss": np.ones((101, 3))}), live=False)
    second = curves.lines(LOSS).smooth_TL
    assert first is not None
    assert second is not None
    assert not np.allclose(first, second)
    assert np.allclose(second, 1)


# Seeds


def test_seeds_without_values_are_named() -> None:
    values = np.ones((4, 3))
    values[2:, 1], values[:, 2] = NAN, NAN
    curves = Curves("cohort", SEEDS)
    curves.update(data([0, 10, 20, 30], {"loss": values}), live=True)
    assert curves.lost_seeds() == {1: 10, 2: None}
    assert curves.label(1) == "123"
    assert curves.label(7) == "7"


def test_only_some_seeds() -> None:
    curves = cohort()
    assert curves.show_only("42 456") == ""
    assert curves.lines(LOSS).labels == ("42", "456")
    assert curves.lines(LOSS).places == (0, 2)
    assert curves.show_only("!42") == ""
    assert curves.lines(LOSS).places == (1, 2)
    assert curves.show_only("7") == "7: no such seed; 42, 123, 456"
    assert curves.lines(LOSS).places == (1, 2)
    assert curves.show_only("42 !42") == "no seed would be left"
    assert curves.show_only("") == ""
    assert curves.lines(LOSS).places == (0, 1, 2)


def test_band_is_median_and_range() -> None:
    curves = cohort()
    assert curves.toggle_band() == ""
    band = curves.lines(LOSS).band_T3
    assert band is not None
    assert band[0].tolist() == [150, 100, 200]
    curves.show_only("42 123")
    assert curves.lines(LOSS).band_T3[0].tolist() == [150, 100, 200]  # type: ignore[index]
    curves.show_only("42")
    assert curves.lines(LOSS).band_T3 is None


def test_one_curve_has_no_band() -> None:
    curves = Curves("subject")
    curves.update(data([0, 1], {"train_loss": [3, 1]}), live=False)
    assert "no seeds" in curves.toggle_band()
    assert not curves.band


# The horizontal axis


def test_while_it_grows_the_axis_reaches_further() -> None:
    assert cohort(101).whole() == (0, 100)
    assert cohort(101, live=True).whole() == (0, 128)
    assert cohort(101, live=True, end=110).whole() == (0, 110)
    assert Curves("cohort").whole() == (0, 1)


def test_zoom_at_the_newest_row() -> None:
    curves = cohort(101)
    curves.zoom(1)
    assert curves.window() == (50, 100)
    curves.zoom(1)
    assert curves.window() == (75, 100)
    curves.zoom(-1)
    assert curves.window() == (50, 100)
    curves.zoom(-1)
    assert curves.window() == (0, 100)
    assert curves.zoom(-1) == "all of it is in sight"


def test_zoom_around_the_cursor() -> None:
    curves = cohort(101)
    curves.look_at(20)
    curves.zoom(1)
    assert curves.window() == pytest.approx((10, 60))
    curves.zoom(1)
    assert curves.window() == pytest.approx((15, 40))


def test_zoom_ends() -> None:
    curves = cohort()
    said = [curves.zoom(1) for _ in range(30)]
    assert said[-1] == "this is as close as it gets"


def test_pan_by_quarters_and_not_beyond_the_ends() -> None:
    curves = cohort(101)
    assert "zooms in" in curves.pan(-1)
    curves.zoom(1)
    curves.pan(-1)
    assert curves.window() == (37.5, 87.5)
    for _ in range(9):
        curves.pan(-1)
    assert curves.window() == (0, 50)
    for _ in range(9):
        curves.pan(1)
    assert curves.window() == (50, 100)


def test_a_zoomed_live_window_follows_in_quarters() -> None:
    curves = cohort(101, live=True)
    curves.zoom(1)
    assert curves.window() == (48, 112)  # 64 wide, in steps of 16
    curves.update(cohort(110, live=True).data, live=True)
    assert curves.window() == (48, 112)
    curves.update(cohort(115, live=True).data, live=True)
    assert curves.window() == (64, 128)


def test_a_window_that_was_moved_stays() -> None:
    curves = cohort(101, live=True)
    curves.zoom(1)
    curves.pan(-1)
    before = curves.window()
    curves.update(cohort(120, live=True).data, live=True)
    assert curves.window() == before
    assert curves.reset() == ""
    assert curves.window() == (0, 128)


def test_the_axis_of_time() -> None:
    curves = cohort(101, seconds=np.arange(101) * 2.0)
    assert curves.toggle_axis() == ""
    assert curves.whole() == (0, 200)
    assert curves.x_of(50) == 100
    assert curves.step_of(100) == 50
    assert curves.lines(LOSS).x_T[-1] == 200
    assert curves.toggle_axis() == ""
    assert curves.axis == "step"


def test_rows_without_a_time_are_not_on_its_axis() -> None:
    seconds = np.arange(101) * 2.0
    seconds[:50] = NAN
    curves = cohort(101, seconds=seconds)
    curves.toggle_axis()
    assert curves.lines(LOSS).steps_T[0] == 50
    assert cohort().toggle_axis() == "these curves do not tell the time"


def test_an_axis_of_time_that_is_gone_becomes_one_of_steps() -> None:
    curves = cohort(101, seconds=np.arange(101) * 2.0)
    curves.toggle_axis()
    curves.update(cohort(101).data, live=False)
    assert curves.axis == "step"


# Smoothing and logarithms


def test_weights_are_stepped_through() -> None:
    curves = cohort()
    assert "not smoothed" in curves.smooth(-1)
    said = [curves.smooth(1) for _ in WEIGHTS]
    assert curves.weight == len(WEIGHTS) - 1
    assert said[:-1] == [""] * (len(WEIGHTS) - 1)
    assert said[-1]


def test_a_logarithmic_axis_needs_a_value_above_zero() -> None:
    curves = Curves("cohort", SEEDS)
    curves.update(data([0, 1], {"loss": [[-1, 0, NAN]] * 2}), live=True)
    assert not curves.is_log(LOSS)
    assert curves.toggle_log().startswith("loss: no value is above zero")
    curves.update(data([0, 1, 2], {"loss": [[-1, 0, NAN]] * 2 + [[1, 1, 1]]}), live=True)
    assert curves.is_log(LOSS)  # as the panel has it at first
    assert curves.toggle_log() == ""
    assert not curves.is_log(LOSS)
    assert Curves("report").toggle_log() == "no curves yet"


# The cursor and the flags


def test_scrubbing_goes_by_cells_and_at_least_by_a_row() -> None:
    curves = cohort(101)
    curves.scrub(-1, 50)
    assert curves.cursor == 98
    curves.scrub(-10, 50)
    assert curves.cursor == 78
    curves.scrub(1, 1000)
    assert curves.cursor == 79
    curves.scrub(1, 2)
    assert curves.cursor == 100
    curves.scrub(1, 2)
    assert curves.cursor == 100
    assert Curves("cohort").scrub(1, 10) == "no rows yet"


def test_the_cursor_brings_itself_into_sight() -> None:
    curves = cohort(101)
    curves.zoom(1)
    curves.look_at(10)
    left, right = curves.window()
    assert left <= 10 <= right
    assert right - left == 50


def test_scrubbing_by_time() -> None:
    curves = cohort(101, seconds=np.arange(101) ** 2.0)
    curves.toggle_axis()
    curves.scrub(-5, 10)  # half of 10,000 seconds back
    assert curves.cursor == 71


def test_flags_are_gone_through_and_round() -> None:
    flags = [Flag(40, 42, "a", "later"), Flag(10, 123, "b", "first"), Flag(40, 123, "a", "same")]
    curves = cohort(101, flags=flags)
    said = [curves.next_flag() for _ in range(4)]
    assert [flag.message for flag in said if flag] == ["first", "later", "same", "first"]
    assert curves.cursor == 10
    curves.look_at(39)
    assert curves.next_flag() == flags[0]
    assert cohort().next_flag() is None


def test_panels_go_round() -> None:
    curves = cohort()
    curves.select(1)
    assert curves.selected == 1
    curves.select(1)
    assert curves.selected == 0
    curves.select(-1)
    assert curves.selected == 1
    curves.update(data([0], {"loss": [[1, 1, 1]]}), live=True)
    assert curves.selected == 0
    Curves("cohort").select(1)


def test_curves_of_another_smoothing_are_not_kept() -> None:
    curves = cohort()
    for _ in WEIGHTS:
        curves.lines(LOSS)
        curves.smooth(1)
    curves.lines(LOSS)
    assert [key[3:] for key in curves._kept] == [("smooth", len(WEIGHTS) - 1)]
    curves.show_only("42")
    assert curves._kept == {}
