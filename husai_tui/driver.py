"""Textual's driver for terminals, made safe: it counts what it writes, and leaves when the terminal is gone."""

from __future__ import annotations

import contextlib
import os
import select
import time
import traceback
from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import Any, cast

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from husai_tui.host import Host
from husai_tui.link import Link
from husai_tui.terminal import MODES_OFF

PIECE = 4096
EMPTY_READS = 5
"""Reads of nothing in a row that mean the end; one can come from another program's settings."""


class Wire:
    """The terminal as the writing thread sees it: counts, never waits for a terminal that the app gave up."""

    def __init__(self, file: Any, link: Link, lost: Any) -> None:
        self._file, self._link, self._lost = file, link, lost
        self._held: list[bytes] = []
        self.gone = False
        self._fileno = int(file.fileno())
        # A description of our own: others that share the terminal must not find it non-blocking.
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
            self._fileno = os.open(os.ttyname(self._fileno), flags)

    def write(self, text: str) -> int:
        """Take text for the next `flush`."""
        if not self.gone:
            self._held.append(text.encode("utf-8", "replace"))
        return len(text)

    def flush(self) -> None:
        """Send what was written; waits while the terminal takes nothing, until `give_up`."""
        data = b"".join(self._held)
        self._held.clear()
        if not data or self.gone:
            return
        self._link.begin()
        try:
            self._send(memoryview(data))
        except OSError:
            self.gone = True
            self._lost()
        finally:
            self._link.end(len(data))

    def give_up(self) -> None:
        """Throw away what is not sent yet, and all that follows."""
        self.gone = True

    def fileno(self) -> int:
        """Return the number of the file."""
        return int(self._file.fileno())

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return bool(self._file.isatty())

    def _send(self, data: memoryview) -> None:
        while data and not self.gone:
            if not select.select([], [self._fileno], [], 0.2)[1]:
                continue
            try:
                data = data[os.write(self._fileno, data[:PIECE]) :]
            except BlockingIOError:
                time.sleep(0.01)


class SafeDriver(LinuxDriver):
    """Ends the app at the end of its input, where Textual's would read nothing for ever at full speed."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._husai = cast("Host", app)
        self._wire = Wire(self._file, self._husai.link, self._husai.lost_terminal)
        self._file = cast("Any", self._wire)
        self._on = False
        if self._husai.guard:
            self._husai.guard.hurry = self._wire.give_up

    def _get_terminal_size(self) -> tuple[int, int]:
        """Ask the terminal; `COLUMNS` and `LINES`, where a shell has exported them, are what it once was."""
        try:
            return tuple(os.get_terminal_size(self.fileno))  # type: ignore[return-value]
        except OSError:
            return super()._get_terminal_size()

    def start_application_mode(self) -> None:
        """Take the terminal, which another program may have left in any mode."""
        if self._husai.guard:
            self._husai.guard.entered()
        self._wire.write(MODES_OFF)
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self._on = self._writer_thread is not None

    def write(self, data: str) -> None:
        """Send text to the terminal, in the writing thread."""
        if self._writer_thread is not None:
            self._writer_thread.write(data)

    def stop_application_mode(self) -> None:
        """Give the terminal back as it was."""
        if not self._on:
            return
        self._on = False
        self.write(MODES_OFF)
        super().stop_application_mode()

    def close(self) -> None:
        """End the writing thread; now all is sent."""
        super().close()
        self._writer_thread = None
        if self._husai.guard:
            self._husai.guard.left()

    def resume_application_mode(self) -> None:
        """Take the terminal again, and paint all: what was there is gone."""
        super().resume_application_mode()
        self._husai.call_later(self._husai.repaint)

    def _sigtstp_application(self, *_: object) -> None:
        # A signal comes between any two steps of the main thread, also while it hands text to the writing
        # thread: a handler that writes would wait for the lock of what it has interrupted. The loop does it.
        if self._auto_restart:
            self._soon(super()._sigtstp_application)
        else:
            super()._sigtstp_application()

    def _sigcont_application(self, *_: object) -> None:
        if self._auto_restart:
            self._soon(self._wake)

    def _soon(self, step: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the app with it
            self._loop.call_soon_threadsafe(step)

    def _wake(self) -> None:
        # After a plain SIGSTOP the modes are still on here, but the shell has changed the terminal.
        if self._auto_restart:
            if self._on:
                self.suspend_application_mode()
            self.resume_application_mode()

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except OSError:
            self._husai.lost_terminal()
        except BaseException:
            self._husai.input_failed(traceback.format_exc())

    def run_input_thread(self) -> None:
        """Read keys until the app leaves or the terminal is gone."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        poll, empty = select.poll(), 0
        poll.register(self.fileno, select.POLLIN)
        try:
            while not self.exit_event.is_set():
                for _, events in poll.poll(100):
                    data = os.read(self.fileno, PIECE) if events & select.POLLIN else b""
                    if not data:
                        empty += 1
                        if empty >= EMPTY_READS or events & (select.POLLHUP | select.POLLERR):
                            self._husai.lost_terminal()
                            return
                        time.sleep(0.05)
                        continue
                    empty = 0
                    text = decode(
                        data
                    )  # empty in the middle of a character; that would end the parser
                    for event in parser.feed(text) if text else ():
                        self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
        finally:
            with contextlib.suppress(EOFError, ParseError):
                for _ in parser.feed(""):
                    pass
