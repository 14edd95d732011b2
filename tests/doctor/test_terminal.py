from __future__ import annotations

import pytest

from engine.doctor.finding import Finding
from engine.doctor.terminal import screen, terminal

GOOD = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def look(
    environment: dict[str, str], size: tuple[int, int] | None = (120, 40), clipboard: str = ""
) -> dict[str, Finding]:
    return {one.topic: one for one in terminal(environment, size, lambda: clipboard)}


@pytest.mark.parametrize(
    ("environment", "size", "state", "what", "remedy"),
    [
        (GOOD, (120, 40), "ok", "xterm-256color, 120×40, 16 million colours", ""),
        (GOOD, (80, 24), "ok", "80×24", ""),
        (GOOD, (79, 24), "warning", "79×24: small", "enlarge it to 80×24"),
        (GOOD, (80, 23), "warning", "80×23: small", "enlarge"),
        (GOOD, (0, 0), "ok", "xterm-256color, 16 million colours", ""),
        (GOOD, None, "note", "none here", ""),
        ({"TERM": "xterm-256color"}, (80, 24), "ok", "256 colours", ""),
        ({"TERM": "xterm-direct"}, (80, 24), "ok", "16 million colours", ""),
        ({"TERM": "xterm"}, (80, 24), "note", "few colours", "export TERM=xterm-256color"),
        ({"TERM": "screen", "TMUX": "/t"}, (80, 24), "note", "few colours", "default-terminal"),
        ({**GOOD, "NO_COLOR": "1"}, (80, 24), "note", "NO_COLOR is set", ""),
        ({"TERM": "dumb"}, (80, 24), "warning", "TERM is dumb", "export TERM"),
        ({}, (80, 24), "warning", "TERM is not set", "export TERM"),
    ],
)  # fmt: skip
def test_size_and_colours_are_judged(
    environment: dict[str, str], size: tuple[int, int] | None, state: str, what: str, remedy: str
) -> None:
    found = look(environment, size)["terminal"]
    assert found.state == state
    assert what in found.what
    assert remedy in found.remedy
    assert bool(found.remedy) == bool(remedy)


@pytest.mark.parametrize(
    ("environment", "clipboard", "state", "what"),
    [
        ({"TMUX": "/t"}, "on", "ok", "tmux passes copies on"),
        ({"TMUX": "/t"}, "external", "note", "it is external"),
        ({"TMUX": "/t"}, "", "note", "only with set-clipboard on"),
        ({"SSH_CONNECTION": "a"}, "", "note", "OSC 52"),
    ],
)
def test_what_stands_between_a_copy_and_the_clipboard_is_told(
    environment: dict[str, str], clipboard: str, state: str, what: str
) -> None:
    found = look({**GOOD, **environment}, clipboard=clipboard)["clipboard"]
    assert found.state == state
    assert what in found.what
    assert bool(found.remedy) == (state == "note")


def test_in_a_terminal_of_ones_own_copies_need_nothing() -> None:
    assert "clipboard" not in look(GOOD)


def test_a_process_without_a_terminal_knows_it() -> None:
    """Under CI there is none; at a desk there is one of some size."""
    found = screen()
    assert found is None or len(found) == 2
