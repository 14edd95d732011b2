"""All figures of a study, in the order in which the page shows them."""

from __future__ import annotations

import re

from engine.report.canvas import Drawing, house_style
from engine.report.cohort_figures import draw_curves, draw_overlap
from engine.report.colours import PROBLEM
from engine.report.feature_figures import draw_density, draw_distribution
from engine.report.geometry_section import draw_geometry
from engine.report.study_figures import draw_kappa, draw_quality
from engine.report.subject_figures import draw_grokking, draw_spectrum
from engine.report.sweep_figures import draw_sweeps
from engine.report.sweeps import crowded
from engine.report.trend_figures import draw_trends
from engine.report.truth_figures import draw_ablation
from engine.report.wording import Record, cohort_label, gates_mark

NAME_LENGTH = 32
"""Characters of a cohort's title that go into names of files; longer ones end at a word."""


def figure_name(kind: str, number: int, cohort: Record) -> str:
    """Return the stem of a cohort's figure: `overlap-1-topk-1024-k32`; the number keeps stems apart."""
    title = re.sub(r"[^a-z0-9.]+", "-", str(cohort["title"]).lower()).strip("-")
    if len(title) > NAME_LENGTH:
        title = title[: NAME_LENGTH + 1].rpartition("-")[0] or title[:NAME_LENGTH]
    return f"{kind}-{number + 1}-{title}"


def draw_figures(summary: Record, material: Record) -> list[Drawing]:
    """Draw every figure for which there are numbers; with many cohorts, none for each of them.

    Args:
        summary: the summary of the study.
        material: curves of the subject and of the cohorts, in the summary's order, the spectrum, and the
            columns of the cohorts' features.
    """
    drawings: list[Drawing | None] = []
    each = [] if crowded(summary) else summary["cohorts"]
    with house_style():
        for number, cohort in enumerate(each):
            name, label = figure_name("overlap", number, cohort), cohort_label(summary, cohort)
            drawings.append(draw_overlap(cohort, name, label))
        drawings += draw_sweeps(summary)
        drawings.append(draw_trends(summary))
        drawings.append(draw_kappa(summary) if each else None)
        drawings.append(draw_quality(summary))
        for number, cohort in enumerate(each):
            name, label = figure_name("ablation", number, cohort), cohort_label(summary, cohort)
            drawings.append(draw_ablation(cohort, name, label))
        for kind, draw in (("distribution", draw_distribution), ("density", draw_density)):
            for number, (cohort, seen) in enumerate(
                zip(each, material.get("features", ()), strict=False)
            ):
                drawings.append(
                    draw(seen, figure_name(kind, number, cohort), cohort_label(summary, cohort))
                )
        drawings += draw_geometry(summary)
        subject = summary["subject"]
        drawings.append(draw_grokking(subject, material["subject_curves"]))
        drawings.append(draw_spectrum(material["spectrum"]))
        for number, (cohort, traced) in enumerate(zip(each, material["cohorts"], strict=False)):
            name, label = figure_name("curves", number, cohort), cohort_label(summary, cohort)
            drawings.append(draw_curves(cohort, traced, name, label))
        drawn = [drawing for drawing in drawings if drawing is not None]
        mark = gates_mark(summary)
        for drawing in drawn if mark else []:
            style = {"color": PROBLEM, "fontsize": 7.5, "ha": "right", "x": 0.995}
            drawing.figure.supxlabel(f"✗ {mark}", **style)
    return drawn
