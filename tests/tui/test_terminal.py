"""The real app in a terminal of its own: however it ends, the terminal is left as it was, and soon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.client.daemon import stop_supervisor
from engine.client.queue import supervisor
from engine.disk.root import RunsRoot
from engine.jobs.lock import hold
from husai_tui.terminal import RESET, few_colours, is_dark
from scripts.pseudo_terminal import HUSAI, PseudoTerminal

CRASH = """
from husai_tui import app
def fall(self):
    token = "secret-" + "token"
    raise ZeroDivisionError("it fell")
app.HusaiApp.action_describe = fall
"""
CRASH_AT_START = """
from husai_tui import app
def fall(self, *words, **more): raise ZeroDivisionError("it fell")
app.HusaiApp.compose = fall
"""
SLOW_THREAD = """
import time
from husai_tui import app
app.start_supervisor = lambda root, profile: time.sleep(60)
"""
OTHER_MODES = {
    "1000",
    "1002",
    "1003",
    "1004",
    "1006",
    "1015",
    "1016",
    "1049",
    "2004",
    "2026",
    "2048",
}


def patched(code: str) -> list[str]:
    """Return a command that runs `husai` with something broken in it."""
    return [sys.executable, "-c", f"{code}\nfrom husai_tui.__main__ import main\nmain()"]


class Places:
    """Where a test keeps its runs and its settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "settings" / "husai"

    def open(self, *words: str, command: Sequence[str] = HUSAI, **options: Any) -> PseudoTerminal:
        """Start `husai` on an empty runs root, without an engine."""
        given = options.pop("environment", {})
        environment = {"XDG_CONFIG_HOME": str(self.folder / "settings"), "OMP_NUM_THREADS": "1"}
        # A shell may have exported what its window once was.
        environment |= {"COLUMNS": "80", "LINES": "24"}
        return PseudoTerminal(
            [*command, *words, "--runs", str(self.folder / "runs"), "--no-engine"],
            environment={**environment, **given},
            folder=self.folder,
            **options,
        )


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


@pytest.fixture
def shown(places: Places) -> Iterator[PseudoTerminal]:
    with places.open() as terminal:
        assert terminal.until("close")
        yield terminal


def is_sane(terminal: PseudoTerminal) -> bool:
    """Return whether nothing of what the app set is left."""
    return (
        not terminal.screen.modes & OTHER_MODES
        and "25" in terminal.screen.modes
        and terminal.screen.keyboard == 0
        and termios.tcgetattr(terminal.slave) == terminal.before
    )


def test_the_terminal_is_not_sane_while_the_app_is_shown(shown: PseudoTerminal) -> None:
    assert shown.until(lambda: "2004" in shown.screen.modes)
    assert {"1049", "1000", "1004", "2004"} <= shown.screen.modes
    assert not is_sane(shown)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_app_and_leaves_a_sane_terminal(
    shown: PseudoTerminal, number: int, code: int
) -> None:
    os.kill(shown.process.pid, number)
    assert shown.end(5) == code
    assert is_sane(shown)


def test_a_key_closes_the_app(shown: PseudoTerminal, places: Places) -> None:
    shown.press("q")
    assert shown.end(5) == 0
    assert is_sane(shown)
    assert (places.settings / "state.json").is_file()


@pytest.mark.parametrize("ignoring", [False, True])
def test_a_closed_window_ends_the_app_even_under_nohup(places: Places, ignoring: bool) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with places.open(wrap=ignore if ignoring else None) as terminal:
        assert terminal.until("close")
        os.close(terminal.slave)
        terminal.slave = -1
        terminal.hang_up()
        assert terminal.end(6, reading=False) == 129


@pytest.mark.parametrize("code", [CRASH, CRASH_AT_START], ids=["handler", "start"])
def test_a_crash_says_one_line_and_keeps_the_rest_in_a_file(places: Places, code: str) -> None:
    with places.open(command=patched(code)) as terminal:
        if code is CRASH:
            assert terminal.until("close")
            terminal.press("a")
        assert terminal.end(6) == 1
        assert is_sane(terminal)
        said = terminal.raw.rpartition("\x1b[?25h")[2]
        assert "a fault of husai: ZeroDivisionError: it fell" in said
        assert "Traceback" not in said
        kept = (places.settings / "faults.log").read_text()
        assert "in fall" in kept
        assert "secret-token" not in terminal.raw + kept


def test_a_terminal_that_takes_nothing_does_not_hold_the_end(shown: PseudoTerminal) -> None:
    for _ in range(60):
        shown.press("T")
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(shown.process.pid, signal.SIGTERM)
    assert shown.end(8, reading=False) == 143
    shown.watch(0.3)
    assert is_sane(shown)


def test_a_thread_that_works_on_does_not_hold_the_end(places: Places) -> None:
    with places.open(command=patched(SLOW_THREAD)) as terminal:
        assert terminal.until("close")
        terminal.press("u")
        terminal.watch(0.3)
        terminal.press("q")
        assert terminal.end(4) == 0
        assert is_sane(terminal)


def test_sleeping_gives_the_terminal_back_and_waking_paints_anew(shown: PseudoTerminal) -> None:
    shown.press("ctrl+z")
    assert shown.until(lambda: is_sane(shown), 5)
    status = Path(f"/proc/{shown.process.pid}/stat")
    if status.exists():
        deadline = time.monotonic() + 5
        while status.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline
            shown.watch(0.02)
    os.kill(shown.process.pid, signal.SIGCONT)
    assert shown.until("close", 5)
    assert shown.until("the queue is empty", 5)
    shown.press("q")
    assert shown.end(5) == 0
    assert is_sane(shown)


def test_waking_from_a_plain_stop_starts_no_second_reader(shown: PseudoTerminal) -> None:
    os.kill(shown.process.pid, signal.SIGSTOP)
    time.sleep(0.1)
    shown.screen.resize(80, 24)
    os.kill(shown.process.pid, signal.SIGCONT)
    assert shown.until("the queue is empty", 5)
    threads = Path(f"/proc/{shown.process.pid}/task")
    if threads.exists():
        names = [(one / "comm").read_text().strip() for one in threads.iterdir()]
        assert len(names) < 12
    shown.press("q")
    assert shown.end(5) == 0
    assert is_sane(shown)


def test_modes_that_another_program_left_are_undone_at_the_start(shown: PseudoTerminal) -> None:
    start = shown.raw.partition("\x1b[?1049h")[0]
    assert "\x1b[?1003l" in start
    assert "\x1b[?2004l" in start


def test_a_window_too_small_says_so_and_comes_back(shown: PseudoTerminal) -> None:
    shown.resize(40, 10)
    assert shown.until("40 × 10", 5)
    assert "60 × 15" in shown.screen.text
    assert "close" not in shown.screen.text
    shown.resize(80, 24)
    assert shown.until("close", 5)
    assert shown.until("the queue is empty", 5)


@pytest.mark.parametrize(
    "environment",
    [
        {"TERM": "linux"},
        {"TERM": "xterm-16color", "COLORFGBG": "0;15"},
        {"NO_COLOR": "1"},
    ],
    ids=str,
)
def test_few_colours_are_enough(places: Places, environment: dict[str, str]) -> None:
    with places.open(environment=environment) as terminal:
        assert terminal.until("close")
        assert terminal.until("the queue is empty")
        rich = "\x1b[38;" in terminal.raw or ";38;" in terminal.raw or "48;2" in terminal.raw
        assert not rich
        if "NO_COLOR" in environment:
            assert "\x1b[32m" not in terminal.raw
            assert "\x1b[90m" not in terminal.raw


@pytest.mark.parametrize("kind", ["dumb", ""])
def test_a_terminal_that_cannot_place_text_is_refused_in_a_line(places: Places, kind: str) -> None:
    with places.open(environment={"TERM": kind}) as terminal:
        assert terminal.end(10) == 3
        assert "TERM is" in terminal.raw
        assert terminal.raw.count("\n") == 1


def test_errors_that_go_to_a_file_are_refused_where_they_are_seen(places: Places) -> None:
    with (
        open(places.folder / "errors", "wb") as file,
        places.open(stderr=file.fileno()) as terminal,
    ):
        assert terminal.end(10) == 3
        assert "2>" in terminal.raw
        assert terminal.raw.count("\n") == 1


def test_without_a_terminal_it_is_refused_in_a_line(places: Places) -> None:
    done = subprocess.run(
        [*HUSAI, "--runs", str(places.folder / "runs")],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "XDG_CONFIG_HOME": str(places.folder), "TERM": "xterm"},
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "no terminal" in done.stderr


def test_reset_terminal_brings_a_dirty_terminal_back(places: Places) -> None:
    def spoil() -> None:
        attributes = termios.tcgetattr(0)
        attributes[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(0, termios.TCSANOW, attributes)
        os.write(2, b"\x1b[?1049h\x1b[?1003h\x1b[?2004h\x1b[?25l\x1b[>1u")

    with PseudoTerminal([*HUSAI, "reset-terminal"], wrap=spoil, folder=places.folder) as terminal:
        assert terminal.end(10) == 0
        assert not terminal.screen.modes & OTHER_MODES
        assert terminal.screen.keyboard == 0
        assert termios.tcgetattr(terminal.slave)[3] & termios.ECHO
        assert termios.tcgetattr(terminal.slave)[3] & termios.ICANON


def test_the_app_starts_an_engine_that_works_on_without_it(places: Places) -> None:
    environment = {"XDG_CONFIG_HOME": str(places.folder), "OMP_NUM_THREADS": "1"}
    root = RunsRoot(places.folder / "runs")
    words = ["--runs", str(root.path), "--profile", "cpu"]
    try:
        with PseudoTerminal(
            [*HUSAI, *words], environment=environment, folder=places.folder
        ) as shown:
            assert shown.until("engine up", 30)
            shown.press("q")
            assert shown.end(5) == 0
        found = supervisor(root)
        assert found is not None
        assert found["profile"] == "cpu"
    finally:
        stop_supervisor(root)


def test_where_a_run_works_the_app_watches_and_says_so(places: Places) -> None:
    root = RunsRoot(places.folder / "runs")
    root.prepare()
    environment = {"XDG_CONFIG_HOME": str(places.folder), "OMP_NUM_THREADS": "1"}
    command = [*HUSAI, "--runs", str(root.path)]
    with (
        hold(root.lock_file, root.path, "foreground"),
        PseudoTerminal(command, environment=environment, folder=places.folder) as terminal,
    ):
        assert terminal.until("is executing there")
        assert terminal.until("a `run` in another terminal")
        terminal.press("q")
        assert terminal.end(5) == 0


def test_the_reset_undoes_all_that_the_app_sets() -> None:
    assert all(f"\x1b[?{mode}l" in RESET for mode in OTHER_MODES)
    assert "\x1b[?25h" in RESET


def test_what_a_terminal_says_of_itself() -> None:
    assert few_colours({"TERM": "xterm"})
    assert few_colours({"TERM": "linux"})
    assert not few_colours({"TERM": "xterm-256color"})
    assert not few_colours({"TERM": "xterm", "COLORTERM": "truecolor"})
    assert few_colours({"TERM": "xterm-256color", "TEXTUAL_COLOR_SYSTEM": "standard"})
    assert is_dark({})
    assert is_dark({"COLORFGBG": "15;0"})
    assert not is_dark({"COLORFGBG": "0;15"})
    assert not is_dark({"COLORFGBG": "0;default;7"})
