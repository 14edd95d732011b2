"""The nulls: against closed forms of easy dimensions and published chance values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.metrics.matching import metric_names
from engine.metrics.nulls import (
    Law,
    Null,
    OutsideEnergy,
    activation_law,
    covariance_root,
    critical_max_cos,
    decoder_law,
    draw_rows,
    draw_values,
    effective_rank,
    effective_subspace,
    energy_outside,
    enough_draws,
    expected_max_cos,
    headline,
    isotropic_matched_mcc,
    isotropic_mean_max_cos,
    isotropic_shared_fraction,
    isotropic_values,
    judge_activation_null,
    kappa,
    max_cos_p,
    outside_energy,
    step_zero,
)
from engine.metrics.similarity import Sign


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("n", "d", "sign", "expected"),
    [
        (16, 128, "abs", 0.1829),
        (64, 128, "abs", 0.2275),
        (128, 128, "abs", 0.2473),
        (256, 128, "abs", 0.2656),
        (512, 128, "abs", 0.2827),
        (1024, 128, "abs", 0.2988),
        (4096, 128, "abs", 0.3284),
        (256, 128, "signed", 0.2472),
        (1024, 128, "signed", 0.2827),
        (256, 512, "abs", 0.1341),
        (1024, 512, "abs", 0.1514),
        (4096, 512, "abs", 0.1671),
        (16384, 768, "abs", 0.1485),
        (16384, 768, "signed", 0.1427),
        (10, 128, "abs", 0.1658),
    ],
)
def test_expected_best_cosine(n: int, d: int, sign: Sign, expected: float) -> None:
    assert expected_max_cos(n, d, sign) == pytest.approx(expected, abs=1e-4)
    assert isotropic_mean_max_cos(n, n, d, sign) == expected_max_cos(n, d, sign)


@pytest.mark.parametrize(
    ("rank", "expected"),
    [(4, 0.992), (10, 0.861), (20, 0.685), (32, 0.566), (64, 0.415), (80, 0.374)],
)
def test_expected_best_cosine_rises_as_the_rank_falls(rank: int, expected: float) -> None:
    assert expected_max_cos(1024, rank, "abs") == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_three_dimensions_make_the_cosine_uniform(n: int) -> None:
    # Archimedes: cos is uniform on [-1, 1], so the best of n is a beta order statistic.
    assert expected_max_cos(n, 3, "abs") == pytest.approx(n / (n + 1), abs=1e-6)
    assert expected_max_cos(n, 3, "signed") == pytest.approx((n - 1) / (n + 1), abs=1e-6)
    assert critical_max_cos(0.05, n, 3, "abs") == pytest.approx(0.95 ** (1 / n))
    assert critical_max_cos(0.05, n, 3) == pytest.approx(2 * 0.95 ** (1 / n) - 1)


def test_two_dimensions_and_one_feature() -> None:
    assert expected_max_cos(1, 2, "abs") == pytest.approx(2 / math.pi, abs=1e-6)
    assert expected_max_cos(1, 2, "signed") == pytest.approx(0, abs=1e-6)


def test_each_side_chooses_among_the_other() -> None:
    # d = 3: ½ (9/10 + 1/2) for 1 feature against 9.
    assert isotropic_mean_max_cos(1, 9, 3, "abs") == pytest.approx(0.7, abs=1e-6)


def test_the_closed_form_agrees_with_drawn_dictionaries() -> None:
    values = draw_values([(Law(300, 24), Law(100, 24))], 30, (0.7,), "signed")
    assert values[:, 0].mean() == pytest.approx(isotropic_mean_max_cos(300, 100, 24), abs=0.002)


@pytest.mark.parametrize(
    ("n", "d", "absolute", "signed"),
    [
        (1024, 128, 0.2885, 0.2722),
        (256, 128, 0.253, 0.234),
        (256, 20, 0.602, 0.564),
        (16, 8, 0.631, 0.526),  # 20,000 draws in numpy: .6301, .5258
    ],
)
def test_hungarian_null(n: int, d: int, absolute: float, signed: float) -> None:
    cases: tuple[tuple[Sign, float], ...] = (("abs", absolute), ("signed", signed))
    for sign, expected in cases:
        null = isotropic_matched_mcc(n, n, d, sign)
        assert null.value == pytest.approx(expected, abs=0.005)
        assert null.draws >= 20
        assert 0 < null.sd / math.sqrt(null.draws) < 0.002


def test_spread_of_the_hungarian_null() -> None:
    assert isotropic_matched_mcc(16, 16, 8, "abs").sd == pytest.approx(0.028, abs=0.003)


def test_monte_carlo_is_cached_repeatable_and_frozen() -> None:
    first = isotropic_values(30, 20, 6, "signed", (0.7,), 20)
    assert isotropic_values(30, 20, 6, "signed", (0.7,), 20) is first
    isotropic_values.cache_clear()
    np.testing.assert_array_equal(isotropic_values(30, 20, 6, "signed", (0.7,), 20), first)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1


def test_small_dictionaries_are_drawn_more_often() -> None:
    assert [enough_draws(n, 20) for n in (16, 256, 1024)] == [512, 32, 20]
    assert enough_draws(16, 1000) == 1000


@pytest.mark.parametrize(("d", "tau", "low", "high"), [(128, 0.7, 0, 0), (4, 0.9, 0.3, 0.7)])
def test_shared_fraction_null(d: int, tau: float, low: float, high: float) -> None:
    assert low <= isotropic_shared_fraction(256, 256, d, tau).value <= high


def test_shared_fraction_null_of_single_features_is_a_tail() -> None:
    # One feature against one, d = 3: P(cos >= .5) = (1 - .5)/2 = .25, and .5 for |cos|.
    assert isotropic_shared_fraction(1, 1, 3, 0.5).value == pytest.approx(0.25, abs=0.02)
    assert isotropic_shared_fraction(1, 1, 3, 0.5, "abs").value == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("d", "expected"), [(128, 0.349), (20, 0.767)])
def test_critical_value_of_one_feature(d: int, expected: float) -> None:
    assert critical_max_cos(0.05, 1024, d, "abs") == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("sign", ["signed", "abs"])
@pytest.mark.parametrize("n", [1, 1024])
@pytest.mark.parametrize("alpha", [0.05, 0.9])
def test_critical_value_and_p_are_inverse(alpha: float, n: int, sign: Sign) -> None:
    best = critical_max_cos(alpha, n, 20, sign)
    assert float(max_cos_p(best, n, 20, sign)) == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize(("rank", "p"), [(128, 0.0), (20, 0.34), (10, 1.0)])
def test_thresholds_do_not_escape_chance(rank: int, p: float) -> None:
    assert float(max_cos_p(0.7, 1024, rank, "abs")) == pytest.approx(p, abs=0.005)


def test_p_at_the_ends() -> None:
    np.testing.assert_allclose(max_cos_p([-1.0, 1.0], 5, 7), [1, 0])
    np.testing.assert_allclose(max_cos_p([0.0, 1.0], 5, 7, "abs"), [1, 0])


@pytest.mark.parametrize(
    ("observed", "null", "expected"),
    [
        (0.3001, 0.2988, 0.0019),
        (0.255, 0.2275, 0.036),
        (0.309, 0.2988, 0.015),
        (1.0, 0.3, 1.0),
        (0.3, 0.3, 0.0),
        (0.0, 0.5, -1.0),
    ],
)
def test_kappa(observed: float, null: float, expected: float) -> None:
    assert kappa(observed, null) == pytest.approx(expected, abs=5e-4)


def test_kappa_without_room_above_chance_is_not_a_number() -> None:
    assert math.isnan(kappa(1.0, 1.0))


def test_square_root_of_a_covariance() -> None:
    covariance = torch.tensor([[5.0, 4.0], [4.0, 5.0]])  # eigenvalues 9 and 1
    expected = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(covariance_root(covariance), expected)


def test_drawn_rows_follow_the_covariance_before_they_are_normalised() -> None:
    # For Σ = diag(4, 1) in two dimensions E cos² with the first axis is 2/(2 + 1).
    law = activation_law(200_000, torch.diag(torch.tensor([4.0, 1.0])))
    drawn = draw_rows(law, torch.Generator().manual_seed(0))
    assert float(drawn[:, 0].square().mean()) == pytest.approx(2 / 3, abs=0.005)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(200_000))


@pytest.mark.parametrize(("n", "rank"), [(64, 10), (256, 20)])
def test_activation_null_of_a_subspace_is_the_closed_form_at_its_rank(n: int, rank: int) -> None:
    basis = torch.linalg.qr(rows(48, rank).double())[0]
    law = activation_law(n, basis @ basis.T)
    value = draw_values([(law, law)], 60, (0.7,), "signed")[:, 0].mean()
    assert value == pytest.approx(expected_max_cos(n, rank), abs=0.005)


def test_decoder_null_follows_directions_but_not_lengths() -> None:
    # Atoms on the axes e0 (three of them) and e1 (one): DᵀD/n = diag(3/4, 1/4).
    atoms = torch.tensor([[1.0, 0, 0], [9.0, 0, 0], [0.1, 0, 0], [0, 5.0, 0], [0, 0, 0]])
    law = decoder_law(atoms)
    assert (law.n, law.d) == (4, 3)
    expected = torch.diag(torch.tensor([math.sqrt(0.75), 0.5, 0.0], dtype=torch.float64))
    assert law.root is not None
    torch.testing.assert_close(law.root, expected)


def test_nulls_of_different_dictionaries_cycle_through_the_pairs() -> None:
    first, second = Law(5, 3, torch.diag(torch.tensor([1.0, 0, 0]).double())), Law(4, 3)
    values = draw_values([(first, first), (second, second)], 4, (0.7,), "abs")
    assert values.shape == (4, len(metric_names((0.7,), strict=True)))
    assert values[:, 0][[0, 2]] == pytest.approx(1)  # one dimension: every |cos| is 1
    assert (values[:, 0][[1, 3]] < 1).all()


@pytest.mark.parametrize(
    ("eigenvalues", "rank"), [([1.0] * 4, 4), ([1.0, 1.0, 0, 0], 2), ([1.0, 0, 0, 0], 1)]
)
def test_effective_rank_of_flat_spectra(eigenvalues: list[float], rank: int) -> None:
    covariance = torch.diag(torch.tensor(eigenvalues))
    assert effective_rank(covariance) == pytest.approx(rank)
    assert effective_subspace(covariance).shape == (4, rank)


def test_effective_rank_of_a_power_law_spectrum() -> None:
    spectrum = torch.arange(1, 129).double() ** -2  # singular values 1/i
    assert effective_rank(torch.diag(spectrum)) == pytest.approx(4.868, abs=5e-4)


def test_energy_outside_a_plane_by_hand() -> None:
    covariance = torch.diag(torch.tensor([1.0, 1.0, 0.0]))
    atoms = torch.tensor([[0.6, 0.0, 0.8], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    outside = energy_outside(atoms, effective_subspace(covariance))
    torch.testing.assert_close(outside, torch.tensor([0.64, 0.0, 1.0]).double(), atol=1e-6, rtol=0)


def test_outside_energy_compares_atoms_with_draws() -> None:
    covariance = torch.diag(torch.tensor([1.0] * 6 + [0.0] * 10))
    isotropic = outside_energy([rows(400, 16, seed=s) for s in range(3)], covariance)
    assert isotropic.rank == 6
    assert isotropic.atoms == pytest.approx(10 / 16, abs=0.01)
    assert isotropic.chance == pytest.approx(0, abs=1e-6)
    inside = outside_energy([torch.eye(16)[:6]], covariance)
    assert inside.atoms == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("atoms", "admissible"),
    [
        (0.1, True),  # the atoms live where the activations are
        (0.11, True),  # within two standard deviations
        (0.5, False),  # its draws crowd where the atoms do not
    ],
)
def test_when_the_activation_null_is_admissible(atoms: float, admissible: bool) -> None:
    energy = OutsideEnergy(atoms=atoms, chance=0.1, chance_sd=0.01, rank=10)
    fits, reason = judge_activation_null(energy)
    assert fits is admissible
    assert ("10 effective dimensions" in reason) != admissible


def test_the_headline_is_the_largest_admissible_null() -> None:
    nulls = [
        Null("N0", 0.2, 0.0, 0, True, ""),
        Null("N1", 0.6, 0.0, 10, False, "above"),
        Null("N2", 0.4, 0.0, 10, True, ""),
        Null("N3", math.nan, math.nan, 0, True, "none"),
    ]
    assert headline(nulls).name == "N2"
    with pytest.raises(InputError, match="admissible"):
        headline(nulls[1:2])


def test_independent_initialisation_passes_and_a_shared_one_fails() -> None:
    fresh = step_zero(rows(4, 64, 24))
    assert fresh.ok
    assert fresh.expected == pytest.approx(expected_max_cos(64, 24))
    shared = step_zero(rows(1, 64, 24).repeat(4, 1, 1))
    assert not shared.ok
    assert shared.observed == pytest.approx(1)
    nearby = step_zero(rows(1, 64, 24) + 1.2 * rows(4, 64, 24, seed=1))
    assert not nearby.ok
    anisotropic = step_zero(rows(4, 64, 24) * torch.tensor([3.0] * 4 + [1.0] * 20))
    assert not anisotropic.ok


@pytest.mark.parametrize(
    "initial",
    [torch.ones(1, 4, 3), torch.ones(4, 3), torch.cat([rows(1, 4, 3), torch.zeros(1, 4, 3)])],
)
def test_step_zero_refuses_what_it_cannot_judge(initial: torch.Tensor) -> None:
    with pytest.raises(InputError, match="initial_SFD"):
        step_zero(initial)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (torch.ones(2, 3), r"\[d_in, d_in\]"),
        (torch.tensor([[1.0, 2.0], [0.0, 1.0]]), "symmetric"),
        (torch.tensor([[1.0, 0.0], [0.0, -1.0]]), "negative"),
        (torch.zeros(2, 2), "zero"),
        (torch.tensor([[math.nan]]), "finite"),
    ],
)
def test_matrices_that_are_no_covariance_are_refused(
    covariance: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        covariance_root(covariance)


def test_sizes_and_probabilities_out_of_range_are_refused() -> None:
    for call in (
        lambda: expected_max_cos(0, 8),
        lambda: expected_max_cos(8, 1),
        lambda: expected_max_cos(8, 8, "cos"),
        lambda: critical_max_cos(0, 8, 8),
        lambda: critical_max_cos(1, 8, 8),
        lambda: isotropic_matched_mcc(8, 8, 8, draws=19),
        lambda: isotropic_matched_mcc(8, 0, 8),
        lambda: isotropic_shared_fraction(8, 8, 8, 1.2),
    ):
        with pytest.raises(InputError):
            call()
