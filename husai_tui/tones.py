"""Texts that carry a meaning; themes give the meaning its colour, and the text says it without one."""

from __future__ import annotations

from typing import Literal

Tone = Literal["", "faint", "good", "warn", "bad", "accent", "strong"]
Cell = str | tuple[str, Tone]
"""Of a table: text, and what it means."""
Part = tuple[str, Tone]
"""Of a line."""
THEMES = ("husai-dark", "husai-light", "ansi-dark", "ansi-light")
"""Ours, and two that use the sixteen colours of the terminal."""
