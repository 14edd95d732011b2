"""Matching of latents by what they respond to: by hand, on permuted copies, and at chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.activation_matching import (
    MEASURES,
    ActivationSample,
    jaccard,
    match_values,
    standardised,
    take_maps,
    torus,
)


def sparse(rows: int, features: int, seed: int, density: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(rows, features, generator=generator) < density
    return torch.rand(rows, features, generator=generator) * on


def every(features: int) -> Tensor:
    return torch.ones(features, dtype=torch.bool)


def test_two_features_by_hand() -> None:
    x = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 0]])
    y = torch.tensor([[1.0, 0], [0, 0], [0, 1], [0, 1]])
    # r: x0y0 = .25/(.5·√.1875) = .5774, x0y1 = −1, x1y0 = −1/3, x1y1 = .125/(√.1875·.5) = .5774.
    values = match_values(take_maps(x.T), take_maps(y.T))
    assert values == pytest.approx([0.5774, 0.5774, 0.5, 0.5], abs=1e-4)


def test_jaccard_of_supports_by_hand() -> None:
    # Nine inputs, so two bytes: on at 0 and 1 against 1 and 8; never and never.
    a, b = np.zeros((2, 9), dtype=bool), np.zeros((2, 9), dtype=bool)
    a[0, [0, 1]] = b[0, [1, 8]] = True
    assert jaccard(*(np.packbits(on, axis=1) for on in (a, b))).tolist() == [1 / 3, 0]


def test_constant_latents_correlate_with_nothing() -> None:
    # A tenth is no float: a mean of many of them is not quite a tenth.
    for value in (1.0, 0.1, 1e-30):
        assert standardised(torch.full((2, 2048), value)).abs().max() == 0


def test_a_map_that_hardly_varies_is_no_constant() -> None:
    signal = torch.randn(1, 2048, generator=torch.Generator().manual_seed(0))
    r = standardised(signal) @ standardised(signal + 1e5).T
    assert float(r) == pytest.approx(1, abs=1e-4)


def test_no_latents_at_all_are_nothing_to_match() -> None:
    sample = ActivationSample(torch.arange(100))
    for s in range(2):
        sample.add(s, torch.zeros(100, 0), every(0))
    assert "2 of 2 seeds" in sample.measure()["pearson"]["reason"]


def test_chance_of_dense_latents() -> None:
    # science.md §2: independent dense latents, n = 1024, N = 12,769: E max|r| = .031.
    generator = torch.Generator().manual_seed(0)
    x = standardised(torch.randn(32, 12769, generator=generator))
    y = standardised(torch.randn(1024, 12769, generator=generator))
    assert float((x @ y.T).abs().amax(1).mean()) == pytest.approx(0.031, abs=0.002)


def test_chance_of_rare_latents_is_why_there_is_a_floor() -> None:
    # The same at a density of .1 %: E max|r| reaches .18.
    x, y = sparse(12769, 32, 0, 0.001), sparse(12769, 1024, 1, 0.001)
    assert float((standardised(x.T) @ standardised(y.T).T).amax(1).mean()) == pytest.approx(
        0.18, abs=0.05
    )


def test_permuted_copies_match_entirely() -> None:
    z = sparse(2000, 40, 0)
    sample = ActivationSample(torch.arange(2000))
    generator = torch.Generator().manual_seed(1)
    for s in range(3):
        sample.add(s, z[:, torch.randperm(40, generator=generator)], every(40))
    found = sample.measure()
    for name in MEASURES:
        assert found[name]["observed"] == pytest.approx(1, abs=1e-5)
        assert found[name]["kappa"] == pytest.approx(1, abs=1e-4)
    assert found["pearson"]["null"] < 0.15
    assert found["inputs"] == {"used": 2000, "of": 2000}
    assert found["n_per_seed"] == [40, 40, 40]


def test_independent_latents_are_at_chance() -> None:
    sample = ActivationSample(torch.arange(3000))
    for seed in range(4):
        sample.add(seed, sparse(3000, 50, seed), every(50))
    found = sample.measure()
    assert found["inputs"] == {"used": 2048, "of": 3000}
    for name in MEASURES:
        assert abs(found[name]["kappa"]) < 0.02


def test_the_torus_shift_keeps_the_spectrum_and_breaks_the_phase() -> None:
    # f(a, b) = 1 + cos(w(a + b)) of every seed, one phase: identical maps; shifted, any phase.
    p = 11
    a, b = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    wave = 1 + torch.cos(2 * torch.pi * (a + b).flatten() / p)
    sample = ActivationSample(torus(p))
    for s in range(3):
        sample.add(s, wave[:, None].repeat(1, 30), every(30))
    found = sample.measure()
    assert found["pearson"]["observed"] == pytest.approx(1, abs=1e-5)
    assert found["shift"] == "torus"
    # Every shifted map is the wave at one of 11 phases: the mean of all their correlations is small.
    plain, shifted = sample.seen[0].plain.units_AR, sample.seen[1].shifted.units_AR
    assert abs(float((plain @ shifted.T).mean())) < 0.3
    # cos(w t) less its mean of 0, over its length √(p²/2): a shift along the sum moves it, and no more.
    shapes = torch.stack([torch.cos(2 * torch.pi * (a + b + d).flatten() / p) for d in range(p)])
    nearest = (shifted @ shapes.T / (p / 2**0.5)).amax(1)
    assert torch.allclose(nearest, torch.ones(30), atol=1e-5)


def test_products_are_shifted_by_discrete_logarithm_without_zeros() -> None:
    grid = torus(5, "multiply")
    assert sorted(grid.flatten().tolist()) == [a * 5 + b for a in range(1, 5) for b in range(1, 5)]
    # One step along the first axis multiplies a by the primitive root 2.
    assert [int(row[0]) // 5 for row in grid] == [1, 2, 4, 3]


def test_rare_and_dead_latents_are_left_out() -> None:
    z = sparse(500, 6, 0)
    z[:, 0] = 0
    z[9:, 1] = 0
    live = every(6)
    live[2] = False
    sample = ActivationSample(torch.arange(500))
    for s in range(2):
        sample.add(s, z, live)
    assert sample.measure()["n_per_seed"] == [3, 3]


def test_nothing_to_match_says_why() -> None:
    sample = ActivationSample(torch.arange(100))
    sample.add(0, sparse(100, 4, 0), every(4))
    assert "nothing to agree with" in sample.measure()["pearson"]["reason"]
    sample.add(1, torch.zeros(100, 4), every(4))
    found = sample.measure()["jaccard"]
    assert found["observed"] is None
    assert "1 of 2 seeds" in found["reason"]


def test_two_seeds_have_no_interval() -> None:
    sample = ActivationSample(torch.arange(200))
    for seed in range(2):
        sample.add(seed, sparse(200, 4, seed), every(4))
    found = sample.measure()["pearson"]
    assert found["ci_low"] is None
    assert found["reason"].startswith("2 seeds")


@pytest.mark.parametrize(
    ("z", "live", "where"),
    [
        (torch.rand(5, 3), torch.ones(3, dtype=torch.bool), "latents"),
        (torch.rand(9, 3), torch.ones(2, dtype=torch.bool), "live"),
        (torch.full((9, 3), torch.nan), torch.ones(3, dtype=torch.bool), "latents"),
    ],
)
def test_latents_that_do_not_fit_are_refused(z: Tensor, live: Tensor, where: str) -> None:
    with pytest.raises(InputError, match=where):
        ActivationSample(torch.arange(9)).add(0, z, live)


def test_live_features_far_apart_are_taken_as_those_side_by_side() -> None:
    z, places = sparse(300, 3, 0), torch.tensor([2, 90, 99])
    apart = torch.zeros(300, 100)
    apart[:, places] = z
    sample = ActivationSample(torch.arange(300))
    sample.add(0, z, every(3))
    close = sample.seen[0]
    sample.add(0, apart, every(100))
    for one, other in zip(close, sample.seen[0], strict=True):
        assert torch.equal(one.units_AR, other.units_AR)
        assert (one.on_AB == other.on_AB).all()
