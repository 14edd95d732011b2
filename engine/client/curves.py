"""The curves of a job for a screen that shows them while they grow: each line is read once. Loads no torch.

Shapes: T rows so far, S seeds (1 for what is measured once for all of them).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.disk.curves import NOT_VALUES, Row
from engine.errors import InputError

Floats = NDArray[np.float64]
PIECE = 1 << 18
"""Bytes read at once: what is made of them stays in the cache (with 8 MB it takes twice as long)."""
GUARD = 64
"""Bytes before the place reached that must still be the same ones."""


class Raised(NamedTuple):
    """A red flag and where it was raised."""

    step: int
    seed: int | None
    name: str
    message: str


class Column:
    """A table of numbers [T, S] that grows: it doubles its room, so a row costs the same at any length."""

    def __init__(self, width: int = 1) -> None:
        self._room_TS = np.full((16, width), np.nan)
        self.length = 0

    @property
    def values(self) -> Floats:
        """What is there, [T, S]; a view that later rows do not change."""
        return self._room_TS[: self.length]

    def extend(self, length: int, values: Floats) -> None:
        """Append rows [T', S'] so that they end at `length`; rows and seeds that nobody told are NaN."""
        width = max(self._room_TS.shape[1], values.shape[1])
        rows = len(self._room_TS)
        if length > rows or width > self._room_TS.shape[1]:
            room_TS = np.full((max(length, 2 * rows if length > rows else rows), width), np.nan)
            room_TS[: self.length, : self._room_TS.shape[1]] = self.values
            self._room_TS = room_TS
        self._room_TS[length - len(values) : length, : values.shape[1]] = values
        self.length = length


class CurveTail:
    """Follows one `curves.jsonl`: `poll` reads what is new, the rest shows what is known.

    A file that shrank or was replaced (a resumed run rewrites it up to its checkpoint) is read from its
    beginning. Damaged lines are left out, a torn last one waits for its end.
    """

    def __init__(self, path: Path) -> None:
        """Follow a file that need not be there yet; nothing is read before the first `poll`."""
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self._place, self._guard = 0, b""
        self._seen: tuple[int, int, int] | None = None
        self._steps, self._seconds = Column(), Column()
        self._series: dict[str, Column] = {}
        self._flags: list[Raised] = []

    def __len__(self) -> int:
        return self._steps.length

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps of the rows, [T]."""
        return self._steps.values[:, 0].astype(np.int64)

    @property
    def seconds(self) -> Floats:
        """Seconds of training up to each row, [T], resumptions left out; NaN where a row does not tell."""
        return self._padded(self._seconds)[:, 0]

    @property
    def names(self) -> tuple[str, ...]:
        """What is measured, in the order of its first appearance."""
        return tuple(self._series)

    @property
    def flags(self) -> Sequence[Raised]:
        """Red flags raised so far."""
        return self._flags

    def series(self, name: str) -> Floats:
        """Return one measurement, [T, S]; NaN where a value is missing or was not finite.

        Raises:
            InputError: nothing of that name was measured yet.
        """
        if name not in self._series:
            raise InputError(
                str(self.path), f"no curve {name!r}", ", ".join(self.names) or "none yet"
            )
        return self._padded(self._series[name])

    def _padded(self, column: Column) -> Floats:
        if column.length < len(self):
            column.extend(len(self), np.empty((0, 1)))
        return column.values

    def poll(self) -> bool:
        """Read what is new; return whether anything that is shown has changed."""
        had = len(self)
        try:
            stat = os.stat(self.path)
            seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if seen == self._seen:
                return False
            if self._seen is not None and (seen[0] != self._seen[0] or seen[1] < self._place):
                self._forget()
            changed = self._read()
        except FileNotFoundError:  # not there yet, or no more
            self._forget()
            return had > 0
        self._seen = seen
        return changed or len(self) != had

    def _read(self) -> bool:
        """Read from the place reached to the last whole line; return whether there was a row."""
        found = False
        with open(self.path, "rb") as file:
            file.seek(self._place - len(self._guard))
            if file.read(len(self._guard)) != self._guard:  # another file in the same place
                self._forget()
                file.seek(0)
            torn = b""
            while piece := file.read(PIECE):
                whole, newline, torn = (torn + piece).rpartition(b"\n")
                if newline:
                    found = self._take(whole) or found
                    self._place += len(whole) + 1
                    self._guard = (self._guard + whole + newline)[-GUARD:]
        return found

    def _take(self, lines: bytes) -> bool:
        rows = _parse(lines)
        if not rows:
            return False
        length = len(self) + len(rows)
        steps = np.array([row["step"] for row in rows], dtype=np.float64)
        self._steps.extend(length, steps[:, None])
        self._seconds.extend(length, _table([row.get("seconds") for row in rows]))
        for name in dict.fromkeys(name for row in rows for name in row):
            if name not in NOT_VALUES:
                values = _table([row.get(name) for row in rows])
                column = self._series.get(name)
                if column is None:
                    column = self._series[name] = Column(values.shape[1])
                column.extend(length, values)
        self._flags += [flag for row in rows if "flags" in row for flag in _flags(row)]
        return True


def _parse(lines: bytes) -> list[Row]:
    """Return the rows of whole lines; what is no row is left out."""
    try:
        # In one go: a third of the time of line by line.
        found = json.loads(b"[" + lines.replace(b"\n", b",") + b"]")
    except ValueError:
        found = []
    if len(found) != lines.count(b"\n") + 1:
        found = [_value(line) for line in lines.split(b"\n")]
    return [row for row in found if isinstance(row, dict) and type(row.get("step")) is int]


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _table(values: list[Any]) -> Floats:
    """Return one measurement of several rows, numbers or lists of numbers, as [T, S]; NaN for anything else."""
    try:
        table = np.array(values, dtype=np.float64)
    except (ValueError, TypeError):
        return _ragged(values)
    if table.ndim > 2:
        return _ragged(values)
    return table[:, None] if table.ndim == 1 else table


def _ragged(values: list[Any]) -> Floats:
    lists = [value if isinstance(value, list) else [value] for value in values]
    table = np.full((len(lists), max(1, *map(len, lists))), np.nan)
    for row, numbers in zip(table, lists, strict=True):
        for place, number in enumerate(numbers):
            if isinstance(number, int | float):
                row[place] = number
    return table


def _flags(row: Row) -> list[Raised]:
    told = row["flags"] if isinstance(row["flags"], list) else []
    return [
        Raised(row["step"], flag.get("seed"), str(flag.get("name")), str(flag.get("message")))
        for flag in told
        if isinstance(flag, dict)
    ]
