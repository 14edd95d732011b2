"""Figure of a cohort: what is left of every key frequency once the features of one are ablated."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from engine.report.canvas import BoundedFormatter, Drawing, new_figure, wrapped
from engine.report.cohort_figures import BLUES, TITLE_POINTS
from engine.report.colours import PAPER
from engine.report.wording import Record, fraction

DARK = 0.62
"""Share of the colour scale above which numbers are white."""
PANELS = {"matrix": "features of one frequency", "control": "random features, equal norm"}


def draw_ablation(cohort: Record, name: str, label: str) -> Drawing | None:
    """Draw S[k, l] beside that of random groups; None where no group was ablated."""
    found = (cohort.get("ground_truth") or {}).get("frequency_ablation") or {}
    if "matrix" not in found or not any(v is not None for row in found["matrix"] for v in row):
        return None
    keys = [str(key) for key in found["keys"]]
    side = max(1.2, 0.42 * len(keys))
    figure = new_figure(2 * side + 1.7, side + 1.5)
    panels = figure.subplots(1, 2)
    mesh = None
    for axes, (kind, title) in zip(panels, PANELS.items(), strict=True):
        values = np.array(
            [[np.nan if v is None else v for v in row] for row in found[kind]], dtype=float
        )
        mesh = axes.pcolormesh(
            np.ma.masked_invalid(values), cmap=BLUES, vmin=0, vmax=1, edgecolors=PAPER, linewidth=2
        )
        _label(axes, keys, values)
        axes.set_title(wrapped(title, side + 0.3, 8, bold=False), fontweight="normal", fontsize=8)
    panels[0].set_ylabel("ablated frequency")
    bar = figure.colorbar(mesh, ax=list(panels), shrink=0.9, aspect=18, pad=0.03)  # type: ignore[arg-type]
    bar.outline.set_visible(False)
    # matplotlib rasterises long colour bars; the page forbids images, and print wants vectors.
    if bar.solids is not None:
        bar.solids.set_rasterized(False)
        bar.solids.set_edgecolor("face")
    bar.ax.tick_params(length=0)
    bar.ax.yaxis.set_major_formatter(BoundedFormatter())
    bar.set_label("share of α left")
    width = figure.get_figwidth()
    figure.suptitle(wrapped(label, 0.96 * width, TITLE_POINTS), x=0.02, ha="left")
    rows = [
        (kind, found["keys"][k], found["keys"][i], value, found[f"{kind}_sd"][k][i])
        for kind in PANELS
        for k, row in enumerate(found[kind])
        for i, value in enumerate(row)
    ]
    columns = ("ablated", "frequency_of_group", "frequency", "alpha_left", "sd_over_seeds")
    return Drawing(name, figure, columns, rows)


def _label(axes: Axes, keys: list[str], values: np.ndarray) -> None:
    ticks = np.arange(len(keys)) + 0.5
    axes.set_xticks(ticks, keys)
    axes.set_yticks(ticks, keys)
    axes.set(aspect="equal", xlabel="frequency in the logits")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (k, i), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else fraction(float(value), 2)
        # The two text colours of the cells are not the page's: cells look the same on any ground.
        colour = "#ffffff" if value > DARK else "#0a0a0a"
        axes.text(i + 0.5, k + 0.5, text, ha="center", va="center", color=colour, fontsize=7.5)
