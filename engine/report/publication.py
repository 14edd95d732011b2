"""The report folder: summary, page and figures, written from what was measured and nothing else."""

from __future__ import annotations

from pathlib import Path

from engine.disk.atomic import write_bytes, write_json
from engine.errors import InputError
from engine.report.canvas import save_drawing, to_csv
from engine.report.figures import draw_figures
from engine.report.illustrations import Figures, map_images
from engine.report.page import render_page
from engine.report.wording import Record

SUMMARY, PAGE, FIGURES = "summary.json", "report.html", "figures"


def write_report(folder: Path, summary: Record, material: Record) -> None:
    """Write summary.json, report.html and figures/ into an existing empty folder.

    Args:
        folder: where to write.
        summary: the summary of the study; what could not be measured is None.
        material: rows and shares that the figures are drawn from.

    Raises:
        InputError: the folder is missing or not empty.
        ValueError: the summary holds a number that is not finite.
    """
    if not folder.is_dir() or any(folder.iterdir()):
        raise InputError(str(folder), "cannot hold a report", "an existing empty folder")
    write_json(folder / SUMMARY, summary)
    (folder / FIGURES).mkdir()
    drawings = draw_figures(summary, material)
    figures = Figures(
        {drawing.name: save_drawing(drawing, folder / FIGURES) for drawing in drawings},
        {drawing.name: to_csv(drawing) for drawing in drawings},
        [map_images(columns) for columns in material.get("features", ())],
    )
    write_bytes(folder / PAGE, render_page(summary, figures).encode())
