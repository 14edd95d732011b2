"""A sheet of characters, each with its ink: what a drawing widget shows, and compares with what it showed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, get_character_cell_size

from engine.disk.text import visible_line

INKS = ("", "faint", "rule", "good", "warn", "bad", "accent", "strong")
"""Tones that an ink can be; their numbers are their places."""
SERIES, DIM, COLOURS = 10, 20, 8
"""Inks of the curves: `SERIES` to `SERIES + 7`, and the same, subdued, from `DIM` on."""
Ink = int | str
Part = tuple[str, Ink]
"""A text and its ink: the name of a tone, or the number of a curve's ink."""


def series_ink(place: int) -> int:
    """Return the ink of a curve; it stays the same whichever others are shown."""
    return SERIES + place % COLOURS


class Paper:
    """Characters [rows, columns] and their inks; what is written beyond the edge is left out."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = max(0, width), max(0, height)
        self.characters = np.full((self.height, self.width), " ", dtype="U1")
        self.inks = np.zeros((self.height, self.width), dtype=np.int16)

    def write(self, x: int, y: int, text: str, ink: Ink = "", room: int | None = None) -> int:
        """Write one line of text and return where it ends; what does not fit into `room` ends in …"""
        end = self.width if room is None else min(self.width, x + room)
        if not 0 <= y < self.height or x < 0 or x >= end:
            return x
        text, number = shorten(visible_line(text), end - x), _number(ink)
        for character in text:
            size = get_character_cell_size(character)
            if size == 0:
                continue
            self.characters[y, x] = character
            self.characters[y, x + 1 : x + size] = ""  # the second half of a wide one
            self.inks[y, x : x + size] = number
            x += size
        return x

    def parts(self, x: int, y: int, parts: Sequence[Part], room: int | None = None) -> int:
        """Write texts one after the other; return where they end."""
        end = self.width if room is None else min(self.width, x + room)
        for text, ink in parts:
            if x >= end:
                break
            x = self.write(x, y, text, ink, end - x)
        return x

    def right(self, y: int, parts: Sequence[Part], end: int, room: int) -> int:
        """Write texts so that they end at a column, the first ones left out where there is no room.

        Returns:
            Where they begin.
        """
        kept = list(parts)
        while kept and length(kept) > room:
            kept.pop(0)
        start = end - length(kept)
        self.parts(start, y, kept)
        return start

    def paste(self, x: int, y: int, characters: NDArray[np.str_], inks: NDArray[np.int16]) -> None:
        """Lay characters over what is there, except where they are spaces."""
        rows, columns = characters.shape
        rows, columns = min(rows, self.height - y), min(columns, self.width - x)
        if rows <= 0 or columns <= 0 or min(x, y) < 0:
            return
        there = characters[:rows, :columns] != " "
        self.characters[y : y + rows, x : x + columns][there] = characters[:rows, :columns][there]
        self.inks[y : y + rows, x : x + columns][there] = inks[:rows, :columns][there]

    def runs(self, y: int) -> list[tuple[str, int]]:
        """Return a row as texts of one ink each."""
        inks = self.inks[y]
        starts = np.flatnonzero(inks[1:] != inks[:-1]) + 1
        bounds = sorted({0, *starts.tolist(), self.width})
        row = self.characters[y].tolist()
        return [
            ("".join(row[start:end]), int(inks[start]))
            for start, end in pairwise(bounds)
            if end > start
        ]

    def lines(self) -> list[str]:
        """Return the rows as text, without inks."""
        return ["".join(row).rstrip() for row in self.characters.tolist()]

    def changes(self, before: Paper, gap: int = 12) -> list[tuple[int, int, int]]:
        """Return what differs from another sheet of the same size as (column, row, width).

        Two changes in a row less than `gap` cells apart are one: to go there and to set the colour again
        takes more bytes than the cells between.
        """
        changed = (self.characters != before.characters) | (self.inks != before.inks)
        found = []
        for y in np.flatnonzero(changed.any(axis=1)).tolist():
            places = np.flatnonzero(changed[y])
            cuts = np.flatnonzero(np.diff(places) > gap)
            starts = places[np.concatenate(([0], cuts + 1))].tolist()
            ends = places[np.concatenate((cuts, [len(places) - 1]))].tolist()
            # The second half of a wide character goes with the first.
            ends = [b + int(self.characters[y, b + 1 : b + 2].tolist() == [""]) for b in ends]
            found += [(a, y, b - a + 1) for a, b in zip(starts, ends, strict=True)]
        return found


def length(parts: Sequence[Part]) -> int:
    """Return how many cells texts take."""
    return sum(cell_len(visible_line(text)) for text, _ in parts)


def shorten(text: str, room: int) -> str:
    """Return a text of at most so many cells; one that does not fit ends in …"""
    if cell_len(text) <= room:
        return text
    kept = ""
    for character in text:
        if cell_len(kept + character) >= room:
            break
        kept += character
    return kept + "…" if room > 0 else ""


def wrap(text: str, width: int, most: int) -> list[str]:
    """Return a text as at most so many lines; what is left out is told by …"""
    lines: list[str] = []
    line = ""
    for word in visible_line(text).split():
        longer = f"{line} {word}" if line else word
        if cell_len(longer) <= width or not line:
            line = longer
        else:
            lines.append(line)
            line = word
    lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [shorten(line, width) for line in lines if line]


def _number(ink: Ink) -> int:
    return ink if isinstance(ink, int) else INKS.index(ink)
