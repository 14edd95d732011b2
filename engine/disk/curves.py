"""Curves: one JSON object per line, appended while a job runs, read while it is written."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Value = float | Sequence[float]
Row = dict[str, Any]
NOT_VALUES = frozenset({"step", "seconds", "flags"})
"""Names in a row that are no measurement."""


@dataclass(frozen=True)
class Flag:
    """Something in a row that a person should look at."""

    name: str
    """Kind: `loss_rising`, `diverged`, ...; one word, for programs."""
    message: str
    """What was seen, for people."""
    seed: int | None = None
    """Whose it is."""


class CurveWriter:
    """Appends rows to `curves.jsonl`; non-finite values become null, which readers show as gaps."""

    def __init__(self, path: Path, keep_through: int = -1) -> None:
        """Open for appending; rows after step `keep_through` are dropped first.

        A resumed run repeats the steps after its checkpoint: dropping their rows keeps each step once.
        """
        if path.exists():
            kept = [row for row in read_curves(path) if row["step"] <= keep_through]
            text = "".join(json.dumps(row) + "\n" for row in kept)
            aside = path.with_suffix(".tmp")
            aside.write_text(text)
            os.replace(aside, path)
        self._file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115

    def write(
        self,
        step: int,
        values: Mapping[str, Value],
        flags: Sequence[Flag] = (),
        seconds: float | None = None,
    ) -> None:
        """Append one row: the step, the seconds of training up to it where they are told, its named values
        (a number, or a list with one per seed), and, where there are any, its red flags as a list under
        `flags`."""
        row: Row = {"step": step}
        if seconds is not None:
            row["seconds"] = round(seconds, 3)
        row.update((name, _finite(value)) for name, value in values.items())
        if flags:
            row["flags"] = [asdict(flag) for flag in flags]
        self._file.write(json.dumps(row, allow_nan=False) + "\n")

    def close(self) -> None:
        """Close the file; further writes fail."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _finite(value: Value) -> float | list[float | None] | None:
    if isinstance(value, (int, float)):
        return value if math.isfinite(value) else None
    return [item if math.isfinite(item) else None for item in value]


def read_curves(path: Path) -> list[Row]:
    """Read all whole rows; a torn last line (the writer was killed in it) is left out.

    Rows are dicts with `step` and the values written; a missing file has no rows.
    """
    if not path.exists():
        return []
    rows: list[Row] = []
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
    return rows


def read_last_row(path: Path) -> Row | None:
    """Return the newest whole row without reading the file through; None if there is none yet."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (1 << 16)))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            return row
    return None
