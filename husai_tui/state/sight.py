"""What the Features screen says around its table and its card."""

from __future__ import annotations

from collections.abc import Sequence

from engine.client.features import Features
from engine.client.microscope import Card
from husai_tui.state.card import told
from husai_tui.state.cohorts import Choice, Opened
from husai_tui.state.features import FOUND_AGAIN, FeaturesTable, number_text
from husai_tui.tones import Part

NOTHING = "no study is analysed yet: 5 builds a sweep, or `husai-engine run STUDY`"
LETTERS = "123456789abdefghilmnoprstuvwxyz"
"""For the choice of a cohort; j, k and q move and leave."""


def title_line(
    opened: Opened, table: FeaturesTable, row: int | None
) -> tuple[list[Part], list[Part]]:
    """Return what is open: study, cohort, seeds or the card's feature; at the right filter and number."""
    target, features = opened.target, opened.features
    left: list[Part] = []
    right: list[Part] = []
    if target.study:
        left = [(f"{target.study} / ", "faint"), (target.cohort or "no cohort", "strong")]
    if features is not None:
        left.append((f"   {_place(features, table, row)}", "" if row is None else "accent"))
        if table.filter:
            right.append((f"/{table.filter}  ", "accent"))
        right.append((_count(features, table, row), "faint"))
    return left, right


def _place(features: Features, table: FeaturesTable, row: int | None) -> str:
    if row is not None:
        seed, feature = divmod(row, features.width)
        return f"seed {features.seeds[seed]} · feature {feature}"
    every = f"{len(features.seeds)} seeds"
    return every if table.seed is None else f"seed {table.seed} of {every}"


def _count(features: Features, table: FeaturesTable, row: int | None) -> str:
    shown, every = len(table), len(features)
    if row is not None:
        place = table.place(row)
        return "hidden by the filter" if place is None else f"{place + 1:,} of {shown:,}"
    return f"{shown:,} of {every:,} features" if shown != every else f"{every:,} features"


def meaning_line(opened: Opened, row: int | None, problem: str, caption: str) -> list[list[Part]]:
    """Return the last line, its left and its right part: what is wrong, else what the signs mean.

    `problem` is why a card has no map, `caption` what there is to say of its map.
    """
    if opened.features is None:
        return [[], []]
    if opened.problem:
        return [[(opened.problem, "warn")], []]
    if row is None:
        signs = f"▮ found again: mutual best match, cosine ≥ {number_text(FOUND_AGAIN, 1)}   ▯ not"
        return [[(signs, "faint")], []]
    if problem:
        return [[(f"no map: {problem}", "warn")], []]
    return [[(f"▮ mutual, cosine ≥ {number_text(FOUND_AGAIN, 1)}", "faint")], [(caption, "faint")]]


def empty_text(opened: Opened) -> str:
    """Return what stands in place of rows."""
    return opened.problem or ("no feature matches the filter" if opened.features else NOTHING)


def lettered(found: Sequence[Choice]) -> list[tuple[str, str, str]]:
    """Return cohorts as a dialog offers them: a letter, the place in the list, the name."""
    pairs = zip(LETTERS, found, strict=False)
    return [
        (letter, str(at), f"{one.study} / {one.title}") for at, (letter, one) in enumerate(pairs)
    ]


def described(opened: Opened, table: FeaturesTable, row: int | None, card: Card | None) -> str:
    """Return the screen in full sentences."""
    if opened.features is None:
        return f"No features are shown: {opened.problem or NOTHING}."
    if row is not None:
        return told(opened.features, row, card)
    return f"{table.told()} {opened.problem}".strip()
