"""One feature in full: what the table knows of it at once, and what the microscope adds when it has looked.

Shapes: K frequencies, O other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.client.features import FAMILIES, Features
from engine.client.microscope import Card
from engine.disk.text import bare
from husai_tui.state.features import (
    FOUND_AGAIN,
    density_text,
    number_text,
    p_text,
    plane_text,
    state_of,
)
from husai_tui.state.lens import Slide
from husai_tui.state.raster import Picture
from husai_tui.tones import Part

MOST_PARTNERS = 12
"""Partners whose cards are fetched, too."""
SIGNS = {"add": "+", "subtract": "−", "multiply": "×"}
Line = list[Part]


@dataclass(frozen=True)
class Match:
    """The best match of a feature in another seed."""

    seed: int
    feature: int
    """−1: there is none."""
    cosine: float
    margin: float
    """To the second best there; NaN where it is not known."""
    mutual: bool
    """Whether each is the other's best."""
    found: bool
    """Whether it counts as the same feature."""


def matches(features: Features, row: int) -> list[Match]:
    """Return the best match in each other seed, in the order of the seeds."""
    places = features.other_places[row // features.width]
    return [
        Match(
            features.seeds[place],
            int(features.partner[row, at]),
            float(features.best[row, at]),
            float(features.best[row, at] - features.runner_up[row, at]),
            bool(features.mutual[row, at]),
            # In the precision of the file, as everywhere: .7 of it is a little less than Python's.
            bool(features.mutual[row, at] and features.best[row, at] >= FOUND_AGAIN),
        )
        for at, place in enumerate(places)
    ]


def match_in(features: Features, row: int, by: int) -> tuple[int, int | None]:
    """Return the next (`by` 1) or previous (−1) seed, and the row of the feature's match there, None if there
    is none."""
    own, count = row // features.width, len(features.seeds)
    place = (own + by) % count
    if place == own:
        return features.seeds[own], None
    found = int(features.partner_rows[row, place - (place > own)])
    return features.seeds[place], found if found >= 0 else None


def slide(features: Features, row: int) -> Slide:
    """Return what the microscope calls a row."""
    seed, feature = features.seeds[row // features.width], row % features.width
    return Slide(features.study, features.cohort, seed, feature)


def partner_slides(features: Features, row: int) -> list[Slide]:
    """Return its matches in the other seeds, as the microscope calls them."""
    found = [match for match in matches(features, row) if match.feature >= 0][:MOST_PARTNERS]
    return [Slide(features.study, features.cohort, one.seed, one.feature) for one in found]


@dataclass(frozen=True)
class Peak:
    """The frequency that explains most of a map."""

    frequency: int
    family: str
    """a, b, a+b or a-b; empty where the table does not know."""
    share: float
    """Of the map's variance."""

    def __str__(self) -> str:
        within = f" in {self.family}" if self.family else ""
        return f"k={self.frequency}{within}, {100 * self.share:.0f} % of the variance"


def peak(card: Card | None, features: Features, row: int) -> Peak | None:
    """Return the largest line of the spectrum; from the table, without its family, until the map has come."""
    spectrum = card.grid.spectrum if card and card.grid else None
    if spectrum is not None and spectrum.size and np.isfinite(spectrum).any():
        family, place = np.unravel_index(int(np.nanargmax(spectrum)), spectrum.shape)
        return Peak(int(place) + 1, FAMILIES[int(family)], float(spectrum[family, place]))
    share = features.columns.get("selectivity")
    frequency = features.columns.get("frequency")
    if frequency is None or share is None or not frequency[row] or not np.isfinite(share[row]):
        return None
    return Peak(int(frequency[row]), "", float(share[row]))


def too_coarse(drawn: Picture, modulus: int, best: Peak | None, in_shades: bool = False) -> str:
    """Say so where the stripes of a map are finer than its dots can show: what is seen then is not there."""
    dot = drawn.factor * (1 + in_shades)
    if best is None or drawn.factor < 1 or modulus / best.frequency >= 2 * dot:
        return ""
    return f", too coarse for k={best.frequency}"


def fact_lines(features: Features, row: int, card: Card | None) -> list[Line]:
    """Return what is known of a feature, a label and a value in each line."""
    columns = features.columns
    state = state_of(features, row)
    fires: Line = [(density_text(float(columns["density"][row])), "strong"), (" of inputs", "")]
    fires.append((f"  {state}", "good" if state == "live" else "warn"))
    lines = [_fact("fires on", fires)]
    if "localisation" in columns:
        number, modulus = int(columns["localisation"][row]), card.grid if card else None
        of = f" of {modulus.modulus}" if modulus else ""
        lines.append(_fact("active on", [(f"{number}{of} answer{'s' * (number != 1)}", "")]))
    stability: Line = [(number_text(float(columns["stability"][row])), "strong")]
    if "p_surrogate" in columns:
        p = p_text(float(columns["p_surrogate"][row]))
        stability.append((f"  by chance: p {p}", "faint"))
    lines.append(_fact("stability", stability))
    found = peak(card, features, row)
    if found:
        lines.append(_fact("spectrum", [(str(found), "accent")]))
    elif card and card.grid:
        lines.append(_fact("spectrum", [("none: the map is constant", "faint")]))
    if "plane_energy" in columns:
        energy = number_text(float(columns["plane_energy"][row]))
        plane = plane_text(features, row)
        lines.append(_fact("direction", [(f"{energy} in the plane {plane}", "")]))
    return lines


def _fact(label: str, value: Line) -> Line:
    return [(f"{label:<11}", "faint"), *value]


def match_lines(features: Features, row: int) -> list[Line]:
    """Return the matches in the other seeds as a table."""
    heading = f"{'in seed':>9} {'feature':>7} {'cosine':>7} {'margin':>7}"
    lines: list[Line] = [[(heading, "faint")]]
    for one in matches(features, row):
        if one.feature < 0:
            lines.append([(f"▯ {one.seed:>7} ", "faint"), (f"{'none':>7}", "faint")])
            continue
        numbers = f"{one.feature:>7} {number_text(one.cosine):>7} {number_text(one.margin):>7}"
        lines.append(
            [
                ("▮ " if one.found else "▯ ", "accent" if one.found else "faint"),
                (f"{one.seed:>7} ", ""),
                (numbers, "strong" if one.found else ""),
                ("  mutual" if one.mutual else "  one way", "" if one.mutual else "faint"),
            ]
        )
    if len(lines) == 1:
        return [[("a cohort of one seed: nothing to compare with", "faint")]]
    return lines


def top_lines(card: Card | None, columns: int) -> list[Line]:
    """Return the inputs on which it is largest, side by side where there is room for so many characters."""
    if card is None:
        return []
    if not card.top:
        return [[("it is above zero on no input", "faint")]]
    on_grid = card.grid is not None
    sign = SIGNS.get(card.grid.task, "?") if card.grid else ""
    cells = []
    for one in card.top:
        what = f"{one.a:>4}{sign}{one.b:<4}→{one.answer:>4}" if on_grid else f"{one.input:>9}"
        cells.append(f"{what} {bare(f'{one.activation:.3f}'):>8}")
    title = "largest activations" if on_grid else "largest activations, by row of the input"
    across = max(1, min(4, (columns + 4) // (len(cells[0]) + 4)))
    down = -(-len(cells) // across)
    rows: list[Line] = [[("    ".join(cells[at::down]), "")] for at in range(down)]
    return [[(f"{title}   mean {bare(f'{card.mean:.3g}')}", "faint")], *rows]


def map_rows(card: Card) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return a card's numbers for a file: the map pair by pair, or the inputs where it is largest."""
    if card.grid is None:
        return ("input", "activation"), [[one.input, one.activation] for one in card.top]
    values: NDArray[np.float32] = card.grid.map
    p = card.grid.modulus
    rows = [[a, b, round(float(values[a, b]), 6)] for a in range(p) for b in range(p)]
    return ("a", "b", "activation"), rows


def told(features: Features, row: int, card: Card | None) -> str:
    """Return a card in full sentences."""
    seed, feature = features.seeds[row // features.width], row % features.width
    columns = features.columns
    density = density_text(float(columns["density"][row]))
    text = (
        f"Feature {feature} of seed {seed} in {features.cohort} of the study {features.study} fires on "
        f"{density} of the inputs ({state_of(features, row)}). "
    )
    found = peak(card, features, row)
    if found:
        text += f"Its map varies most with {found}. "
    every = matches(features, row)
    again = [one for one in every if one.found]
    text += (
        f"It is found again in {len(again)} of {len(every)} other seeds "
        f"(mutual best match, cosine at least {number_text(FOUND_AGAIN, 1)})"
    )
    parts = [
        f"{one.feature} of seed {one.seed} with cosine {number_text(one.cosine)}"
        f"{'' if one.mutual else ', which is closer to another'}"
        for one in every
        if one.feature >= 0
    ]
    if parts:
        text += f"; its best matches are {'; '.join(parts)}"
    text += "."
    if card and card.grid:
        text += f" The map has {card.grid.modulus} × {card.grid.modulus} pairs; dots are means over their area."
    if card and card.top:
        one = card.top[0]
        where = f"a={one.a}, b={one.b}, answer {one.answer}" if card.grid else f"input {one.input}"
        text += f" It is largest, {bare(f'{one.activation:.3g}')}, on {where}."
    return text
