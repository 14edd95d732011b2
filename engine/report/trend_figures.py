"""Figures of trends in L0: κ against the sparsity that each setting of an architecture reached."""

from __future__ import annotations

from typing import Any

from matplotlib.ticker import FuncFormatter, NullLocator

from engine.report.canvas import MARKERS, BoundedFormatter, Drawing, new_figure, rule
from engine.report.colours import INK, PALETTE
from engine.report.sweeps import searched
from engine.report.wording import Record, quantity

SPARSITY = frozenset({"k", "l1", "target_l0"})
"""Searched keys whose sweep has a figure of its own."""


def draw_trends(summary: Record) -> Drawing | None:
    """Draw κ against L0, a line for each architecture; None without such lines, or where a sweep shows it."""
    lines = [one for one in summary.get("trends") or [] if one["over"] == "l0"]
    swept = SPARSITY & {path.rsplit(".", 1)[-1] for path in searched(summary)}
    if not lines or swept or len(lines) > len(PALETTE):
        return None
    figure = new_figure(5.0, 3.1)
    axes = figure.subplots()
    several = len({one["hook"] for one in lines}) > 1
    rows: list[list[object]] = []
    for number, one in enumerate(lines):
        label = f"{one['line']} · {one['hook']}" if several else one["line"]
        marks = [
            (x, kappa, bounds)
            for x, kappa, bounds in zip(one["x"], one["kappa"], one["kappa_intervals"], strict=True)
            if x is not None and kappa is not None
        ]
        look: dict[str, Any] = {"color": PALETTE[number], "marker": MARKERS[number], "label": label}
        axes.plot([x for x, *_ in marks], [y for _, y, _ in marks], markersize=4.5, **look)
        for x, _, (low, high) in marks:
            if low is not None and high is not None:
                axes.plot([x, x], [low, high], color=PALETTE[number], linewidth=1.0)
        rows += [[label, x, y, *bounds] for x, y, bounds in marks]
    axes.axhline(0.0, color=INK, linewidth=0.9, zorder=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(float(value))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("L0, active latents per input")
    axes.set_ylabel("κ (0 is chance)")
    axes.yaxis.set_major_formatter(BoundedFormatter())
    rule(axes)
    figure.legend(loc="outside upper left", ncols=2)
    return Drawing("trend-l0", figure, ("line", "l0", "kappa", "ci_low", "ci_high"), rows)
