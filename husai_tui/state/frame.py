"""What the first and the last line say."""

from __future__ import annotations

from typing import Any

from engine.client.look import Snapshot
from engine.client.queue import STALE_SECONDS
from husai_tui.keys import Key, Where, keys_of, shown
from husai_tui.tones import Part, Tone

COUNTED: dict[str, Tone] = {"running": "good", "queued": "", "paused": "warn", "failed": "bad"}
"""States whose jobs the first line counts."""


def duration(seconds: float) -> str:
    """Return a time span in at most two units: `42 s`, `5 m 12 s`, `3 h 20 m`, `2 d 4 h`."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left} s"
    if left < 3600:
        return f"{left // 60} m {left % 60:02d} s"
    if left < 86400:
        return f"{left // 3600} h {left % 3600 // 60:02d} m"
    return f"{left // 86400} d {left % 86400 // 3600} h"


def age(seconds: float) -> str:
    """Return a time span without seconds, which would change, and be sent, all the time."""
    if seconds < 60:
        return "under a minute"
    return duration(seconds) if seconds >= 3600 else f"{int(seconds) // 60} m"


def engine_part(snapshot: Snapshot) -> list[Part]:
    """Say whether a supervisor works, and what hinders it."""
    found = snapshot.supervisor
    if snapshot.trouble:
        return [("✗ queue unreadable", "bad")]
    if found is None:
        return [("○ engine off", "warn")]
    if found.get("silent", 0.0) > STALE_SECONDS:
        return [(f"✗ engine silent for {duration(found['silent'])}", "bad")]
    if found.get("trouble"):
        return [("! engine waits", "bad")]
    if found.get("state") == "draining":
        return [("◐ engine leaves", "warn")]
    since = found.get("since")
    if isinstance(since, int | float) and snapshot.taken >= since:
        # A part of its own: where there is little room, it is left out whole.
        return [("● ", "good"), ("engine up", ""), (f" {age(snapshot.taken - since)}", "")]
    return [("● ", "good"), ("engine up", "")]


def header(
    host: str, profile: str, title: str, snapshot: Snapshot, readonly: bool
) -> tuple[list[Part], list[Part]]:
    """Return the first line: the screen, the host, the profile, the engine; at the right the counts."""
    up: dict[str, Any] = snapshot.supervisor or {}
    left: list[Part] = [(title, "accent"), (f"  {host} · {up.get('profile', profile)} · ", "faint")]
    left += engine_part(snapshot)
    if readonly:
        left.append(("  read-only", "warn"))
    counts = snapshot.counts
    right: list[Part] = []
    for state, tone in COUNTED.items():
        number = counts.get(state, 0)
        if number or state in ("running", "queued"):
            right.append((f"  {number} {state}", tone if number else "faint"))
    return left, right


def footer(
    places: tuple[Where, ...],
    keymap: dict[str, str],
    readonly: bool,
    rate: float,
    lag: float,
    slowed: float = 0.0,
) -> tuple[list[Part], list[Part]]:
    """Return the last line: the keys of most use here; at the right the link to the terminal.

    Args:
        places: where the keys that work belong.
        keymap: the user's.
        readonly: whether keys that write are left out.
        rate: bytes per second to the terminal.
        lag: longest wait for the terminal, in seconds.
        slowed: seconds between two paintings where the link is slow; 0: it is not.
    """
    left: list[Part] = []
    for key in (key for place in places for key in keys_of(place)):
        if key.short and not (key.writes and readonly):
            left += [(pressed(key, keymap), "accent"), (f" {key.short}  ", "faint")]
    left += [("1-7", "accent"), (" screens", "faint")]
    right: list[Part] = []
    if slowed:
        right.append((f"slow link: every {slowed:g} s  ", "warn"))
    elif lag > 0.25:
        right.append((f"link waits {lag:.1f} s  ", "warn"))
    # Whole kilobytes: a figure that flickers would itself be most of the traffic.
    right.append((f"{rate / 1000:.0f} KB/s" if rate >= 1000 else "<1 KB/s", "faint"))
    return left, right


def pressed(key: Key, keymap: dict[str, str]) -> str:
    """Return the first key for something, under the user's keymap."""
    return shown(keymap.get(key.id, key.keys).split(",")[0].strip())
