"""What is said of single features follows their counts, at every verdict, on the page and on the terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from engine.report.notes import meaning
from engine.report.opening import opening
from engine.report.rediscovery import found_again, found_again_text
from engine.report.tables import summary_tables

Record = dict[str, Any]
OTHERS = "Another seed gives other features"


def counted(surrogate: list[int] | None, tested: list[int], isotropic: list[int]) -> Record:
    found = {"level": 0.05, "rule": "", "tested": tested, "isotropic": {"per_seed": isotropic}}
    return found if surrogate is None else {**found, "surrogate": {"per_seed": surrogate}}


def at_chance(summary: Record, found: Record | None, null: str = "N6") -> Record:
    one = summary["cohorts"][0]
    one["discoveries"] = found
    for cells in one["stability"].values():
        for cell in cells.values():
            cell["null_name"] = null
    summary["cohorts"] = [one]
    return summary


def test_features_that_return_contradict_that_another_seed_gives_others(summary: Record) -> None:
    found = at_chance(summary, counted([20, 22], [22, 25], [22, 25]))
    (note,) = meaning(found)
    assert OTHERS not in note
    assert "some features return" in note
    assert "42 of 47 live features (89 %) are found again by most other seeds" in note
    assert "beyond the surrogate (N3), 5 % false discoveries" in note
    assert "κ is taken against N6, a larger null" in note
    assert "42 of 47 live features" in opening(found).replace("\u00a0", " ")


def test_the_terminal_says_it_below_the_verdict(summary: Record) -> None:
    file = io.StringIO()
    console = Console(file=file, width=120)
    for part in summary_tables(at_chance(summary, counted([20, 22], [22, 25], [22, 25]))):
        console.print(part)
    verdict, count = (line.strip() for line in file.getvalue().splitlines()[:2])
    assert "no more alike than chance" in verdict
    assert count.startswith("42 of 47 live features (89 %) are found again")


def test_none_found_again_is_said_with_how_many_were_tested(summary: Record) -> None:
    (note,) = meaning(at_chance(summary, counted([0, 0], [700, 300], [90, 90])))
    assert OTHERS in note
    assert "None of 1,000 live features is found again" in note, "beyond the surrogate, none"


def test_where_nothing_was_tested_nothing_is_claimed_of_single_features(summary: Record) -> None:
    (note,) = meaning(at_chance(summary, None))
    assert OTHERS not in note
    assert "was not tested" in note
    nobody = at_chance(summary, counted([0], [0], [0]))
    assert found_again(nobody["cohorts"][0]) is None
    assert found_again_text(nobody["cohorts"][0]) == ""


def test_without_a_surrogate_the_weaker_null_is_named(summary: Record) -> None:
    text = found_again_text(at_chance(summary, counted(None, [10], [1]))["cohorts"][0])
    assert text == (
        "1 of 10 live features (10 %) is found again by most other seeds beyond random directions, "
        "5 % false discoveries."
    )


def test_against_the_same_null_no_other_is_named(summary: Record) -> None:
    found = at_chance(summary, counted([5], [10], [5]), "N3 surrogate")
    assert "larger null" not in found_again_text(found["cohorts"][0])


def test_cohorts_at_chance_are_told_apart_and_a_crowd_by_its_range(
    summary: Record, make_cohort: Callable[..., Record]
) -> None:
    some, none = (make_cohort(f"topk {n} k4", 0.5, 0.0, "chance", [1, 2, 3]) for n in (64, 128))
    some["discoveries"], none["discoveries"] = counted([3], [12], [3]), counted([0], [9], [0])
    summary["cohorts"] = [some, none]
    notes = meaning(summary)
    assert [OTHERS in note for note in notes] == [True, False]
    summary["cohorts"] = [some] * 11 + [none]
    other, mixed = meaning(summary)
    assert other.startswith("Chance (1 cohort)")
    assert "0 % are found again" in other
    assert mixed.startswith("Chance (11 cohorts)")
    assert "25 % are found again" in mixed
