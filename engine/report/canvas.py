"""The look of every figure, and how one becomes files: SVG, PNG, and CSV of the numbers behind it."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, ScalarFormatter

from engine.disk.atomic import write_bytes
from engine.report.colours import FAINT, GRID, INK, PAPER

MARKERS = ("o", "s", "D", "^", "v", "P", "X")
PNG_DPI = 200
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "figure.titlesize": 9.5,
    "figure.titleweight": "bold",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
    "ytick.major.width": 0.7,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "husai",
}


@dataclass(frozen=True)
class Drawing:
    """One figure and the numbers behind it."""

    name: str
    """Stem of its files."""
    figure: Figure
    columns: tuple[str, ...]
    """Header of the CSV."""
    rows: Sequence[Sequence[Any]]
    """Rows of the CSV; None is an empty field."""


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in our style whatever a matplotlibrc on this machine says."""
    known = matplotlib.rcParamsDefault
    defaults = {name: known[name] for name in known if not name.startswith("backend")}
    everything: Any = {**defaults, **STYLE}
    with matplotlib.rc_context(everything):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches that lays itself out."""
    return Figure(figsize=(width, height), layout="constrained")


def wrapped(text: str, inches: float, points: float, bold: bool = True) -> str:
    """Return text in lines that fit a width at a font size."""
    letter = (0.68 if bold else 0.54) * points  # what DejaVu Sans takes on average
    room = max(12, int(inches * 72 / letter))
    return "\n".join(textwrap.wrap(text, room)) or text


def rule(axes: Axes, axis: str = "y") -> None:
    """Draw the thin lines that lead the eye from the ticks of one axis."""
    axes.grid(True, axis="x" if axis == "x" else "y")
    axes.tick_params(axis=axis, length=0)  # type: ignore[arg-type]


class BoundedFormatter(ScalarFormatter):
    """Labels ticks of quantities bounded by one as `.25`, all with as many digits as they need."""

    def __init__(self) -> None:
        super().__init__(useOffset=False)

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of the tick at `x`."""
        text = super().__call__(x, pos)
        if abs(x) < 1e-12:
            return "0"
        return text.replace("0.", ".", 1) if text.lstrip("−").startswith("0.") else text


def counted() -> FuncFormatter:
    """Return the formatter of steps and counts: `1,500`."""
    return FuncFormatter(lambda value, _: f"{value:,.0f}")


def percentages() -> FuncFormatter:
    """Return the formatter of shares: `12.5 %`."""
    return FuncFormatter(lambda value, _: f"{100 * value:.4g} %".replace("-", "−"))


def power_of_ten(value: float, _: object = None) -> str:
    """Label a tick of a logarithmic axis without mathtext: `10⁻³`, and `1`, `10` as they are."""
    exponent = f"{value:e}".partition("e")[2]
    power = int(exponent)
    return f"{value:g}" if 0 <= power <= 2 else f"10{str(power).translate(SUPERSCRIPTS)}"


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG text: the same bytes for the same figure, no date, no addresses in it."""
    buffer = io.StringIO()
    with house_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    return re.sub(r"[ \t]+\n", "\n", text)


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG at print resolution."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def to_csv(drawing: Drawing) -> str:
    """Return the numbers behind a figure with all their digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(drawing.columns)
    writer.writerows(drawing.rows)
    return buffer.getvalue()


def save_drawing(drawing: Drawing, folder: Path) -> str:
    """Write a drawing as SVG, PNG and CSV into a folder; return the SVG text."""
    svg = to_svg(drawing.figure)
    write_bytes(folder / f"{drawing.name}.svg", svg.encode())
    # The layout that was made for the SVG stands; making it anew takes as long.
    drawing.figure.set_layout_engine("none")
    write_bytes(folder / f"{drawing.name}.png", to_png(drawing.figure))
    write_bytes(folder / f"{drawing.name}.csv", to_csv(drawing).encode())
    return svg
