"""Figures across cohorts: κ of every metric, and stability against quality."""

from __future__ import annotations

from functools import partial

from matplotlib.axes import Axes

from engine.report.canvas import MARKERS, BoundedFormatter, Drawing, new_figure, rule
from engine.report.colours import FAINT, INK, PALETTE, PAPER
from engine.report.sweeps import crowded, family
from engine.report.wording import (
    Record,
    cohort_label,
    headline,
    kappa_text,
    metric_title,
    short_null,
)

LINE_INCHES = 0.27
LEGEND_CHARACTERS = 90
"""Room for labels beside each other in a figure of this width; a key takes about seven more."""
LOWEST_SHOWN = -0.5
"""κ far below zero says that its null is wrong for the data: the axis ends here, and an arrow says so."""
LEAST_RANGE = 0.25
"""The axis of κ reaches this far at least: past what is called weak."""
BOUNDS = ("kappa", "ci_high")
TIED = "strict_shared_fraction"
"""Its nulls are upper bounds, so that its κ may lie far below 0: it does not stretch the axis."""


def draw_kappa(summary: Record) -> Drawing | None:
    """Draw κ with its interval for every cohort and metric, all and live features; None if none exists."""
    lines = _forest_lines(summary)
    if not any(cell["kappa"] is not None for *_, cells in lines for cell in cells.values()):
        return None
    count = len(lines) + len(summary["cohorts"])
    figure = new_figure(6.8, 0.95 + LINE_INCHES * count)
    axes = figure.subplots()
    floor = _floor(lines)
    y, ticks, names = 0.0, [], []
    previous = None
    for cohort, metric, cells in lines:
        if cohort is not previous:
            axes.text(
                0.0,
                y,
                cohort_label(summary, cohort),
                transform=axes.get_yaxis_transform(),
                va="center",
                fontweight="bold",
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 2.5},
            )
            y, previous = y + 1, cohort
        _draw_cells(axes, y, cells, floor, is_headline=metric == cohort["headline"]["metric"])
        ticks.append(y)
        names.append(metric_title(metric))
        y += 1
    axes.axvline(0.0, color=INK, linewidth=0.9, zorder=1)
    axes.set_ylim(y - 0.4, -0.6)
    axes.set_yticks(ticks, names)
    high = _ceiling(lines)
    axes.set_xlim(floor - 0.06 * high, 1.02 * high)
    axes.set_xlabel("κ: 0 is chance, 1 is the same features in every seed")
    axes.xaxis.set_major_formatter(BoundedFormatter())
    axes.spines["left"].set_visible(False)
    rule(axes, "x")
    axes.tick_params(axis="y", length=0)
    _forest_legend(axes)
    return Drawing("kappa", figure, FOREST_COLUMNS, _forest_rows(summary))


FOREST_COLUMNS = (
    "cohort",
    "hook",
    "metric",
    "subset",
    "observed",
    "null",
    "null_name",
    "kappa",
    "ci_low",
    "ci_high",
    "verdict",
)


def _forest_lines(summary: Record) -> list[tuple[Record, str, dict[str, Record]]]:
    return [
        (cohort, metric, {subset: cell for subset, cell in cells.items() if cell is not None})
        for cohort in summary["cohorts"]
        for metric, cells in cohort["stability"].items()
    ]


def _forest_rows(summary: Record) -> list[list[object]]:
    return [
        [
            cohort["title"],
            cohort["hook"],
            metric,
            subset,
            *(cell[name] for name in FOREST_COLUMNS[4:]),
        ]
        for cohort, metric, cells in _forest_lines(summary)
        for subset, cell in cells.items()
    ]


def _floor(lines: list[tuple[Record, str, dict[str, Record]]]) -> float:
    """Return the lowest κ that the axis shows."""
    lowest = (_lowest(cells) for _, metric, cells in lines if not metric.startswith(TIED))
    return max(LOWEST_SHOWN, min(0.0, *lowest, 0.0))


def _ceiling(lines: list[tuple[Record, str, dict[str, Record]]]) -> float:
    """Return where the axis ends: at 1, or earlier where all κ are so small that none could be told apart."""
    every = [cell[name] for *_, cells in lines for cell in cells.values() for name in BOUNDS]
    highest = max((value for value in every if value is not None), default=1.0)
    return min(1.0, max(LEAST_RANGE, 1.2 * highest))


def _lowest(cells: dict[str, Record]) -> float:
    bounds = [cell[name] for cell in cells.values() for name in ("kappa", "ci_low")]
    return min((bound for bound in bounds if bound is not None), default=0.0)


def _draw_cells(
    axes: Axes, y: float, cells: dict[str, Record], floor: float, is_headline: bool
) -> None:
    """Draw live features filled and all features hollow, a little apart; then κ in figures."""
    for subset, cell in cells.items():
        live = subset == "live"
        if cell["kappa"] is None:
            continue
        colour, place = (PALETTE[0], y - 0.12) if live else (FAINT, y + 0.2)
        if cell["ci_low"] is not None and cell["ci_high"] is not None:
            ends = [max(floor, cell[name]) for name in ("ci_low", "ci_high")]
            axes.plot(ends, [place] * 2, color=colour, linewidth=1.2)
        face = colour if live else PAPER
        size = 5.0 if live else 3.6
        at, marker = max(floor, cell["kappa"]), "<" if cell["kappa"] < floor else "o"
        axes.plot(at, place, marker, color=colour, markerfacecolor=face, markersize=size)
    shown = cells.get("live") or cells.get("all")
    if shown:
        axes.annotate(
            f"{kappa_text(shown)}  {short_null(shown['null_name'])}",
            (1.0, y),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK if is_headline else FAINT,
            annotation_clip=False,
            fontweight="bold" if is_headline else "normal",
        )


def _forest_legend(axes: Axes) -> None:
    axes.plot([], [], "o-", color=PALETTE[0], markersize=5, linewidth=1.2, label="live features")
    hollow = axes.plot(
        [], [], "o-", color=FAINT, markersize=3.6, linewidth=1.2, label="all features"
    )
    hollow[0].set_markerfacecolor(PAPER)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)


def draw_quality(summary: Record) -> Drawing | None:
    """Draw κ against explained variance and L0, one point a cohort; None below two cohorts."""
    columns = (
        "cohort",
        "hook",
        "explained_variance",
        "ev_sd",
        "l0",
        "l0_sd",
        "kappa",
        "ci_low",
        "ci_high",
    )
    rows = [_quality_row(cohort) for cohort in summary["cohorts"]]
    if len(rows) < 2 or not any(row[6] is not None for row in rows):
        return None
    name = family if crowded(summary) else partial(cohort_label, summary)
    labels = [name(cohort) for cohort in summary["cohorts"]]
    kinds = list(dict.fromkeys(labels))
    across = max(1, min(len(kinds), LEGEND_CHARACTERS // (max(map(len, kinds)) + 7)))
    figure = new_figure(6.6, 2.9 + 0.18 * -(-len(kinds) // across))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, x, title in zip(panels, (2, 4), ("explained variance", "L0"), strict=True):
        for label, row in zip(labels, rows, strict=True):
            _draw_point(axes, kinds.index(label), row, x, label)
        axes.axhline(0.0, color=INK, linewidth=0.9, zorder=0)
        axes.set_xlabel(title)
        axes.margins(0.14)
        rule(axes)
        if x == 2:
            axes.xaxis.set_major_formatter(BoundedFormatter())
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_ylabel("κ (0 is chance)")
    panels[0].yaxis.set_major_formatter(BoundedFormatter())
    handles, names = panels[0].get_legend_handles_labels()
    if handles:
        once = dict(zip(names, handles, strict=True))
        figure.legend(list(once.values()), list(once), loc="outside upper left", ncols=across)
    return Drawing("quality", figure, columns, rows)


def _quality_row(cohort: Record) -> tuple[object, ...]:
    cell = headline(cohort)
    quality = [cohort["quality"].get(name) or {} for name in ("explained_variance", "l0")]
    spreads = [value.get(name) for value in quality for name in ("mean", "sd")]
    return (
        cohort["title"],
        cohort["hook"],
        *spreads,
        cell["kappa"],
        cell["ci_low"],
        cell["ci_high"],
    )


def _draw_point(axes: Axes, number: int, row: tuple[object, ...], x: int, label: str) -> None:
    colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    at, sd, kappa, low, high = row[x], row[x + 1], row[6], row[7], row[8]
    if not isinstance(at, (int, float)) or not isinstance(kappa, (int, float)):
        return
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        axes.plot([at, at], [low, high], color=colour, linewidth=1.2)
    if isinstance(sd, (int, float)):
        axes.plot([at - sd, at + sd], [kappa, kappa], color=colour, linewidth=1.2)
    axes.plot(at, kappa, marker, color=colour, markersize=6, linestyle="none", label=label)
