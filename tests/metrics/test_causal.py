"""Losses, margins and strengths of frequencies, against closed forms and `fourier`'s own sums."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics import fourier
from engine.metrics.causal import (
    ablation_matrix,
    behaviour,
    explained,
    logit_change,
    loss_recovered,
    make_waves,
    margins,
    matched_norm,
    strengths,
)

P, KEYS = 113, (14, 35, 41, 42, 52)
ROWS = torch.arange(P * P)
TOTALS = ROWS // P + ROWS % P


def clock(alphas: dict[int, float], rows: Tensor = ROWS) -> Tensor:
    """Logits Σ α_k cos w_k(a + b - c)."""
    angle = 2 * torch.pi * (TOTALS[rows][:, None] - torch.arange(P)).double() / P
    return sum((alpha * torch.cos(k * angle) for k, alpha in alphas.items()), 0 * angle)


class TestBehaviour:
    def test_by_hand(self) -> None:
        logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]])
        answers = torch.tensor([0, 1])
        assert margins(logits, answers).tolist() == [1.0, -3.0]
        found = behaviour(logits, answers)
        assert (found.accuracy, found.margin) == (0.5, -1.0)
        losses = [math.log(math.e**2 + 1 + math.e) - 2, math.log(2 + math.e**3)]
        assert found.loss == pytest.approx(sum(losses) / 2)

    def test_a_tie_is_not_right(self) -> None:
        assert behaviour(torch.zeros(2, 3), torch.tensor([0, 1])).accuracy == 0.0

    def test_the_clock_of_science_md(self) -> None:
        answers = TOTALS % P
        logits = clock(dict.fromkeys(KEYS, 1.0))
        assert behaviour(logits, answers).margin == pytest.approx(2.410, abs=0.002)
        for scale, loss in ((1, 1.030), (2, 0.0722), (5, 2.18e-5)):
            assert behaviour(scale * logits, answers).loss == pytest.approx(loss, rel=0.005)
        uniform = behaviour(torch.zeros(P, P), torch.arange(P))
        assert uniform.loss == pytest.approx(4.7274, abs=1e-4)

    def test_loss_recovered(self) -> None:
        assert loss_recovered(0.1, 4.1, 0.1) == 1.0
        assert loss_recovered(0.1, 4.1, 4.1) == 0.0
        assert loss_recovered(0.1, 4.1, 1.1) == pytest.approx(0.75)
        assert math.isnan(loss_recovered(2.0, 2.0, 1.0))

    def test_logit_change_ignores_what_all_answers_share(self) -> None:
        before = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
        assert logit_change(before + 7, before) == pytest.approx(0.0, abs=1e-6)
        step = torch.tensor([[3.0, -3.0], [0.0, 0.0]])
        assert logit_change(step, 0 * step) == pytest.approx(math.sqrt(18 / 4))
        assert logit_change(step + 1, 0 * step) == pytest.approx(math.sqrt(18 / 4))


class TestStrengths:
    def test_of_a_clock(self) -> None:
        logits = clock({14: 2.0, 35: -0.5, 7: 3.0})
        waves = make_waves(ROWS, P, (35, 14))
        assert strengths(logits, waves).tolist() == pytest.approx([-0.5, 2.0])
        assert explained(logits, waves) == pytest.approx(4.25 / 13.25)

    def test_a_part_of_the_pairs_says_the_same(self) -> None:
        rows = torch.tensor([5, 112, 4000, 12768])
        waves = make_waves(rows, P, (14, 35))
        logits = clock({14: 2.0, 35: -0.5, 7: 3.0}, rows)
        assert strengths(logits, waves).tolist() == pytest.approx([2.0, -0.5])

    @pytest.mark.parametrize("task", ["add", "subtract", "multiply"])
    def test_over_all_pairs_it_is_what_the_gates_measure(
        self, task: Literal["add", "subtract", "multiply"]
    ) -> None:
        p, ks = 11, (1, 5, 2)  # 5 is its own conjugate in the group of multiplication
        grid = torch.randn(p, p, p, generator=torch.Generator().manual_seed(1))
        waves = make_waves(torch.arange(p * p), p, ks, task)
        every = fourier.frequency_coefficients(grid, task)
        flat = grid.flatten(0, 1)
        expected = [float(every[k - 1]) for k in ks]
        assert strengths(flat, waves).tolist() == pytest.approx(expected)
        assert explained(flat, waves) == pytest.approx(fourier.fve(grid, ks, task))

    def test_one_hot_logits(self) -> None:
        logits = torch.nn.functional.one_hot(TOTALS % P, P)
        assert explained(logits, make_waves(ROWS, P, KEYS)) == pytest.approx(0.0893, abs=1e-4)
        every = make_waves(ROWS, P, tuple(range(1, 57)))
        assert explained(logits, every) == pytest.approx(1.0)

    def test_logits_without_variance_explain_nothing(self) -> None:
        assert math.isnan(explained(torch.ones(P * P, P), make_waves(ROWS, P, (14,))))

    def test_errors(self) -> None:
        for ks in ((), (0,), (57,), (3, 3)):
            with pytest.raises(InputError, match=r"1\.\.56"):
                make_waves(ROWS, P, ks)
        for row in (-1, P * P):
            with pytest.raises(InputError, match="rows"):
                make_waves(torch.tensor([row]), P, (3,))
        with pytest.raises(InputError, match="without a zero"):
            make_waves(torch.tensor([0, 3]), 7, (1,), "multiply")
        with pytest.raises(InputError, match="logits"):
            strengths(torch.zeros(3), make_waves(ROWS, P, (3,)))


class TestAblation:
    def test_ideal_groups_leave_zeros_on_the_diagonal(self) -> None:
        whole = {14: 2.0, 35: -0.5}
        waves = make_waves(ROWS, P, (14, 35))
        before = strengths(clock(whole), waves)
        after = [strengths(clock(whole | {k: 0.0}), waves) for k in (14, 35)]
        found = ablation_matrix(torch.stack(after), before)
        torch.testing.assert_close(found, torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double())

    def test_by_hand(self) -> None:
        found = ablation_matrix(torch.tensor([[1.0, 3.0]]), torch.tensor([4.0, 0.0]))
        assert float(found[0, 0]) == 0.25
        assert math.isnan(float(found[0, 1]))

    def test_norms_are_matched_row_by_row(self) -> None:
        removed = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
        like = torch.tensor([[0.0, 10.0], [1.0, 1.0], [0.0, 0.0]])
        assert matched_norm(removed, like).tolist() == [[6.0, 8.0], [0.0, 0.0], [0.0, 0.0]]
        with pytest.raises(InputError, match="shape"):
            matched_norm(removed, like[:2])
