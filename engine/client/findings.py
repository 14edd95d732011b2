"""What a study found, in the words of its report: the same sentences for every front end."""

from __future__ import annotations

from typing import Any

from engine.report.contrasts import (
    finding_text,
    groups,
    incomparable,
    kappa_change,
    kappa_side,
    matched_text,
    others,
    reversed_change,
    side,
)
from engine.report.rediscovery import found_again_text
from engine.report.trends import trend_sentence
from engine.report.wording import (
    MISSING,
    cohort_label,
    explain_null,
    failed_gates,
    fraction,
    gates_mark,
    interval,
    kappa_digits,
    kappa_text,
    metric_title,
    percent,
    plural,
    quantity,
    short_null,
    spread,
    subjects_of,
    verdict_sentence,
)

__all__ = [
    "MISSING",
    "cohort_label",
    "explain_null",
    "failed_gates",
    "finding_text",
    "found_again_text",
    "fraction",
    "gates_mark",
    "groups",
    "incomparable",
    "interval",
    "kappa_change",
    "kappa_digits",
    "kappa_side",
    "kappa_text",
    "matched_text",
    "metric_title",
    "others",
    "percent",
    "plural",
    "quantity",
    "reversed_change",
    "sentence_at",
    "short_null",
    "side",
    "spread",
    "subjects_of",
    "trend_sentence",
    "verdict_sentence",
]


def sentence_at(cohort: dict[str, Any], metric: str, subset: str) -> str:
    """Return the verdict on a cohort at another metric and subset than those its verdict rests on."""
    if cohort["headline"] == {"metric": metric, "subset": subset}:
        return verdict_sentence(cohort)
    verdict = cohort["stability"][metric][subset]["verdict"]
    there = {"metric": metric, "subset": subset}
    return verdict_sentence({**cohort, "headline": there, "verdict": verdict})
