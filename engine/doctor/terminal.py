"""The terminal that the app would be shown in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

from engine.doctor.finding import Finding

COLUMNS, LINES = 80, 24
"""Least size of the app."""


def screen() -> tuple[int, int] | None:
    """Return columns and lines of the terminal that this process writes to; None: it writes to none."""
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            assert stream is not None
            found = os.get_terminal_size(stream.fileno())
            return found.columns, found.lines
    return None


def tmux_clipboard() -> str:
    """Return what tmux does with the clipboard (`on`, `external`, `off`); empty where it does not say."""
    command = ["tmux", "show-options", "-sv", "set-clipboard"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=2, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def terminal(
    environment: Mapping[str, str],
    size: tuple[int, int] | None,
    clipboard: Callable[[], str] = tmux_clipboard,
) -> Iterator[Finding]:
    """Judge size, colours and clipboard.

    Args:
        environment: variables of the shell.
        size: columns and lines; None: no terminal.
        clipboard: asks tmux what it does with the clipboard.
    """
    if size is None:
        yield Finding("terminal", "note", "none here; the app needs one, the engine does not")
        return
    name = environment.get("TERM", "")
    if name in ("", "dumb", "unknown"):
        what = f"TERM is {name or 'not set'}: the app cannot place text"
        yield Finding("terminal", "warning", what, "export TERM=xterm-256color")
        return
    columns, lines = size
    known = columns > 0 and lines > 0  # a terminal of a script may have no size
    told = f"{name}, {columns}×{lines}" if known else name
    if known and (columns < COLUMNS or lines < LINES):
        what, remedy = f"{told}: small", f"enlarge it to {COLUMNS}×{LINES} or more"
        yield Finding("terminal", "warning", what, remedy)
    else:
        yield _colours(environment, name, told)
    yield from _clipboard(environment, clipboard)


def _colours(environment: Mapping[str, str], name: str, told: str) -> Finding:
    if "NO_COLOR" in environment:
        return Finding("terminal", "note", f"{told}; NO_COLOR is set: shades of grey")
    if environment.get("COLORTERM") in ("truecolor", "24bit") or name.endswith("-direct"):
        return Finding("terminal", "ok", f"{told}, 16 million colours")
    if "256color" in name:
        return Finding("terminal", "ok", f"{told}, 256 colours")
    remedy = "export TERM=xterm-256color COLORTERM=truecolor, if yours can show them"
    if "TMUX" in environment:
        remedy = "in ~/.tmux.conf: set -g default-terminal tmux-256color"
    return Finding("terminal", "note", f"{told}, few colours", remedy)


def _clipboard(environment: Mapping[str, str], ask: Callable[[], str]) -> Iterator[Finding]:
    """Judge what stands between the app's copies (OSC 52) and the clipboard."""
    if "TMUX" in environment:
        said = ask()
        if said == "on":
            yield Finding("clipboard", "ok", "tmux passes copies on (OSC 52)")
        else:
            what = f"tmux passes copies on only with set-clipboard on{f', it is {said}' if said else ''}"
            yield Finding("clipboard", "note", what, "in ~/.tmux.conf: set -g set-clipboard on")
    elif "SSH_CONNECTION" in environment:
        what = "over SSH, copies need a terminal that takes OSC 52 (Terminal.app does not)"
        yield Finding("clipboard", "note", what, "kitty, WezTerm, iTerm2, foot or Windows Terminal")
