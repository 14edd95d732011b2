"""The features' table: 100,000 rows of it, its order, its filter, and what its cells say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import husai_tui.state.features as module
from engine.client.features import Features
from husai_tui.state.features import FeaturesTable, columns_of, density_text, row_of
from tests.tui.fake_features import many, on_grid, three


def table_of(features: Features, **settings: Any) -> FeaturesTable:
    table = FeaturesTable()
    for name, value in settings.items():
        setattr(table, name, value)
    table.take(features)
    return table


def keys(table: FeaturesTable) -> list[str]:
    return [table.key(place) for place in range(len(table))]


def texts(table: FeaturesTable, key: str) -> dict[str, str]:
    place = table.find(key)
    assert place is not None
    cells = table.cells(place)
    return {
        column.name: cell if isinstance(cell, str) else cell[0]
        for column, cell in zip(table.columns, cells, strict=True)
    }


@pytest.fixture
def sorts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys by which rows were sorted."""
    asked: list[str] = []
    real = module.order

    def counted(features: Features, key: str) -> Any:
        asked.append(key)
        return real(features, key)

    monkeypatch.setattr(module, "order", counted)
    return asked


def test_the_strip_says_where_a_feature_is_found_again() -> None:
    table = table_of(three())
    # 0.9 and 0.8 mutual; 0.5 mutual is too little; 0.9 mutual, 0.6 is not enough; none; ...
    assert [table.strip(row)[0] for row in range(6)] == ["▮▮", "▯▮", "▮▯", "▯▯", "▮▯", "▮▯"]
    assert table.strip(0)[1] == "accent"
    assert table.strip(3)[1] == "faint"


def test_a_match_that_is_not_mutual_is_not_found_again() -> None:
    features = three()
    features.best[1, 0] = 0.9
    table = table_of(features)
    assert table.strip(1)[0] == "▯▮", "its partner in seed 5 has another one"
    features.best[1, 1] = 0.69
    assert table_of(features).strip(1)[0] == "▯▯", "mutual, but too little"


def test_cells_by_hand() -> None:
    table = table_of(on_grid())
    assert texts(table, "7:0") == {
        "seed": "7",
        "feature": "0",
        "density": "25.00 %",
        "state": "live",
        "match": "▮▮",
        "cosine": ".85",
        "margin": ".50",
        "stability": "1.00",
        "k": "23",
        "share": "90 %",
        "plane": "a+b 23",
        "energy": ".90",
        "p": "<.001",
        "cosines": "    .90   .80",
    }
    dead = texts(table, "5:1")
    assert (dead["state"], dead["density"], dead["cosine"], dead["margin"]) == (
        "dead",
        "0",
        "–",
        "–",
    )
    assert (dead["k"], dead["share"], dead["plane"]) == ("–", "–", "–")
    assert texts(table, "9:1")["state"] == "rare"


@pytest.mark.parametrize(
    ("density", "said"),
    [(0.0, "0"), (1.0, "100.00 %"), (0.1993, "19.93 %"), (1e-4, "0.01 %"), (6.3e-5, "6.3e-05")],
)
def test_density(density: float, said: str) -> None:
    assert density_text(density) == said


def test_columns_are_those_that_the_cohort_has() -> None:
    plain = [column.name for column in columns_of(three())]
    assert not {"k", "share", "plane", "energy"} & set(plain)
    assert "p" in plain
    assert {"k", "share", "plane", "energy"} <= {column.name for column in columns_of(on_grid())}


def test_seeds_of_many_digits_are_not_cut() -> None:
    assert columns_of(three())[0].width == 5
    features = three()
    long = Features(**{**features.__dict__, "seeds": (7, 5, 20_240_101)})
    assert columns_of(long)[0].width == 8


def test_universal_features_are_first_unless_told_otherwise() -> None:
    table = table_of(three())
    assert keys(table) == ["7:0", "5:0", "9:0", "7:1", "9:1", "5:1"]
    assert table_of(three(), sort=("", False)).key(0) == "7:0"


def test_what_is_not_known_is_last_both_ways() -> None:
    for falling in (True, False):
        table = table_of(three(), sort=("cosine", falling))
        assert keys(table)[-1] == "5:1"
        assert table.key(0) == ("7:0" if falling else "9:1")


@pytest.mark.parametrize("name", [c.name for c in columns_of(on_grid()) if c.sorts])
def test_every_column_that_sorts_sorts(name: str) -> None:
    table = table_of(on_grid(), sort=(name, True))
    assert table.sort == (name, True)
    assert sorted(keys(table)) == sorted(keys(table_of(on_grid())))


def test_the_plane_sorts_by_family_then_frequency() -> None:
    table = table_of(on_grid(), sort=("plane", False))
    assert [texts(table, key)["plane"] for key in keys(table)] == [
        "–", "a 7", "b 23", "a+b 5", "a+b 23", "a-b 4",
    ]  # fmt: skip


def test_the_filter_and_its_errors() -> None:
    table = table_of(three())
    assert table.set_filter("cos>.65 mutual") == ""
    assert keys(table) == ["7:0", "5:0", "9:0"]
    wrong = table.set_filter("cosy>.65")
    assert "cosy" in wrong
    assert table.filter == "cos>.65 mutual", "what was shown stays"
    assert len(table) == 3
    assert "freq" in table.set_filter("freq=23")
    assert table.set_filter("") == ""
    assert len(table) == 6


def test_a_filter_that_the_next_cohort_cannot_answer_is_left_and_told() -> None:
    table = table_of(on_grid(), filter="freq=23")
    assert len(table) == 3
    table.take(three())
    assert (len(table), table.filter) == (6, "")
    assert "freq" in table.refused
    table.take(on_grid())
    assert table.refused == ""


def test_an_order_that_the_next_cohort_does_not_have_is_left() -> None:
    table = table_of(on_grid(), sort=("energy", True))
    table.take(three())
    assert table.sort == ("", False)
    assert keys(table)[0] == "7:0"


def test_walking_the_seeds_comes_round_to_all() -> None:
    table = table_of(three(), sort=("", False))
    seen = []
    for _ in range(4):
        table.step_seed(1)
        seen.append((table.seed, len(table)))
    assert seen == [(7, 2), (5, 2), (9, 2), (None, 6)]
    table.step_seed(-1)
    assert table.seed == 9
    assert keys(table) == ["9:0", "9:1"]


def test_a_seed_that_the_next_cohort_does_not_have_is_left() -> None:
    table = table_of(three(), seed=5)
    assert len(table) == 2
    table.take(many(seeds=2, width=3))
    assert (table.seed, len(table)) == (None, 6)


def test_places_and_keys_find_each_other() -> None:
    table = table_of(three(), sort=("cosine", True), filter="live")
    for place in range(len(table)):
        assert table.find(table.key(place)) == place
    assert table.find("5:1") is None, "the filter hides it"
    for key in ("", "x", "7", "8:0", "7:2", "7:-1", ":1"):
        assert table.find(key) is None
        assert row_of(None, key) is None


def test_a_file_from_before_the_runner_up() -> None:
    features = three()
    old = Features(**{**features.__dict__, "runner_up": np.full_like(features.best, np.nan)})
    table = table_of(old, sort=("margin", True))
    assert {texts(table, key)["margin"] for key in keys(table)} == {"–"}
    assert len(table) == 6


def test_more_seeds_than_cells_are_counted() -> None:
    table = table_of(many(seeds=40, width=2))
    assert str(table.strip(0)[0]).endswith("/39")
    assert "cosines" not in [column.name for column in table.columns]


def test_a_hundred_thousand_rows_cost_one_sort_and_only_cells_in_sight(sorts: list[str]) -> None:
    features = many()
    table = table_of(features, sort=("cosine", True))
    assert len(table) == 100_000
    assert sorts == ["-cos"]
    for text in ("c", "co", "cos>.5", "cos>.5 l", "cos>.5 live", ""):
        table.set_filter(text)
    table.step_seed(1)
    assert sorts == ["-cos"], "a filter does not sort"
    table.sort = ("cosine", False)
    table.arrange()
    table.sort = ("cosine", True)
    table.arrange()
    assert sorts == ["-cos", "cos"], "an order is made once"
    cosine = features.columns["median_best_cosine"][[table.row(n) for n in range(20)]]
    assert (np.diff(cosine) <= 0).all()


def test_what_is_said() -> None:
    table = table_of(three(), sort=("cosine", True))
    table.set_filter("live")
    assert table.told() == (
        "topk 2 k1 of the study tiny: 4 of 6 features are shown (3 seeds, with the filter live), sorted by "
        "cosine, the largest first. Of these, 4 live, 0 rare, 0 dead. 1 are found again in every other seed, "
        "0 in none: a match counts from a cosine of .7 on, where each of the two is the "
        "other's best."
    )
    table.set_filter("cos>.99")
    assert table.told().endswith("the largest first.")
    assert FeaturesTable().told() == "No features are open."


def test_what_is_exported() -> None:
    table = table_of(three(), sort=("", False))
    names, rows = table.written()
    assert len(rows) == 6
    dead = dict(zip(names, rows[3], strict=True))
    assert (dead["seed"], dead["feature"], dead["density"], dead["live"]) == (5, 1, 0.0, False)
    assert dead["median_best_cosine"] is None
    assert dead["margin"] is None
    assert dead["best_cosine"] == [pytest.approx(0.4), None]
    assert dead["partner"] == [0, -1]
    assert dead["mutual"] == [False, False]
    assert [row[names.index("found_again")] for row in rows] == [2, 1, 1, 0, 1, 1]
    assert FeaturesTable().written() == ((), [])
