"""What a card says, from the table alone and with the microscope's answer."""

from __future__ import annotations

import numpy as np

from engine.client.features import Features
from husai_tui.state.card import (
    Peak,
    fact_lines,
    map_rows,
    match_in,
    match_lines,
    matches,
    partner_slides,
    peak,
    slide,
    told,
    too_coarse,
    top_lines,
)
from husai_tui.state.raster import picture
from husai_tui.tones import Part
from tests.tui.fake_features import TITLE, card_of, on_grid, three


def text(lines: list[list[Part]]) -> list[str]:
    return ["".join(part for part, _ in line).rstrip() for line in lines]


def test_matches_by_hand() -> None:
    first, second = matches(three(), 0)
    assert (first.seed, first.feature, first.mutual, first.found) == (5, 0, True, True)
    assert (round(first.cosine, 2), round(first.margin, 2)) == (0.9, 0.5)
    assert (second.seed, second.feature) == (9, 0)
    none = matches(three(), 3)[1]
    assert (none.seed, none.feature, none.found) == (9, -1, False)


def test_the_match_in_the_next_seed_and_back() -> None:
    features = three()
    assert match_in(features, 0, 1) == (5, 2)
    assert match_in(features, 2, -1) == (7, 0)
    assert match_in(features, 0, -1) == (9, 4), "the seeds are a ring"
    assert match_in(features, 1, 1) == (5, 3)
    assert match_in(features, 3, 1) == (9, None), "it has none there"
    alone = Features("s", "c", "h", (1,), 1, {}, *(np.zeros((1, 0)) for _ in range(3)))
    assert match_in(alone, 0, 1) == (1, None)


def test_what_the_microscope_is_asked_for() -> None:
    assert slide(three(), 3) == ("tiny", TITLE, 5, 1)
    assert [one[2:] for one in partner_slides(three(), 3)] == [(7, 0)]


def test_facts_before_and_after_the_map() -> None:
    assert text(fact_lines(on_grid(), 0, None)) == [
        "fires on   25.00 % of inputs  live",
        "active on  4 answers",
        "stability  1.00  by chance: p <.001",
        "spectrum   k=23, 84 % of the variance",
        "direction  .90 in the plane a+b 23",
    ]
    after = text(fact_lines(on_grid(), 0, card_of("tiny", TITLE, 7, 0)))
    assert "active on  4 of 5 answers" in after
    assert "spectrum   k=2 in a+b, 84 % of the variance" in after


def test_facts_of_a_subject_without_a_grid() -> None:
    assert text(fact_lines(three(), 3, card_of("tiny", TITLE, 5, 1, grid=False))) == [
        "fires on   0 of inputs  dead",
        "stability  .00  by chance: p 1.000",
    ]


def test_a_constant_map_has_no_peak() -> None:
    assert peak(None, on_grid(), 3) is None
    card = card_of("tiny", TITLE, 5, 1)
    assert card.grid is not None
    flat = type(card)(
        **{**card.__dict__, "grid": type(card.grid)(**{**card.grid.__dict__, "spectrum": None})}
    )
    assert "spectrum   none: the map is constant" in text(fact_lines(on_grid(), 3, flat))


def test_the_matches_stand_under_their_headings() -> None:
    lines = text(match_lines(three(), 1))
    assert lines == [
        "  in seed feature  cosine  margin",
        "▯       5       1     .50     .25  one way",
        "▮       9       1     .70     .25  mutual",
    ]
    assert text(match_lines(three(), 3))[2] == "▯       9    none"


def test_the_largest_inputs_fill_the_room() -> None:
    card = card_of("tiny", TITLE, 7, 0)
    assert text(top_lines(card, 49)) == [
        "largest activations   mean .51",
        "   0+3   →   3    2.550",
        "   1+2   →   3    2.500",
    ]
    assert len(top_lines(card, 110)) == 2, "side by side"
    assert text(top_lines(card_of("tiny", TITLE, 7, 0, grid=False), 30))[1] == "        3    2.550"
    assert top_lines(None, 49) == []
    silent = type(card)(**{**card.__dict__, "top": ()})
    assert text(top_lines(silent, 49)) == ["it is above zero on no input"]


def test_stripes_finer_than_dots_are_told() -> None:
    drawn = picture(np.ones((113, 113)), 26, 13)
    assert drawn is not None
    # Dots of 4.3 pairs: k = 13 repeats every 8.7 pairs, k = 14 every 8.07.
    assert too_coarse(drawn, 113, Peak(13, "a", 1.0)) == ""
    assert too_coarse(drawn, 113, Peak(14, "a", 1.0)) == ", too coarse for k=14"
    whole = picture(np.ones((113, 113)), 113, 57)
    assert whole is not None
    assert too_coarse(whole, 113, Peak(56, "a", 1.0)) == ""
    assert too_coarse(whole, 113, Peak(56, "a", 1.0), in_shades=True) == ", too coarse for k=56"
    assert too_coarse(drawn, 113, None) == ""


def test_what_is_exported() -> None:
    names, rows = map_rows(card_of("tiny", TITLE, 7, 0))
    assert names == ("a", "b", "activation")
    assert len(rows) == 25
    assert rows[3] == [0, 3, 2.55]
    assert rows[4] == [0, 4, 0.0]
    assert map_rows(card_of("tiny", TITLE, 7, 0, grid=False)) == (
        ("input", "activation"),
        [[3, 2.55], [7, 2.5]],
    )


def test_what_is_said() -> None:
    assert told(on_grid(), 1, card_of("tiny", TITLE, 7, 1)) == (
        "Feature 1 of seed 7 in topk 2 k1 of the study tiny fires on 12.50 % of the inputs (live). "
        "Its map varies most with k=2 in a+b, 84 % of the variance. "
        "It is found again in 1 of 2 other seeds (mutual best match, cosine at least .7); its best "
        "matches are 1 of seed 5 with cosine .50, which is closer to another; 1 of seed 9 with cosine .70. "
        "The map has 5 × 5 pairs; dots are means over their area. It is largest, 2.55, on a=0, b=3, answer 3."
    )
    assert told(three(), 1, None).endswith("cosine .70.")
