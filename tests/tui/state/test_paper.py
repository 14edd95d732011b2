"""A sheet of characters: what fits, what has changed."""

from __future__ import annotations

import numpy as np

from husai_tui.state.paper import Paper, series_ink, shorten, wrap


def test_what_does_not_fit_ends_in_an_ellipsis() -> None:
    paper = Paper(8, 1)
    assert paper.write(2, 0, "abcdefgh") == 8
    assert paper.lines() == ["  abcde…"]
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "ab…"
    assert shorten("abcd", 0) == ""


def test_nothing_is_written_beyond_the_edges() -> None:
    paper = Paper(4, 1)
    paper.write(0, 5, "below")
    paper.write(9, 0, "right")
    paper.write(-1, 0, "left")
    paper.paste(2, 0, np.full((3, 9), "x"), np.zeros((3, 9), dtype=np.int16))
    assert paper.lines() == ["  xx"]


def test_wide_characters_take_two_cells_and_control_characters_are_written_out() -> None:
    paper = Paper(12, 2)
    assert paper.write(0, 0, "日本") == 4
    paper.write(4, 0, "x")
    paper.write(0, 1, "a\x1b[31m")
    assert paper.lines() == ["日本x", "a\\x1b[31m"]
    assert "".join(text for text, _ in paper.runs(0)) == "日本x" + " " * 7


def test_texts_at_the_right_give_way_from_the_left() -> None:
    paper = Paper(10, 2)
    assert paper.right(0, [("first ", ""), ("last", "faint")], 10, 10) == 0
    assert paper.right(1, [("first ", ""), ("last", "faint")], 10, 8) == 6
    assert paper.lines() == ["first last", "      last"]


def test_pasting_leaves_what_is_under_spaces() -> None:
    paper = Paper(3, 1)
    paper.write(0, 0, "abc", "faint")
    paper.paste(0, 0, np.array([[" ", "x", " "]]), np.full((1, 3), series_ink(0), dtype=np.int16))
    assert paper.lines() == ["axc"]
    assert paper.runs(0) == [("a", 1), ("x", 10), ("c", 1)]


def test_changes_are_parts_of_rows() -> None:
    before, now = Paper(40, 3), Paper(40, 3)
    assert now.changes(before) == []
    now.write(5, 1, "ab")
    now.write(12, 1, "c")
    now.write(35, 1, "d")
    assert now.changes(before, gap=12) == [(5, 1, 8), (35, 1, 1)]
    now.write(0, 2, " ", "bad")
    assert now.changes(before)[-1] == (0, 2, 1)


def test_a_wide_character_is_sent_whole() -> None:
    before, now = Paper(6, 1), Paper(6, 1)
    before.write(0, 0, "日本")
    now.write(0, 0, "日語")
    assert now.changes(before) == [(2, 0, 2)]


def test_wrapping() -> None:
    assert wrap("one two three", 7, 3) == ["one two", "three"]
    assert wrap("one two three four", 7, 2) == ["one two", "three …"]
    assert wrap("incomprehensible", 6, 2) == ["incom…"]
    assert wrap("", 6, 2) == []
