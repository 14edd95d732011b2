"""The terminal: whether it is one, what it can, and how it gets its manners back."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
from collections.abc import Mapping
from typing import Any

MODES_OFF = (
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse
    "\x1b[?1004l\x1b[?2004l\x1b[?2048l\x1b[?2026l"  # focus, paste, resize reports, synchronised output
    "\x1b[<u\x1b[?7h\x1b[0m"  # keys, wrapping, colours
)
"""Undoes every mode but the second screen and the hidden cursor; what a terminal does not know it ignores."""
RESET = f"\x18{MODES_OFF}\x1b[?1049l\x1b[?25h"
"""Brings a terminal back from wherever a program left it, even inside a sequence, which \\x18 ends."""
COLOURFUL = ("256color", "direct", "truecolor", "kitty", "ghostty", "alacritty", "wezterm")
"""How names of terminals end that have more than sixteen colours."""


class Manners:
    """How a terminal was set when the app came, to be left the same."""

    def __init__(self, fileno: int) -> None:
        self._fileno = fileno
        self._attributes: list[Any] | None = None
        with contextlib.suppress(termios.error, OSError):
            self._attributes = termios.tcgetattr(fileno)

    def restore(self, output: int) -> None:
        """Bring the terminal back, even where nobody reads what is written; never waits."""
        with contextlib.suppress(termios.error, OSError):
            if self._attributes is not None:
                termios.tcsetattr(self._fileno, termios.TCSANOW, self._attributes)
        write_now(output, RESET)


def write_now(output: int, text: str) -> None:
    """Write to a terminal without ever waiting; what it has not taken yet is thrown away for this."""
    try:
        own = os.open(os.ttyname(output), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        data = text.encode()
        for _ in range(2):
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(own, data) :]
            if not data:
                return
            termios.tcflush(own, termios.TCOFLUSH)
    except (OSError, termios.error):
        return
    finally:
        os.close(own)


def is_dark(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal says that its ground is dark, by `COLORFGBG`; most are."""
    ground = environment.get("COLORFGBG", "").split(";")[-1]
    return not (ground.isdigit() and int(ground) in (7, 9, 10, 11, 12, 13, 14, 15))


def few_colours(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal has, as far as it says, sixteen colours or none."""
    if chosen := environment.get("TEXTUAL_COLOR_SYSTEM", ""):
        return chosen == "standard"
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return False
    return not environment.get("TERM", "").lower().endswith(COLOURFUL)


def unfit(environment: Mapping[str, str] = os.environ) -> str:
    """Return why the app cannot be shown here, empty if it can; and what can be used instead."""
    if environment.get("TEXTUAL_DRIVER"):
        return ""  # in a browser, by `husai serve`
    if not _is_terminal(sys.__stdin__):
        return (
            "the input is no terminal; `husai-engine status`, `watch STUDY` and `--json` need none"
        )
    if not _is_terminal(sys.__stderr__):
        return "the app is drawn on stderr, which goes elsewhere: leave out `2>`"
    if environment.get("TERM", "") in ("", "dumb", "unknown"):
        kind = environment.get("TERM") or "not set"
        return f"TERM is {kind}: this terminal cannot place text; `husai-engine watch STUDY` needs no more"
    return ""


def complain(line: str) -> None:
    """Say a line where a person sees it: on stderr, and on the terminal too if that goes elsewhere."""
    print(f"husai: {line}", file=sys.stderr)
    if not _is_terminal(sys.__stderr__) and _is_terminal(sys.__stdout__):
        print(f"husai: {line}")


def reset() -> None:
    """Bring a terminal back that a program left in the middle."""
    if _is_terminal(sys.__stderr__):
        write_now(2, RESET)
    if _is_terminal(sys.__stdin__):
        os.system("stty sane")


def _is_terminal(stream: Any) -> bool:
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:  # closed
        return False
