"""A terminal without a window: runs a program, types into it, and knows what stands on its screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len

ROOT = Path(__file__).parents[1]
HUSAI = (sys.executable, "-m", "husai_tui")
UNINHERITED = ("NO_COLOR", "COLORTERM", "COLORFGBG", "TMUX", "HUSAI_RUNS")
SEQUENCE = re.compile(
    "\x1b\\[([<-?]*)([0-9;:]*)([ -/]*)([@-~])"
    "|\x1b[\\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[@-Z\\\\-_0-9=>a-z]"
)
UNFINISHED = re.compile("\x1b(?:\\[[<-?0-9;: -/]*|[\\]P_^X][^\x07\x1b]*\x1b?)?$")
KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "space": " ",
    "backspace": "\x7f",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    "delete": "\x1b[3~",
    "f1": "\x1bOP",
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "minus": "-",
    "plus": "+",
    "underscore": "_",
    "equals_sign": "=",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "comma": ",",
    "full_stop": ".",
    "shift+tab": "\x1b[Z",
}


def keystroke(key: str) -> str:
    """Return what a terminal sends for a key, by the name that the key table gives it."""
    if key.startswith("ctrl+") and len(key) == 6:
        return chr(ord(key[5].upper()) - 64)
    return KEYS.get(key, key)


class Screen:
    """What a terminal shows and which modes are on, as far as our app uses them."""

    def __init__(self, columns: int, lines: int) -> None:
        self.modes: set[str] = set()
        self.keyboard = 0
        """Depth of the stack of keyboard modes."""
        self._held = ""
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        """Be of another size, and empty."""
        self.columns, self.lines, self.x, self.y = columns, lines, 0, 0
        self._cells = [[" "] * columns for _ in range(lines)]

    @property
    def text(self) -> str:
        """The lines without the spaces at their ends."""
        return "\n".join("".join(line).rstrip() for line in self._cells)

    def feed(self, text: str) -> None:
        """Take what a program writes."""
        text = self._held + text
        torn = UNFINISHED.search(text)
        self._held = text[torn.start() :] if torn else ""
        text = text[: torn.start()] if torn else text
        place = 0
        for found in SEQUENCE.finditer(text):
            self._write(text[place : found.start()])
            place = found.end()
            if found.group(4):
                self._control(*found.groups())
        self._write(text[place:])

    def _control(self, mark: str, numbers: str, _between: str, final: str) -> None:
        given = [int(one) if one.isdigit() else 0 for one in numbers.split(";")]
        if mark == "?" and final in "hl":
            for one in numbers.split(";"):
                (self.modes.add if final == "h" else self.modes.discard)(one)
            if numbers == "1049":
                self.resize(self.columns, self.lines)
        elif final == "u" and mark in (">", "<"):
            self.keyboard = max(0, self.keyboard + (1 if mark == ">" else -1))
        elif final == "H":
            self.y = max(0, given[0] - 1)
            self.x = max(0, (given[1] if len(given) > 1 else 1) - 1)
        elif final == "J":
            self.resize(self.columns, self.lines)

    def _write(self, text: str) -> None:
        for character in text:
            if character == "\n":
                self.y += 1
                self.x = 0
            elif character == "\r":
                self.x = 0
            elif character >= " ":
                wide = cell_len(character)
                if 0 <= self.y < self.lines and self.x + wide <= self.columns and wide:
                    self._cells[self.y][self.x] = character
                    if wide == 2:
                        self._cells[self.y][self.x + 1] = ""
                self.x += wide


class PseudoTerminal:
    """A program in a terminal of its own."""

    def __init__(
        self,
        command: Sequence[str] = HUSAI,
        *,
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        wrap: Callable[[], Any] | None = None,
        stderr: int | None = None,
    ) -> None:
        """Start a program; `wrap` runs in its process before it, `stderr` goes elsewhere if given."""
        self.screen = Screen(columns, lines)
        self.received = 0
        """Bytes that the program has written."""
        self.raw = ""
        self.master, slave = os.openpty()
        self._size(columns, lines)
        self.before = termios.tcgetattr(slave)
        name = os.ttyname(slave)

        def prepare() -> None:
            os.close(os.open(name, os.O_RDWR))  # a session's first terminal becomes its own
            if wrap:
                wrap()

        kept = {name: value for name, value in os.environ.items() if name not in UNINHERITED}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        kept |= {"TERM": "xterm-256color", "PYTHONPATH": path, "LC_ALL": "C.UTF-8"}
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [*command],
            stdin=slave,
            stdout=slave,
            stderr=slave if stderr is None else stderr,
            env={**kept, **(environment or {})},
            cwd=folder,
            start_new_session=True,
            preexec_fn=prepare,
        )
        self.slave = slave
        self._decoder = __import__("codecs").getincrementaldecoder("utf-8")("replace")

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hang_up()
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def read(self, seconds: float = 0.0, most: int = 1 << 16) -> int:
        """Take what the program has written, waiting at most so long for it; return the bytes."""
        if self.master < 0 or not select.select([self.master], [], [], seconds)[0]:
            return 0
        try:
            data = os.read(self.master, most)
        except OSError:
            return 0
        self.received += len(data)
        text = self._decoder.decode(data)
        self.raw += text
        self.screen.feed(text)
        return len(data)

    def watch(self, seconds: float) -> int:
        """Take what comes for so long; return the bytes."""
        deadline, count = time.monotonic() + seconds, 0
        while (left := deadline - time.monotonic()) > 0:
            count += self.read(min(left, 0.1))
        return count

    def until(self, what: str | Callable[[], bool], seconds: float = 20.0) -> bool:
        """Take what comes until the screen shows a text or a condition holds; return whether they did."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if what in self.screen.text if isinstance(what, str) else what():
                return True
            if not self.read(0.05) and self.process.poll() is not None and not self.read(0.05):
                break
        return what in self.screen.text if isinstance(what, str) else what()

    def type(self, text: str) -> None:
        """Send text, as keys would."""
        os.write(self.master, text.encode())

    def press(self, *keys: str) -> None:
        """Send keys by their names."""
        for key in keys:
            self.type(keystroke(key))

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size, as a window manager does."""
        self.screen.resize(columns, lines)
        self._size(columns, lines)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGWINCH)

    def hang_up(self) -> None:
        """Close the window."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def end(self, seconds: float = 10.0, *, reading: bool = True) -> int | None:
        """Wait for the program's end and return its exit code; None: it goes on."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            if reading:
                self.read(0.05)
            else:
                time.sleep(0.02)
        while reading and self.read(0.05):
            pass
        return self.process.poll()

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
