"""What a screen shows, as files: CSV, JSON and text; pictures come from Textual."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FORMATS = ("csv", "json", "svg", "txt")


@dataclass(frozen=True)
class Exported:
    """The numbers behind a screen: a table, whole, not only what is in sight."""

    name: str
    """For the file's name: letters, digits and hyphens."""
    columns: Sequence[str]
    """Names as programs like them."""
    rows: Sequence[Sequence[Any]]
    """Values, not texts: numbers, text, None, lists of numbers."""
    command: str = ""
    """What reproduces it."""

    def to_csv(self) -> str:
        """Return the table as CSV; lists are written with semicolons inside."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow([_flat(value) for value in row])
        return out.getvalue()

    def to_json(self) -> str:
        """Return the table as one JSON object, `rows` as objects; JSON has null for what is not finite."""
        rows = [
            {name: _finite(value) for name, value in zip(self.columns, row, strict=True)}
            for row in self.rows
        ]
        told = {"name": self.name, "command": self.command, "rows": rows}
        return json.dumps(told, indent=1, allow_nan=False, default=_plain) + "\n"


def _flat(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ";".join(str(_flat(one)) for one in value)
    # A spreadsheet takes text that begins like this for a formula and runs it.
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" else value


def _finite(value: Any) -> Any:
    value = _plain(value) if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> object:
    """Return a value of numpy as one of Python."""
    item = getattr(value, "tolist", None)
    if item is None:
        raise TypeError(f"{type(value).__name__} cannot be written")
    return item()
