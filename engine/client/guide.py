"""The interpretation guide for front ends: terms, what would change a verdict, what not to conclude."""

from __future__ import annotations

from engine.report.guidance import thresholds_here, would_change
from engine.report.notes import caveats, meaning
from engine.study.guide import CHAPTERS, Chapter, Term

__all__ = ["CHAPTERS", "Chapter", "Term", "caveats", "meaning", "thresholds_here", "would_change"]
