"""Distances of matched features by hand."""

from __future__ import annotations

import math

import pytest
import torch

from engine.errors import InputError
from engine.metrics.distances import (
    DEFINITIONS,
    WARNINGS,
    correlation_distance,
    lp_distance,
    matched_distances,
)


def test_every_distance_of_a_pair_at_sixty_degrees() -> None:
    # (1, 0) and (1/2, √3/2), of any length.
    found = matched_distances(torch.tensor([[5.0, 0]]), torch.tensor([[1.0, math.sqrt(3)]]))
    root = math.sqrt(3) / 2
    expected = {
        "cosine": 0.5,
        "angular": 1 / 3,
        "l2": 1.0,  # L2² = 2 − 2·cos
        "l1": 0.5 + root,
        "linf": root,
        "decoder_correlation": 2.0,  # two coordinates correlate by ±1 only: (+, −) with (−, +)
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)
    assert set(found) | {"correlation"} == set(DEFINITIONS)


def test_only_what_depends_on_coordinates_warns() -> None:
    assert set(WARNINGS) == {"decoder_correlation", "l1", "linf"}
    a, b = torch.tensor([[1.0, 0]]), torch.tensor([[0.6, 0.8]])
    turn = torch.tensor([[math.cos(1), math.sin(1)], [-math.sin(1), math.cos(1)]])
    before, after = matched_distances(a, b), matched_distances(a @ turn, b @ turn)
    moved = {n for n in before if float(before[n]) != pytest.approx(float(after[n]), abs=1e-6)}
    assert moved == set(WARNINGS)


def test_decoder_correlation_depends_on_the_basis() -> None:
    a, b = torch.tensor([[1.0, 2, 4]]), torch.tensor([[2.0, 1, 5]])
    swing = torch.linalg.matrix_exp(torch.tensor([[0, 1.0, 0], [-1, 0, 2], [0, -2, 0]]))
    here = matched_distances(a, b)["decoder_correlation"]
    there = matched_distances(a @ swing, b @ swing)["decoder_correlation"]
    assert abs(float(here - there)) > 0.01
    # Pearson by hand: centred (−4, −1, 5)/3 and (−2, −5, 7)/3.
    assert float(here) == pytest.approx(1 - 48 / math.sqrt(42 * 78))


def test_without_sign_opposite_rows_are_the_same() -> None:
    a = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    signed = matched_distances(a, -a)
    assert float(signed["angular"][0]) == pytest.approx(1)
    assert float(signed["l2"][0]) == pytest.approx(2)
    for values in matched_distances(a, -a, "abs").values():
        assert values == pytest.approx(torch.zeros(2), abs=1e-7)


def test_correlation_of_latents() -> None:
    x = torch.tensor([[0.0, 1, 0], [1, 0, 0], [2, 0, 0], [5, 3, 0]])
    y = torch.tensor([[1.0, 0, 1], [3, 2, 0], [5, 2, 2], [11, -4, 1]])
    found = correlation_distance(x, y)
    assert float(found[0]) == pytest.approx(0)  # y = 1 + 2x
    # (1, 0, 0, 3) and (0, 2, 2, −4): both of mean 1 and 0; covariance −12, squares 6 and 24.
    assert float(found[1]) == pytest.approx(1 + 12 / math.sqrt(6 * 24))
    assert math.isnan(float(found[2])), "a latent that never fires correlates with nothing"


def test_lp_is_a_norm() -> None:
    a, b = torch.tensor([[3.0, 0]]), torch.tensor([[0.0, 4]])
    assert [float(lp_distance(a, b, p)) for p in (1, 2, math.inf)] == [7, 5, 4]
    with pytest.raises(InputError):
        lp_distance(a, b, 0.5)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="shapes"):
        matched_distances(torch.ones(2, 3), torch.ones(3, 3))
    with pytest.raises(InputError, match="zero"):
        matched_distances(torch.ones(2, 3), torch.tensor([[1.0, 0, 0], [0, 0, 0]]))
    with pytest.raises(InputError):
        correlation_distance(torch.ones(1, 2), torch.ones(1, 2))
