"""How the page opens: the verdict in one sentence, then each cohort's, then what is wrong."""

from __future__ import annotations

from html import escape

from engine.report.markup import bullets, folded, paragraph
from engine.report.rediscovery import found_again_text
from engine.report.sweeps import (
    VERDICTS,
    counts,
    crowded,
    every_warning,
    missing,
    other_warnings,
)
from engine.report.wording import (
    SIMILARITY,
    Record,
    cohort_label,
    describe_subject,
    failed_gates,
    gates_mark,
    plural,
    verdict_sentence,
)

QUESTION = "Are these features a property of the model or of the seed?"


def study_verdict(summary: Record) -> str:
    """Return what a study found as one sentence."""
    cohorts = summary["cohorts"]
    if len(cohorts) == 1:
        return verdict_sentence(cohorts[0])
    if crowded(summary):
        return f"{counts(summary)}."
    said: list[str] = []
    for verdict in VERDICTS:
        labels = [cohort_label(summary, c) for c in cohorts if c["verdict"] == verdict]
        if labels:
            of = " and of ".join(filter(None, (", of ".join(labels[:-1]), labels[-1])))
            start = f"those of {of}" if said else f"the features of {of}"
            said.append(
                f"{start} are {SIMILARITY[verdict]}"
                if verdict in SIMILARITY
                else f"whether {start} are alike beyond chance is open"
            )
    sizes = {len(cohort["seeds"]) for cohort in cohorts}
    across = f"Across {plural(sizes.pop(), 'seed')}" if len(sizes) == 1 else "Across seeds"
    return f"{across}, {'; '.join(said)}."


def opening(summary: Record) -> str:
    """Return the question, the verdicts, and what is wrong, in this order."""
    about = f"HUSAI report · {summary['study']} · {describe_subject(summary)}"
    head = paragraph(about, "kicker") + paragraph(summary["description"] or QUESTION, "question")
    mark = " open" if all(c["verdict"] == "undetermined" for c in summary["cohorts"]) else ""
    single = len(summary["cohorts"]) == 1
    of = paragraph(cohort_label(summary, summary["cohorts"][0]), "of") if single else ""
    verdict = (
        f'<div class="verdict{mark}">{of}<h1>{paragraph_text(study_verdict(summary))}</h1></div>\n'
    )
    found = found_again_text(summary["cohorts"][0]) if single else ""
    each = paragraph(found) if found else ""
    if not single and not crowded(summary):
        lines = "".join(_verdict(summary, cohort) for cohort in summary["cohorts"])
        each = f'<dl class="each">{lines}</dl>\n'
    return f"<header>{head}{verdict}{each}{problems(summary)}</header>\n"


def paragraph_text(text: str) -> str:
    """Return text as a paragraph has it, without the paragraph."""
    return paragraph(text).removeprefix("<p>").rstrip().removesuffix("</p>")


def _verdict(summary: Record, cohort: Record) -> str:
    label = escape(cohort_label(summary, cohort))
    said = " ".join(filter(None, (verdict_sentence(cohort), found_again_text(cohort))))
    return f"<dt>{label}</dt><dd>{paragraph_text(said)}</dd>\n"


def problems(summary: Record) -> str:
    """Return failed gates, missing cohorts and warnings; empty if there are none."""
    html = ""
    mark = gates_mark(summary)
    if mark:
        said = f"✗ {mark}. SAEs were trained all the same; every result carries this mark."
        reasons = [
            f"{gate['name']} {gate['title']}: {gate['reason']}" for gate in failed_gates(summary)
        ]
        html += f'<div class="problem">{paragraph(said)}{bullets(reasons)}</div>\n'
    if lost := missing(summary):
        said = f"✗ {plural(len(lost), 'cohort')} failed and {'is' if len(lost) == 1 else 'are'} missing below."
        html += f'<div class="problem">{paragraph(said)}{bullets(lost)}</div>\n'
    if warnings := other_warnings(summary):
        every = every_warning(summary)
        count, listed = plural(len(every), "warning"), bullets(warnings)
        if len(warnings) < len(every):
            listed += folded("each of them", bullets(every))
        html += f'<div class="caution" id="warnings">{paragraph(count)}{listed}</div>\n'
    return html
