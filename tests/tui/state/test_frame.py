"""What the first and the last line say."""

from __future__ import annotations

from typing import Any

import pytest

from engine.client.look import Snapshot
from husai_tui.keys import KEYS
from husai_tui.state.frame import age, duration, engine_part, footer, header, pressed


def said(parts: Any) -> str:
    return "".join(text for text, _ in parts)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (59.6, "1 m 00 s"),
        (312, "5 m 12 s"),
        (12_000, "3 h 20 m"),
        (187_200, "2 d 4 h"),
    ],
)
def test_time_spans_have_two_units(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_an_age_does_not_change_every_second() -> None:
    assert [age(one) for one in (3, 59, 61, 119, 3600)] == [
        "under a minute", "under a minute", "1 m", "1 m", "1 h 00 m",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (Snapshot(), "engine off"),
        (Snapshot(trouble="torn"), "queue unreadable"),
        (Snapshot(supervisor={"silent": 20.0}), "silent for 20 s"),
        (Snapshot(supervisor={"trouble": "disk full"}), "engine waits"),
        (Snapshot(supervisor={"state": "draining"}), "engine leaves"),
        (Snapshot(supervisor={"since": 100.0}, taken=400.0), "engine up 5 m"),
        (Snapshot(supervisor={"since": 900.0}, taken=400.0), "engine up"),
        (Snapshot(supervisor={"pid": 3}), "engine up"),
    ],
)
def test_the_engine_is_told_as_it_is(snapshot: Snapshot, expected: str) -> None:
    assert expected in said(engine_part(snapshot))


def test_the_first_line_has_host_profile_counts_and_whether_it_only_reads() -> None:
    snapshot = Snapshot(counts={"running": 2, "failed": 1}, supervisor={"profile": "cuda"})
    left, right = header("box", "auto", "Runs", snapshot, True)
    assert "box · cuda" in said(left)
    assert "read-only" in said(left)
    assert said(right).split() == ["2", "running", "0", "queued", "1", "failed"]


def test_the_last_line_offers_the_keys_of_the_place_and_those_of_the_user() -> None:
    left, right = footer(("runs", "everywhere"), {"runs.cancel": "X, Y"}, False, 400.0, 0.0)
    assert "X cancel" in said(left)
    assert "? help" in said(left)
    assert said(right) == "<1 KB/s"


def test_nothing_that_writes_is_offered_to_who_only_reads() -> None:
    left, _ = footer(("runs", "table", "everywhere"), {}, True, 0.0, 0.0)
    writing = {key.short for key in KEYS if key.writes and key.short}
    assert writing
    assert not any(word in said(left).split() for word in writing)


def test_a_bad_link_is_told() -> None:
    assert "link waits 0.4 s" in said(footer((), {}, False, 3200.0, 0.4)[1])
    right = said(footer((), {}, False, 3200.0, 3.0, 4.0)[1])
    assert "slow link: every 4 s" in right
    assert "3 KB/s" in right


def test_a_key_is_shown_as_people_write_it() -> None:
    help_key = next(key for key in KEYS if key.action == "help")
    assert pressed(help_key, {}) == "?"
    assert pressed(help_key, {"everywhere.help": " ctrl+h,x"}) == "^h"
