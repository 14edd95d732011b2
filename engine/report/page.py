"""The report as one self-contained page: no network, complete without script, legible on paper and phone."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

from engine.report.columns import columns_table
from engine.report.comparisons import claims_section, comparisons, trend_captions
from engine.report.evidence import (
    contrasts_table,
    ladder_section,
    planes_table,
    quality_table,
    result_table,
    timings_table,
    training_flags,
    truth_table,
)
from engine.report.gallery import gallery_section
from engine.report.gate_tables import gates_table
from engine.report.geometry_section import geometry_section
from engine.report.guidance import thresholds_here, would_change
from engine.report.illustrations import Figures
from engine.report.markup import CSS, bullets, definitions, folded, paragraph
from engine.report.methods import methods
from engine.report.notes import caveats, meaning
from engine.report.opening import opening
from engine.report.recording import UNMEASURED, recording_lines
from engine.report.recurrence import activation_table, discoveries_table
from engine.report.similarity import similarity_section
from engine.report.sweeps import crowded, every_warning
from engine.report.truth_section import no_truth, truth_section
from engine.report.wording import (
    Record,
    cohort_label,
    describe_subject,
    duration,
    fraction,
    gates_mark,
    plural,
    step_range,
    subjects_of,
    truth_measures,
)
from engine.study.guide import CHAPTERS

SCRIPT = Path(__file__).with_name("page.js")
CAPTIONS = {
    "overlap": "Headline similarity of every pair of seeds and, where it is known by pairs, of a null, on one "
    "scale. The line on the colour bar is what chance scores; "
    "whether darker cells mean agreement beyond it is for the interval of κ to say. Seeds that are alike stand "
    "beside each other: an order of seeds for reading only.",
    "kappa": "κ for every metric, with 95 % intervals over seeds. Filled: live features; hollow: all. Bold "
    "figures carry the verdict; the code names the null. An arrow at the left edge: κ lies further below 0.",
    "sweep": "Stability and quality along one searched number, a line for each setting of the rest; κ with its "
    "95 % interval over seeds.",
    "distribution": "How well other seeds have each live feature; outlined, the surrogate's features, in "
    "which there is nothing to find. Right: the share of other seeds with its mutual nearest neighbour.",
    "density": "How often a feature fires against how well other seeds have it, darker where there are more. "
    "Lines: medians. Band: 90 % of the surrogate's features of the same density; what lies in it is "
    "no more alike than chance makes them.",
    "trend": "κ of each architecture against the L0 it reached, with 95 % intervals over seeds.",
    "quality": "Stability against quality, with 95 % intervals of κ and standard deviations over seeds.",
    "grokking": "Accuracy and losses over training. Grey: t₁, training pairs fitted; t₂, test pairs "
    "generalised. Restricted: the key frequencies alone; excluded: all but them.",
    "spectrum": "How much of logits and embedding lies at each frequency; the key frequencies are labelled.",
    "ablation": "What is left of each key frequency in the logits once the features of one are ablated, mean "
    "over seeds. Ideal: 0 on the diagonal, 1 elsewhere.",
    "curves": "Training of the cohort. Thick: median over seeds; band: their extremes; thin: each seed.",
}
"""What a figure shows, by the kind that begins its name."""
SECTIONS: list[tuple[str, str, Callable[[Record, Figures], str]]]


def render_page(summary: Record, figures: Mapping[str, str]) -> str:
    """Return report.html.

    Args:
        summary: the summary of the study.
        figures: SVG text by figure name, in the order of showing; as `Figures` with the numbers behind them
            and the maps of the galleries.
    """
    illustrated = figures if isinstance(figures, Figures) else Figures(figures)
    parts = [(anchor, title, make(summary, illustrated)) for anchor, title, make in SECTIONS]
    shown = [part for part in parts if part[2]]
    mark = _mark(summary)
    body = "".join(
        f'<section id="{anchor}"><h2><a class="anchor" href="#{anchor}">{title}</a>'
        f"{mark if anchor in MARKED else ''}</h2>\n{html}</section>\n"
        for anchor, title, html in shown
    )
    title = escape(f"{summary['study']} · HUSAI report")
    script = SCRIPT.read_text(encoding="utf-8").strip()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>\n{CSS.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        f"{opening(summary)}{_contents(summary, shown)}\n<main>\n{body}</main>\n{_footer(summary)}"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _policy(script: str) -> str:
    """Return what the page may do: its own style, its own images, this script and no other; no network."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _contents(summary: Record, shown: list[tuple[str, str, str]]) -> str:
    count = len(every_warning(summary))
    first = [f'<li><a href="#warnings">{plural(count, "warning")}</a></li>'] if count else []
    items = [f'<li><a href="#{anchor}">{title}</a></li>' for anchor, title, _ in shown]
    return f'<nav aria-label="Contents"><ul>{"".join(first + items)}</ul></nav>'


def _mark(summary: Record) -> str:
    mark = gates_mark(summary)
    return f'<span class="mark">✗ {escape(mark)}</span>' if mark else ""


def _result(summary: Record, figures: Figures) -> str:
    table = result_table(summary) + contrasts_table(summary)
    swept = figures.of_kinds(CAPTIONS, "sweep", "trend")
    if swept and (captions := trend_captions(summary)):
        swept += bullets(captions)
    return table + swept + figures.of_kinds(CAPTIONS, "overlap", "kappa")


def _comparisons(summary: Record, _: Figures) -> str:
    return comparisons(summary)


def _claims(summary: Record, _: Figures) -> str:
    return claims_section(summary)


def _ladder(summary: Record, _: Figures) -> str:
    return "".join(ladder_section(summary, cohort) for cohort in summary["cohorts"])


def _recurrence(summary: Record, _: Figures) -> str:
    return activation_table(summary) + discoveries_table(summary)


def _notes(summary: Record, _: Figures) -> str:
    means, cautions = bullets(meaning(summary)), bullets(caveats(summary))
    html = f"{means}<h3>What would change the verdict</h3>\n{_changes(summary)}"
    return f"{html}<h3>What not to conclude</h3>\n{cautions}"


def _changes(summary: Record) -> str:
    html = ""
    for cohort in summary["cohorts"]:
        label, texts = cohort_label(summary, cohort), bullets(would_change(summary, cohort))
        html += f"<h4>{escape(label)}</h4>\n{texts}"
    return folded("each cohort", html) if crowded(summary) else html


def _features(summary: Record, figures: Figures) -> str:
    drawn = figures.of_kinds(CAPTIONS, "distribution", "density")
    shown = gallery_section(summary, figures)
    return drawn + (f'<h3 id="gallery">Gallery</h3>\n{shown}' if shown else "")


def _guide(summary: Record, _: Figures) -> str:
    """Return what each number means, a chapter at a time."""
    html = ""
    for chapter in CHAPTERS:
        terms = "".join(
            f"<dt>{escape(term.name)}</dt><dd>{escape(f'{term.means} {term.beware}'.strip())}</dd>\n"
            for term in chapter.terms
        )
        html += f'<h3>{escape(chapter.title)}</h3>\n<dl class="guide">{terms}</dl>\n'
    here = dict.fromkeys(filter(None, map(thresholds_here, summary["cohorts"])))
    return html + "".join(paragraph(text) for text in here)


def _quality(summary: Record, figures: Figures) -> str:
    tables = quality_table(summary) + training_flags(summary)
    return tables + figures.of_kinds(CAPTIONS, "quality", "curves")


def _truth(summary: Record, figures: Figures) -> str:
    if not any(truth_measures(cohort) for cohort in summary["cohorts"]):
        return no_truth(summary)
    more = truth_section(summary, figures.of_kinds(CAPTIONS, "ablation"))
    return truth_table(summary) + no_truth(summary) + planes_table(summary) + more


def _subject(summary: Record, figures: Figures) -> str:
    drawn = figures.of_kinds(CAPTIONS, "grokking", "spectrum")
    if summary["subject"]["kind"] == "external":
        return _recordings(summary)
    if summary["subject"]["kind"] != "modular":
        return paragraph(describe_subject(summary).capitalize() + ".") + drawn
    subjects = subjects_of(summary)
    if len(subjects) == 1:
        return _story(subjects[0]) + gates_table(subjects[0]["gates"]) + drawn
    told = [
        folded(subject["title"], _story(subject) + gates_table(subject["gates"]))
        for subject in subjects
        if subject["kind"] == "modular"
    ]
    note = f"The figures show the first: {subjects[0]['title']}."
    return "".join(told) + drawn + paragraph(note, "note")


def _recordings(summary: Record) -> str:
    html = ""
    for subject in subjects_of(summary):
        title = f"<h3>{escape(subject['title'])}</h3>\n" if "title" in subject else ""
        html += title + definitions(dict(recording_lines(summary, subject)))
    return html + paragraph(UNMEASURED)


def _story(subject: Record) -> str:
    grokked = subject.get("grokked") or {}
    train, test = step_range(grokked.get("train")), step_range(grokked.get("test"))
    keys = ", ".join(str(key) for key in subject["key_frequencies"] or ())
    steps = "–" if subject["steps"] is None else f"{subject['steps']:,}"
    fourier = (
        f"The key frequencies {keys} explain {fraction(subject['fve'], 3)} of the logits' variance."
        if keys
        else "No small set of frequencies explains its logits."
    )
    return paragraph(
        f"The training pairs were fitted {train}, the test pairs {test}. After {steps} steps "
        f"({duration(subject['seconds'])}) accuracy is {fraction(subject['train_accuracy'], 4)} on training "
        f"pairs and {fraction(subject['test_accuracy'], 4)} on test pairs. {fourier}"
    )


def _methods(summary: Record, _: Figures) -> str:
    return "".join(f"<h3>{head}</h3>\n{paragraph(text)}" for head, text in methods(summary))


def _provenance(summary: Record, _: Figures) -> str:
    html = timings_table(summary["timings"])
    for name in ("versions", "seeds", "environment", "keys"):
        values = summary["provenance"].get(name)
        if values:
            html += f"<h3>{name.capitalize()}</h3>\n{definitions(_flat(values))}"
    settings = json.dumps(summary["provenance"].get("settings"), indent=1, ensure_ascii=False)
    html += folded("Columns of features.parquet", columns_table())
    return html + f"<details><summary>Settings</summary><pre>{escape(settings)}</pre></details>\n"


def _flat(values: Mapping[str, object]) -> dict[str, str]:
    return {
        str(name): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }


def _footer(summary: Record) -> str:
    version = summary["provenance"].get("versions", {}).get("husai")
    made = f"HUSAI {version}" if version else "HUSAI"
    said = (
        "The numbers are in summary.json and features.parquet; figures/ has every figure as SVG, PNG and CSV. "
        "Links to those files need the folder of the report; this page alone needs nothing."
    )
    return f"<footer>{escape(made)}. {said}</footer>\n"


SECTIONS = [
    ("result", "Result", _result),
    ("comparisons", "Differences and trends", _comparisons),
    ("claims", "The claims, re-examined", _claims),
    ("meaning", "What this means", _notes),
    ("features", "The features one by one", _features),
    ("nulls", "Every metric and null", _ladder),
    ("again", "By activations, and feature by feature", _recurrence),
    ("similarity", "Other measures of similarity", lambda summary, _: similarity_section(summary)),
    ("quality", "Quality of the autoencoders", _quality),
    ("truth", "Ground truth", _truth),
    ("geometry", "Geometry", geometry_section),
    ("subject", "The subject", _subject),
    ("guide", "How to read the numbers", _guide),
    ("methods", "Methods", _methods),
    ("provenance", "Time and provenance", _provenance),
]
"""Anchor, heading and content of each section; an empty one is left out."""
MARKED = frozenset(
    {
        "result",
        "comparisons",
        "claims",
        "features",
        "nulls",
        "again",
        "similarity",
        "quality",
        "truth",
        "geometry",
        "subject",
    }
)
"""Sections with results, which carry the mark of failed gates."""
