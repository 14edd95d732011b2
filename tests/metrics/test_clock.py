"""Both measures of how a transformer adds, against values worked by hand and science.md §8."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.clock import distance_irrelevance, gradient_symmetry

P = 113
A = torch.arange(P, dtype=torch.float64)[:, None].expand(P, P)
B = A.T


def wave(k: int, t: Tensor) -> Tensor:
    return torch.cos(2 * torch.pi * k * t / P)


class TestDistanceIrrelevance:
    def test_the_pizza_depends_on_the_distance_alone(self) -> None:
        pizza = sum((torch.cos(torch.pi * k * (A - B) / P).abs() for k in (14, 35)), A * 0)
        assert distance_irrelevance(pizza) == pytest.approx(0.0, abs=1e-12)

    def test_what_depends_on_the_sum_alone_is_irrelevant_of_distance(self) -> None:
        assert distance_irrelevance(wave(5, A + B)) == pytest.approx(1.0)

    def test_noise(self) -> None:
        noise = torch.randn(P, P, generator=torch.Generator().manual_seed(0))
        assert distance_irrelevance(noise) == pytest.approx(0.993, abs=0.005)

    def test_a_constant_logit_has_none(self) -> None:
        assert math.isnan(distance_irrelevance(torch.full((P, P), 0.3)))

    def test_by_hand(self) -> None:
        # p = 3, L = 1 at (0, 0) alone: distance 0 has std √2/3, the others 0; std(L) = √8/9.
        grid = torch.zeros(3, 3)
        grid[0, 0] = 1
        assert distance_irrelevance(grid) == pytest.approx((math.sqrt(2) / 9) / (math.sqrt(8) / 9))

    def test_subtraction_and_multiplication_are_addition_in_their_group(self) -> None:
        assert distance_irrelevance(wave(5, A - B), "subtract") == pytest.approx(1.0)
        assert distance_irrelevance(wave(5, A + B), "subtract") == pytest.approx(0.0, abs=1e-12)
        log = torch.zeros(7, dtype=torch.float64)
        log[torch.tensor([1, 3, 2, 6, 4, 5])] = torch.arange(6, dtype=torch.float64)
        angle = torch.pi * (log[:, None] - log) / 3
        grid = torch.cos(angle)
        grid[0], grid[:, 0] = 50.0, -9.0  # pairs with a zero have no logarithm
        assert distance_irrelevance(grid, "multiply") == pytest.approx(0.0, abs=1e-12)

    def test_errors(self) -> None:
        with pytest.raises(InputError, match="correct logits"):
            distance_irrelevance(torch.zeros(3, 5))
        with pytest.raises(InputError, match="odd prime"):
            distance_irrelevance(torch.zeros(4, 4))
        with pytest.raises(InputError, match="non-finite"):
            distance_irrelevance(torch.full((5, 5), torch.nan))


class TestGradientSymmetry:
    def test_by_hand(self) -> None:
        a = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
        b = torch.tensor([[6.0, 8.0], [0.0, 2.0], [1.0, 1.0]])
        # Cosines 1 and 0; the sample without a gradient has no angle.
        assert gradient_symmetry(a, b) == pytest.approx(0.5)

    def test_what_reads_the_sum_is_symmetric_and_the_difference_opposed(self) -> None:
        g = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
        assert gradient_symmetry(g, 3 * g) == pytest.approx(1.0)
        assert gradient_symmetry(g, -g) == pytest.approx(-1.0)

    def test_one_frequency_of_a_clock(self) -> None:
        # Q_c = cos w(a+b-c) of circles E: the gradients are (cos, -sin) at w(b-c) and w(a-c), so their
        # cosine is cos w(a-b), whose mean over all pairs is 0.
        w, c = 2 * torch.pi * 5 / P, 17
        gradients = [
            torch.stack([torch.cos(w * (t - c)), -torch.sin(w * (t - c))], -1).reshape(-1, 2)
            for t in (B, A)
        ]
        assert gradient_symmetry(*gradients) == pytest.approx(0.0, abs=1e-9)

    def test_no_gradient_at_all(self) -> None:
        assert math.isnan(gradient_symmetry(torch.zeros(4, 3), torch.ones(4, 3)))

    def test_errors(self) -> None:
        for a, b in ((torch.ones(3, 2), torch.ones(2, 2)), (torch.ones(3), torch.ones(3))):
            with pytest.raises(InputError, match="gradients"):
                gradient_symmetry(a, b)
