"""Messages that pass: whatever their time, the app goes on."""

from __future__ import annotations

import asyncio
import time

from textual.app import App
from textual.widgets._toast import Toast

from husai_tui.notices import SHORTEST_SECONDS, Notice


def test_the_time_of_a_message_runs_out_but_is_never_none() -> None:
    now = time.time()
    fresh = Notice("copied", timeout=10, raised_at=now)
    over = Notice("copied", timeout=3, raised_at=now - 60)
    assert 9 < fresh.time_left <= 10
    assert not fresh.has_expired
    assert over.time_left == SHORTEST_SECONDS
    assert over.has_expired


async def test_a_message_whose_time_ran_out_before_its_timer_began_passes() -> None:
    """A timer of less than no time would never return to the loop: no assertion would be reached."""
    async with App[None]().run_test(notifications=True) as pilot:
        late = Toast(Notice("copied", timeout=3, raised_at=time.time() - 60))
        await pilot.app.screen.mount(late)
        await asyncio.sleep(4 * SHORTEST_SECONDS)
        await pilot.pause()
        assert not late.is_attached
