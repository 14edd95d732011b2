"""What is sent to the terminal: only the cells that differ from what stands there.

Textual sends a changed line from its left edge, whatever part of it has changed, and the whole screen when
anything moves: ten times the bytes, which a bad link feels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

JOINED = 4
"""Unchanged cells between two changed ones that are cheaper to send than to jump over."""
Cell = tuple[str, Style | None]
"""What begins in a cell (nothing in the second half of a wide character), and how it looks."""


def cells_of(segments: Iterable[Segment]) -> list[Cell]:
    """Return the cells of a line."""
    cells: list[Cell] = []
    for text, style, control in segments:
        if control:
            continue
        if text.isascii():
            cells += [(character, style) for character in text]
            continue
        for character in text:
            wide = cell_len(character)
            if wide:
                cells.append((character, style))
                cells += [("", style)] * (wide - 1)
            elif cells:  # an accent that stands on what is before it
                cells[-1] = (cells[-1][0] + character, cells[-1][1])
    return cells


class Painted:
    """What stands on the terminal, as far as we know."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Cell]] = {}
        self._size = (0, 0)

    def forget(self) -> None:
        """The terminal may show anything: the next painting is sent whole."""
        self._rows.clear()

    def layout(self, update: LayoutUpdate, console: Console) -> str:
        """Return what makes the terminal show a whole screen."""
        if update.region.size != self._size:
            self._size = update.region.size
            self.forget()
        lines = enumerate(update.strips, update.region.y)
        return "".join(
            self._line(y, update.region.x, Strip.join(strips), console) for y, strips in lines
        )

    def changes(self, update: ChopsUpdate, console: Console) -> str:
        """Return what makes the terminal show the changed parts of a screen."""
        sent: list[str] = []
        for y, left, right in update.spans:
            for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                if strip is None or x >= right or end <= left:
                    continue
                first, last = max(x, left), min(end, right)
                sent.append(self._line(y, first, strip.crop(first - x, last - x), console))
        return "".join(sent)

    def _line(self, y: int, x: int, strip: Strip, console: Console) -> str:
        """Return what changes a part of a line, and take note that it stands there."""
        new = cells_of(strip)
        row = self._rows.setdefault(y, [])
        row += [("", None)] * (x + len(new) - len(row))
        old = row[x : x + len(new)]
        if old == new:
            return ""
        row[x : x + len(new)] = new
        sent = []
        for start, stop in _runs(old, new):
            sent.append(f"\x1b[{y + 1};{x + start + 1}H")
            sent.append(_render(new[start:stop], console))
        return "".join(sent)


def _runs(old: list[Cell], new: list[Cell]) -> Iterator[tuple[int, int]]:
    """Yield where cells differ, from and to; what lies close together is one run."""
    changed = [at for at, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
    start = stop = -1
    for at in changed:
        if start < 0:
            start = at
        elif at - stop > JOINED:
            yield _whole(new, start, stop)
            start = at
        stop = at + 1
    if start >= 0:
        yield _whole(new, start, stop)


def _whole(cells: list[Cell], start: int, stop: int) -> tuple[int, int]:
    """Return a run that cuts no wide character in two."""
    while start > 0 and not cells[start][0]:
        start -= 1
    while stop < len(cells) and not cells[stop][0]:
        stop += 1
    return start, stop


def _render(cells: list[Cell], console: Console) -> str:
    """Return cells as text with the sequences for their looks."""
    system = console._color_system or ColorSystem.TRUECOLOR
    parts: list[str] = []
    text, look = "", cells[0][1]
    for character, style in [*cells, ("", None)]:
        if style is not look and style != look:
            parts.append(look.render(text, color_system=system) if look and text else text)
            text, look = "", style
        text += character
    parts.append(look.render(text, color_system=system) if look and text else text)
    return "".join(parts)


class Narrowed(CompositorUpdate):
    """An update that is compared with what stands there when it is sent, and not before: many never are."""

    def __init__(self, update: LayoutUpdate | ChopsUpdate, painted: Painted) -> None:
        self._update, self._painted = update, painted

    def render_segments(self, console: Console) -> str:
        """Return what is to be sent."""
        if isinstance(self._update, LayoutUpdate):
            return self._painted.layout(self._update, console)
        return self._painted.changes(self._update, console)
