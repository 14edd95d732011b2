"""Sparsity of codes against values worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.metrics.sparsity import (
    BINS,
    DENSITY_EDGES,
    Coactivation,
    coactivation,
    density_histogram,
    firings,
    independent_firings,
    measure_codes,
    row_gini,
)


def test_five_equal_values_of_56() -> None:
    codes = torch.zeros(3, 56)
    codes[:, [1, 9, 20, 21, 55]] = 2.0
    found = measure_codes(codes)
    assert found.hoyer == pytest.approx(0.809, abs=0.0005)
    assert found.gini == pytest.approx(0.911, abs=0.0005)
    assert found.hoyer_equal == pytest.approx(found.hoyer)
    assert found.gini_equal == pytest.approx(found.gini)
    assert found.l0_N.tolist() == [5, 5, 5]
    assert found.l0_sd_independent == 0  # each latent fires always or never


def test_codes_by_hand() -> None:
    # (3, 4, 0, 0): |x|₁/|x|₂ = 7/5; Gini (1·0·… ) = Σ(2r-5)x/(4·7) = (1·3 + 3·4)/28.
    found = measure_codes(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    assert found.hoyer == pytest.approx(2 - 1.4)
    assert found.hoyer_equal == pytest.approx(2 - math.sqrt(2))
    assert found.gini == pytest.approx(15 / 28)
    assert found.gini_equal == pytest.approx(0.5)
    assert found.l0_N.tolist() == [2, 0]
    assert found.l0_sd_independent == pytest.approx(math.sqrt(2 * 0.25))


def test_gini_of_rows() -> None:
    found = row_gini(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]))
    assert found[:2].tolist() == pytest.approx([0, 2 / 3])
    assert math.isnan(found[2])


@pytest.mark.parametrize(
    "codes",
    [
        torch.ones(3),
        torch.ones(0, 4),
        torch.ones(3, 1),
        -torch.ones(2, 4),
        torch.full((2, 4), math.nan),
        torch.full((2, 4), math.inf),
    ],
)
def test_what_is_no_code_is_refused(codes: torch.Tensor) -> None:
    with pytest.raises(InputError, match="codes"):
        measure_codes(codes)


def test_firings_are_counted_beyond_a_byte() -> None:
    codes = torch.zeros(600, 4)
    codes[:, 0] = 0.1
    codes[::2, 1] = 3.0
    codes[:, 2] = -1.0
    codes[599, 3] = 1e-30
    assert firings(codes).tolist() == [600, 300, 0, 1]
    assert firings(codes[:, 1::2]).tolist() == [300, 1], "of columns that do not lie in one piece"
    assert firings(torch.empty(0, 3)).tolist() == [0, 0, 0]


def test_codes_that_never_fire_have_no_shape() -> None:
    found = measure_codes(torch.zeros(4, 6))
    assert math.isnan(found.hoyer)
    assert math.isnan(found.gini)
    assert found.l0_N.tolist() == [0] * 4


def test_histogram_of_densities() -> None:
    never, shares = density_histogram(torch.tensor([0.0, 1e-6, 0.5, 1.0]))
    assert never == 0.25
    assert shares.sum() == pytest.approx(0.75)
    assert shares[0] == 0.25  # what lies below the first edge
    assert shares[-1] == 0.25  # 1 belongs to the last bin
    assert shares[np.searchsorted(DENSITY_EDGES, 0.5) - 1] >= 0.25
    for bad in (torch.tensor([]), torch.tensor([1.5]), torch.tensor([math.nan])):
        with pytest.raises(InputError, match="density"):
            density_histogram(bad)


def test_phi_of_known_pairs() -> None:
    on = torch.zeros(40, 5)
    on[:20, 0] = 1
    on[:20, 1] = 1  # always with 0
    on[20:, 2] = 1  # never with 0
    on[::2, 3] = 1  # on half of what 0 is on, and of the rest: independent
    on[:5, 4] = 1  # too rare to be told
    found = coactivation(on)
    assert found.kept.tolist() == [0, 1, 2, 3]
    assert found.phi_MM[0, 1:].tolist() == pytest.approx([1, -1, 0], abs=1e-6)
    assert found.strongest(1) == [(0, 1, pytest.approx(1))]
    assert found.largest() == pytest.approx(1)
    assert len(found.strongest(99)) == 6
    shares = found.histogram()
    assert len(shares) == BINS
    assert shares.sum() == pytest.approx(1)
    assert shares[-1] == pytest.approx(1 / 6)
    assert shares[0] == pytest.approx(2 / 6)


def test_phi_is_the_correlation_of_firing() -> None:
    on = (torch.rand(300, 6, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    wanted = torch.corrcoef(on.T).fill_diagonal_(0)
    assert torch.allclose(coactivation(on).phi_MM, wanted, atol=1e-5)


def test_latents_that_are_always_on_have_no_phi() -> None:
    found = coactivation(torch.ones(50, 3))
    assert len(found.kept) == 0
    assert found.histogram().sum() == 0
    assert math.isnan(found.largest())
    assert isinstance(found, Coactivation)


def test_turning_firings_keeps_densities_and_undoes_company() -> None:
    one = (torch.rand(2000, 1, generator=torch.Generator().manual_seed(2)) < 0.2).float()
    on = one.repeat(1, 8)
    turned = independent_firings(on)
    assert torch.equal(turned.sum(0), on.sum(0))
    assert coactivation(on).largest() == pytest.approx(1)
    assert coactivation(turned).largest() < 0.15
    assert torch.equal(turned, independent_firings(on))
