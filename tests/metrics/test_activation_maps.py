"""Scores of single features against closed forms on the full grid (science.md §5, §8)."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.activation_maps import _controls, _harmonics, map_spectrum, score_features

P, K = 113, 14
LINE = 2 * torch.pi * K * torch.arange(P, dtype=torch.float64) / P
A, B = LINE.repeat_interleave(P), LINE.repeat(P)


def columns(*maps: Tensor) -> Tensor:
    return torch.stack(maps, dim=1)


class TestSelectivity:
    def test_rectified_waves(self) -> None:
        wave = torch.cos(A + B)
        scores = score_features(columns(wave, wave.relu(), (wave - 0.5).relu()), P)
        assert scores.selectivity.tolist() == pytest.approx([1.0, 0.841, 0.609], abs=0.002)
        assert scores.frequency.tolist() == [K] * 3

    def test_second_harmonic(self) -> None:
        scores = score_features(columns(torch.cos(A + B).relu()), P)
        # ReLU(cos) has even harmonics only: the family adds the second, .151.
        assert float(scores.family - scores.selectivity) == pytest.approx(0.151, abs=0.002)

    def test_every_member_of_the_block_counts(self) -> None:
        block = columns(
            A.cos(), B.sin(), A.cos() * B.cos(), A.sin() * B.cos(), A.cos() + 2 * A.sin() * B.sin()
        )
        assert score_features(block, P).selectivity.tolist() == pytest.approx([1.0] * 5)

    def test_two_frequencies_share(self) -> None:
        other = torch.cos(3 * (A + B)) * 2  # 3·14 = 42, of the same harmonic family
        scores = score_features(columns(torch.cos(A + B) + other), P)
        assert float(scores.selectivity) == pytest.approx(0.8)
        assert int(scores.frequency) == 42
        assert float(scores.family) == pytest.approx(1.0)

    def test_families_fold_at_half_the_modulus(self) -> None:
        step = 2 * torch.pi * torch.arange(P, dtype=torch.float64) / P
        total = (step[:, None] + step).flatten()
        # 50, 2·50 = 100 = -13 and 3·50 = 150 = 37 modulo 113.
        scores = score_features(columns(sum(torch.cos(k * total) for k in (50, 13, 37))), P)  # type: ignore[arg-type]
        assert float(scores.selectivity) == pytest.approx(1 / 3)
        assert float(scores.family) == pytest.approx(1.0)

    @pytest.mark.parametrize("n", [23, 112, 113])
    def test_controls_are_as_many_and_outside_the_family(self, n: int) -> None:
        families = _harmonics(n, n // 2)
        controls = _controls(families, seed=0)
        assert torch.equal(controls.sum(1), families.sum(1))
        assert torch.equal(controls * families, torch.eye(n // 2, dtype=torch.float64))

    def test_chance(self) -> None:
        noise = torch.randn(P * P, 400, generator=torch.Generator().manual_seed(0))
        scores = score_features(noise, P)
        assert scores.selectivity_null == pytest.approx(0.00063, abs=5e-6)
        assert float(scores.selectivity.mean()) == pytest.approx(0.0016, abs=1e-4)
        assert scores.eta2_null == pytest.approx(0.00877, abs=5e-6)
        assert scores.eta2.mean(1).tolist() == pytest.approx([0.00877] * 4, abs=3e-4)
        # As many frequencies, as much power: the control is matched.
        assert float(scores.family.mean()) == pytest.approx(
            float(scores.family_control.mean()), abs=2e-4
        )


class TestSpectrum:
    def test_a_wave_of_the_sum_has_one_line(self) -> None:
        spectrum = map_spectrum(columns(torch.cos(A + B), 3 + torch.sin(A - B)), P)
        assert spectrum.shape == (4, 56, 2)
        expected = torch.zeros(4, 56, 2, dtype=torch.float64)
        expected[2, K - 1, 0] = expected[3, K - 1, 1] = 1
        torch.testing.assert_close(spectrum, expected, atol=1e-9, rtol=0)

    def test_it_sums_to_the_selectivity(self) -> None:
        maps = columns(torch.cos(A + B).relu(), A.cos() * B.cos())
        spectrum, scores = map_spectrum(maps, P), score_features(maps, P)
        assert spectrum.sum(0).amax(0).tolist() == pytest.approx(scores.selectivity.tolist())
        assert spectrum[:, K - 1, 1].tolist() == pytest.approx([0, 0, 0.5, 0.5], abs=1e-9)

    def test_a_constant_map_has_none(self) -> None:
        assert map_spectrum(torch.ones(P * P, 1), P).isnan().all()


class TestVarianceShares:
    def test_sum_wave_product_and_single(self) -> None:
        scores = score_features(columns(torch.cos(A + B), A.cos() * B.cos(), A.cos()), P)
        by_a, by_b, by_sum, by_difference = scores.eta2.tolist()
        assert by_sum == pytest.approx([1, 0.5, 0], abs=1e-9)
        assert by_difference == pytest.approx([0, 0.5, 0], abs=1e-9)
        assert by_a == pytest.approx([0, 0, 1], abs=1e-9)
        assert by_b == pytest.approx([0, 0, 0], abs=1e-9)


class TestLocalisation:
    def test_counts_answers(self) -> None:
        total = (torch.arange(P)[:, None] + torch.arange(P)).flatten() % P
        one, weak = (total == 5).double(), (total == 9).double()
        scores = score_features(columns(one, one + 0.2 * weak, one + 0.05 * weak, one * 0), P)
        assert scores.localisation.tolist() == [1, 2, 1, 0]

    def test_subtraction_counts_differences(self) -> None:
        total = (torch.arange(P)[:, None] - torch.arange(P)).flatten() % P
        one = (total == 5).double()[:, None]
        assert score_features(one, P, "subtract").localisation.tolist() == [1]
        assert score_features(one, P).localisation.tolist() == [P]


class TestGrids:
    def test_constant_features_have_no_score(self) -> None:
        scores = score_features(columns(torch.zeros(P * P), torch.full((P * P,), 0.1), A.cos()), P)
        assert scores.selectivity.isnan().tolist() == [True, True, False]
        assert scores.frequency.tolist() == [0, 0, K]
        assert scores.eta2.isnan().any(0).tolist() == [True, True, False]

    def test_multiplication_is_scored_by_discrete_logarithm(self) -> None:
        log = torch.zeros(7, dtype=torch.float64)
        log[torch.tensor([1, 3, 2, 6, 4, 5])] = torch.arange(6, dtype=torch.float64)
        total = log[:, None] + log
        wave, alternating = torch.cos(torch.pi * total / 3), torch.cos(torch.pi * total)
        wave[0], wave[:, 0] = 100.0, -100.0
        scores = score_features(columns(wave.flatten(), alternating.flatten()), 7, "multiply")
        assert scores.selectivity.tolist() == pytest.approx([1.0, 1.0])
        assert scores.frequency.tolist() == [1, 3]
        assert scores.eta2[2].tolist() == pytest.approx([1.0, 1.0])

    @pytest.mark.parametrize("p", [3, 5, 7])
    def test_small_moduli(self, p: int) -> None:
        noise = torch.randn(p * p, 3, generator=torch.Generator().manual_seed(0))
        scores = score_features(noise, p)
        assert bool((scores.family >= scores.selectivity - 1e-12).all())

    def test_many_features_in_chunks_agree(self) -> None:
        noise = torch.randn(49, 600, generator=torch.Generator().manual_seed(0))
        whole = score_features(noise, 7)
        part = score_features(noise[:, 500:], 7)
        torch.testing.assert_close(whole.selectivity[500:], part.selectivity)
        torch.testing.assert_close(whole.eta2[:, 500:], part.eta2)

    def test_a_whole_sae_is_quick(self) -> None:
        maps = torch.rand(P * P, 1024).relu()
        start = time.perf_counter()
        score_features(maps, P)
        # Measured: .2 s on one core; the bound leaves room for a shared machine.
        assert time.perf_counter() - start < 1.5

    def test_errors(self) -> None:
        for maps in (torch.zeros(P * P - 1, 2), torch.zeros(P * P), torch.zeros(P * P, 0)):
            with pytest.raises(InputError):
                score_features(maps, P)
        with pytest.raises(InputError, match="odd prime"):
            score_features(torch.zeros(81, 2), 9)
        with pytest.raises(InputError, match="non-finite"):
            score_features(torch.full((49, 2), torch.nan), 7)
