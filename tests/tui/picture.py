"""A screen as a picture that can be read, reviewed and compared: its text, then the styles of each line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.color import Color
from rich.style import Style
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

NAMED = (
    "background", "panel", "block-cursor-background", "foreground", "block-cursor-foreground", "faint",
    "rule", "accent", "success", "warning", "error",
)  # fmt: skip
"""Colours of a theme that are called by their names; the first of two that are the same."""
WORDS = ("bold", "dim", "italic", "underline", "reverse", "strike")
PLAIN = "text"


class Pictures(SingleFileSnapshotExtension):
    """Keeps each picture in a text file of its own."""

    file_extension = "txt"
    _write_mode = WriteMode.TEXT


def screen_of(app: Any) -> list[list[tuple[str, Style]]]:
    """Return what is painted, as texts with their styles, line by line."""
    strips = app.screen._compositor.render_strips(app.size)
    return [[(part.text, part.style or Style()) for part in strip] for strip in strips]


def picture_of(app: Any) -> str:
    """Return the screen as text, and below it how many cells of each line are painted in which style.

    Blank cells belong to what is left of them. Lines without any style are left out below.
    """
    variables = app.get_css_variables()
    names = {str(variables[name]).lower(): name for name in reversed(NAMED) if name in variables}
    lines = screen_of(app)
    text = ["".join(part for part, _ in line).rstrip() for line in lines]
    styled = [f"{y:>2}  {told}" for y, line in enumerate(lines, 1) if (told := _runs(line, names))]
    title = f"{app.size.width} × {app.size.height}, {app.theme}{', no colour' * app.no_color}"
    return "\n".join([f"# {title}", *text, "# styles", *styled, ""])


def _runs(line: Iterable[tuple[str, Style]], names: dict[str, str]) -> str:
    """Return `style cells, style cells, ...`; empty where all is plain."""
    runs: list[list[Any]] = []
    for text, style in line:
        told, ground = _name(style, names), _ground(style, names)
        shows = bool(style.underline or style.reverse or style.strike)
        for letter in text:
            blank = letter == " " and not shows
            if runs and (runs[-1][0] == told or (blank and runs[-1][1] == ground)):
                runs[-1][2] += 1
            else:
                runs.append([PLAIN + ground if blank else told, ground, 1])
    if runs and runs[-1][0] == PLAIN:
        runs.pop()
    return ", ".join(f"{told} {cells}" for told, _, cells in runs)


def _name(style: Style, names: dict[str, str]) -> str:
    words = [word for word in WORDS if getattr(style, word)]
    colour = _colour(style.color, names)
    return " ".join([PLAIN if colour in ("foreground", "default") else colour, *words]) + _ground(
        style, names
    )


def _ground(style: Style, names: dict[str, str]) -> str:
    colour = _colour(style.bgcolor, names)
    return "" if colour in ("background", "default") else f" on {colour}"


def _colour(colour: Color | None, names: dict[str, str]) -> str:
    if colour is None or colour.is_default:
        return "default"
    if colour.triplet is None:
        return colour.name
    return names.get(colour.triplet.hex, colour.triplet.hex)
