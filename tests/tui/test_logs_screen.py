"""The Logs screen, by its keys."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.geometry import Region
from textual.pilot import Pilot

from engine.client.look import Snapshot
from engine.disk.root import RunsRoot
from husai_tui.app import HusaiApp
from husai_tui.screens.dialogs import Reading
from husai_tui.screens.logs import Logs
from husai_tui.session import Session
from husai_tui.settings import Memory, Settings
from husai_tui.widgets.bars import Bar
from husai_tui.widgets.log import Log


class StillWatcher:
    """A queue that says what a test lets it say."""

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.last = Snapshot(jobs=jobs, taken=100.0)

    def look(self) -> Snapshot:
        return self.last


def job(name: str, directory: str, **more: Any) -> dict[str, Any]:
    base = {"name": name, "directory": directory, "study": "s", "kind": "cohort", "state": "done",
            "steps": 0, "step": None, "started": None, "ended": None, "seconds": 3.0, "attempt": 1,
            "failure": "", "reason": "", "priority": 0}  # fmt: skip
    return {**base, **more}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    root = RunsRoot(tmp_path / "runs")
    for name in ("one", "two"):
        folder = root.jobs / f"cohort-{name}"
        folder.mkdir(parents=True)
        lines = [f"{name} line {number}" for number in range(60)]
        lines[10], lines[40] = "ValueError: ten", "step 400: loss is nan"
        lines[50] = "long " + "0123456789" * 20
        (folder / "log.txt").write_text("".join(f"{line}\n" for line in lines))
    root.log_file.write_text("INFO up\nINFO down\n")
    made = Session(root, settings=Settings(refresh=60), memory=Memory(), folder=tmp_path / "config")
    made.watcher = StillWatcher(  # type: ignore[assignment]
        job("one", "cohort-one"),
        job("two", "cohort-two"),
        job("third", "cohort-three", state="queued"),
    )
    return made


@asynccontextmanager
async def opened(
    session: Session, target: str = "", size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[Pilot[None], Logs]]:
    app = HusaiApp(session, view="logs", target=target, start=False)
    async with app.run_test(size=size, notifications=True) as pilot:
        await settled(pilot)
        view = app.view("logs")
        assert isinstance(view, Logs)
        yield pilot, view


async def settled(pilot: Pilot[None]) -> None:
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await settled(pilot)


def screen(view: Logs) -> list[str]:
    log = view.query_one(Log)
    return [log.render_line(y).text.rstrip() for y in range(log.size.height)]


def bars(view: Logs) -> str:
    return " | ".join(bar.text for bar in view.query(Bar))


async def test_without_a_target_the_log_is_the_supervisors(session: Session) -> None:
    async with opened(session) as (_, view):
        assert screen(view)[:2] == ["   INFO up", "▌  INFO down"]
        assert bars(view).startswith("supervisor")
        assert (view.address, view.command.split()[0]) == ("logs", "tail")


async def test_a_job_has_its_address_and_its_command(session: Session) -> None:
    async with opened(session, "cohort-one") as (_, view):
        assert "s/one   ✓ done" in bars(view)
        assert screen(view)[-1] == "▌  one line 59"
        assert view.target == "s/one"
        assert view.command.startswith("husai-engine logs s/one -f --runs ")
        assert view.row_text() == "one line 59"


async def test_a_step_in_the_target_brings_its_line(session: Session) -> None:
    async with opened(session, "s/one@420") as (_, view):
        assert view.row_text() == "step 400: loss is nan"


async def test_moving_by_lines_pages_and_to_both_ends(session: Session) -> None:
    async with opened(session, "s/one") as (pilot, view):
        for keys, wanted in [
            (["k"], 58), (["up"], 57), (["j"], 58), (["down"], 59), (["g"], 0), (["ctrl+f"], 19),
            (["pagedown"], 38), (["space"], 57), (["ctrl+b"], 38), (["pageup"], 19), (["ctrl+d"], 29),
            (["ctrl+u"], 19), (["G"], 59), (["home"], 0), (["end"], 59),
        ]:  # fmt: skip
            await press(pilot, *keys)
            assert view.row_text() == f"one line {wanted}", keys


async def test_long_lines_are_shifted_and_wrapped(session: Session) -> None:
    async with opened(session, "s/one") as (pilot, view):
        assert any(line.endswith("…") for line in screen(view))
        await press(pilot, "l")
        assert any(line.startswith("   …") for line in screen(view))
        await press(pilot, "h", "w")
        assert sum("┆" in line for line in screen(view)) == 2
        assert "wrapped" in bars(view)
        await press(pilot, "right", "left", "w")
        assert not any("┆" in line for line in screen(view))


async def test_following_can_be_left_and_taken_up(session: Session) -> None:
    path = session.root.run("cohort-one").log_file
    async with opened(session, "s/one") as (pilot, view):
        await press(pilot, "f")
        assert "○ stays" in bars(view)
        with open(path, "a") as out:
            out.write("new\n")
        view.husai.look()
        await settled(pilot)
        assert view.row_text() == "one line 59"
        await press(pilot, "f")
        assert view.row_text() == "new"
        assert "● follows" in bars(view)


async def test_errors_are_found_down_and_up(session: Session) -> None:
    async with opened(session, "s/one") as (pilot, view):
        await press(pilot, "e")
        assert view.row_text() == "step 400: loss is nan"
        assert "no error or warning below" in bars(view)
        await press(pilot, "p")
        assert view.row_text() == "ValueError: ten"
        await press(pilot, "e")
        assert view.row_text() == "step 400: loss is nan"


async def test_a_search_is_typed_walked_and_cleared(session: Session) -> None:
    async with opened(session, "s/one") as (pilot, view):
        await press(pilot, "slash", *"line 4", "enter")
        assert view.row_text() == "one line 54"
        await press(pilot, "N")
        assert view.row_text() == "one line 49"
        await press(pilot, "n")
        assert view.row_text() == "one line 54"
        assert view.filter_text == "line 4"
        exported = view.exported()
        assert exported is not None
        assert exported.rows[0] == [5, "", "one line 4"]
        await press(pilot, "escape")
        assert view.filter_text == ""
        assert view.set_filter("~(").startswith("no regular expression")


async def test_the_jobs_of_a_study_are_walked(session: Session) -> None:
    async with opened(session, "s/one") as (pilot, view):
        await press(pilot, "right_square_bracket")
        assert view.target == "s/two"
        await press(pilot, "right_square_bracket")
        assert view.target == "s/third"
        assert "the job is queued; it has no log" in screen(view)[1]
        await press(pilot, "right_square_bracket")
        assert view.target == "s/third"
        await press(pilot, "left_square_bracket", "left_square_bracket")
        await press(pilot, "left_square_bracket")
        assert view.target == "s/one"
        await press(pilot, "s")
        assert view.target == ""


async def test_it_is_described_and_remembered(session: Session) -> None:
    async with opened(session, "s/two") as (pilot, view):
        await press(pilot, "a")
        assert isinstance(pilot.app.screen, Reading)
        await press(pilot, "escape", "w")
        assert "60 lines, 1 that tell of an error and 1 of a warning" in view.describe()
        kept = view.remember()
    session.memory.views["logs"] = kept
    async with opened(session) as (_, view):
        assert view.target == "s/two"
        assert "wrapped" in bars(view)


async def test_a_name_that_is_nowhere_is_told_and_the_log_stays(session: Session) -> None:
    async with opened(session, "s/one") as (pilot, view):
        view.open("s/nothing")
        view.husai.look()
        await settled(pilot)
        assert view.target == "s/one"
        assert any("no such job" in str(toast.message) for toast in pilot.app._notifications)
        with open(session.root.run("cohort-one").log_file, "a") as out:
            out.write("it goes on\n")
        view.husai.look()
        await settled(pilot)
        assert view.row_text() == "it goes on"


async def test_a_run_directory_that_is_removed_leaves_its_log_in_sight(session: Session) -> None:
    async with opened(session, "cohort-one") as (pilot, view):
        session.watcher.last = replace(session.watcher.last, jobs=())
        shutil.rmtree(session.root.run("cohort-one").path)
        view.husai.look()
        await settled(pilot)
        assert "the log is gone" in bars(view)
        assert view.row_text() == "one line 59"


async def test_a_log_that_vanishes_or_is_cut_never_ends_the_app(session: Session) -> None:
    path = session.root.run("cohort-one").log_file
    async with opened(session, "s/one") as (pilot, view):
        path.unlink()
        view.husai.look()
        await settled(pilot)
        assert "the log is gone" in bars(view)
        assert screen(view)[-1] == "▌  one line 59"
        path.write_bytes(b"\x1b[2J back\n")
        view.husai.look()
        await settled(pilot)
        assert screen(view)[0] == "▌  \\x1b[2J back"


async def test_only_what_changed_is_sent(session: Session) -> None:
    path = session.root.run("cohort-one").log_file
    path.write_text("one\n")
    async with opened(session, "s/one", (200, 60)) as (pilot, view):
        log, sent = view.query_one(Log), list[Region]()

        def refresh(*regions: Region, **_: bool) -> Log:
            sent.extend(regions)
            return log

        log.refresh = refresh  # type: ignore[method-assign]
        view.husai.look()
        await settled(pilot)
        assert sent == []
        with open(path, "a") as out:
            out.write("two\n")
        view.husai.look()
        await settled(pilot)
        assert {(region.y, region.x) for region in sent} == {(0, 0), (1, 0)}


async def test_the_mouse_works_but_is_not_needed(session: Session) -> None:
    async with opened(session, "s/one") as (pilot, view):
        await pilot.click(Log, offset=(10, 2))
        await settled(pilot)
        assert view.row_text() == "one line 42"


async def test_a_large_window_is_filled_and_a_job_the_queue_forgot_has_its_log(
    session: Session,
) -> None:
    session.watcher.last = replace(session.watcher.last, jobs=())
    async with opened(session, "cohort-one", (200, 60)) as (_, view):
        assert len([line for line in screen(view) if line]) == 56
        assert "line 60 of 60" in bars(view)
