"""Figures of one cohort: how alike its seeds are, pair by pair, and how they were trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap

from engine.report.canvas import (
    BoundedFormatter,
    Drawing,
    counted,
    new_figure,
    percentages,
    rule,
    wrapped,
)
from engine.report.colours import FAINT, PALETTE, PAPER
from engine.report.wording import (
    Record,
    fraction,
    headline,
    kappa_text,
    metric_title,
    short_null,
)

BLUES = LinearSegmentedColormap.from_list(
    "overlap", ["#f2f6fb", "#9dc3e0", "#2f7fb8", "#0b3c66"], N=64
)
"""From nothing in common to the same; lightness falls evenly, so it survives grey printing."""
ANNOTATED_SEEDS = 12
"""Above this many seeds the numbers would touch; the CSV has them."""
TITLE_POINTS = 9.5
"""Font size of what stands above a whole figure."""
AXES_INSET = 1.1
"""Inches from the edge of a figure to its cells, with the labels of the seeds, and of the margin beyond."""
FLOOR = -0.1
"""Explained variance below which a curve is cut off: what comes after the first steps is what matters."""
PAIRED = {"N3": "Surrogate's features", "N6": "Planes turned at random"}
"""Nulls with a value for each pair of seeds, as the title of their matrix."""
PANELS = {
    "loss": "Loss",
    "explained_variance": "Explained variance",
    "l0": "L0 (active latents per input)",
    "dead_fraction": "Silent latents (training window)",
    "mean_max_cos": "Agreement of the seeds (mean max cosine)",
}


def draw_overlap(cohort: Record, name: str, label: str) -> Drawing | None:
    """Draw the headline metric for every pair of seeds, with the null on the colour bar and, where the pairs of
    a null are known, their matrix beside.

    Seeds that are alike stand beside each other, for reading only. None if no pair could be measured.
    """
    cell, (seeds, places) = headline(cohort), _reading_order(cohort)
    pairs = _matrix(cell["pairs"])[np.ix_(places, places)]
    if not np.isfinite(pairs).any():
        return None
    count, (null_name, null_pairs) = len(seeds), _null_pairs(cohort)
    if null_pairs is not None:
        null_pairs = null_pairs[np.ix_(places, places)]
    beside = np.full_like(pairs, np.nan) if null_pairs is None else null_pairs
    panels = 1 if null_pairs is None else 2
    side = min(6.5 / panels, max(2.2 if panels == 1 else 2.05, (0.56, 0.41)[panels - 1] * count))
    figure = new_figure(max(4.4, panels * side + 0.9), side + 1.9)
    first, *second = figure.subplots(1, panels, sharey=True, squeeze=False).flat
    mesh = _draw_pairs(first, pairs, seeds, None if panels == 1 else "Features")
    first.set_ylabel("seed")
    for axes in second:
        assert null_pairs is not None, "the second panel is its"
        _draw_pairs(axes, null_pairs, seeds, f"{PAIRED[null_name]} ({null_name})")
    # Below the panels: beside them it would be what a phone cuts off.
    bar = figure.colorbar(
        mesh, ax=[first, *second], location="bottom", shrink=0.8, aspect=30, pad=0.04
    )
    _mark_null(bar, cell)
    bar.set_label(metric_title(cohort["headline"]["metric"]))
    null = f"null {fraction(cell['null'], 3)} ({short_null(cell['null_name'])})"
    said = f"observed {fraction(cell['observed'], 3)}, {null}, κ {kappa_text(cell)}"
    width = figure.get_figwidth()
    figure.suptitle(
        wrapped(label, 0.96 * width, TITLE_POINTS)
        + ("" if panels == 1 else f"\n{wrapped(said, 0.96 * width, 8)}"),
        x=0.02,
        ha="left",
    )
    if panels == 1:
        first.set_title(
            wrapped(said, width - AXES_INSET, 8, bold=False), fontweight="normal", fontsize=8
        )
    rows = [
        (seeds[i], seeds[j], _or_none(pairs[i, j]), _or_none(beside[i, j]), null_name)
        for i in range(count)
        for j in range(count)
        if i != j
    ]
    metric = cohort["headline"]["metric"]
    return Drawing(name, figure, ("seed_a", "seed_b", metric, "null", "null_name"), rows)


def _matrix(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    return np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=float)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _null_pairs(cohort: Record) -> tuple[str, np.ndarray | None]:
    """Return the pairs of a null in the metric and subset of the headline, and its code; none if no null has a
    value for each pair.

    They are those of the null that κ is against: N6's, or N3's, raised if the surrogate has fewer features.
    Where that null is one number for all pairs they are the surrogate's as they are.
    """
    cell, found = headline(cohort), cohort.get("surrogate_pairs") or {}
    name, rows = short_null(cell.get("null_name")), cell.get("null_pairs")
    if not rows or name not in PAIRED:
        same = found.get("metric") == cohort["headline"]["metric"]
        name, rows = "N3", found.get(cohort["headline"]["subset"]) if same else None
    pairs = _matrix(rows) if rows else np.empty((0, 0))
    if len(pairs) != len(cohort["seeds"]) or not np.isfinite(pairs).any():
        return "", None
    return name, pairs


def _draw_pairs(axes: Axes, pairs: np.ndarray, seeds: Sequence[int], title: str | None) -> QuadMesh:
    count = len(seeds)
    shown = np.ma.masked_invalid(pairs)
    mesh = axes.pcolormesh(shown, cmap=BLUES, vmin=0.0, vmax=1.0, edgecolors=PAPER, linewidth=2)
    ticks = np.arange(count) + 0.5
    longest = max(len(str(seed)) for seed in seeds)
    turn = 45 if count * longest > (20 if title else 40) and longest > 3 else 0
    axes.set_xticks(ticks, [str(seed) for seed in seeds], rotation=turn)
    axes.set_yticks(ticks, [str(seed) for seed in seeds])
    axes.set(aspect="equal", xlabel="seed", ylim=(count, 0))
    if title:
        axes.set_title(title, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if count <= ANNOTATED_SEEDS:
        _write_values(axes, pairs, 8 if title is None else 7.5)
    return mesh


def _reading_order(cohort: Record) -> tuple[list[int], list[int]]:
    """Return the seeds, those alike beside each other where that order is known, and their places."""
    seeds = list(cohort["seeds"])
    known = (cohort.get("similarity") or {}).get("seed_order") or {}
    order = known.get("order")
    if not order or sorted(order) != sorted(seeds):
        order = seeds
    return list(order), [seeds.index(seed) for seed in order]


def draw_curves(cohort: Record, traced: Record, name: str, label: str) -> Drawing | None:
    """Draw loss, explained variance, L0, dead fraction and agreement over the steps; None without a curve.

    `traced` has the `curves` and the `seeds` that they are of: more than the cohort's where one diverged.
    """
    curves: Sequence[Record] = traced["curves"]
    seeds: Sequence[int] = traced["seeds"] if "seeds" in traced else cohort["seeds"]
    measures = [m for m in PANELS if any(row.get(m) for row in curves)]
    if not measures:
        return None
    lines = (len(measures) + 1) // 2
    figure = new_figure(6.6, 0.4 + 2.0 * lines)
    panels = figure.subplots(lines, 2, sharex=True, squeeze=False).flat
    rows: list[tuple[object, ...]] = []
    for axes, measure in zip(panels, measures, strict=False):
        known = [row for row in curves if row.get(measure)]
        steps = [row["step"] for row in known]
        values = np.array(
            [[np.nan if v is None else v for v in row[measure]] for row in known], dtype=float
        )
        _draw_band(axes, steps, values)
        axes.set(title=PANELS[measure])
        rule(axes)
        if measure == "dead_fraction":
            axes.yaxis.set_major_formatter(percentages())
            axes.set_ylim(bottom=0.0)
        if measure in ("explained_variance", "mean_max_cos"):
            axes.yaxis.set_major_formatter(BoundedFormatter())
        if measure == "explained_variance":
            _cut_below(axes, values)
        axes.xaxis.set_major_formatter(counted())
        rows += [
            (row["step"], measure, seed, value)
            for row in known
            for seed, value in zip(seeds, row[measure], strict=True)
        ]
    for axes in figure.axes[len(measures) :]:
        axes.remove()
    for axes in figure.axes:
        axes.tick_params(labelbottom=True)
    for axes in figure.axes[-2:]:
        axes.set_xlabel("step")
    figure.suptitle(wrapped(label, 0.96 * figure.get_figwidth(), TITLE_POINTS), x=0.02, ha="left")
    return Drawing(name, figure, ("step", "measure", "seed", "value"), rows)


def _cut_below(axes: Axes, values: np.ndarray) -> None:
    """End the axis of explained variance at FLOOR where the first steps lie far below, and say so.

    Not where the last ones do, too.
    """
    known = values[np.isfinite(values).any(axis=1)]
    lowest = float(np.nanmin(known)) if len(known) else 0.0
    if lowest >= FLOOR or float(np.nanmedian(known[-1])) < FLOOR:
        return
    axes.set_ylim(FLOOR, 1.02)
    axes.text(
        0.98,
        0.05,
        f"cut off below: down to {fraction(lowest)}",
        transform=axes.transAxes,
        ha="right",
        fontsize=7,
        color=FAINT,
    )


def _write_values(axes: Axes, pairs: np.ndarray, size: float) -> None:
    for (i, j), value in np.ndenumerate(pairs):
        same = i == j
        text = "–" if np.isnan(value) else fraction(float(value), 3)
        # The two text colours of the cells are not the page's: cells look the same on any ground.
        colour = FAINT if same or np.isnan(value) else ("#ffffff" if value > 0.62 else "#0a0a0a")
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=size)


def _mark_null(bar: Colorbar, cell: Record) -> None:
    bar.outline.set_visible(False)
    # matplotlib rasterises long colour bars; the page forbids images, and print wants vectors.
    if bar.solids is not None:
        bar.solids.set_rasterized(False)
        bar.solids.set_edgecolor("face")
    bar.ax.tick_params(length=0)
    bar.ax.xaxis.set_major_formatter(BoundedFormatter())
    if cell["null"] is None:
        return
    bar.ax.axvline(cell["null"], color=PALETTE[1], linewidth=2)
    bar.ax.annotate(
        "null",
        (cell["null"], 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=PALETTE[1],
        fontsize=7.5,
        annotation_clip=False,
    )


def _draw_band(axes: Axes, steps: Sequence[int], values: np.ndarray) -> None:
    """Draw thin lines for the seeds, the band between their extremes, and their median."""
    shown = np.ma.masked_invalid(values)
    colour = PALETTE[0]
    if values.shape[1] > 1:
        axes.fill_between(
            steps, shown.min(axis=1), shown.max(axis=1), color=colour, alpha=0.15, linewidth=0
        )
        for number in range(values.shape[1]):
            axes.plot(steps, shown[:, number], color=colour, alpha=0.35, linewidth=0.6)
    known = [row[np.isfinite(row)] for row in values]
    medians = [float(np.median(row)) if row.size else np.nan for row in known]
    axes.plot(steps, medians, color=colour, linewidth=1.8)
    axes.margins(x=0.01)
