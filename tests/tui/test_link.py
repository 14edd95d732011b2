"""The link to the terminal: what it carries, what it makes us wait, and how the app steps down."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from husai_tui.link import Link
from scripts.pseudo_terminal import PseudoTerminal


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def write(link: Link, clock: Clock, size: int, seconds: float) -> None:
    link.begin()
    clock.now += seconds
    link.end(size)


def test_the_rate_is_that_of_the_last_five_seconds() -> None:
    clock = Clock()
    link = Link(clock)
    write(link, clock, 1000, 0.0)
    clock.now += 3
    write(link, clock, 4000, 0.0)
    assert link.rate == 1000.0  # 5000 bytes in 5 s
    clock.now += 3
    assert link.rate == 800.0  # the first write is 6 s old
    assert link.total == 5000


def test_the_lag_counts_a_write_that_is_not_over() -> None:
    clock = Clock()
    link = Link(clock)
    write(link, clock, 10, 0.5)
    assert (link.lag, link.waiting) == (0.5, 0.0)
    link.begin()
    clock.now += 2
    assert (link.lag, link.waiting) == (2.0, 2.0)


def test_the_pace_falls_while_the_link_is_slow_and_comes_back() -> None:
    clock = Clock()
    link = Link(clock)
    paces = []
    for _ in range(4):
        for _ in range(6):
            write(link, clock, 1000, 0.9)
        paces.append(link.pace())
    assert paces == [2, 4, 8, 8]
    for expected in (4, 2, 1, 1):
        clock.now += 5.1
        assert link.pace() == expected


def test_a_link_that_takes_nothing_at_all_is_slow() -> None:
    clock = Clock()
    link = Link(clock)
    link.begin()
    clock.now += 6
    assert link.pace() == 2


def test_a_fast_link_keeps_its_pace() -> None:
    clock = Clock()
    link = Link(clock)
    for _ in range(100):
        write(link, clock, 100_000, 0.005)
        clock.now += 0.1
        assert link.pace() == 1


def test_on_a_slow_link_the_app_paints_less_and_says_so_and_comes_back(tmp_path: Path) -> None:
    shorter = "from husai_tui import link; link.WINDOW_SECONDS = 1.0"
    begin = f"{shorter}; from husai_tui.__main__ import main; main()"
    command = [sys.executable, "-c", begin, "--runs", str(tmp_path / "runs"), "--no-engine"]
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    with PseudoTerminal(command, environment=environment, folder=tmp_path) as terminal:
        assert terminal.until("close")
        # Themes repaint all: more than the terminal's own buffer holds.
        for _ in range(40):
            terminal.press("T")
            terminal.read(0.05, most=50)
            time.sleep(0.05)
        assert terminal.until("slow link: every", 10)
        assert terminal.until(lambda: "slow link" not in terminal.screen.text, 15)
