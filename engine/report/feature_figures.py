"""Figures of single features: how well other seeds have them, and how that goes with how often they fire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from engine.report.canvas import (
    BoundedFormatter,
    Drawing,
    new_figure,
    percentages,
    rule,
    wrapped,
)
from engine.report.cohort_figures import TITLE_POINTS
from engine.report.colours import PALETTE

Floats = NDArray[np.float64]
Material = Mapping[str, NDArray[Any]]

COSINE_BINS = 50
DENSITY_BINS = 24
FEWEST = 5
"""Features that a bin of density must have for its quantiles to be drawn."""
BAND = (0.05, 0.5, 0.95)
"""Quantiles of the surrogate's features that make the null band."""
FEATURES, SURROGATE = PALETTE[0], PALETTE[1]


def live_columns(material: Material) -> tuple[Floats, Floats, Floats]:
    """Return density, stability and median best cosine [R] of the live features of all seeds."""
    kept = material["live"].astype(bool) & np.isfinite(
        material["median_best_cosine"].astype(np.float64)
    )
    density, stability, match = (
        material[name][kept].astype(np.float64)
        for name in ("density", "stability", "median_best_cosine")
    )
    return density, stability, match


def draw_distribution(material: Material, name: str, label: str) -> Drawing | None:
    """Draw how well other seeds have each live feature, with the surrogate's features beside; None without
    a live feature.

    Left: median over the other seeds of the best cosine. Right: the share of other seeds that have it.
    """
    _, stability, match = live_columns(material)
    if not len(match):
        return None
    twin_match = material.get("surrogate_match")
    twin_stability = material.get("surrogate_stability")
    figure = new_figure(6.6, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    low = min(0.0, float(match.min()))
    edges = np.linspace(low, 1.0, COSINE_BINS + 1)
    rows = _histogram(left, "median_best_cosine", match, twin_match, edges)
    left.set(title="Median best cosine", xlabel="cosine", ylabel="share of live features")
    left.xaxis.set_major_formatter(BoundedFormatter())
    others = max(1, len(np.unique(material["seed"])) - 1)
    levels = np.arange(others + 1) / others
    rows += _bars(right, stability, twin_stability, levels)
    right.set(title="Seeds that have it", xlabel="share of other seeds")
    for axes in (left, right):
        axes.yaxis.set_major_formatter(percentages())
        rule(axes)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=2)
    figure.suptitle(wrapped(label, 0.96 * figure.get_figwidth(), TITLE_POINTS), x=0.02, ha="left")
    columns = ("measure", "low", "high", "features", "surrogate")
    return Drawing(name, figure, columns, rows)


def _shares(values: Floats, edges: Floats) -> Floats:
    counts = np.histogram(values.clip(edges[0], edges[-1]), edges)[0]
    shares: Floats = counts / max(1, len(values))
    return shares


def _histogram(
    axes: Axes, measure: str, values: Floats, twin: NDArray[Any] | None, edges: Floats
) -> list[tuple[Any, ...]]:
    ours = _shares(values, edges)
    axes.stairs(ours, edges, fill=True, color=FEATURES, alpha=0.55, linewidth=0, label="features")
    others: list[float | None] = [None] * len(ours)
    if twin is not None and len(twin):
        theirs = _shares(twin.astype(np.float64), edges)
        label = "surrogate's features (N3)"
        axes.stairs(theirs, edges, color=SURROGATE, linewidth=1.5, label=label)
        others = theirs.tolist()
    axes.set_xlim(edges[0], edges[-1])
    cells = zip(edges[:-1], edges[1:], ours, others, strict=True)
    return [(measure, float(a), float(b), float(n), other) for a, b, n, other in cells]


def _bars(
    axes: Axes, values: Floats, twin: NDArray[Any] | None, levels: Floats
) -> list[tuple[Any, ...]]:
    ours = np.array([(np.abs(values - level) < 1e-6).mean() for level in levels])
    width = 0.4 / (len(levels) - 1)
    axes.bar(levels - width / 2, ours, width, color=FEATURES, alpha=0.55, linewidth=0)
    others: list[float | None] = [None] * len(levels)
    if twin is not None and len(twin):
        theirs = [float((np.abs(twin - level) < 1e-6).mean()) for level in levels]
        axes.bar(
            levels + width / 2, theirs, width, facecolor="none", edgecolor=SURROGATE, linewidth=1.3
        )
        others = list(theirs)
    axes.set_xticks(levels if len(levels) <= 6 else levels[:: -(-len(levels) // 6)])
    axes.xaxis.set_major_formatter(BoundedFormatter())
    cells = zip(levels, ours, others, strict=True)
    return [("stability", float(v), float(v), float(n), other) for v, n, other in cells]


def draw_density(material: Material, name: str, label: str) -> Drawing | None:
    """Draw how often each live feature fires against its median best cosine, over the band in which the
    surrogate's features of the same density lie; None without a live feature that fires."""
    density, _, match = live_columns(material)
    fires = density > 0
    density, match = density[fires], match[fires]
    if not len(match):
        return None
    twin_density, twin_match = (
        material.get(f"surrogate_{name}", np.empty(0)).astype(np.float64)
        for name in ("density", "match")
    )
    everything = np.concatenate([density, twin_density[twin_density > 0]])
    low, high = np.log10(everything.min()) - 0.02, np.log10(everything.max()) + 0.02
    x_edges = np.logspace(low, high, DENSITY_BINS + 1)
    y_edges = np.linspace(min(0.0, float(match.min())), 1.0, COSINE_BINS + 1)
    counts = np.histogram2d(density, match, (x_edges, y_edges))[0]
    figure = new_figure(6.2, 3.6)
    axes = figure.subplots()
    _draw_counts(axes, counts, x_edges, y_edges)
    band, ours = _quantiles(twin_density, twin_match, x_edges), _quantiles(density, match, x_edges)
    middle = np.sqrt(x_edges[:-1] * x_edges[1:])
    axes.fill_between(
        middle, band[0], band[2], color=SURROGATE, alpha=0.3, linewidth=0, label="surrogate, 5–95 %"
    )
    axes.plot(middle, band[1], color=SURROGATE, linestyle="--", label="surrogate, median")
    axes.plot(middle, ours[1], color=FEATURES, label="features, median")
    axes.set(xscale="log", xlabel="density (share of inputs on which it fires)")
    axes.set(ylabel="median best cosine", xlim=(x_edges[0], x_edges[-1]))
    axes.set_ylim(y_edges[0], y_edges[-1])
    steps = (1.0, 2.0, 5.0) if high - low < 2 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(percentages())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(BoundedFormatter())
    rule(axes)
    figure.legend(loc="outside lower left", ncols=3)
    figure.suptitle(wrapped(label, 0.96 * figure.get_figwidth(), TITLE_POINTS), x=0.02, ha="left")
    return Drawing(name, figure, DENSITY_COLUMNS, _density_rows(counts, x_edges, y_edges, band))


DENSITY_COLUMNS = (
    "density_low",
    "density_high",
    "cosine_low",
    "cosine_high",
    "features",
    "surrogate_q05",
    "surrogate_median",
    "surrogate_q95",
)


def _draw_counts(axes: Axes, counts: Floats, x_edges: Floats, y_edges: Floats) -> None:
    """Draw a rectangle for each cell with a feature in it: those without would only swell the file."""
    most = max(2.0, float(counts.max()))
    norm = LogNorm(1, most)
    for i, j in zip(*np.nonzero(counts), strict=True):
        corners = (x_edges[i], x_edges[i + 1], y_edges[j], y_edges[j + 1])
        x, y = [corners[0], corners[1], corners[1], corners[0]], np.repeat(corners[2:], 2)
        # By opacity, not by lightness: it reads on a dark page as on a light one.
        alpha = 0.2 + 0.7 * float(norm(counts[i, j]))
        axes.fill(x, y, color=FEATURES, alpha=alpha, linewidth=0)


def _quantiles(density: Floats, match: Floats, edges: Floats) -> Floats:
    """Return quantiles of the cosines in each bin of density, [3, bins]; NaN where there are too few."""
    place = np.digitize(density, edges) - 1
    found = np.full((len(BAND), len(edges) - 1), np.nan)
    for number in range(len(edges) - 1):
        here = match[place == number]
        if len(here) >= FEWEST:
            found[:, number] = np.quantile(here, BAND)
    return found


def _density_rows(
    counts: Floats, x_edges: Floats, y_edges: Floats, band: Floats
) -> list[tuple[Any, ...]]:
    rows = []
    for i, j in zip(*np.nonzero(counts), strict=True):
        quantiles = [None if np.isnan(value) else float(value) for value in band[:, i]]
        x, y = x_edges[i : i + 2].tolist(), y_edges[j : j + 2].tolist()
        rows.append((*x, *y, int(counts[i, j]), *quantiles))
    return rows
