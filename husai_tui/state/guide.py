"""The interpretation guide as lines of text: first what it says of the study in sight, then every term."""

from __future__ import annotations

from engine.client.guide import CHAPTERS, caveats, thresholds_here, would_change
from husai_tui.state.compare import Comparison
from husai_tui.state.contrasts import paragraph
from husai_tui.state.evidence import Line

INDENT = 2


def guide_lines(comparison: Comparison | None, label: str, width: int) -> list[Line]:
    """Return the guide in lines of so many columns; without a study, or a cohort of it, its terms alone."""
    lines: list[Line] = []
    if comparison is not None and label in comparison.cohorts:
        summary, cohort = comparison.summary, comparison.cohorts[label]
        lines += paragraph(f"What would change the verdict on {label}", width, "accent")
        lines += _listed(would_change(summary, cohort), width)
        lines += [[], *paragraph("What not to conclude", width, "accent")]
        lines += _listed(caveats(summary), width)
        lines.append([])
    for chapter in CHAPTERS:
        lines += paragraph(chapter.title, width, "accent")
        for term in chapter.terms:
            lines += paragraph(term.name, width, "strong")
            said = f"{term.means} {term.beware}".strip()
            lines += _indented(paragraph(said, width - INDENT, ""))
        lines.append([])
    if comparison is not None and label in comparison.cohorts:
        here = thresholds_here(comparison.cohorts[label])
        return [*lines, *paragraph(here, width, "")] if here else lines[:-1]
    return lines[:-1]


def _listed(texts: list[str], width: int) -> list[Line]:
    lines: list[Line] = []
    for text in texts:
        first, *rest = paragraph(text, width - INDENT, "")
        lines += [[("• ", "faint"), *first], *_indented(rest)]
    return lines


def _indented(lines: list[Line]) -> list[Line]:
    return [[(" " * INDENT, ""), *line] for line in lines]
