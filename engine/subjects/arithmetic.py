"""Modular arithmetic as tokens, answers and a split: the problem that the transformer groks.

Every pair (a, b) is one row, in the order a * p + b. Numbers are their own tokens; the marks (`=`,
and in the long format `BOS`, `op`, `EOS`) follow them. Shapes: N = p² pairs, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InputError
from engine.study.subject import Modular, Task

MARKS: dict[str, tuple[str, ...]] = {
    "answer-blank": ("=",),
    "sequence": ("BOS", "op", "=", "EOS"),
    "tuple": (),
}
"""The tokens of each format that are no numbers; the i-th has the token number p + i."""


@dataclass(frozen=True)
class Split:
    """Disjoint row numbers, each ascending, int64."""

    train: Tensor
    validation: Tensor
    test: Tensor


@dataclass(frozen=True)
class Problem:
    """All p² pairs of one task in one token format, and how they are divided."""

    modulus: int
    tokens_NT: Tensor
    """Token numbers, int64."""
    answers_N: Tensor
    """The right answers, 0 to p - 1, int64."""
    read_index: int
    """Position where the answer is predicted and activations are read."""
    split: Split
    vocabulary: int
    """Number of distinct tokens that go in; p distinct answers come out."""

    @property
    def positions(self) -> int:
        """Number of positions T of a row."""
        return self.tokens_NT.shape[1]


def make_problem(config: Modular) -> Problem:
    """Lay out the problem that a config describes.

    Raises:
        InputError: the fractions of the split leave no training or no test pair.
    """
    return Problem(
        modulus=config.modulus,
        tokens_NT=make_tokens(config),
        answers_N=answers(config.modulus, config.task),
        read_index=config.positions().index(config.position),
        split=make_split(config),
        vocabulary=config.modulus + len(MARKS[config.tokens]),
    )


def pairs(p: int) -> tuple[Tensor, Tensor]:
    """Return a and b of every row, int64 [p²] each: row a * p + b holds (a, b)."""
    a, b = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    return a.flatten(), b.flatten()


def answers(p: int, task: Task) -> Tensor:
    """Return (a + b), (a - b) or (a * b) mod p of every row, int64 [p²]."""
    a, b = pairs(p)
    if task == "add":
        return (a + b) % p
    if task == "subtract":
        return (a - b) % p
    return a * b % p


def make_tokens(config: Modular) -> Tensor:
    """Return the tokens of every row, int64 [p², T], in the config's format."""
    p = config.modulus
    a, b = pairs(p)
    columns = {"a": a, "b": b, "c": answers(p, config.task)}
    for number, mark in enumerate(MARKS[config.tokens]):
        columns[mark] = torch.full_like(a, p + number)
    return torch.stack([columns[name] for name in config.positions()], dim=1)


def make_split(config: Modular) -> Split:
    """Divide the p² rows by `split_seed`: the first ones of one shuffle train, the next validate.

    Sizes are the fractions of p², rounded down; a test fraction of None takes all the rest.

    Raises:
        InputError: no training pair or no test pair is left.
    """
    n = config.modulus**2
    shares = config.split
    train, validation = int(shares.train * n), int(shares.validation * n)
    test = n - train - validation if shares.test is None else int(shares.test * n)
    if train < 1 or test < 1:
        raise InputError(
            "subject.split",
            f"{train} training and {test} test pairs out of {n}",
            "fractions that leave at least one of each",
        )
    generator = torch.Generator().manual_seed(config.split_seed)
    order = torch.randperm(n, generator=generator)[: train + validation + test]
    parts = [part.sort().values for part in torch.split(order, [train, validation, test])]
    assert_disjoint(parts, n)
    return Split(*parts)


def assert_disjoint(parts: list[Tensor], n: int) -> None:
    """Raise AssertionError if any of n rows is in two parts, or twice in one, or out of range."""
    counts = torch.bincount(torch.cat(parts), minlength=n)
    if len(counts) > n or int(counts.max()) > 1:
        raise AssertionError("a pair is in two parts of the split")
