"""Figures of a grokked transformer: how it came to generalise, and its Fourier spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from engine.report.canvas import (
    Drawing,
    counted,
    new_figure,
    percentages,
    power_of_ten,
    rule,
)
from engine.report.colours import FAINT, GRID, INK, PALETTE
from engine.report.wording import Record

LINES = {
    "train": ("train", PALETTE[0], "-"),
    "test": ("test", PALETTE[1], "-"),
    "restricted": ("restricted", PALETTE[2], "--"),
    "excluded": ("excluded", PALETTE[3], ":"),
}
"""Curve → label, colour, dash; the dashes keep the lines apart in grey."""


def draw_grokking(subject: Record, rows: Sequence[Record]) -> Drawing | None:
    """Draw accuracies and losses over the steps; None without a curve."""
    if not rows:
        return None
    figure = new_figure(6.4, 4.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    _draw_lines(above, rows, "accuracy", ("train", "test"))
    above.set(title="Accuracy", ylim=(-0.03, 1.05))
    above.yaxis.set_major_formatter(percentages())
    _draw_lines(below, rows, "loss", tuple(LINES))
    below.set(title="Loss (cross-entropy)", xlabel="step", yscale="log")
    below.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
    below.yaxis.set_minor_locator(NullLocator())
    below.xaxis.set_major_formatter(counted())
    for axes in (above, below):
        rule(axes)
        axes.set_xlim(rows[0]["step"], rows[-1]["step"])
        _mark_transitions(axes, subject.get("grokked") or {}, named=axes is below)
    below.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    table = [[row.get(name) for name in columns] for row in rows]
    return Drawing("grokking", figure, columns, table)


def draw_spectrum(spectrum: Record | None) -> Drawing | None:
    """Draw the share of each frequency in logits and embedding; None without a spectrum."""
    if not spectrum or not spectrum["frequencies"]:
        return None
    figure = new_figure(6.4, 3.9)
    frequencies, keys = spectrum["frequencies"], set(spectrum["keys"])
    panels = figure.subplots(2, 1, sharex=True)
    titles = {
        "logits": "Share of the logits' variance",
        "embedding": "Share of the embedding's power",
    }
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        colours = [PALETTE[1] if k in keys else PALETTE[0] for k in frequencies]
        axes.bar(frequencies, [value or 0.0 for value in spectrum[name]], 0.75, color=colours)
        axes.set(title=title)
        axes.margins(x=0.01, y=0.16)
        axes.yaxis.set_major_formatter(percentages())
        rule(axes)
        _label_keys(axes, spectrum, name)
    panels[-1].set_xlabel("frequency k")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    rows = [
        (k, logit, embedding, int(k in keys))
        for k, logit, embedding in zip(
            frequencies, spectrum["logits"], spectrum["embedding"], strict=True
        )
    ]
    return Drawing("spectrum", figure, ("frequency", "logits", "embedding", "key"), rows)


def _draw_lines(axes: Axes, rows: Sequence[Record], measure: str, names: Sequence[str]) -> None:
    for name in names:
        points = [(row["step"], row.get(f"{name}_{measure}")) for row in rows]
        known = [(step, value) for step, value in points if value is not None]
        if known:
            label, colour, dash = LINES[name]
            steps, values = zip(*known, strict=True)
            axes.plot(steps, values, color=colour, linestyle=dash, label=label)


def _mark_transitions(axes: Axes, grokked: dict[str, Any], named: bool) -> None:
    """Shade the interval in which each accuracy crossed its threshold."""
    for name, label in (("train", "t₁"), ("test", "t₂")):
        low, high = grokked.get(name) or (None, None)
        if high is None:
            continue
        axes.axvspan(
            high if low is None else low, high, color=GRID, alpha=0.8, linewidth=0, zorder=0
        )
        axes.axvline(high, color=FAINT, linewidth=0.7, zorder=0.5)
        if named:
            axes.annotate(
                label,
                (high, 0.0),
                xycoords=("data", "axes fraction"),
                xytext=(4, 5),
                textcoords="offset points",
                color=FAINT,
            )


def _label_keys(axes: Axes, spectrum: Record, name: str) -> None:
    for k, value in zip(spectrum["frequencies"], spectrum[name], strict=True):
        if k in spectrum["keys"]:
            axes.annotate(
                str(k),
                (k, value or 0.0),
                xytext=(0, 2.5),
                textcoords="offset points",
                ha="center",
                color=INK,
                fontweight="bold",
            )
