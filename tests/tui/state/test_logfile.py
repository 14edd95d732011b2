"""Logs of any size, that grow, shrink, are replaced and vanish."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from husai_tui.state import logfile
from husai_tui.state.logfile import LogFile, collapse, trouble


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def lines_of(file: LogFile) -> list[str]:
    return [file.line(number) for number in range(file.first, file.end)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pieces of 64 bytes, so that small files have many."""
    monkeypatch.setattr(logfile, "PIECE", 64)
    monkeypatch.setattr(logfile, "LONGEST_LINE", 256)


def test_a_large_log_opens_at_its_end_and_is_read_back_piece_by_piece(
    tmp_path: Path, small: None
) -> None:
    wanted = [f"line {number} " + "." * (number % 40) for number in range(500)]
    file = LogFile(write(tmp_path / "log.txt", *wanted))
    file.poll()
    assert file.line(file.end - 1) == wanted[-1]
    assert not file.whole
    assert file.counts()[0] < 10
    assert file.read_back(200)
    assert 0 < file.share < 1
    assert lines_of(file) == wanted[-file.counts()[0] :]
    assert not file.read_back(1 << 20)
    assert lines_of(file) == wanted
    assert file.first == file.counts()[0] * -1 + file.end


def test_what_is_added_is_read_even_from_the_middle_of_a_line(tmp_path: Path, small: None) -> None:
    path = write(tmp_path / "log.txt", "one")
    file = LogFile(path)
    file.poll()
    wanted = ["one"]
    for number in range(200):
        with open(path, "a") as out:
            out.write(f"line {number}")
        file.poll()
        assert file.line(file.end - 1) == f"line {number}"
        with open(path, "a") as out:
            out.write(" goes on\n")
        file.poll()
        wanted.append(f"line {number} goes on")
    assert lines_of(file) == wanted
    assert file.counts()[0] == 201


def test_a_line_longer_than_a_piece_stays_whole_and_an_endless_one_is_cut(
    tmp_path: Path, small: None
) -> None:
    file = LogFile(write(tmp_path / "log.txt", "a", "b" * 150, "c"))
    file.poll()
    file.read_back(1000)
    assert lines_of(file) == ["a", "b" * 150, "c"]
    endless = LogFile(tmp_path / "endless.txt")
    (tmp_path / "endless.txt").write_text("x" * 2000)
    endless.poll()
    endless.read_back(10_000)
    assert "".join(lines_of(endless)) == "x" * 2000
    assert endless.whole


def test_a_log_that_is_cut_short_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt", "one", "two", "three")
    file = LogFile(path)
    file.poll()
    path.write_text("new\n")
    file.poll()
    assert lines_of(file) == ["new"]
    assert "cut short" in file.note
    assert file.generation == 2


def test_a_log_that_is_replaced_is_the_new_one(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt", "old")
    file = LogFile(path)
    file.poll()
    os.replace(write(tmp_path / "other", "new, and longer"), path)
    file.poll()
    assert lines_of(file) == ["new, and longer"]
    assert "replaced" in file.note


def test_a_log_that_vanishes_stays_in_sight_and_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt", "one", "two")
    file = LogFile(path)
    file.poll()
    path.unlink()
    file.poll()
    assert "gone" in file.note
    assert lines_of(file) == ["one", "two"]
    write(path, "three")
    file.poll()
    assert lines_of(file) == ["three"]


def test_a_log_that_is_not_there_yet_says_so(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "log.txt")
    file.poll()
    assert file.note == "log.txt: No such file or directory"
    assert file.counts() == (0, 0, 0)
    assert file.line(0) == ""
    write(tmp_path / "log.txt", "now")
    file.poll()
    assert (file.note, lines_of(file)) == ("", ["now"])


def test_what_outgrew_catching_up_is_opened_at_its_end(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "LARGEST_GROWTH", 1000)
    path = write(tmp_path / "log.txt", "one")
    file = LogFile(path)
    file.poll()
    write(path, "one", *(f"line {number}" for number in range(500)))
    file.poll()
    assert file.line(file.end - 1) == "line 499"
    assert not file.whole


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10%\r20%\r30%", "30%"),
        ("10%\r20%\r", "20%"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\tb", "a       b"),
        ("bell\x07 and \u202eturned", "bell\\x07 and \\u202eturned"),
        ("plain", "plain"),
        ("y" * 20_000, "y" * 10_000 + "…"),
    ],
)
def test_a_line_is_shown_as_a_terminal_would_leave_it_without_steering_it(
    text: str, shown: str
) -> None:
    assert collapse(text) == shown


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Traceback (most recent call last):", "bad"),
        ("ZeroDivisionError: division by zero", "bad"),
        ("2026-11-21 17:11:07,482 ERROR   the queue is damaged", "bad"),
        ("relu: attempt 1 failed: out of memory", "bad"),
        ("UserWarning: thin ice", "warn"),
        ("loss nan", "warn"),
        ("step 400: 44% of the latents never fire", "warn"),
        ("financial banana inference", ""),
        ("done in 4.2 s", ""),
        ("mean squared error 0.2", ""),
    ],
)
def test_trouble_is_told_from_ordinary_lines(text: str, kind: str, tmp_path: Path) -> None:
    assert trouble(text) == kind
    file = LogFile(write(tmp_path / "log.txt", "before", text, "after"))
    file.poll()
    assert file.counts() == (3, int(kind == "bad"), int(kind == "warn"))


def test_looking_for_a_line_goes_both_ways_within_a_budget(tmp_path: Path, small: None) -> None:
    file = LogFile(
        write(tmp_path / "log.txt", *(f"line {n}" for n in range(100)), "needle", "last")
    )
    file.poll()
    file.read_back(1 << 20)
    first, last = file.first, file.end - 1
    found, _ = file.find(lambda line: line == "needle", first, 1, 1 << 20, troubled=False)
    assert found == last - 1
    found, _ = file.find(lambda line: line == "line 3", last, -1, 1 << 20, troubled=False)
    assert found == first + 3
    found, at = file.find(lambda line: line == "needle", first, 1, 10, troubled=False)
    assert found is None
    assert first < at < last
    found, at = file.find(lambda line: True, first, 1, 1 << 20, troubled=True)
    assert (found, at) == (None, file.end)


def test_bytes_that_are_no_text_are_shown(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"\xff\xfe ok\n")
    file = LogFile(tmp_path / "log.txt")
    file.poll()
    assert file.line(0).endswith(" ok")


def test_a_folder_in_place_of_the_log_is_told(tmp_path: Path) -> None:
    (tmp_path / "log.txt").mkdir()
    file = LogFile(tmp_path / "log.txt")
    file.poll()
    assert file.note == "log.txt: Is a directory"
    assert file.counts()[0] == 0
    file.close()
    assert file.line(0) == ""
