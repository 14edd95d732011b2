"""Going from screen to screen, faster than they are made."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.disk.root import RunsRoot
from husai_tui.app import HusaiApp
from husai_tui.screens.compare import Compare
from husai_tui.screens.logs import Logs
from husai_tui.session import Session
from husai_tui.settings import Memory, Settings


async def test_a_screen_gets_the_keys_when_it_is_whole_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Logs._compose

    async def slowly(self: Logs) -> None:
        await asyncio.sleep(0.1)
        await made(self)

    monkeypatch.setattr(Logs, "_compose", slowly)
    session = Session(
        RunsRoot(tmp_path / "runs"), settings=Settings(refresh=60), memory=Memory(), folder=tmp_path
    )
    app = HusaiApp(session, view="runs", start=False)
    async with app.run_test(size=(80, 24)) as pilot:
        for name in ("logs", "compare", "logs", "runs", "compare", "logs"):
            app.go(name)
        await pilot.pause(0.4)
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.current == "logs"
        assert isinstance(app.view("logs"), Logs)
        assert isinstance(app.view("compare"), Compare)
        assert len(app.screen_stack[0].query(Logs)) == 1
        assert app.screen.focused is not None
        assert app.screen.focused.parent is app.view("logs")
