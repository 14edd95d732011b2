"""A log of any size: opened at its end, read back piece by piece, only the lines in sight held in memory.

Lines are numbered from where the log was opened: older ones are negative until the start has been reached.
"""

from __future__ import annotations

import os
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.disk.text import visible_line

PIECE = 1 << 16
"""Bytes of a piece of the file; only its place and its counts are kept."""
LONGEST_LINE = 1 << 20
"""Bytes after which a line without an end is cut into several."""
LARGEST_GROWTH = 1 << 26
"""Bytes beyond which what came since the last look is not caught up with, but opened anew at its end."""
LONGEST_SHOWN = 10_000
"""Characters of a line that are shown and searched."""
CACHED = 12
Kind = Literal["", "warn", "bad"]

_BAD = re.compile(
    r"\bTraceback\b|\w*(?:Error|Exception)\b|\b(?:ERROR|CRITICAL|FATAL)\b|(?i:\berror:|\bfailed\b|\bkilled\b)"
)
_WARN = re.compile(
    r"\w*Warning\b|\bWARN(?:ING)?\b|(?i:\bwarning\b|(?<![\w.-])nan(?![\w-])|\bnot finite\b)|^step \d+:"
)
_HINTS = (b"error", b"exception", b"traceback", b"critical", b"fatal", b"failed", b"killed",
          b"warn", b"nan", b"not finite", b"\nstep ")  # fmt: skip
"""One of them is in every line of trouble, in small letters: most lines need no closer look."""


def trouble(text: str) -> Kind:
    """Return whether a line tells of an error, or of something to look at: a warning, a NaN, a red flag."""
    if _BAD.search(text):
        return "bad"
    return "warn" if _WARN.search(text) else ""


def collapse(text: str) -> str:
    """Return a line as a terminal would leave it: of a progress bar the last state, tabs as spaces, control
    characters written out."""
    if len(text) <= LONGEST_SHOWN and text.isprintable():
        return text
    last = text.rstrip("\r").rpartition("\r")[2]
    cut = last[:LONGEST_SHOWN] + "…" if len(last) > LONGEST_SHOWN else last
    return visible_line(cut.expandtabs(8))


@dataclass(slots=True)
class Piece:
    """Some whole lines of the file."""

    offset: int
    size: int
    first: int
    """Number of its first line."""
    count: int
    bad: int
    warn: int


class LogFile:
    """The lines of a file that grows, shrinks, is replaced or vanishes; safe to use from two threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note = ""
        """What is unusual about the file; empty: nothing."""
        self.generation = 0
        """Grows when everything known of the file became wrong."""
        self._descriptor = -1
        self._identity = (0, 0)
        self._size = 0
        self._pieces: list[Piece] = []
        self._texts: OrderedDict[tuple[int, int], list[str]] = OrderedDict()
        self._lock = threading.RLock()

    # What is known

    @property
    def first(self) -> int:
        """Number of the first line known."""
        return self._pieces[0].first if self._pieces else 0

    @property
    def end(self) -> int:
        """Number after the last line."""
        return self._pieces[-1].first + self._pieces[-1].count if self._pieces else 0

    @property
    def whole(self) -> bool:
        """Whether the start has been reached, so that all counts are those of the whole file."""
        return not self._pieces or self._pieces[0].offset == 0

    @property
    def share(self) -> float:
        """How much of the file is known, 0 to 1."""
        return 1.0 - self._pieces[0].offset / self._size if self._pieces and self._size else 1.0

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    def counts(self) -> tuple[int, int, int]:
        """Return lines, errors and warnings of what is known."""
        with self._lock:
            bad = sum(piece.bad for piece in self._pieces)
            return self.end - self.first, bad, sum(piece.warn for piece in self._pieces)

    def line(self, number: int) -> str:
        """Return a line as it is shown; empty where there is none."""
        with self._lock:
            if not self.first <= number < self.end:
                return ""
            piece = self._pieces[self._place(number)]
            lines = self._lines(piece)
            at = number - piece.first
            return lines[at] if at < len(lines) else ""

    def find(
        self,
        test: Callable[[str], bool],
        start: int,
        way: int,
        budget: int,
        *,
        troubled: bool = False,
        hints: Sequence[bytes] = (),
    ) -> tuple[int | None, int]:
        """Look for a line from `start` on, down (`way` 1) or up (−1), through about so many bytes.

        `troubled` passes over pieces without an error or a warning; `hints` over those that have not all of
        these bytes, in small letters. Returns the line found, else None, and where to go on.
        """
        at, left = start, budget
        while left > 0:
            with self._lock:
                if not self.first <= at < self.end:
                    return None, at
                piece = self._pieces[self._place(at)]
                last = piece.first + piece.count - 1
                left -= 0 if troubled else piece.size
                if piece.bad or piece.warn if troubled else self._has(piece, hints):
                    lines = self._lines(piece, keep=False)
                    stop = last if way > 0 else piece.first
                    for number in range(at, stop + way, way):
                        if number - piece.first < len(lines) and test(lines[number - piece.first]):
                            return number, number
                at = last + 1 if way > 0 else piece.first - 1
        return None, at

    def _has(self, piece: Piece, hints: Sequence[bytes]) -> bool:
        if not hints:
            return True
        small = self._bytes(piece.offset, piece.size).lower()
        return all(hint in small for hint in hints)

    # Reading

    def poll(self) -> None:
        """See what became of the file since the last time; what is wrong with it is told in `note`."""
        with self._lock:
            try:
                found = os.stat(self.path)
            except OSError as error:
                gone = "the log is gone; what was read of it stays"
                self.note = gone if self._pieces else f"{self.path.name}: {error.strerror}"
                return
            identity = (found.st_dev, found.st_ino)
            if identity != self._identity or self._descriptor < 0:
                again = self._descriptor >= 0
                self._open(identity)
                self.note = "the log was replaced; this is the new one" if again else ""
                self._begin(found.st_size)
            elif found.st_size < self._size:
                self._begin(found.st_size)
                self.note = "the log was cut short; it was read anew"
            elif found.st_size - self._size > LARGEST_GROWTH:
                self._begin(found.st_size)
            elif found.st_size > self._size:
                self.note = ""
                self._grow(found.st_size)

    def read_back(self, budget: int) -> bool:
        """Get to know about so many bytes before what is known; return whether there is more."""
        left = budget
        while left > 0:
            with self._lock:
                if self.whole:
                    return False
                left -= self._read_before()
        return not self.whole

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1

    def _open(self, identity: tuple[int, int]) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.close()
        self._descriptor, self._identity = descriptor, identity

    def _begin(self, size: int) -> None:
        """Forget all, and begin at the end."""
        self.generation += 1
        self._texts.clear()
        self._size = size
        start = max(0, size - PIECE)
        data = self._bytes(start, size - start)
        if start:
            cut = data.find(b"\n", 0, len(data) - 1) + 1
            start, data = start + cut, data[cut:]
        self._pieces = [_piece(start, data, 0)]

    def _grow(self, size: int) -> None:
        """Read what was added: the last piece may have ended inside a line, so it is read again."""
        last = self._pieces.pop()
        self._size = size
        data, offset, first = self._bytes(last.offset, size - last.offset), last.offset, last.first
        while len(data) > PIECE and (cut := _cut(data)):
            piece = _piece(offset, data[:cut], first)
            self._pieces.append(piece)
            offset, first, data = offset + cut, first + piece.count, data[cut:]
        self._pieces.append(_piece(offset, data, first))

    def _read_before(self) -> int:
        head = self._pieces[0]
        reach = PIECE
        while True:
            start = max(0, head.offset - reach)
            data = self._bytes(start, head.offset - start)
            cut = data.find(b"\n", 0, len(data) - 1) + 1 if start else 0
            if cut or not start or reach >= LONGEST_LINE:
                break
            reach *= 4
        data = data[cut:]
        piece = _piece(start + cut, data, 0)
        # A cut inside a line leaves no newline at its end, which counts as a line all the same.
        piece.first = head.first - piece.count
        self._pieces.insert(0, piece)
        return max(1, len(data))

    def _bytes(self, offset: int, size: int) -> bytes:
        parts = []
        try:
            while size > 0 and (data := os.pread(self._descriptor, size, offset)):
                parts.append(data)
                offset, size = offset + len(data), size - len(data)
        except OSError as error:
            self.note = f"{self.path.name}: {error.strerror}"
        return b"".join(parts)

    def _place(self, number: int) -> int:
        return bisect_right(self._pieces, number, key=lambda piece: piece.first) - 1

    def _lines(self, piece: Piece, *, keep: bool = True) -> list[str]:
        key = (piece.offset, piece.size)
        found = self._texts.get(key)
        if found is None:
            found = [collapse(line) for line in _split(self._bytes(piece.offset, piece.size))]
            if not keep:
                return found
            self._texts[key] = found
            while len(self._texts) > CACHED:
                self._texts.popitem(last=False)
        self._texts.move_to_end(key)
        return found


def _cut(data: bytes) -> int:
    """Return where the first piece of data ends; 0: it has to wait for the end of its line."""
    return (
        data.rfind(b"\n", 0, PIECE) + 1
        or data.find(b"\n", PIECE) + 1
        or (LONGEST_LINE if len(data) > LONGEST_LINE else 0)
    )


def _split(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "replace").split("\n")
    return lines[:-1] if lines and not lines[-1] else lines


def _piece(offset: int, data: bytes, first: int) -> Piece:
    count = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    kinds = [trouble(collapse(line)) for line in _suspects(data)]
    return Piece(offset, len(data), first, count, kinds.count("bad"), kinds.count("warn"))


def _suspects(data: bytes) -> list[str]:
    """Return the lines that have a hint of trouble in them."""
    small = b"\n" + data.lower()
    starts: set[int] = set()
    for hint in _HINTS:
        at = small.find(hint)
        while at >= 0:
            begin = at + 1 if hint.startswith(b"\n") else small.rfind(b"\n", 0, at) + 1
            starts.add(begin - 1)
            end = small.find(b"\n", begin)
            at = small.find(hint, end) if end >= 0 else -1
    lines = []
    for start in starts:
        end = data.find(b"\n", start)
        lines.append(data[start : end if end >= 0 else len(data)].decode("utf-8", "replace"))
    return lines
