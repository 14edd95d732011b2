"""Signals of sleeping and waking: what writes to the terminal waits for the loop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from husai_tui.driver import SafeDriver

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGTSTP"), reason="needs job control")


class Recorded(SafeDriver):
    """Says what it would do to the terminal and to the process."""

    def __init__(self) -> None:
        self.done: list[str] = []
        app = SimpleNamespace(link=None, lost_terminal=None, guard=None)
        super().__init__(app, debug=False, mouse=False, size=(80, 24))

    def suspend_application_mode(self) -> None:
        self.done.append("suspend")
        self._on = False

    def resume_application_mode(self) -> None:
        self.done.append("resume")
        self._on = True


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Stops of the process, which are not carried out; the process's handlers are as before afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT)}
    stopped: list[int] = []
    kill = os.kill

    def record(pid: int, number: int) -> None:
        if number == signal.SIGSTOP:
            stopped.append(number)
        else:
            kill(pid, number)

    monkeypatch.setattr("textual.drivers.linux_driver.os.kill", record)
    yield stopped
    for number, handler in before.items():
        signal.signal(number, handler)


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("on", [True, False])
async def test_waking_is_left_to_the_loop(on: bool) -> None:
    """The signal may strike while a line is handed to the writing thread: a handler that writes would wait for
    what it has interrupted."""
    driver = Recorded()
    driver._on = on
    os.kill(os.getpid(), signal.SIGCONT)
    assert driver.done == [], "nothing in the handler itself"
    await settle()
    assert driver.done == (["suspend", "resume"] if on else ["resume"])


async def test_sleeping_is_left_to_the_loop(handlers: list[int]) -> None:
    driver = Recorded()
    driver._on = True
    os.kill(os.getpid(), signal.SIGTSTP)
    assert (driver.done, handlers) == ([], [])
    await settle()
    assert (driver.done, handlers) == (["suspend"], [signal.SIGSTOP])


async def test_while_another_program_has_the_terminal_sleep_comes_at_once(
    handlers: list[int],
) -> None:
    """The loop waits for that program, and nothing of ours is on the terminal."""
    driver = Recorded()
    with driver.no_automatic_restart():
        os.kill(os.getpid(), signal.SIGTSTP)
        assert handlers == [signal.SIGSTOP]
        os.kill(os.getpid(), signal.SIGCONT)
    await settle()
    assert driver.done == []


def test_a_signal_after_the_loop_has_ended_does_nothing() -> None:
    async def make() -> Recorded:
        return Recorded()

    driver = asyncio.run(make())
    os.kill(os.getpid(), signal.SIGCONT)
    assert driver.done == []
