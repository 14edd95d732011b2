"""The terminal: whether it is one, what it can, and how it gets its manners back."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

RESET = (
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse
    "\x1b[?1004l\x1b[?2004l\x1b[?2048l\x1b[?2026l"  # focus, paste, resize reports, synchronised output
    "\x1b[<u\x1b[?7h\x1b[?25h\x1b[?1049l\x1b[0m"  # keys, wrapping, cursor, screen, colours
)
"""What undoes every mode that the app sets, on terminals that know it; others ignore it."""


def is_dark(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal says that its ground is dark, by `COLORFGBG`; most are."""
    ground = environment.get("COLORFGBG", "").split(";")[-1]
    return not (ground.isdigit() and int(ground) in (7, 9, 10, 11, 12, 13, 14, 15))


def unfit(environment: Mapping[str, str] = os.environ) -> str:
    """Return why the app cannot be shown here, empty if it can; and what can be used instead."""
    if not (
        sys.__stdin__ and sys.__stdin__.isatty() and sys.__stderr__ and sys.__stderr__.isatty()
    ):
        return "this is no terminal; `husai-engine status`, `watch STUDY` and `--json` need none"
    if environment.get("TERM", "") in ("", "dumb"):
        kind = environment.get("TERM") or "not set"
        return f"TERM is {kind}: this terminal cannot place text; `husai-engine watch STUDY` needs no more"
    return ""


def reset() -> None:
    """Bring a terminal back that a program left in the middle."""
    if sys.__stderr__ and sys.__stderr__.isatty():
        sys.__stderr__.write(RESET)
        sys.__stderr__.flush()
