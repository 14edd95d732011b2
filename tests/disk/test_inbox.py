from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from engine.disk.inbox import Inbox


def test_messages_keep_their_order_though_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, now = Inbox(tmp_path), time.time_ns()
    (tmp_path / "note.json").write_text("{}")
    names = []
    for shift in (0, -3600, -7200, 10):
        monkeypatch.setattr(time, "time_ns", lambda shift=shift: now + shift * 10**9)
        names.append(inbox.drop({"shift": shift}))
    assert [path.name for path in inbox.waiting()] == [*names, "note.json"]


def test_messages_are_forgotten_a_month_after_they_had_their_effect(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    for _ in range(2):
        inbox.drop({"command": "pause", "target": "all", "value": 0})
    for path in inbox.waiting():
        inbox.put_away(path, inbox.taken)
    old, young = inbox.archive()
    month_ago = time.time() - 31 * 86400
    os.utime(old, (month_ago, month_ago))
    assert inbox.forget_old() == 1
    assert inbox.archive() == [young]
