"""Reading a log: the window, the cursor, following, searching, steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.client.look import Snapshot
from engine.disk.root import RunsRoot
from engine.errors import InputError
from husai_tui.state import logfile, logs
from husai_tui.state.logfile import LogFile
from husai_tui.state.logplace import (
    described,
    find_place,
    heading,
    neighbour,
    size,
    split_step,
    standing,
)
from husai_tui.state.logs import LogPage
from husai_tui.state.query import Query


def page_of(path: Path, *lines: str, width: int = 40, height: int = 5) -> LogPage:
    path.write_text("".join(f"{line}\n" for line in lines))
    page = LogPage(LogFile(path))
    page.look()
    page.resize(width, height)
    page.settle()
    return page


def add(page: LogPage, *lines: str) -> None:
    with open(page.file.path, "a") as out:
        out.write("".join(f"{line}\n" for line in lines))
    page.look()
    page.settle()


def texts(page: LogPage) -> list[str]:
    return [row.text for row in page.rows() if row.real]


def in_hand(page: LogPage) -> str:
    return page.file.line(page.cursor)


@pytest.fixture
def numbers(tmp_path: Path) -> LogPage:
    return page_of(tmp_path / "log.txt", *(f"line {number}" for number in range(20)))


def test_a_log_opens_at_its_end_and_follows(numbers: LogPage) -> None:
    assert texts(numbers) == [f"line {number}" for number in range(15, 20)]
    add(numbers, "one more")
    assert texts(numbers)[-1] == in_hand(numbers) == "one more"


def test_going_up_stays_while_the_log_grows(numbers: LogPage) -> None:
    numbers.move(-10)
    before = texts(numbers)
    add(numbers, "one more")
    assert texts(numbers) == before
    assert in_hand(numbers) == "line 9"
    numbers.to_end()
    assert in_hand(numbers) == "one more"
    numbers.toggle_follow()
    add(numbers, "and more")
    assert in_hand(numbers) == "one more"


def test_the_start_and_pages(numbers: LogPage) -> None:
    numbers.to_start()
    assert texts(numbers)[0] == in_hand(numbers) == "line 0"
    assert numbers.number_of(numbers.cursor) == 1
    numbers.scroll(4)
    assert in_hand(numbers) == "line 4"
    numbers.move(100)
    assert in_hand(numbers) == "line 19"


def test_long_lines_are_cut_shifted_or_wrapped(tmp_path: Path) -> None:
    page = page_of(tmp_path / "log.txt", "short", "abcdefghij" * 3, width=12, height=4)
    assert texts(page) == ["short", "abcdefghija…"]
    page.shift(1)
    assert texts(page) == ["…", "…jabcdefghi…"]
    page.toggle_wrap()
    assert texts(page) == ["short", "abcdefghijab", "cdefghijabcd", "efghij"]
    assert [row.begins for row in page.rows()] == [True, True, False, False]


def test_wide_characters_are_never_halved(tmp_path: Path) -> None:
    page = page_of(tmp_path / "log.txt", "日本語日本語", width=5)
    assert texts(page) == ["日本…"]
    page.toggle_wrap()
    assert texts(page) == ["日本", "語日", "本語"]


def test_a_wrapped_line_longer_than_the_window_can_be_read_to_its_end(tmp_path: Path) -> None:
    page = page_of(tmp_path / "log.txt", "first", "a" * 30 + "z" * 30, width=10, height=3)
    page.toggle_wrap()
    assert texts(page) == ["a" * 10] * 3
    page.scroll(3)
    assert texts(page) == ["z" * 10] * 3
    page.scroll(-4)
    assert texts(page)[-1] == "a" * 10
    page.scroll(-9)
    assert texts(page)[0] == "first"


def test_words_must_all_be_there_and_capitals_count_where_given() -> None:
    assert Query("loss nan").matches("NaN in the loss")
    assert not Query("loss NAN").matches("nan in the loss")
    assert Query("a.c").matches("a.c")
    assert not Query("a.c").matches("abc")
    assert Query("~a.c").matches("abc")
    assert not Query("").matches("anything")
    assert Query("~[").wrong.startswith("no regular expression")
    assert Query("Loss né \\x1b").hints == [b"loss"]
    assert Query("~loss").hints == []
    assert Query("ab b").marks("ab b") == [(0, 2), (1, 2), (3, 4)]


def test_a_search_shows_the_newest_match_and_walks_from_there(tmp_path: Path) -> None:
    page = page_of(tmp_path / "log.txt", *(f"{n} {'odd' if n % 2 else 'even'}" for n in range(30)))
    assert page.search("odd 1") == ""
    assert in_hand(page) == "21 odd"
    page.next_match(-1)
    assert in_hand(page) == "19 odd"
    page.next_match(1)
    page.next_match(1)
    assert in_hand(page) == "21 odd"
    assert page.said == "no other match below"
    assert page.rows()[page.cursor - page.top].marks == ((1, 2), (3, 6))
    assert page.search("~(") != ""
    assert page.query.text == "odd 1"
    page.search("")
    page.next_match(1)
    assert "nothing is searched" in page.said


def test_a_search_without_a_match_says_so(numbers: LogPage) -> None:
    numbers.search("nowhere")
    assert numbers.said == "no match in this log"
    assert in_hand(numbers) == "line 19"


def test_the_next_error_from_the_end_is_the_last_one(tmp_path: Path) -> None:
    lines = [f"line {n}" for n in range(30)]
    lines[4], lines[20] = "ValueError: four", "loss is nan"
    page = page_of(tmp_path / "log.txt", *lines)
    page.next_trouble(1)
    assert in_hand(page) == "loss is nan"
    assert page.said == "no error or warning below"
    page.next_trouble(-1)
    assert in_hand(page) == "ValueError: four"
    page.next_trouble(1)
    assert (in_hand(page), page.said) == ("loss is nan", "")
    page.next_trouble(1)
    assert page.said == "no other error or warning below"


def test_a_step_is_found_or_the_one_before_it(tmp_path: Path) -> None:
    lines = [text for n in range(0, 300, 10) for text in (f"step {n}: flag", "chatter")]
    page = page_of(tmp_path / "log.txt", *lines)
    page.to_step(125)
    assert in_hand(page) == "step 120: flag"
    bare = page_of(tmp_path / "bare.txt", "no steps here")
    bare.to_step(5)
    assert bare.said == "no line here tells of step 5 or one before it"


def test_a_long_search_goes_on_from_look_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "PIECE", 64)
    monkeypatch.setattr(logs, "AT_ONCE", 64)
    monkeypatch.setattr(logs, "PER_LOOK", 256)
    path = tmp_path / "log.txt"
    path.write_text("needle\n" + "".join(f"line {n}\n" for n in range(400)))
    page = LogPage(LogFile(path))
    page.look()
    page.settle()
    page.search("needle")
    looks = 0
    while page.quest is not None:
        assert "searching" in "".join(text for text, _ in standing(page)[0])
        page.look()
        looks += 1
    page.settle()
    assert looks > 3
    assert in_hand(page) == "needle"
    page.to_end()
    page.to_start()
    assert in_hand(page) == "needle"


def test_a_log_that_is_cut_short_takes_the_cursor_along(numbers: LogPage) -> None:
    numbers.move(-3)
    numbers.file.path.write_text("new\n")
    numbers.look()
    numbers.settle()
    assert texts(numbers) == ["new"]
    assert "cut short" in standing(numbers)[0][0][0]


def test_the_lines_around_it_say_where_we_are(tmp_path: Path) -> None:
    page = page_of(tmp_path / "log.txt", "one", "TypeError: two", "a warning", width=120)
    right = "".join(text for text, _ in standing(page)[1])
    assert right == "✗ 1 error   ! 1 warning   line 3 of 3   ● follows"
    page.resize(76, 20)
    assert "".join(t for t, _ in standing(page)[1]) == "✗ 1  ! 1  line 3 of 3  ● follows"
    page.resize(120, 20)
    page.toggle_wrap()
    page.move(-1)
    right = "".join(text for text, _ in standing(page)[1])
    assert right.endswith("line 2 of 3   wrapped   ○ stays")


def job(name: str, directory: str, **more: object) -> dict[str, object]:
    base = {"name": name, "directory": directory, "study": "s", "state": "done", "steps": 0,
            "started": None, "seconds": None, "failure": "", "reason": "", "step": None}  # fmt: skip
    return {**base, **more}


def test_a_target_is_a_run_directory_or_a_job_of_a_study(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    (root.jobs / "lonely-1").mkdir(parents=True)
    snapshot = Snapshot(jobs=(job("one", "cohort-1"), job("two", "cohort-2")))
    assert find_place(root, snapshot, "").path == root.log_file
    assert find_place(root, snapshot, "s/two").directory == "cohort-2"
    place = find_place(root, snapshot, "cohort-1")
    assert (place.title, place.path) == ("s/one", root.jobs / "cohort-1" / "log.txt")
    assert find_place(root, snapshot, "lonely-1").title == "lonely-1"
    with pytest.raises(InputError):
        find_place(root, snapshot, "../etc")
    after = neighbour(snapshot, place, 1)
    assert after is not None
    assert after["name"] == "two"
    assert neighbour(snapshot, place, -1) is None
    assert split_step("s/one@300") == ("s/one", 300)
    assert split_step("s/one") == ("s/one", None)


def test_the_heading_tells_how_the_job_stands(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    running = job("one", "cohort-1", state="running", steps=1000, step=250, started=10.0)
    snapshot = Snapshot(jobs=(running,), taken=70.0)
    left, right = heading(find_place(root, snapshot, "cohort-1"), snapshot, "cohort-1/log.txt")
    said = "".join(text for text, _ in left)
    assert said == "s/one   ● running   step 250 of 1,000   1 m 00 s"
    assert right == [("cohort-1/log.txt", "faint")]


def test_it_is_described_in_a_sentence(tmp_path: Path) -> None:
    root = RunsRoot(tmp_path)
    page = page_of(root.log_file, "one", "KeyError: two", "three")
    assert described(find_place(root, Snapshot(), ""), page) == (
        "The supervisor's log has 3 lines, 1 that tell of an error and 0 of a warning. "
        "The last line is: three"
    )


@pytest.mark.parametrize(
    ("count", "said"), [(12, "12 B"), (6400, "6.4 KB"), (640_000, "640 KB"), (1.2e9, "1.2 GB")]
)
def test_sizes_are_read_by_people(count: int, said: str) -> None:
    assert size(count) == said
