"""Runs & queue: every key, with a real queue; orders are found in the inbox."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from engine.jobs.entry import PAUSE
from engine.jobs.queue import Queue
from husai_tui.app import HusaiApp
from husai_tui.screens.dialogs import Confirm
from husai_tui.screens.runs import Runs
from husai_tui.widgets.bars import Bar
from husai_tui.widgets.table import Table
from tests.tui.conftest import Opened, orders, said, settle


def table(app: Any) -> Table:
    return app.screen_stack[0].query_one(Table)  # type: ignore[no-any-return]


def change(root: Path, statement: str) -> None:
    queue = Queue(root / "queue.sqlite3")
    queue.connection.execute(statement)
    queue.close()


async def test_the_queue_is_shown_with_what_runs_on_top(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        rows = table(pilot.app)
        assert [rows.rows.cells(row)[0][0] for row in range(7)] == [
            "● running", "● running", "○ queued", "○ queued", "○ queued", "✓ done", "✓ done",
        ]  # fmt: skip
        assert "2 running" in pilot.app.screen.query_one("#head", Bar).text
        assert "7 jobs" in pilot.app.screen.query_one("#closing", Bar).text


async def test_marks_make_orders_mean_several(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        await pilot.press("j", "j", "space", "space")
        assert "2 marked" in pilot.app.screen.query_one("#closing", Bar).text
        await pilot.press("p")
        await settle(pilot)
        assert [command for command, _, _ in orders(root)] == ["pause", "pause"]
        assert len({target for _, target, _ in orders(root)}) == 2
        assert "pause: 2 jobs" in said(pilot.app)
        assert not table(pilot.app).marked


async def test_p_lets_a_paused_job_go_on(opened: Opened, root: Path) -> None:
    change(root, f"UPDATE jobs SET held = {PAUSE} WHERE state = 'queued'")
    async with opened(root) as pilot:
        await pilot.press("j", "j", "p")
        await settle(pilot)
        assert [command for command, _, _ in orders(root)] == ["resume"]


async def test_retry_means_what_has_failed(opened: Opened, root: Path) -> None:
    change(root, "UPDATE jobs SET state = 'failed', failure = 'memory' WHERE state = 'queued'")
    async with opened(root) as pilot:
        await pilot.press("R")
        await settle(pilot)
        assert orders(root) == []
        assert "nothing here to retry" in said(pilot.app)
        await pilot.press("j", "j", "R")
        await settle(pilot)
        assert [command for command, _, _ in orders(root)] == ["retry"]


async def test_jobs_go_earlier_and_later(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        await pilot.press("j", "j", "K")
        await settle(pilot)
        await pilot.press("J")
        await settle(pilot)
        assert [(command, value) for command, _, value in orders(root)] == [
            ("priority", 1), ("priority", -1),
        ]  # fmt: skip


async def test_cancel_asks_and_y_does_it(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        await pilot.press("j", "j", "x", "n")
        await settle(pilot)
        assert orders(root) == []
        await pilot.press("x", "y")
        await settle(pilot)
        assert [command for command, _, _ in orders(root)] == ["cancel"]


async def test_work_of_more_than_an_hour_is_cancelled_by_a_word(opened: Opened, root: Path) -> None:
    change(root, f"UPDATE jobs SET started = {time.time() - 4000} WHERE state = 'running'")
    async with opened(root) as pilot:
        await pilot.press("x")
        await pilot.pause()
        assert isinstance(pilot.app.screen, Confirm)
        await pilot.press("y", "enter")
        await settle(pilot)
        assert isinstance(pilot.app.screen, Confirm)
        assert pilot.app.screen.query_one(Input).value == ""
        assert orders(root) == []
        await pilot.press(*"cancel", "enter")
        await settle(pilot)
        assert [command for command, _, _ in orders(root)] == ["cancel"]


async def test_what_is_done_cannot_be_cancelled(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        await pilot.press("G", "x")
        await pilot.pause()
        assert "nothing here that could be cancelled" in said(pilot.app)
        assert not isinstance(pilot.app.screen, Confirm)


@pytest.mark.parametrize(("key", "name"), [("enter", "run"), ("L", "logs")])
async def test_a_job_opens_its_own_screens(
    opened: Opened, root: Path, key: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[tuple[str, str]] = []
    async with opened(root) as pilot:
        monkeypatch.setattr(pilot.app, "go", lambda view, target="": gone.append((view, target)))
        await pilot.press(key)
        await pilot.pause()
        assert gone == [(name, table(pilot.app).cursor_key)]


async def test_a_filter_narrows_while_it_is_typed_and_escape_clears_it(
    opened: Opened, root: Path
) -> None:
    async with opened(root) as pilot:
        await pilot.press("slash", *"done")
        await pilot.pause()
        assert len(table(pilot.app).rows) == 2
        await pilot.press("escape")  # leaves the line: the filter before comes back
        await pilot.pause()
        assert len(table(pilot.app).rows) == 7
        await pilot.press("slash", *"!done", "enter")
        await pilot.pause()
        assert len(table(pilot.app).rows) == 5
        assert "/!done" in pilot.app.screen.query_one("#closing", Bar).text
        assert "5 of 7 jobs" in pilot.app.screen.query_one("#closing", Bar).text
        await pilot.press("escape")
        await pilot.pause()
        assert len(table(pilot.app).rows) == 7


async def test_the_digest_says_what_ended(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        await pilot.press("d")
        await pilot.pause()
        assert "nothing has ended" in said(pilot.app)
        await pilot.press("q")
    change(
        root,
        f"UPDATE jobs SET state='done', ended={time.time() + 5}, seconds=61 WHERE state='running'",
    )
    async with opened(root) as pilot:  # the second time somebody looks
        assert "while you were away" in said(pilot.app)
        assert "2 jobs done, 2 m 02 s of work" in said(pilot.app)


async def test_filter_and_order_come_back(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        await pilot.press("slash", *"topk", "enter")
        await pilot.press("s", "s", "s", "r")
        await pilot.pause()
        view = pilot.app.view()  # type: ignore[attr-defined]
        before = view.remember()
        assert before == {"filter": "topk", "sort": "job", "descending": True}
        await pilot.press("q")
        await pilot.pause()
    async with opened(root) as pilot:
        view = pilot.app.view()  # type: ignore[attr-defined]
        assert view.remember() == before
        assert table(pilot.app).sort == (2, True)


@pytest.mark.parametrize("remembered", [{"filter": 3, "sort": [], "descending": {}}, {"sort": "x"}])
async def test_a_strange_memory_is_no_trouble(opened: Opened, root: Path, remembered: Any) -> None:
    async with opened(root) as pilot:
        view = pilot.app.view()  # type: ignore[attr-defined]
        view.recall(remembered)
        view.show(None)
        assert isinstance(view, Runs)


async def test_what_is_shown_can_be_said_exported_and_reproduced(
    opened: Opened, root: Path
) -> None:
    async with opened(root) as pilot:
        app = pilot.app
        assert isinstance(app, HusaiApp)
        view = app.view()
        assert isinstance(view, Runs)
        assert "2 done" in view.describe()
        assert "2 running" in view.describe()
        assert view.row_text().startswith("pretend/topk 1024 k32")
        assert view.command == f"husai-engine jobs --runs {root}"
        exported = view.exported()
        assert len(exported.rows) == 7
        assert exported.to_csv().count("\n") == 8


async def test_a_queue_that_is_damaged_while_shown_is_told_and_kept(
    opened: Opened, root: Path
) -> None:
    async with opened(root) as pilot:
        (root / "queue.sqlite3").write_bytes(b"nonsense" * 999)
        pilot.app.look()  # type: ignore[attr-defined]
        await settle(pilot)
        assert "queue unreadable" in pilot.app.screen.query_one("#head", Bar).text
        assert len(table(pilot.app).rows) == 7
