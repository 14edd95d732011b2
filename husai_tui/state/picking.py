"""Presets and finished studies as a table to pick a start from."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from engine.disk.text import visible_line
from husai_tui.tones import Cell, Line


class PickRows:
    """What `list_studies` tells, studies of this runs root first."""

    def __init__(self, studies: Sequence[dict[str, Any]]) -> None:
        mine = [row for row in studies if row["source"] != "preset"]
        self._every = [*mine, *(row for row in studies if row["source"] == "preset")]
        self.filter = ""
        self._rows = self._every

    def set_filter(self, text: str) -> None:
        """Show only what has every word."""
        self.filter = text.strip()
        words = self.filter.lower().split()
        self._rows = [
            row
            for row in self._every
            if all(word in f"{row['name']} {row['description']}".lower() for word in words)
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def cells(self, row: int) -> Sequence[Cell]:
        """Return name, SAEs, where it is from, and what it asks."""
        one = self._rows[row]
        preset = one["source"] == "preset"
        said = "preset" if preset else "no report"
        if one["report"]:
            said = "preset ✓" if preset else "done ✓"
        return (
            one["name"],
            f"{one['saes']:,}" if one["saes"] else "",
            (said, "good" if one["report"] else "faint" if preset else "warn"),
            (one["description"], "faint"),
        )

    def key(self, row: int) -> str:
        """Return the name of a study."""
        return str(self._rows[row]["name"])

    def find(self, key: str) -> int | None:
        """Return the row of a study."""
        return next((n for n, row in enumerate(self._rows) if row["name"] == key), None)

    def about(self, key: str, width: int) -> list[Line]:
        """Return the whole question of a study, wrapped."""
        place = self.find(key)
        said = visible_line(self._rows[place]["description"]) if place is not None else ""
        lines = textwrap.wrap(said, max(20, width - 2), max_lines=2, placeholder=" …")
        found = [Line(((f" {line}", ""),)) for line in lines]
        return [
            *found,
            *[Line()] * (2 - len(found)),
            Line(((" ↵ starts from it   / filters   esc leaves", "faint"),)),
        ]
