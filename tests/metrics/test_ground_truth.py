"""Planted planes are found, atoms scored by energy, and chance stays at its closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics import ground_truth as gt

P = 23
KEYS = (3, 7)
AMPLITUDES = {("a+b", 3): 3.0, ("a+b", 7): 2.0, ("a", 3): 1.0, ("b", 3): 1.0}


def arguments(p: int) -> dict[str, Tensor]:
    a = torch.arange(p, dtype=torch.float64).repeat_interleave(p)
    b = torch.arange(p, dtype=torch.float64).repeat(p)
    return {"a": a, "b": b, "a+b": a + b, "a-b": a - b}


def planted(d: int = 32, noise: float = 0.05) -> tuple[Tensor, dict[tuple[str, int], Tensor]]:
    """Activations with known orthogonal planes and a mean offset, and the planes [d, 2]."""
    generator = torch.Generator().manual_seed(0)
    axes, _ = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    x = noise * torch.randn(P * P, d, generator=generator, dtype=torch.float64) + 5
    truth = {}
    for index, ((family, k), amplitude) in enumerate(AMPLITUDES.items()):
        basis = axes[:, 2 * index : 2 * index + 2]
        angle = 2 * torch.pi * k * arguments(P)[family] / P
        x += amplitude * torch.stack([angle.cos(), angle.sin()], 1) @ basis.T
        truth[family, k] = basis
    return x, truth


def ring(basis: Tensor, angles: list[float]) -> Tensor:
    """Unit atoms at the given angles (degrees) of a plane."""
    theta = torch.tensor(angles, dtype=torch.float64).deg2rad()
    return torch.stack([theta.cos(), theta.sin()], 1) @ basis.T


class TestGridMoments:
    def test_means_and_variance_by_hand(self) -> None:
        # f(a, b) = a + 3b of p = 3, row a·3 + b: 0 3 6 | 1 4 7 | 2 5 8.
        found = gt.grid_moments(torch.tensor([[0.0], [3], [6], [1], [4], [7], [2], [5], [8]]), 3)
        by_a, by_b, by_sum, by_difference = found.marginals_4NM[..., 0].tolist()
        assert by_a == [3, 4, 5]
        assert by_b == [1, 4, 7]
        # a + b = 0: (0,0) (1,2) (2,1) = 0, 7, 5; 1: (0,1) (1,0) (2,2) = 3, 1, 8; 2: 6, 4, 2.
        assert by_sum == [4, 4, 4]
        # a - b = 0: 0, 4, 8; 1: (1,0) (2,1) (0,2) = 1, 5, 6; 2: (2,0) (0,1) (1,2) = 2, 3, 7.
        assert by_difference == [4, 4, 4]
        assert found.variance_M.tolist() == pytest.approx([60 / 9])

    def test_arguments_are_told_apart(self) -> None:
        t = {name: x.remainder(5) for name, x in arguments(5).items()}
        for family, values in enumerate(t.values()):
            marginals = gt.grid_moments(values[:, None], 5).marginals_4NM[..., 0]
            assert marginals[family].tolist() == [0, 1, 2, 3, 4]

    def test_a_large_mean_leaves_the_variance(self) -> None:
        wave = torch.cos(2 * torch.pi * arguments(P)["a-b"] / P)[:, None]
        for offset in (0.0, 1e6):
            variance = float(gt.grid_moments(offset + wave, P).variance_M)
            assert variance == pytest.approx(0.5, rel=1e-8)

    def test_a_first_row_unlike_the_rest(self) -> None:
        # What is subtracted beforehand is the mean of the first row, here far from that of all.
        x = torch.ones(P * P, 1)
        x[:P] = 0
        assert float(gt.grid_moments(x, P).variance_M) == pytest.approx((P - 1) / P**2)


class TestPlanes:
    def test_planted_planes_are_recovered(self) -> None:
        x, truth = planted()
        found = gt.planes(x, P, KEYS)
        assert {(q.family, q.k) for q in found.existing} == set(truth)
        assert len(found.planes) == 8
        # Each cosine and sine has variance ½: amplitude² per plane, 15 in all, noise 32·.05².
        total = 15 + 32 * 0.0025
        for plane in found.existing:
            wanted = AMPLITUDES[plane.family, plane.k] ** 2 / total
            assert plane.share == pytest.approx(wanted, abs=0.005)
            torch.testing.assert_close(plane.basis.T @ plane.basis, torch.eye(2).double())
            overlap = (plane.basis.T @ truth[plane.family, plane.k]).square().sum() / 2
            assert float(overlap) > 0.999
        assert max(found.other_share.values()) < 0.001

    def test_phase_does_not_matter(self) -> None:
        x, _ = planted()
        rolled = x.reshape(P, P, -1).roll(5, 0).reshape(P * P, -1)
        for before, after in zip(
            gt.planes(x, P, KEYS).existing, gt.planes(rolled, P, KEYS).existing, strict=True
        ):
            assert after.share == pytest.approx(before.share)
            torch.testing.assert_close(after.basis @ after.basis.T, before.basis @ before.basis.T)

    def test_a_plane_below_the_noise_of_its_family_does_not_exist(self) -> None:
        x, _ = planted()
        found = gt.planes(x, P, (7,))  # frequency 3 is now not key, and stronger in a+b
        assert found.existing == ()
        assert found.other_share["a+b"] == pytest.approx(9 / 15.08, abs=0.005)

    def test_a_plane_below_one_percent_does_not_exist(self) -> None:
        angle = 2 * torch.pi * 3 * arguments(P)["a+b"] / P
        weak = 2 * torch.pi * 7 * arguments(P)["a+b"] / P
        for amplitude, wanted in ((0.09, {3}), (0.12, {3, 7})):
            x = torch.stack(
                [angle.cos(), angle.sin(), amplitude * weak.cos(), amplitude * weak.sin()], 1
            )
            assert {q.k for q in gt.planes(x, P, (3, 7)).existing} == wanted

    def test_a_wave_without_sine_has_a_one_dimensional_basis(self) -> None:
        x = torch.outer(torch.cos(2 * torch.pi * 3 * arguments(P)["a"] / P), torch.ones(4).double())
        (plane,) = gt.planes(x, P, (3,)).existing
        assert tuple(plane.basis.shape) == (4, 1)
        assert gt.recover(torch.ones(1, 4), (plane,)).recall == 0.0
        assert gt.recover(torch.tensor([[1.0] * 4, [-1.0] * 4]), (plane,)).recall == 1.0

    def test_subtraction_and_multiplication(self) -> None:
        angle = 2 * torch.pi * 3 * arguments(P)["a-b"] / P
        x = torch.stack([angle.cos(), angle.sin()], 1)
        (plane,) = gt.planes(x, P, (3,), "subtract").existing
        assert plane.family == "a-b"
        assert plane.share == pytest.approx(1.0)
        assert gt.class_truth(x, P, "subtract").share == pytest.approx(1.0)
        log = torch.zeros(7, dtype=torch.float64)
        log[torch.tensor([1, 3, 2, 6, 4, 5])] = torch.arange(6, dtype=torch.float64)
        total = (log[:, None] + log).flatten()
        x = torch.stack([torch.cos(torch.pi * total / 3), torch.sin(torch.pi * total / 3)], 1)
        (plane,) = gt.planes(x, 7, (1,), "multiply").existing
        assert plane.family == "a+b"
        assert plane.share == pytest.approx(1.0)
        assert gt.class_truth(x, 7, "multiply").share == pytest.approx(1.0)

    def test_the_last_frequency_of_an_even_group_counts_once(self) -> None:
        log = torch.zeros(7, dtype=torch.float64)
        log[torch.tensor([1, 3, 2, 6, 4, 5])] = torch.arange(6, dtype=torch.float64)
        x = torch.cos(torch.pi * (log[:, None] + log)).reshape(-1, 1) * torch.ones(3)
        (plane,) = gt.planes(x, 7, (3,), "multiply").existing
        assert plane.family == "a+b"
        assert plane.share == pytest.approx(1.0)

    def test_class_truth(self) -> None:
        values = arguments(P)
        angle = 2 * torch.pi * 3 * values["a+b"] / P
        known = gt.class_truth(angle.cos()[:, None], P)
        assert known.share == pytest.approx(1.0)
        torch.testing.assert_close(
            known.means[1, 0], torch.tensor(2 * math.pi * 3 / P).cos().double()
        )
        product = (2 * torch.pi * 3 * values["a"] / P).cos() * (
            2 * torch.pi * 3 * values["b"] / P
        ).cos()
        assert gt.class_truth(product[:, None], P).share == pytest.approx(0.5)
        noise = torch.randn(P * P, 400, generator=torch.Generator().manual_seed(0))
        chance = gt.class_truth(noise, P)
        assert chance.null == pytest.approx(22 / 528)
        assert chance.share == pytest.approx(chance.null, abs=0.002)

    def test_errors(self) -> None:
        x, _ = planted()
        with pytest.raises(InputError, match="activations"):
            gt.planes(x[1:], P, KEYS)
        with pytest.raises(InputError, match="odd prime"):
            gt.planes(torch.zeros(16, 3), 4, (1,))
        for ks in ((), (0,), (12,), (3, 3)):
            with pytest.raises(InputError, match=r"1\.\.11"):
                gt.planes(x, P, ks)
        with pytest.raises(InputError, match="constant"):
            gt.planes(torch.ones(P * P, 3), P, KEYS)
        x[0, 0] = torch.nan
        with pytest.raises(InputError, match="non-finite"):
            gt.planes(x, P, KEYS)


class TestEnergyNull:
    def test_known_values(self) -> None:
        wide = gt.energy_null(128, 1024)
        assert wide.mean == pytest.approx(0.0156, abs=5e-5)
        assert wide.expected_max == pytest.approx(0.112, abs=0.002)
        assert wide.critical_max == pytest.approx(0.145, abs=0.002)
        low = gt.energy_null(20, 1024)
        assert low.mean == pytest.approx(0.10)
        assert low.expected_max == pytest.approx(0.562, abs=0.002)
        assert low.critical_max == pytest.approx(0.667, abs=0.002)
        assert low.beyond == pytest.approx(1e-9)

    def test_width_four_by_hand(self) -> None:
        # (d-2)/2 = 1: energies are uniform on [0, 1].
        null = gt.energy_null(4, 3)
        assert null.mean == pytest.approx(0.5)
        assert null.expected_max == pytest.approx(0.75)
        assert null.critical_max == pytest.approx(0.95 ** (1 / 3))
        assert null.beyond == pytest.approx(0.1)
        assert gt.energy_null(4, 3, count=2).expected_max == pytest.approx(6 / 7)

    @pytest.mark.parametrize("rank", [2, 1.5, 1.0, 1 - 1e-12])
    def test_a_rank_of_two_or_less_is_all_plane(self, rank: float) -> None:
        assert gt.energy_null(rank, 5) == gt.EnergyNull(1.0, 1.0, 1.0, 1.0)
        assert gt.energy_null(rank, 5).powerless

    def test_power_by_hand(self) -> None:
        # P(energy ≥ .9) = .1^((d-2)/2): .1 for d = 4, .01 for d = 6; two planes double it.
        assert gt.energy_null(4, 9).powerless
        assert not gt.energy_null(6, 9).powerless
        assert gt.energy_null(6, 9, count=2).beyond == pytest.approx(0.02)
        assert gt.energy_null(2 + 1e-9, 9).powerless

    def test_random_atoms_agree(self) -> None:
        plane = gt.Plane("a+b", 1, 1.0, torch.eye(128, dtype=torch.float64)[:, :2], True)
        runs = [gt.recover(gt.random_directions(1024, 128, s), (plane,)) for s in range(60)]
        best = torch.stack([run.best_energy.max() for run in runs])
        assert float(best.mean()) == pytest.approx(0.112, abs=0.006)
        mean = torch.stack([run.best_energy.mean() for run in runs]).mean()
        assert float(mean) == pytest.approx(2 / 128, abs=2e-4)
        assert all(run.recall == run.precision == 0.0 for run in runs)

    def test_errors(self) -> None:
        for d, n in ((0.5, 3), (8, 0)):
            with pytest.raises(InputError, match="energy null"):
                gt.energy_null(d, n)


class TestRecovery:
    basis = torch.eye(6, dtype=torch.float64)
    first = gt.Plane("a+b", 1, 0.5, basis[:, :2], True)
    second = gt.Plane("a+b", 2, 0.5, basis[:, 2:4], True)

    @pytest.mark.parametrize(
        ("angles", "spans"),
        [
            ([0, 120, 240], True),
            ([0, 90, 180, 270], True),
            ([0, 179, 181], True),
            ([10, 130], False),
            ([0, 180], False),
            ([0, 90, 180], False),  # a closed half-plane
            ([0, 60, 120], False),
            ([350, 10, 30, 170], False),
            ([350, 10, 30, 171], True),
            ([], False),
        ],
    )
    def test_positive_span(self, angles: list[float], spans: bool) -> None:
        atoms = ring(self.first.basis, angles)
        assert gt.positively_span(atoms @ self.first.basis) is spans
        if angles:
            assert gt.recover(atoms, (self.first,)).recall == float(spans)

    def test_by_hand(self) -> None:
        mixed = ring(self.first.basis, [0]) + ring(self.second.basis, [0])  # energy ½ in each
        D = torch.cat(
            [7 * ring(self.first.basis, [0, 120, 240]), ring(self.second.basis, [0]), mixed]
        )
        score = gt.recover(D, (self.first, self.second))
        assert score.recall == 0.5
        assert score.precision == pytest.approx(4 / 5)
        assert score.best_plane.tolist()[:4] == [0, 0, 0, 1]
        assert score.best_energy.tolist() == pytest.approx([1, 1, 1, 1, 0.5])
        assert score.recovered.tolist() == [True, False]
        assert score.atoms_per_plane.tolist() == [3, 1]
        assert score.n_live == 5

    def test_dead_atoms_and_zero_rows_count_for_nothing(self) -> None:
        D = torch.cat([ring(self.first.basis, [0, 120, 240]), torch.zeros(1, 6)])
        assert gt.recover(D, (self.first,)).n_live == 3
        assert gt.recover(D, (self.first,)).precision == 1.0
        live = torch.tensor([True, True, False, True])
        score = gt.recover(D, (self.first,), live)
        assert (score.recall, score.precision, score.n_live) == (0.0, 1.0, 2)
        nothing = gt.recover(D, (self.first,), torch.zeros(4, dtype=torch.bool))
        assert math.isnan(nothing.precision)

    def test_energy_threshold(self) -> None:
        for energy, wanted in ((0.899, 0.0), (0.901, 1.0)):
            outside = math.sqrt(1 - energy) * self.basis[5]
            D = math.sqrt(energy) * ring(self.first.basis, [0, 120, 240]) + outside
            assert gt.recover(D, (self.first,)).recall == wanted

    def test_no_planes(self) -> None:
        score = gt.recover(torch.eye(6), ())
        assert math.isnan(score.recall)
        assert score.precision == 0.0
        assert score.best_plane.tolist() == [-1] * 6

    def test_rank_replaces_the_width_in_the_null(self) -> None:
        score = gt.recover(torch.eye(6), (self.first,), rank=4.0)
        assert score.null == gt.energy_null(4.0, 6)

    def test_errors(self) -> None:
        with pytest.raises(InputError, match="width 5"):
            gt.recover(torch.eye(5), (self.first,))
        with pytest.raises(InputError, match="dictionary"):
            gt.recover(torch.ones(6), (self.first,))
        with pytest.raises(InputError, match="non-finite"):
            gt.recover(torch.full((2, 6), torch.inf), (self.first,))
        for live in (torch.ones(6), torch.ones(5, dtype=torch.bool)):
            with pytest.raises(InputError, match="boolean mask"):
                gt.recover(torch.eye(6), (self.first,), live)


def spectrum(x_ND: torch.Tensor) -> gt.Spectrum:
    return gt.Spectrum.of(torch.cov(x_ND.T.double(), correction=0))


class TestBaselines:
    def test_a_spectrum_has_the_largest_variance_first_and_none_below_zero(self) -> None:
        """By hand: [[2, 1], [1, 2]] has variance 3 along (1, 1)/√2 and 1 along (1, −1)/√2; the third axis has
        none, which rounding may make negative."""
        covariance = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, -1e-12]])
        variances, axes = gt.Spectrum.of(covariance)
        assert variances.tolist() == pytest.approx([3.0, 1.0, 0.0], abs=1e-6)
        assert float(variances.min()) == 0.0
        assert axes[:, 0].abs().tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 0.0], abs=1e-6)
        assert float(axes[0, 0] * axes[1, 0]) == pytest.approx(0.5, abs=1e-6)
        shaped = gt.Spectrum(variances, axes).shape(torch.eye(3, dtype=torch.float64))
        torch.testing.assert_close(shaped.T @ shaped, covariance.double(), atol=1e-6, rtol=0)

    def test_pca_finds_planted_planes_and_random_does_not(self) -> None:
        x, truth = planted()
        existing = gt.planes(x, P, KEYS).existing
        neurons = torch.cat([ring(basis, [10, 130, 250]) for basis in truth.values()])
        scores = gt.baselines(spectrum(x), existing, 256, neurons, seeds=range(3))
        assert set(scores) == {"neurons", "pca", "random", "random_covariance"}
        assert (scores["neurons"][0].recall, scores["neurons"][0].precision) == (1.0, 1.0)
        # The planes of a and b have equal variance, so principal axes may mix those two.
        assert scores["pca"][0].recall >= 0.5
        assert len(scores["random"]) == 3
        assert all(score.recall == 0.0 for score in scores["random"])
        assert (
            scores["random"][0].best_energy.mean()
            < scores["random_covariance"][0].best_energy.mean()
        )
        assert {score.name for score in scores["random"]} == {"random"}

    def test_coordinates_stand_in_for_neurons(self) -> None:
        angle = 2 * torch.pi * 3 * arguments(P)["a+b"] / P
        x = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], 1)
        existing = gt.planes(x, P, (3,)).existing
        scores = gt.baselines(spectrum(x), existing, 8, seeds=(0,))
        assert scores["neurons"][0].n_live == 6
        assert scores["neurons"][0].recall == 1.0
        assert scores["neurons"][0].precision == pytest.approx(4 / 6)

    def test_pca_keeps_the_leading_directions_with_both_signs(self) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2000, 3, generator=generator) * torch.tensor([10.0, 5.0, 0.1]) + 3
        directions = gt.pca_directions(spectrum(x))
        assert directions.shape == (4, 3)
        torch.testing.assert_close(directions[:2], -directions[2:])
        assert float(directions[0, 0].abs()) == pytest.approx(1.0, abs=0.01)

    def test_random_directions_follow_the_covariance_and_the_seed(self) -> None:
        x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor(
            [3.0, 0.1]
        )
        directions = gt.random_directions(4000, 2, 1, spectrum(x))
        wanted = torch.cov(x.T.double())
        torch.testing.assert_close(torch.cov(directions.T), wanted, rtol=0.1, atol=0.02)
        assert torch.equal(gt.random_directions(5, 4, 7), gt.random_directions(5, 4, 7))
        assert not torch.equal(gt.random_directions(5, 4, 7), gt.random_directions(5, 4, 8))
