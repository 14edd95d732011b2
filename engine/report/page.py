"""The report as one self-contained page: no network, no script, legible on paper and on a phone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape

from engine.report.columns import columns_table
from engine.report.comparisons import claims_section, comparisons, trend_captions
from engine.report.evidence import (
    contrasts_table,
    gates_table,
    ladder_section,
    planes_table,
    quality_table,
    result_table,
    timings_table,
    training_flags,
    truth_table,
)
from engine.report.geometry_section import geometry_section
from engine.report.markup import CSS, bullets, definitions, figure, folded, paragraph
from engine.report.methods import methods
from engine.report.notes import caveats, meaning
from engine.report.similarity import similarity_section
from engine.report.sweeps import counts, crowded, every_warning, missing, other_warnings
from engine.report.truth_section import truth_section
from engine.report.wording import (
    Record,
    cohort_label,
    describe_subject,
    duration,
    failed_gates,
    fraction,
    gates_mark,
    plural,
    step_range,
    subjects_of,
    truth_measures,
    verdict_sentence,
)

CAPTIONS = {
    "overlap": "Headline similarity of every pair of seeds. The line on the colour bar is what chance scores; "
    "whether darker cells mean agreement beyond it is for the interval of κ to say. Seeds that are alike stand "
    "beside each other: an order of seeds for reading only.",
    "kappa": "κ for every metric, with 95 % intervals over seeds. Filled: live features; hollow: all. Bold "
    "figures carry the verdict; the code names the null.",
    "sweep": "Stability and quality along one searched number, a line for each setting of the rest; κ with its "
    "95 % interval over seeds.",
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
SECTIONS: list[tuple[str, str, Callable[[Record, Mapping[str, str]], str]]]


def render_page(summary: Record, figures: Mapping[str, str]) -> str:
    """Return report.html.

    Args:
        summary: the summary of the study.
        figures: SVG text by figure name, in the order of showing.
    """
    parts = [(anchor, title, make(summary, figures)) for anchor, title, make in SECTIONS]
    shown = [part for part in parts if part[2]]
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in shown)
    mark = _mark(summary)
    body = "".join(
        f'<section id="{anchor}"><h2>{title}{mark if anchor in MARKED else ""}</h2>\n{html}</section>\n'
        for anchor, title, html in shown
    )
    title = escape(f"{summary['study']} · HUSAI report")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{CSS.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        f"{_opening(summary)}<nav>{links}</nav>\n{body}{_footer(summary)}</body>\n</html>\n"
    )


def _opening(summary: Record) -> str:
    """Return the question, the verdicts, and what is wrong, in this order."""
    about = f"HUSAI report · {summary['study']} · {describe_subject(summary)}"
    question = (
        summary["description"] or "Are these features a property of the model or of the seed?"
    )
    if crowded(summary):
        verdicts = f'<div class="verdict">{paragraph(counts(summary))}</div>\n'
    else:
        verdicts = "".join(_verdict(summary, cohort) for cohort in summary["cohorts"])
    head = f"<header>{paragraph(about, 'kicker')}<h1>{escape(question)}</h1>\n"
    return f"{head}{verdicts}{_problems(summary)}</header>\n"


def _verdict(summary: Record, cohort: Record) -> str:
    mark = " open" if cohort["verdict"] == "undetermined" else ""
    of, said = paragraph(cohort_label(summary, cohort), "of"), paragraph(verdict_sentence(cohort))
    return f'<div class="verdict{mark}">{of}{said}</div>\n'


def _problems(summary: Record) -> str:
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
        html += f'<div class="caution">{paragraph(count)}{listed}</div>\n'
    return html


def _mark(summary: Record) -> str:
    mark = gates_mark(summary)
    return f'<span class="mark">✗ {escape(mark)}</span>' if mark else ""


def _figures_of(figures: Mapping[str, str], *kinds: str) -> str:
    """Return the figures of some kinds; several of one kind stand side by side where there is room."""
    html = ""
    for kind in kinds:
        names = [name for name in figures if name.split("-")[0] == kind]
        if len(names) > 1:
            drawn = "".join(figure(figures[name], name, CAPTIONS[kind]) for name in names)
            html += f'<div class="figures">{drawn}</div>\n{paragraph(CAPTIONS[kind], "note")}'
        elif names:
            html += figure(figures[names[0]], names[0], CAPTIONS[kind], CAPTIONS[kind])
    return html


def _result(summary: Record, figures: Mapping[str, str]) -> str:
    table = result_table(summary) + contrasts_table(summary)
    swept = _figures_of(figures, "sweep", "trend")
    if swept and (captions := trend_captions(summary)):
        swept += bullets(captions)
    return table + swept + _figures_of(figures, "overlap", "kappa")


def _comparisons(summary: Record, _: Mapping[str, str]) -> str:
    return comparisons(summary)


def _claims(summary: Record, _: Mapping[str, str]) -> str:
    return claims_section(summary)


def _ladder(summary: Record, _: Mapping[str, str]) -> str:
    return "".join(ladder_section(summary, cohort) for cohort in summary["cohorts"])


def _notes(summary: Record, _: Mapping[str, str]) -> str:
    means, cautions = bullets(meaning(summary)), bullets(caveats(summary))
    return f"{means}<h3>What not to conclude</h3>\n{cautions}"


def _quality(summary: Record, figures: Mapping[str, str]) -> str:
    tables = quality_table(summary) + training_flags(summary)
    return tables + _figures_of(figures, "quality", "curves")


def _truth(summary: Record, figures: Mapping[str, str]) -> str:
    if not any(truth_measures(cohort) for cohort in summary["cohorts"]):
        return ""
    more = truth_section(summary, _figures_of(figures, "ablation"))
    return truth_table(summary) + planes_table(summary) + more


def _subject(summary: Record, figures: Mapping[str, str]) -> str:
    drawn = _figures_of(figures, "grokking", "spectrum")
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


def _methods(summary: Record, _: Mapping[str, str]) -> str:
    return "".join(f"<h3>{head}</h3>\n{paragraph(text)}" for head, text in methods(summary))


def _provenance(summary: Record, _: Mapping[str, str]) -> str:
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
    said = "The numbers are in summary.json, those behind each figure in figures/*.csv."
    return f"<footer>{escape(made)}. {said}</footer>\n"


SECTIONS = [
    ("result", "Result", _result),
    ("comparisons", "Differences and trends", _comparisons),
    ("claims", "The claims, re-examined", _claims),
    ("meaning", "What this means", _notes),
    ("nulls", "Every metric and null", _ladder),
    ("similarity", "Other measures of similarity", lambda summary, _: similarity_section(summary)),
    ("quality", "Quality of the autoencoders", _quality),
    ("truth", "Ground truth", _truth),
    ("geometry", "Geometry", geometry_section),
    ("subject", "The subject", _subject),
    ("methods", "Methods", _methods),
    ("provenance", "Time and provenance", _provenance),
]
"""Anchor, heading and content of each section; an empty one is left out."""
MARKED = frozenset(
    {
        "result",
        "comparisons",
        "claims",
        "nulls",
        "similarity",
        "quality",
        "truth",
        "geometry",
        "subject",
    }
)
"""Sections with results, which carry the mark of failed gates."""
