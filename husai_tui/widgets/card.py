"""The panel of one feature: its map, its spectrum, its matches in the other seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from engine.client.features import FAMILIES, Features
from engine.client.microscope import Card
from engine.disk.text import bare
from husai_tui.state.card import (
    Match,
    fact_lines,
    match_lines,
    matches,
    peak,
    too_coarse,
    top_lines,
)
from husai_tui.state.features import number_text
from husai_tui.state.raster import picture
from husai_tui.tones import Part
from husai_tui.widgets.lines import Lines
from husai_tui.widgets.raster import Raster
from husai_tui.widgets.spectrum import Family, Spectrum

POOL = 6
"""Maps of matches that can stand side by side."""
SMALL = 26
"""Columns of one of them at most."""
LEAST = 18
"""Columns below which they are not drawn."""
LOW = 16
"""Lines of the panel below which there is no spectrum."""
TALL = 36
"""Lines of the panel from which there is room for them, and for taller bars."""
UNKNOWN_SIDE = 113
"""Side of the grid for which room is kept until the map has come."""


@dataclass(frozen=True)
class Told:
    """What a card is drawn from."""

    features: Features
    row: int
    card: Card | None = None
    partners: tuple[Card | None, ...] = ()
    """Of `matches` that have a feature, in their order; None: has not come."""
    said: str = ""
    """In place of the map: that it comes, or why it does not."""


class FeatureCard(Widget, can_focus=True):
    """A feature in full."""

    DEFAULT_CSS = """
    FeatureCard { height: 1fr; width: 1fr; layout: vertical; padding: 0 1; display: none; }
    FeatureCard #upper { height: 1fr; }
    FeatureCard #left { width: 26; margin: 0 3 0 0; }
    FeatureCard #partners { height: 14; display: none; margin: 1 0; }
    FeatureCard .partner { margin: 0 2 0 0; }
    FeatureCard .partner Lines { height: 1; }
    FeatureCard #spectrum { margin: 1 0 0 0; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._told: Told | None = None
        self.whole = False
        """Whether the map has all the room."""

    def compose(self) -> ComposeResult:
        """Return the parts."""
        with Horizontal(id="upper"):
            with Vertical(id="left"):
                yield Raster(id="map")
            with Vertical(id="right"):
                yield Lines(id="facts")
                with Horizontal(id="partners"):
                    for number in range(POOL):
                        with Vertical(classes="partner", id=f"partner-{number}"):
                            yield Lines()
                            yield Raster()
                yield Lines(id="top")
        yield Spectrum(id="spectrum")

    def tell(self, told: Told) -> None:
        """Show a feature."""
        self._told = told
        self._arrange()
        self._fill()
        self.call_after_refresh(self._fill)  # how wide the parts are is known only then

    def on_resize(self) -> None:
        """Give every part its room."""
        if self._told:
            self._arrange()
            self.call_after_refresh(self._fill)

    @property
    def wants_partners(self) -> bool:
        """Whether there is room for the maps of its matches."""
        return not self.whole and self.size.height >= TALL and self.size.width >= 100 + 2 * LEAST

    @property
    def caption(self) -> str:
        """Which way the map's axes go, and how large its dots are; empty while there is none."""
        raster = self.query_one("#map", Raster)
        found, told = raster.picture if self.display else None, self._told
        if found is None or told is None or told.card is None or told.card.grid is None:
            return ""
        best = peak(told.card, *self._at)
        shades = not raster.in_colours
        coarse = too_coarse(found, told.card.grid.modulus, best, shades)
        return f"a↓ b→  {found.told(shades)}{coarse}"

    # Room

    def _arrange(self) -> None:
        assert self._told is not None
        told, width, height = self._told, self.size.width, self.size.height
        card = told.card
        gridless = card is not None and card.grid is None
        spectrum = self.query_one("#spectrum", Spectrum)
        thick = 1 if height < TALL - 8 else 2 if height < TALL + 8 else 3
        below = 0 if self.whole else (4 * thick + 1 if not gridless else 4 + 2 * thick)
        below = 0 if height < LOW else below
        spectrum.display = bool(below)
        spectrum.styles.height = below
        lines = height - (below + 1 if below else 0)
        left = self.query_one("#left")
        left.display = not gridless
        self.query_one("#right").display = not self.whole
        side = card.grid.modulus if card and card.grid else UNKNOWN_SIDE
        room = width if self.whole else min(max(14, width - 50), 2 * lines)
        found = picture(np.zeros((side, side)), max(2, room), max(1, lines))
        left.styles.width = width if self.whole else max(14, found.columns if found else 14)
        self.query_one("#map").styles.height = found.lines if found else 1
        self.query_one("#facts").styles.height = min(len(self._facts()), max(1, lines))
        self._arrange_partners(width - (left.styles.width.value if left.styles.width else 0) - 3)

    def _arrange_partners(self, room: float) -> None:
        assert self._told is not None
        number = min(POOL, len([one for one in matches(*self._at) if one.feature >= 0]))
        columns = min(SMALL, int(room) // max(1, number) - 2)
        card = self._told.card
        grid = card.grid if card else None
        shown = self.wants_partners and grid is not None and columns >= LEAST and number > 0
        row = self.query_one("#partners")
        row.display = shown
        if not shown or grid is None:
            return
        found = picture(grid.levels, columns, columns // 2)
        row.styles.height = 1 + (found.lines if found else 1)
        for place in range(POOL):
            part = self.query_one(f"#partner-{place}")
            part.display = place < number
            part.styles.width = columns

    # Content

    @property
    def _at(self) -> tuple[Features, int]:
        assert self._told is not None
        return self._told.features, self._told.row

    def _facts(self) -> list[list[Part]]:
        assert self._told is not None
        return [*fact_lines(*self._at, self._told.card), [], *match_lines(*self._at), []]

    def _fill(self) -> None:
        told = self._told
        if told is None:
            return
        raster = self.query_one("#map", Raster)
        grid = told.card.grid if told.card else None
        raster.tell(grid.levels if grid else None, told.said)
        self.query_one("#facts", Lines).tell(self._facts())
        top = self.query_one("#top", Lines)
        lines = top_lines(told.card, top.size.width or 50)
        top.tell([[], *lines] if self.query_one("#partners").display else lines)
        self._fill_partners()
        self._fill_spectrum()

    def _fill_partners(self) -> None:
        told = self._told
        assert told is not None
        found = [one for one in matches(*self._at) if one.feature >= 0]
        for place in range(POOL):
            part = self.query_one(f"#partner-{place}")
            raster, lines = part.query_one(Raster), part.query_one(Lines)
            if place >= len(found):
                continue
            card = told.partners[place] if place < len(told.partners) else None
            raster.tell(card.grid.levels if card and card.grid else None, "the map comes")
            lines.tell([_partner(found[place])])

    def _fill_spectrum(self) -> None:
        told = self._told
        assert told is not None
        spectrum, card = self.query_one("#spectrum", Spectrum), told.card
        if card is None:
            spectrum.tell([])
        elif card.grid is None:
            counts = tuple(float(one) for one in card.histogram)
            spectrum.tell([Family("inputs", counts, bare(f"0 to {card.maximum:.3g}"))], first=None)
        elif card.grid.spectrum is None:
            spectrum.tell([])
        else:
            best = peak(card, *self._at)
            families = []
            for name, values in zip(FAMILIES, card.grid.spectrum, strict=True):
                clean = tuple(float(one) if one > 0 else 0.0 for one in values)
                place = int(np.argmax(clean))
                mine = best is not None and best.family == name
                share = f"k={place + 1} {100 * clean[place]:.0f} %" if clean[place] >= 0.005 else ""
                families.append(Family(name, clean, share, place if mine else None))
            spectrum.tell(families)


def _partner(match: Match) -> list[Part]:
    glyph = "▮" if match.found else "▯"
    return [
        (f"{glyph} ", "accent" if match.found else "faint"),
        (f"{match.seed}:{match.feature}", ""),
        (f"  {number_text(match.cosine)}", "faint"),
    ]
