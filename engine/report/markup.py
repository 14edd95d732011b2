"""Pieces of HTML: everything that is not a literal of ours is escaped here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from engine.report.colours import FAINT, GRID, INK, PALETTE, PAPER, PROBLEM

CSS = Path(__file__).with_name("page.css")
THEME = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    PROBLEM: "var(--problem)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(PALETTE)},
}
"""Colours of the figures → variables of the page, so that figures follow light and dark."""
PIXELS_PER_POINT = 96 / 72
NO_BREAK = "\u00a0"
TIES = re.compile(
    r"(?<=κ) (?=[−.\d])|(?<=\d) (?=%)|(?<=%) (?=CI)|(?<=CI) (?=[−.\d])|(?<=\d) (?=to [−.\d])"
    r"|(?<=\d to) (?=[−.\d])|(?<=against) (?=N\d)"
)
"""Spaces at which no line may end."""
PHONE = 340
"""Pixels that a figure has on a phone: a broader one is told to go on, as it can be moved sideways."""
LEGIBLE = 0.7
"""A figure shrinks to this share of its natural width; below, it scrolls sideways."""


@dataclass(frozen=True)
class Cell:
    """A table cell with a class of the style sheet."""

    text: str
    style: str = ""


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str | Cell]], *, texts: bool = False
) -> str:
    """Return a table; a column named `>x` is x, set flush right; the first cell of a row heads it.

    One of `texts` becomes a list on a phone, where a column of sentences would have no width.
    """
    numeric = [column.startswith(">") for column in columns]
    head = "".join(
        f'<th scope="col"{_class("n" if right else "")}>{escape(column.removeprefix(">"))}</th>'
        for column, right in zip(columns, numeric, strict=True)
    )
    names = [column.removeprefix(">") if texts else "" for column in columns]
    body = "".join(f"<tr>{_row(row, numeric, names)}</tr>\n" for row in rows)
    kind = "texts" if texts else "wide"
    inside = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>"
    return f'<div class="{kind}"><table>\n{inside}</table></div>\n'


def _row(row: Sequence[str | Cell], numeric: Sequence[bool], names: Sequence[str]) -> str:
    cells = []
    for number, (item, right) in enumerate(zip(row, numeric, strict=True)):
        cell = item if isinstance(item, Cell) else Cell(item)
        style = _class(" ".join(part for part in ("n" if right else "", cell.style) if part))
        tag = "td" if number else 'th scope="row"'
        name = f' data-name="{escape(names[number])}"' if names[number] and number else ""
        cells.append(f"<{tag}{style}{name}>{escape(cell.text)}</{tag[:2]}>")
    return "".join(cells)


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


def paragraph(text: str, style: str = "") -> str:
    """Return a paragraph of plain text."""
    return f"<p{_class(style)}>{escape(_tied(text))}</p>\n"


def bullets(texts: Sequence[str]) -> str:
    """Return a list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(_tied(text))}</li>\n" for text in texts) + "</ul>\n"


def _tied(text: str) -> str:
    """Return text whose numbers stay on one line with what they belong to: `κ .09`, `95 % CI −.01 to .03`."""
    return TIES.sub(NO_BREAK, text)


def folded(title: str, html: str) -> str:
    """Return HTML that shows once its title is opened."""
    return f"<details><summary>{escape(title)}</summary>\n{html}</details>\n"


def definitions(values: Mapping[str, str]) -> str:
    """Return names with their values."""
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>\n" for k, v in values.items())
    return f"<dl>{items}</dl>\n"


def figure(svg: str, name: str, title: str, caption: str = "", links: str = "") -> str:
    """Return a figure with its SVG inline, in the colours of the page, and links to its files (HTML)."""
    shown = f"<p>{escape(caption)}</p>" if caption else ""
    said = f"<figcaption>{shown}{links}</figcaption>" if shown or links else ""
    style = _class("solo" if caption else "")
    drawn = inline_svg(svg, name, title)
    least = re.search(r"min-width:(\d+)px", drawn)
    broad = _class("broad" if least and int(least[1]) > PHONE else "")
    return f"<figure{style}><div{broad}>{drawn}</div>{said}</figure>\n"


def inline_svg(svg: str, prefix: str, title: str) -> str:
    """Return SVG text fit to stand inside HTML.

    Namespaces and prolog go (HTML needs none, and so the page names no address); ids get a prefix, because
    all figures share one page; colours and fonts become those of the page.
    """
    body = svg[svg.index("<svg") :]
    head, _, rest = body.partition(">")
    size = re.search(r'viewBox="([\d. -]+)"', head)
    box = size.group(1) if size else "0 0 480 360"
    width = float(box.split()[2]) * PIXELS_PER_POINT
    rest = re.sub(r"<style.*?</style>", "", rest, flags=re.DOTALL)
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', rest))
    ids = {name for pair in used for name in pair if name}
    rest = re.sub(
        r' id="([^"]+)"',
        lambda found: f' id="{prefix}-{found[1]}"' if found[1] in ids else "",
        rest,
    )
    rest = re.sub(r'xlink:href="#', f'href="#{prefix}-', rest)
    rest = rest.replace("url(#", f"url(#{prefix}-")
    rest = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", rest)
    for colour, variable in THEME.items():
        rest = rest.replace(colour, variable)
    style = f"width:{width:.0f}px;min-width:{LEGIBLE * width:.0f}px"
    label = escape(title, quote=True)
    return f'<svg viewBox="{box}" role="img" aria-label="{label}" style="{style}">{rest.strip()}'
