"""Dimensions that a cloud of vectors fills, against the known values of science.md §8."""

from __future__ import annotations

import math

import pytest
import torch

from engine.errors import InputError
from engine.metrics.dimensionality import (
    covariance_spectrum,
    dictionary_spectrum,
    dimensionality,
    entropy_rank,
    feature_dimensionality,
    isotropic_dimensionality,
    isotropic_feature_dimensionality,
    participation_ratio,
    stable_rank,
)

HARMONIC = 1 / torch.arange(1, 129, dtype=torch.float64)
"""Singular values 1/i."""


def test_ranks_of_the_harmonic_spectrum() -> None:
    found = dimensionality(HARMONIC.square())
    assert found.entropy_rank_singular == pytest.approx(46.95, abs=0.005)
    assert found.entropy_rank == pytest.approx(4.868, abs=0.002)
    assert found.participation_ratio == pytest.approx(2.476, abs=0.002)
    assert found.stable_rank == pytest.approx(1.637, abs=0.002)
    assert entropy_rank(HARMONIC) == pytest.approx(46.95, abs=0.005)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_an_even_spectrum_has_all_dimensions_and_a_line_one(scale: float) -> None:
    even, line = scale * torch.ones(7), torch.tensor([scale, 0.0, 0.0])
    for measure in (entropy_rank, participation_ratio, stable_rank):
        assert measure(even) == pytest.approx(7)
        assert measure(line) == pytest.approx(1)


@pytest.mark.parametrize(
    "spectrum", [[], [0.0, 0.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf]]
)
def test_what_is_no_spectrum_is_refused(spectrum: list[float]) -> None:
    for measure in (entropy_rank, participation_ratio, stable_rank, dimensionality):
        with pytest.raises(InputError, match="spectrum"):
            measure(torch.tensor(spectrum))


def test_spectrum_of_a_covariance_and_of_a_dictionary() -> None:
    covariance = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    assert covariance_spectrum(covariance).tolist() == pytest.approx([1.0, 3.0])
    # Directions count, lengths and zero rows do not: two along x, one along y.
    rows = torch.tensor([[3.0, 0.0], [-0.1, 0.0], [0.0, 7.0], [0.0, 0.0]])
    assert dictionary_spectrum(rows).tolist() == pytest.approx([1 / 3, 2 / 3])
    with pytest.raises(InputError, match="covariance"):
        covariance_spectrum(torch.ones(2, 3))
    with pytest.raises(InputError, match="zero"):
        dictionary_spectrum(torch.zeros(2, 3))


def test_dimensions_of_single_features() -> None:
    # An antipodal pair shares one dimension, a third direction has its own; a zero row has none.
    rows = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
    found = feature_dimensionality(rows)
    assert found[:3].tolist() == pytest.approx([0.5, 0.5, 1.0])
    assert math.isnan(found[3])
    # Toy models of superposition: each corner of a regular pentagon has 2/5.
    angle = 2 * math.pi * torch.arange(5, dtype=torch.float64) / 5
    pentagon = torch.stack([angle.cos(), angle.sin()], dim=1)
    assert feature_dimensionality(pentagon).tolist() == pytest.approx([0.4] * 5)


def test_lengths_weigh_in_the_dimensions_of_features() -> None:
    # ‖w_0‖²/(‖w_0‖² + (ŵ_0·w_1)²) with w_0 = (1, 0), w_1 = (2, 2): 1/(1 + 4).
    found = feature_dimensionality(torch.tensor([[1.0, 0.0], [2.0, 2.0]]))
    assert found.tolist() == pytest.approx([1 / 5, 8 / (8 + 0.5)])


def test_random_dictionaries_stand_beside() -> None:
    # E Σλ² of unit rows is (1/n)(1 + (n-1)/d) with Σλ = 1, so the participation ratio is known.
    n, d = 1024, 128
    found = isotropic_dimensionality(n, d)
    assert found.participation_ratio == pytest.approx(n / (1 + (n - 1) / d), rel=0.003)
    # λ_max of Marchenko and Pastur: (1 + √(d/n))²/d.
    assert found.stable_rank == pytest.approx(d / (1 + math.sqrt(d / n)) ** 2, rel=0.03)
    assert isotropic_feature_dimensionality(n, d) == pytest.approx(0.11121, abs=1e-5)
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(5))
    rows = torch.nn.functional.normalize(rows, dim=1)
    assert float(feature_dimensionality(rows).mean()) == pytest.approx(0.1112, abs=0.002)
    with pytest.raises(InputError, match="0 rows"):
        isotropic_dimensionality(0, 8)
    with pytest.raises(InputError, match="in 0 dimensions"):
        isotropic_feature_dimensionality(4, 0)
