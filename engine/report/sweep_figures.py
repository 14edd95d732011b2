"""Figures of a search: κ and explained variance against one searched number."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from engine.report.canvas import MARKERS, BoundedFormatter, Drawing, new_figure, rule
from engine.report.colours import INK, PALETTE
from engine.report.sweeps import family, searched
from engine.report.wording import Record, headline
from engine.study.search import compact

LOG_FROM = 10
"""Values that span more than this factor are drawn on a logarithmic axis."""
TICKS = 8
Mark = tuple[float, Record]
"""Value of the searched key, and the cohort trained with it."""


def draw_sweeps(summary: Record) -> list[Drawing]:
    """Draw κ and explained variance against each searched number, a line for each setting of the rest."""
    drawings = [draw_sweep(summary, path, name) for path, name in searched(summary).items()]
    return [drawing for drawing in drawings if drawing is not None]


def draw_sweep(summary: Record, path: str, name: str) -> Drawing | None:
    """Draw one searched number; None if it has fewer than two values on a line, or too many lines."""
    lines = sweep_lines(summary, path)
    if not any(len(marks) > 1 for marks in lines.values()) or len(lines) > len(PALETTE):
        return None
    figure = new_figure(6.6, 2.9 + 0.18 * -(-len(lines) // 2))
    panels = figure.subplots(1, 2)
    for number, (label, marks) in enumerate(lines.items()):
        _draw_line(panels[0], panels[1], number, label, marks)
    values = sorted({value for marks in lines.values() for value, _ in marks})
    for axes, title in zip(panels, ("κ (0 is chance)", "explained variance"), strict=True):
        _scale(axes, values)
        axes.set_xlabel(name)
        axes.set_ylabel(title)
        axes.yaxis.set_major_formatter(BoundedFormatter())
        rule(axes)
    panels[0].axhline(0.0, color=INK, linewidth=0.9, zorder=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    columns = ("cohort", "hook", name, "kappa", "ci_low", "ci_high", "explained_variance", "ev_sd")
    rows = [_row(value, cohort) for marks in lines.values() for value, cohort in marks]
    return Drawing(f"sweep-{name}", figure, columns, rows)


def sweep_lines(summary: Record, path: str) -> dict[str, list[Mark]]:
    """Return the cohorts by what they have in common apart from one searched key, by its value."""
    lines: dict[str, list[Mark]] = {}
    for cohort in summary["cohorts"]:
        point = dict(cohort.get("point") or {})
        value = point.pop(path, None)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        names = searched(summary)
        rest = [f"{names[other]} {compact(given)}" for other, given in point.items()]
        lines.setdefault(" ".join([family(cohort), *rest]), []).append((float(value), cohort))
    return {label: sorted(marks, key=lambda mark: mark[0]) for label, marks in lines.items()}


def _draw_line(kappas: Axes, qualities: Axes, number: int, label: str, marks: list[Mark]) -> None:
    colour, marker = PALETTE[number], MARKERS[number]
    known = [(x, headline(cohort)) for x, cohort in marks if headline(cohort)["kappa"] is not None]
    look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.2}
    kappas.plot([x for x, _ in known], [cell["kappa"] for _, cell in known], label=label, **look)
    for x, cell in known:
        if cell["ci_low"] is not None and cell["ci_high"] is not None:
            kappas.plot([x, x], [cell["ci_low"], cell["ci_high"]], color=colour, linewidth=1.0)
    quality = [(x, cohort["quality"].get("explained_variance") or {}) for x, cohort in marks]
    told = [(x, value["mean"]) for x, value in quality if value.get("mean") is not None]
    qualities.plot([x for x, _ in told], [mean for _, mean in told], **look)


def _scale(axes: Axes, values: list[float]) -> None:
    """Use a logarithmic axis where values span much, with the values themselves as ticks."""
    if values[0] > 0 and values[-1] / values[0] > LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if len(values) <= TICKS:
        axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(float(value))))


def _row(value: float, cohort: Record) -> list[object]:
    cell, quality = headline(cohort), cohort["quality"].get("explained_variance") or {}
    bounds = [cell[name] for name in ("kappa", "ci_low", "ci_high")]
    return [cohort["title"], cohort["hook"], value, *bounds, quality.get("mean"), quality.get("sd")]
