from __future__ import annotations

import math
from typing import Any

import pytest

from engine.errors import InputError
from engine.study.search import _draw, compact, from_range
from engine.study.spec import Study, check_study, parse_yaml, write_yaml
from engine.study.titles import count_saes

RELU = {"architecture": "relu", "d_sae": 12, "l1": 0.1}


@pytest.fixture
def both(study_data: dict[str, Any]) -> dict[str, Any]:
    """The small study with a TopK and a ReLU entry."""
    return {**study_data, "saes": [*study_data["saes"], RELU]}


def grid(data: dict[str, Any], **over: Any) -> Study:
    paths = {name.replace("__", "."): values for name, values in over.items()}
    return search(data, paths)


def search(data: dict[str, Any], over: Any, **kind: Any) -> Study:
    return check_study({**data, "search": {"kind": "grid", **kind, "over": over}}, "f.yaml")


def drawn(
    data: dict[str, Any], over: Any, samples: int = 20, seed: int = 0
) -> list[dict[str, Any]]:
    study = search(data, over, kind="random", samples=samples, seed=seed)
    return [point.values for point in study.points()]


def test_without_a_search_the_study_is_its_only_point(study_data: dict[str, Any]) -> None:
    study = check_study(study_data, "f.yaml")
    (point,) = study.points()
    assert (point.values, point.study) == ({}, study)


def test_a_grid_is_every_combination_the_first_key_slowest(both: dict[str, Any]) -> None:
    study = search(both, {"saes.*.d_sae": [12, 24], "training.lr": [1e-3, 1e-2, 1e-1]})
    points = study.points()
    assert [tuple(point.values.values()) for point in points] == [
        (12, 1e-3), (12, 1e-2), (12, 1e-1), (24, 1e-3), (24, 1e-2), (24, 1e-1),
    ]  # fmt: skip
    last = points[-1].study
    assert [sae.d_sae for sae in last.saes] == [24, 24]
    assert (last.training.lr, last.training.epochs, last.search) == (0.1, 2, None)
    # The study itself keeps its own values.
    assert study.saes[0].d_sae == 12


def test_a_number_names_one_entry_and_lists_and_blocks_are_values(both: dict[str, Any]) -> None:
    one = search(both, {"saes.1.d_sae": [24]}).points()[0].study
    assert [sae.d_sae for sae in one.saes] == [12, 24]
    several = search(both, {"seeds": [[1, 2], [3, 4, 5]], "saes": [[RELU]]}).points()
    assert [point.study.seeds for point in several] == [(1, 2), (3, 4, 5)]
    assert [sae.architecture for sae in several[0].study.saes] == ["relu"]


def test_a_block_that_was_left_out_keeps_its_other_defaults(both: dict[str, Any]) -> None:
    study = search(both, {"saes.*.dead.after_tokens": [10]}).points()[0].study
    assert [sae.dead.after_tokens for sae in study.saes] == [10, 10]
    assert [sae.dead.method for sae in study.saes] == ["auxk", "none"], "ReLU's own default"


def test_the_architecture_itself_can_be_searched(study_data: dict[str, Any]) -> None:
    study = search(study_data, {"saes.0.architecture": ["topk", "batch_topk"]})
    assert [p.study.saes[0].architecture for p in study.points()] == ["topk", "batch_topk"]
    assert check_study(parse_yaml(write_yaml(study), "x"), "x") == study


def test_draws_of_a_key_do_not_depend_on_the_others(study_data: dict[str, Any]) -> None:
    rate = {"training.lr": {"log_uniform": [1e-4, 1e-2]}}
    more = {"training.epochs": {"integers": [1, 9]}, **rate}
    alone = [values["training.lr"] for values in drawn(study_data, rate)]
    assert [values["training.lr"] for values in drawn(study_data, more)] == alone
    assert [values["training.lr"] for values in drawn(study_data, rate, samples=5)] == alone[:5]
    assert [values["training.lr"] for values in drawn(study_data, rate, seed=1)] != alone
    assert len(set(alone)) == 20
    assert all(1e-4 <= value <= 1e-2 for value in alone)


def test_keys_with_the_same_range_are_drawn_apart(study_data: dict[str, Any]) -> None:
    rates = {name: {"uniform": [1e-3, 1.0]} for name in ("training.lr", "saes.0.dead.coefficient")}
    assert all(len(set(values.values())) == 2 for values in drawn(study_data, rates))


def test_points_that_repeat_are_one(study_data: dict[str, Any]) -> None:
    found = drawn(study_data, {"training.epochs": [1, 2]})
    assert sorted(values["training.epochs"] for values in found) == [1, 2]


def test_draws_from_the_widest_ranges_differ() -> None:
    wide = {"integers": [-(2**52), 2**52]}, {"uniform": [-8e307, 8e307]}
    for path, given in zip(("seeds.0", "training.lr"), wide, strict=True):
        values = [_draw(0, path, number, given) for number in range(20)]
        assert len(set(values)) == 20


@pytest.mark.parametrize(
    ("name", "ends", "share", "value"),
    [
        ("uniform", (2.0, 6.0), 0.25, 3.0),
        ("uniform", (0, 1), 0.123456789, 0.1235),
        ("log_uniform", (1e-4, 1e-2), 0.5, 1e-3),
        ("integers", (3, 6), 0.0, 3),
        ("integers", (3, 6), 0.74, 5),
        ("integers", (3, 6), 0.76, 6),
        # From .5 to 4.5, a factor of 9: half way lies 1.5, the border between 1 and 2.
        ("log_integers", (1, 4), 0.49, 1),
        ("log_integers", (1, 4), 0.51, 2),
        ("log_integers", (1, 4), 0.999999, 4),
    ],
)
def test_ranges_by_hand(name: str, ends: tuple[float, float], share: float, value: float) -> None:
    found = from_range(name, *ends, share)
    assert math.isclose(found, value, rel_tol=1e-12)
    assert isinstance(found, int) == name.endswith("integers")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-3, "0.001"),
        (0.1 + 0.2, repr(0.1 + 0.2)),
        (None, "none"),
        (True, "true"),
        ([1, 2], "1,2"),
        (64, "64"),
    ],
)
def test_values_in_few_characters(value: Any, text: str) -> None:
    assert compact(value) == text


def test_saes_are_counted_once(both: dict[str, Any]) -> None:
    assert count_saes(check_study(both, "x")) == 2 * 3
    assert count_saes(search(both, {"saes.*.d_sae": [12, 24]})) == 2 * 2 * 3
    # The second entry is the same at both points.
    assert count_saes(search(both, {"saes.0.d_sae": [12, 24]})) == 3 * 3
    assert count_saes(search(both, {"analysis.sign": ["signed", "abs"]})) == 2 * 3
    assert count_saes(search(both, {"seeds": [[1, 2], [3, 4, 5]]})) == 2 * 5


# over, where, what is wrong, what would be right.
BAD = {
    "typo": (
        {"saes.*.d_say": [8]},
        "saes.*.d_say",
        "names nothing: saes.0 has no 'd_say'",
        "did you mean 'd_sae'?",
    ),
    "not for all": (
        {"saes.*.k": [2]},
        "saes.*.k",
        "names nothing: saes.1 has no 'k'",
        "one of architecture",
    ),
    "no list": ({"training.*": [2]}, "training.*", "training has no '*'", "a key of it"),
    "star on a number": (
        {"training.lr.*": [2]},
        "training.lr.*",
        "training.lr is no list",
        "the path of a key",
    ),
    "no such entry": ({"saes.2.d_sae": [8]}, "saes.2.d_sae", "saes has no entry '2'", "0 to 1"),
    "unset block": (
        {"saes.1.p_anneal.p": [0.5]},
        "saes.1.p_anneal.p",
        "saes.1.p_anneal is not set",
        "a value",
    ),
    "a digit that is no number": (
        {"saes.².d_sae": [8]},
        "saes.².d_sae",
        "saes has no entry '²'",
        "0 to 1",
    ),
    "an entry of thousands of digits": (
        {f"saes.{'9' * 5000}.d_sae": [8]},
        f"saes.{'9' * 5000}.d_sae",
        "saes has no entry",
        "0 to 1",
    ),
    "refused": (
        {"saes.*.d_sae": [12, -5]},
        "saes.*.d_sae",
        "-5 is refused: saes.0.d_sae: got -5",
        "greater than 0",
    ),
    "refused together": (
        {"saes.0.k": [2, 13], "training.lr": [0.1]},
        "saes.0.k",
        "13 is refused (point saes.0.k 13, training.lr 0.1): saes.0.k: 13 is above d_sae 12",
        "at most 12",
    ),
    "of another type": (
        {"training.epochs": [2.5]},
        "training.epochs",
        "2.5 is refused",
        "a whole number",
    ),
    "hook": (
        {"hooks": [["x"]]},
        "hooks",
        "x is refused: hooks: the subject has no hook 'x'",
        "planted",
    ),
    "empty": ({"training.lr": []}, "training.lr", "is empty", "at least one value"),
    "twice": ({"training.lr": [1, 2, 1]}, "training.lr", "1 is there twice", "every value once"),
    "twice as an integer and as a float": (
        {"training.lr": [1, 0.5, 1.0]},
        "training.lr",
        "1 is there twice",
        "every value once",
    ),
    "twice within": (
        {"analysis.tau": [[0.5, 1], [0.5, 1.0]]},
        "analysis.tau",
        "[0.5, 1] is there twice",
        "every value once",
    ),
    "a bare value": ({"training.lr": 0.1}, "training.lr", "got 0.1", "a list of values"),
    "a range on a grid": (
        {"training.lr": {"uniform": [0.1, 1]}},
        "training.lr",
        "got {",
        "a list of values",
    ),
    "name": ({"name": ["a"]}, "name", "cannot be searched", "it names the study"),
    "description": ({"description": ["a"]}, "description", "cannot be searched", "describes"),
    "search": ({"search": [None]}, "search", "cannot be searched", "itself"),
    "gates": (
        {"subject.gates": ["warn"]},
        "subject.gates",
        "cannot be searched",
        "whether to go on",
    ),
    "set twice": (
        {"saes.*.d_sae": [12], "saes.0.d_sae": [14]},
        "saes.0.d_sae",
        "sets what saes.*.d_sae sets",
        "one",
    ),
    "a block and its key": (
        {"training.lr": [0.1], "training": [{}]},
        "training",
        "sets what training.lr",
        "one",
    ),
    "too many": (
        {"training.epochs": [*range(1, 40)], "training.lr": [*range(1, 40)]},
        "",
        "1,521 points",
        "1,000",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_bad_search_is_refused_in_one_line(both: dict[str, Any], case: str) -> None:
    over, where, what, want = BAD[case]
    with pytest.raises(InputError) as caught:
        search(both, over)
    line = str(caught.value)
    assert line.startswith(f"f.yaml: search.over{'.' if where else ''}{where}: ")
    assert "\n" not in line
    assert what in line
    assert want in line


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"uniform": [1, 0.1]}, "1 is not below 0.1"),
        ({"log_uniform": [0, 1]}, "0 has no logarithm"),
        ({"uniform": [1]}, "two numbers"),
        ({"integers": [1, 2.5]}, "two whole numbers"),
        ({"integers": [True, 3]}, "two whole numbers"),
        ({"normal": [0, 1]}, "one of uniform"),
        ({"uniform": [0, 1], "integers": [0, 1]}, "one of uniform"),
        ({"integers": [1, 10**400]}, "too large to draw from: ends within -2^52 to 2^52"),
        ({"log_integers": [1, 10**400]}, "too large to draw from: ends within -2^52 to 2^52"),
        ({"integers": [-(10**400), 1]}, "too large to draw from"),
        ({"uniform": [0, 10**400]}, "too large to draw from"),
        ({"uniform": [-1e308, 1e308]}, "too large to draw from: ends within -8.99e+307"),
        ({"log_uniform": [1e-300, 1e300]}, "1e+300 / 1e-300 is too large to draw from"),
        ([], "is empty"),
    ],
)
def test_a_bad_range_is_refused(study_data: dict[str, Any], given: Any, what: str) -> None:
    with pytest.raises(InputError, match=r"^f\.yaml: search\.over\.training\.lr") as caught:
        drawn(study_data, {"training.lr": given})
    assert what in str(caught.value)


@pytest.mark.parametrize("samples", [0, 1001])
def test_the_number_of_samples_is_bounded(study_data: dict[str, Any], samples: int) -> None:
    with pytest.raises(InputError, match=r"search\.samples"):
        drawn(study_data, {"training.lr": [0.1]}, samples=samples)
