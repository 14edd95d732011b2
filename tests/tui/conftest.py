"""The app on a runs root with a queue, without an engine: orders stay in the inbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.disk.inbox import Inbox
from husai_tui.app import HusaiApp
from husai_tui.session import open_session
from scripts.pretend import Pretence

Opened = Callable[..., AbstractAsyncContextManager[Pilot[None]]]


def orders(root: Path) -> list[tuple[str, str, int]]:
    """Return the orders that wait for the supervisor: command, target, value."""
    inbox = Inbox(root / "inbox")
    said = [inbox.read(path) for path in inbox.waiting()]
    return [(one["command"], one["target"], one["value"]) for one in said]


def said(app: HusaiApp) -> str:
    """Return what the notifications say."""
    return "\n".join(f"{one.title} {one.message}" for one in app._notifications)


async def settle(pilot: Pilot[Any]) -> None:
    """Wait for threads, and for what they show."""
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A queue with 2 running, 3 queued, and 2 finished jobs."""
    Pretence(tmp_path / "runs", running=2, queued=3, rows=5)
    return tmp_path / "runs"


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Open the app on a runs root."""

    @asynccontextmanager
    async def opening(
        runs: Path, *, size: tuple[int, int] = (80, 24), readonly: bool = False, **options: Any
    ) -> AsyncIterator[Pilot[None]]:
        session = open_session(runs, readonly=readonly, folder=tmp_path / "settings")
        app = HusaiApp(session, **{"start": False, **options})
        async with app.run_test(size=size, notifications=True) as pilot:
            await settle(pilot)
            yield pilot

    return opening
