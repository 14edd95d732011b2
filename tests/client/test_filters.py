from __future__ import annotations

import time

import numpy as np
import pytest

from engine.client.features import FAMILIES, Features
from engine.client.filters import choose, order
from engine.errors import InputError
from engine.metrics import ground_truth
from tests.client.conftest import features_of_three


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("live", [0, 1, 2, 4]),
        ("!live", [3, 5]),
        ("dead", [3]),
        ("!dead !live", [5]),
        ("cos>0.7", [0, 2]),
        ("cos>=.7", [0, 2, 4]),
        ("COS<0.7", [1, 5]),
        ("!cos<0.7", [0, 2, 3, 4]),
        ("cos!=.85", [1, 2, 4, 5]),
        ("mincos>.55", [0, 2, 4]),
        ("maxcos<.75", [1, 5]),
        ("margin>=0.25", [0, 1, 4]),
        ("density<0.01", [3, 5]),
        ("density=0", [3]),
        ("stability>=.75", [0]),
        ("stability=.33", [5]),
        ("stability=0.3", [5]),
        ("stability=1", [0]),
        ("seed=5", [2, 3]),
        ("seed=5 feature=1", [3]),
        ("mutual", [0, 2, 4]),
        ("mutual>=1", [0, 1, 2, 4, 5]),
        ("mutual=1 live", [1]),
    ],
)
def test_words_by_hand(three: Features, text: str, rows: list[int]) -> None:
    assert np.flatnonzero(choose(three, text)).tolist() == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("freq=23", [0, 1, 5]),
        ("freq==23 live", [0, 1]),
        ("family=a+b", [0, 4]),
        ("family!=a+b", [1, 2, 3, 5]),
        ("family=none", [3]),
        ("freq>4 freq<23", [4]),
    ],
)
def test_words_of_a_grid_by_hand(three_on_a_grid: Features, text: str, rows: list[int]) -> None:
    assert np.flatnonzero(choose(three_on_a_grid, text)).tolist() == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("live cso>0.9", "cso>0.9: is no word of the filter: cos"),
        ("liv", "liv: is no word of the filter: live?"),
        ("!zzz", "!zzz: is no word of the filter: one of live, dead, mutual, seed, "),
        ("cos>", "cos>: '' is no number: cos>0.5, say"),
        ("cos=>.5", "cos=>.5: '>.5' is no number"),
        ("cos", "cos: says nothing by itself: cos>NUMBER"),
        ("dead>1", "dead>1: is no word"),
        (">5", ">5: is no word"),
        ("freq=23", "freq=23: features of TopK 2 have no freq: one of seed, feature, cos"),
    ],
)
def test_a_wrong_word_is_named_with_what_would_be_right(
    three: Features, text: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        choose(three, text)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("text", ["family=c", "family>a"])
def test_families_are_named(three_on_a_grid: Features, text: str) -> None:
    with pytest.raises(InputError, match=r"family= a, b, a\+b, a-b, none"):
        choose(three_on_a_grid, text)


def test_families_are_those_of_the_ground_truth() -> None:
    assert ground_truth.FAMILIES == FAMILIES


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("cos", [5, 1, 4, 2, 0, 3]),
        ("-cos", [0, 2, 4, 1, 5, 3]),
        ("stability", [3, 5, 1, 2, 4, 0]),
        ("-stability", [0, 1, 2, 4, 5, 3]),
        ("-mutual", [0, 2, 4, 1, 5, 3]),
        ("seed", [2, 3, 0, 1, 4, 5]),
    ],
)
def test_order_keeps_equals_and_puts_the_unknown_last(
    three: Features, key: str, rows: list[int]
) -> None:
    assert order(three, key).tolist() == rows


def test_an_order_that_is_none_is_refused(three: Features) -> None:
    with pytest.raises(InputError, match="-cosine: is no word of the filter: cos"):
        order(three, "-cosine")


def test_many_rows_are_chosen_and_ordered_between_two_keys() -> None:
    rows, others = 200_000, 4
    numbers = np.random.default_rng(0)
    best = numbers.random((rows, others), dtype=np.float32)
    features = Features(
        "big", "x", "h", (1, 2, 3, 4, 5), rows // 5,
        {"density": numbers.random(rows), "live": numbers.random(rows) < 0.5},
        best, numbers.integers(0, rows // 5, (rows, others), dtype=np.int32), best / 2,
    )  # fmt: skip
    choose(features, "mutual margin>0")  # what is computed once
    started = time.perf_counter()
    chosen = choose(features, "live density<0.5 margin>.1 mutual>=0 mincos<.9")
    order(features, "-margin")
    assert time.perf_counter() - started < 0.5
    assert 0 < chosen.sum() < rows


def test_the_share_with_harmonics_is_the_column_that_the_analysis_writes() -> None:
    features = features_of_three(frequency_family=[0.9, 0.2, 0.3, 0.1, 0.5, 0.4])
    assert order(features, "-harmonics").tolist() == [0, 4, 5, 2, 1, 3]
