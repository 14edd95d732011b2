"""The Run screen in the app: every key, red flags while one watches, and how little is sent."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.pilot import Pilot

from husai_tui.app import HusaiApp
from husai_tui.painting import Narrowed, Painted
from husai_tui.screens.actions import screen_text
from husai_tui.screens.run import Run
from husai_tui.session import open_session
from husai_tui.state.run import RunSheet
from husai_tui.widgets.chart import Chart
from tests.tui.curves import FakeQueue, job, make_run, row

ROWS = [row(step, (3 + 100 / (step + 1), 2.0, 1.0)) for step in range(0, 51, 10)]


class Seen:
    """The app with the Run screen in front, and what a test wants to know of it."""

    def __init__(self, app: HusaiApp, pilot: Pilot[None], queue: FakeQueue, root: Path) -> None:
        self.app, self.pilot, self.queue, self.root = app, pilot, queue, root

    @property
    def view(self) -> Run:
        return self.app.screen_stack[0].query_one(Run)

    @property
    def sheet(self) -> RunSheet:
        return self.view._sheet

    @property
    def text(self) -> str:
        return self.app.screen_stack[0].query_one(Chart).text

    @property
    def said(self) -> list[str]:
        return [notification.message for notification in self.app._notifications]

    async def look(self) -> None:
        """Let the app look once more, and wait until it has shown what it found."""
        self.app.look()
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()


@asynccontextmanager
async def watching(
    root: Path, queue: FakeQueue, target: str = "", size: tuple[int, int] = (80, 24), **more: Any
) -> AsyncIterator[Seen]:
    session = open_session(root, folder=root / "settings")
    session.watcher = queue  # type: ignore[assignment]
    app = HusaiApp(session, view="run", target=target, start=False, **more)
    async with app.run_test(size=size, notifications=True) as pilot:
        seen = Seen(app, pilot, queue, root)
        for _ in range(20):
            await pilot.pause()
            if app.screen_stack[0].query(Run):
                break
        await seen.look()
        await seen.look()
        yield seen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A runs root with one cohort that runs."""
    make_run(tmp_path, rows=ROWS)
    return tmp_path


async def test_the_job_that_runs_is_shown(root: Path) -> None:
    async with watching(root, FakeQueue(job())) as seen:
        assert "● running  small/topk 64 k8" in seen.text
        assert "▸ loss  2  1 – 4.96" in seen.text
        assert seen.view.address == "run cohort-a"
        assert seen.view.command.startswith("husai run cohort-a")
        assert "is running. At step 50" in seen.view.describe()
        assert seen.view.row_text().startswith("step 50; loss: 42 4.96078, 123 2, 456 1;")
        exported = seen.view.exported()
        assert exported is not None
        assert (
            exported.to_csv()
            .splitlines()[0]
            .startswith("step,seconds,loss/42,loss/123,loss/456,l0/42")
        )
        assert len(exported.to_csv().splitlines()) == 7
        exported.to_json()


async def test_nothing_to_show(tmp_path: Path) -> None:
    async with watching(tmp_path, FakeQueue()) as seen:
        assert "nothing has run yet" in seen.text
        assert seen.view.describe() == "No job has run yet."
        assert seen.view.exported() is None
        assert seen.view.row_text() == ""
        await seen.press(
            "plus", "left", "comma", "L", "b", "t", "greater_than_sign", "e", "o", "z", "tab", "0"
        )
        await seen.press("right_square_bracket")
        assert seen.app.is_running


CHANGES: dict[str, tuple[tuple[str, ...], Callable[[RunSheet], Any], Any]] = {
    "tab": (("tab",), lambda s: s.curves.selected, 1),
    "n": (("n", "n"), lambda s: s.curves.selected, 2),
    "j": (("j",), lambda s: s.curves.selected, 1),
    "k": (("k",), lambda s: s.curves.selected, 4),
    "shift+tab": (("shift+tab",), lambda s: s.curves.selected, 4),
    "zoom": (("plus",), lambda s: s.curves.window(), (24, 56)),
    "zoom back": (("plus", "underscore"), lambda s: s.curves.window(), (0, 64)),
    "pan left": (("plus", "plus", "left"), lambda s: s.curves.window(), (32, 48)),
    "pan right": (
        ("plus", "plus", "left", "h", "l", "right"),
        lambda s: s.curves.window(),
        (36, 52),
    ),
    "reset": (
        ("plus", "comma", "0"),
        lambda s: (s.curves.window(), s.curves.cursor),
        ((0, 64), None),
    ),
    "scrub": (("comma",), lambda s: s.curves.cursor, 40),
    "scrub right": (("comma", "comma", "full_stop"), lambda s: s.curves.cursor, 40),
    "far": (("semicolon",), lambda s: s.curves.cursor, 40),
    "far right": (("semicolon",) * 3 + ("apostrophe",), lambda s: s.curves.cursor, 30),
    "smooth": (
        ("greater_than_sign", "greater_than_sign", "less_than_sign"),
        lambda s: s.curves.weight,
        1,
    ),
    "log": (("L",), lambda s: s.curves.log, {"loss": False}),
    "time": (("t",), lambda s: s.curves.axis, "time"),
    "band": (("b",), lambda s: s.curves.band, False),
    "maximise": (("z",), lambda s: s.maximised, True),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_keys(root: Path, name: str) -> None:
    keys, what, want = CHANGES[name]
    async with watching(root, FakeQueue(job(steps=0))) as seen:
        before = seen.text
        await seen.press(*keys)
        assert what(seen.sheet) == want
        if name not in ("zoom back", "reset"):
            assert seen.text != before


async def test_what_cannot_be_is_told(root: Path) -> None:
    async with watching(root, FakeQueue(job())) as seen:
        await seen.press("underscore", "left", "less_than_sign", "e", "right_square_bracket")
        assert seen.said == [
            "all of it is in sight",
            "all of it is in sight: + zooms in",
            "not smoothed at all",
            "no red flags",
            "no other job of this study has curves",
        ]


async def test_escape_takes_back_one_thing_after_the_other(root: Path) -> None:
    async with watching(root, FakeQueue(job(steps=0))) as seen:
        await seen.press("z", "plus", "comma")
        await seen.press("escape")
        assert (seen.sheet.curves.cursor, seen.sheet.curves.zoomed) == (None, True)
        await seen.press("escape")
        assert (seen.sheet.curves.zoomed, seen.sheet.maximised) == (False, True)
        await seen.press("escape")
        assert not seen.sheet.maximised


async def test_jobs_of_the_study(root: Path) -> None:
    make_run(root, "cohort-b", rows=[row(0, (7, 7, 7))])
    queue = FakeQueue(job(), job("cohort-b", name="relu", state="done", ended=9.0))
    async with watching(root, queue, "small/topk 64 k8") as seen:
        await seen.press("b", "right_square_bracket")
        await seen.look()
        await seen.look()
        assert "✓ done  small/relu" in seen.text
        assert seen.view.target == "cohort-b"
        assert not seen.sheet.curves.band  # looked at in the same way
        await seen.press("left_square_bracket")
        await seen.look()
        await seen.look()
        assert "small/topk 64 k8" in seen.text


async def test_the_log_is_opened_at_the_cursor(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    went: list[tuple[str, str]] = []
    async with watching(root, FakeQueue(job())) as seen:
        monkeypatch.setattr(seen.app, "go", lambda name, target="": went.append((name, target)))
        await seen.press("o", "comma", "o")
    assert went == [("logs", "cohort-a"), ("logs", "cohort-a@40")]


async def test_seeds_are_filtered(root: Path) -> None:
    async with watching(root, FakeQueue(job())) as seen:
        assert seen.view.set_filter("7") == "7: no such seed; 42, 123, 456"
        assert seen.view.filter_text == ""
        assert seen.view.set_filter("42 456") == ""
        assert "seeds 42, 456" in seen.text
        assert seen.view.filter_text == "42 456"


async def test_a_target_that_names_nothing_is_told_and_what_was_shown_stays(root: Path) -> None:
    async with watching(root, FakeQueue(job())) as seen:
        seen.view.open("none/such")
        await seen.look()
        assert "none/such" in seen.said[0]
        await seen.look()
        assert "small/topk 64 k8" in seen.text
        assert seen.view.target == "cohort-a"


async def test_red_flags_are_told_once_when_they_come(root: Path) -> None:
    flag = {"name": "loss_rising", "seed": 42, "message": "seed 42: the [loss] rises"}
    folder = root / "jobs" / "cohort-a"
    (folder / "curves.jsonl").write_text(
        "".join([*ROWS[:2], row(20, flags=[{**flag, "message": "old"}])])
    )
    async with watching(root, FakeQueue(job())) as seen:
        assert seen.said == []
        with open(folder / "curves.jsonl", "a") as file:
            file.write(row(30, flags=[flag]))
        await seen.look()
        await seen.look()
        assert seen.said == ["seed 42: the [loss] rises"]
        await seen.press("e")
        assert seen.sheet.curves.cursor == 20
        await seen.press("e")
        assert seen.sheet.curves.cursor == 30
        assert "at step 30" in seen.text
        assert "! seed 42: the [loss] rises" in seen.text
        assert "Here: seed 42: the [loss] rises." in seen.view.describe()
        await seen.press("comma")
        assert "! seed 42" not in seen.text
        with open(folder / "curves.jsonl", "a") as file:
            file.write(row(40, flags=[{**flag, "seed": n, "message": f"{n}"} for n in range(5)]))
        await seen.look()
        assert "and 2 red flags more: e goes through them" in seen.said


async def test_what_is_remembered_comes_back(root: Path) -> None:
    async with watching(root, FakeQueue(job())) as seen:
        await seen.press("greater_than_sign", "b", "L")
        kept = seen.view.remember()
    assert kept["job"] == "cohort-a"
    async with watching(root, FakeQueue(job())) as seen:
        seen.view.recall(kept)
        seen.sheet.job, seen.sheet.loaded = None, type(seen.sheet.loaded)()
        await seen.look()
        curves = seen.sheet.curves
        assert (curves.weight, curves.band, curves.log) == (1, False, {"loss": False})


async def test_a_run_that_goes_away_while_it_is_shown(root: Path) -> None:
    folder = root / "jobs" / "cohort-a"
    async with watching(root, FakeQueue(job())) as seen:
        (folder / "curves.jsonl").rename(folder / "other")
        await seen.look()
        assert "curves.jsonl is gone" in seen.text
        shutil.rmtree(folder)
        seen.queue.tell()
        await seen.look()
        assert "the run directory is gone" in seen.text
        await seen.press("plus", "comma", "L", "b", "t", "greater_than_sign", "z", "tab", "e")
        make_run(root, rows=[row(0, (None, None, None))])
        await seen.look()
        assert seen.said.count("no red flags") == 1
        assert not any("fault" in said for said in seen.said)


class Sent:
    """Counts the bytes that paintings send to the terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, app: HusaiApp) -> None:
        self.bytes = 0
        painted, display = Painted(), app._display

        def counted(screen: Any, renderable: Any) -> None:
            if isinstance(renderable, ChopsUpdate | LayoutUpdate):
                self.bytes += len(
                    Narrowed(renderable, painted).render_segments(app.console).encode()
                )
            display(screen, renderable)

        monkeypatch.setattr(app, "_display", counted)


async def test_little_is_sent_while_runs_grow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(f"cohort-{n}", name=f"topk {n}", steps=1000) for n in range(7)]
    with open(root / "jobs" / "cohort-a" / "curves.jsonl", "a") as file:
        async with watching(root, FakeQueue(job(steps=1000), *jobs), "cohort-a") as seen:
            sent = Sent(monkeypatch, seen.app)
            for tick in range(20):
                step = 60 + 10 * tick
                file.write(row(step, (3 + 100 / step, 2 + 50 / step, 1 + 10 / step)))
                file.flush()
                seen.queue.tell(job(steps=1000, step=step), *jobs)
                await seen.look()
    # 20 paintings are ten seconds.
    assert 0 < sent.bytes / 10 < 2_500


async def test_nothing_is_sent_when_nothing_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(root, FakeQueue(job())) as seen:
        await asyncio.sleep(0)
        sent = Sent(monkeypatch, seen.app)
        for _ in range(5):
            await seen.look()
        assert sent.bytes == 0


@pytest.mark.parametrize("theme", ["husai-light", "ansi-dark", "ansi-light"])
async def test_every_theme_can_paint(root: Path, theme: str) -> None:
    async with watching(root, FakeQueue(job())) as seen:
        seen.app.theme = theme
        await seen.press("greater_than_sign", "b", "b")
        assert "loss" in seen.text
        assert seen.app.export_screenshot()


async def test_a_window_may_change_its_size(root: Path) -> None:
    async with watching(root, FakeQueue(job())) as seen:
        for size in ((200, 60), (60, 15), (119, 40), (80, 24)):
            await seen.pilot.resize_terminal(*size)
            await seen.pilot.pause()
            assert "topk 64 k8" in seen.text


async def test_another_size_is_painted_though_nothing_else_changes(root: Path) -> None:
    async with watching(root, FakeQueue(job())) as seen:
        await seen.pilot.resize_terminal(200, 60)
        await seen.pilot.pause()
        drawn = [line.rstrip() for line in seen.text.splitlines()]
        assert max(map(len, drawn)) > 100
        assert screen_text(seen.app).splitlines()[1 : 1 + len(drawn)] == drawn
