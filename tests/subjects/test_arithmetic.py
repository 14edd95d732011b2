"""The problem: tokens, answers and splits against values worked by hand."""

from __future__ import annotations

import pytest
import torch

from engine.errors import InputError
from engine.study.subject import Modular
from engine.subjects.arithmetic import (
    answers,
    assert_disjoint,
    make_problem,
    make_split,
    make_tokens,
    pairs,
)


def config(**changes: object) -> Modular:
    return Modular.model_validate({"modulus": 7, **changes})


def test_row_a_times_p_plus_b_holds_a_and_b() -> None:
    a, b = pairs(7)
    assert (int(a[3 * 7 + 5]), int(b[3 * 7 + 5])) == (3, 5)
    assert len(a) == 49


@pytest.mark.parametrize(
    ("task", "answer"), [("add", (3 + 5) % 7), ("subtract", (3 - 5) % 7), ("multiply", 15 % 7)]
)
def test_answers(task: str, answer: int) -> None:
    c = answers(7, config(task=task).task)
    assert c[3 * 7 + 5] == answer
    assert c.shape == (49,)
    assert c.min() == 0
    assert c.max() == 6


@pytest.mark.parametrize(
    ("tokens", "position", "row", "read_index", "vocabulary"),
    [
        ("answer-blank", "=", [3, 5, 7], 2, 8),
        # BOS, op, =, EOS are tokens 7, 8, 9, 10.
        ("sequence", "=", [7, 3, 8, 5, 9, 1, 10], 4, 11),
        ("sequence", "c", [7, 3, 8, 5, 9, 1, 10], 5, 11),
        ("tuple", "b", [3, 5, 1], 1, 7),
        ("tuple", "c", [3, 5, 1], 2, 7),
    ],
)
def test_every_format(
    tokens: str, position: str, row: list[int], read_index: int, vocabulary: int
) -> None:
    problem = make_problem(config(tokens=tokens, position=position))
    assert problem.tokens_NT[3 * 7 + 5].tolist() == row
    assert problem.tokens_NT.shape == (49, len(row))
    assert problem.positions == len(row)
    assert problem.read_index == read_index
    assert problem.vocabulary == vocabulary
    assert int(problem.tokens_NT.max()) < vocabulary


def test_the_read_token_is_constant_at_the_equals_sign_only() -> None:
    tokens_NT = make_tokens(config(tokens="sequence"))
    assert set(tokens_NT[:, 4].tolist()) == {9}
    assert torch.equal(tokens_NT[:, 5], answers(7, "add"))


def test_split_sizes_are_fractions_rounded_down_and_the_rest() -> None:
    split = make_split(config(split={"train": 0.3, "validation": 0.1}))
    assert [len(part) for part in (split.train, split.validation, split.test)] == [14, 4, 31]


def test_split_is_disjoint_and_covers_every_pair() -> None:
    split = make_split(config(split={"train": 0.5, "validation": 0.2}))
    rows = torch.cat([split.train, split.validation, split.test])
    assert sorted(rows.tolist()) == list(range(49))
    assert split.train.tolist() == sorted(split.train.tolist())


def test_a_test_fraction_leaves_pairs_unused() -> None:
    split = make_split(config(split={"train": 0.3, "test": 0.2}))
    assert (len(split.train), len(split.validation), len(split.test)) == (14, 0, 9)
    assert not torch.isin(split.test, split.train).any()


def test_split_follows_its_seed_alone() -> None:
    torch.manual_seed(1)
    first = make_split(config(split_seed=3)).train
    torch.manual_seed(2)
    assert torch.equal(first, make_split(config(split_seed=3, task="multiply")).train)
    assert not torch.equal(first, make_split(config(split_seed=4)).train)


@pytest.mark.parametrize("split", [{"train": 0.01}, {"train": 0.5, "test": 0.01}])
def test_a_split_without_training_or_test_pairs_is_refused(split: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"subject\.split: .* out of 49"):
        make_split(config(split=split))


@pytest.mark.parametrize("second", [[1, 2], [3, 3], [5, 9]])
def test_overlap_repetition_and_strays_are_noticed(second: list[int]) -> None:
    with pytest.raises(AssertionError, match="two parts"):
        assert_disjoint([torch.tensor([0, 1]), torch.tensor(second)], 6)
