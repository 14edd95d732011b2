"""Texts that carry a meaning; themes give the meaning its colour, and the text says it without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["", "faint", "good", "warn", "bad", "accent", "strong", "rule"]
Cell = str | tuple[str, Tone]
"""Of a table: text, and what it means."""
Part = tuple[str, Tone]
"""Of a line."""


@dataclass(frozen=True)
class Line:
    """One line of a sheet."""

    parts: tuple[Part, ...] = ()
    cursor: bool = False
    """Whether the cursor stands on it."""
    caret: int = -1
    """Cell that is shown reversed: where typed text goes, or the option that `space` turns; -1: none."""


THEMES = ("husai-dark", "husai-light", "ansi-dark", "ansi-light")
"""Ours, and two that use the sixteen colours of the terminal."""
