"""Symmetries of maps and phases whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.symmetry import (
    find_copies,
    find_orbits,
    phase_uniformity,
    randomise_phases,
    swap_null,
    swap_symmetry,
)

P = 11
A, B = torch.meshgrid(torch.arange(P), torch.arange(P), indexing="ij")
W = 2 * math.pi / P


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_swap_symmetry_of_known_maps() -> None:
    maps = [
        torch.relu(torch.cos(3 * W * (A + B))),  # a function of the sum
        torch.sin(2 * W * (A - B)) + 5,  # odd in the difference, about a mean
        torch.cos(W * A),  # of one argument: orthogonal to itself swapped
        torch.full((P, P), 2.5),
        torch.cos(W * (A - B)),
    ]
    found = swap_symmetry(torch.stack([m.float().flatten() for m in maps], dim=1), P)
    assert found[:3].tolist() == pytest.approx([1, -1, 0], abs=1e-5)
    assert math.isnan(found[3])
    assert float(found[4]) == pytest.approx(1)


def test_swap_of_noise_is_where_the_null_says() -> None:
    found = swap_symmetry(noise(P * P, 4000), P)
    assert float(found.mean()) == pytest.approx(swap_null(P), abs=0.005)
    assert swap_null(113) == pytest.approx(0.00877, abs=1e-5)


def test_swap_is_the_correlation_written_out() -> None:
    maps = noise(P * P, 3, seed=4) + 1
    for number, found in enumerate(swap_symmetry(maps, P)):
        grid = maps[:, number].view(P, P)
        pair = torch.stack([grid.flatten(), grid.T.flatten()])
        assert float(found) == pytest.approx(float(torch.corrcoef(pair)[0, 1]), abs=1e-5)


@pytest.mark.parametrize("shape", [(120, 3), (121,), (11, 11, 3)])
def test_swap_wants_a_row_for_each_pair(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="features"):
        swap_symmetry(torch.ones(shape), P)


def test_copies_are_found_over_shifts_of_either_argument() -> None:
    base = noise(P, P)
    maps = torch.stack([base, 2 * base.roll(4, 0) + 3, base.roll(7, 1), noise(P, P, seed=9)])
    copies = find_copies(maps)
    assert copies.shifted[0, 1] == pytest.approx(1)
    assert copies.shifted[0, 2] == pytest.approx(1)
    assert copies.shifted[1, 2] < 0.9  # shifted in both: not tried
    assert copies.shifted[0, 3] < 0.6
    assert copies.unshifted[0, 1] < 0.6
    assert copies.unshifted.diagonal().tolist() == pytest.approx([1.0] * 4)
    assert torch.allclose(copies.shifted, copies.shifted.T, atol=1e-5)


def test_the_best_shift_is_that_of_a_search() -> None:
    maps = noise(2, P, P, seed=2)
    one, other = (x / x.norm() for x in (m - m.mean() for m in maps))
    best = max(float((one.roll(d, axis) * other).sum()) for axis in (0, 1) for d in range(P))
    assert float(find_copies(maps).shifted[0, 1]) == pytest.approx(best, abs=1e-5)


def test_a_constant_map_is_a_copy_of_nothing() -> None:
    copies = find_copies(torch.stack([torch.full((P, P), 3.3), noise(P, P)]))
    assert copies.shifted[0].tolist() == [0, 0]
    with pytest.raises(InputError, match="maps"):
        find_copies(torch.ones(2, 3, 4))


def test_phases_at_random_keep_the_power_and_lose_the_shape() -> None:
    bump = (-(((A - 5) ** 2 + (B - 5) ** 2) / 4.0)).exp()[None].repeat(2, 1, 1)
    maps = randomise_phases(bump)
    power = [torch.fft.rfft2(m).abs() for m in (maps, bump)]
    assert torch.allclose(*power, atol=1e-3)
    assert float(find_copies(bump).shifted[0, 1]) == pytest.approx(1)
    assert find_copies(maps).shifted[0, 1] < 0.9
    assert torch.equal(maps, randomise_phases(bump))


def test_orbits_join_copies_of_copies() -> None:
    correlation = torch.eye(5)
    for i, j in ((0, 1), (1, 2)):
        correlation[i, j] = correlation[j, i] = 0.95
    correlation[3, 4] = correlation[4, 3] = 0.89
    found = find_orbits(correlation)
    assert (found.count, found.largest) == (1, 3)
    assert found.share == pytest.approx(3 / 5)
    assert find_orbits(torch.eye(3)).largest == 1
    with pytest.raises(InputError, match="correlation"):
        find_orbits(torch.ones(2, 3))


def test_a_twentieth_of_random_directions_has_a_phase() -> None:
    found = phase_uniformity(noise(4000, 6), torch.eye(6)[:, :2])
    assert found.n / 4000 == pytest.approx(0.05, abs=0.012)
    assert found.resultant < 0.2


def test_phases_in_a_plane() -> None:
    basis = torch.eye(4)[:, 1:3]
    angle = 2 * math.pi * torch.arange(6, dtype=torch.float64) / 6
    ring = torch.stack([0 * angle, angle.cos(), angle.sin(), 0 * angle], dim=1)
    outside = torch.tensor([[1.0, 0.5, 0.0, 0.0]], dtype=torch.float64)  # a fifth of it inside
    even = phase_uniformity(torch.cat([3 * ring, outside]), basis)
    assert even.n == 6
    assert even.resultant == pytest.approx(0, abs=1e-9)
    assert even.p == pytest.approx(1)
    same = phase_uniformity(ring[:1].repeat(5, 1), basis)
    assert (same.n, same.resultant) == (5, pytest.approx(1))
    assert same.p == pytest.approx(math.exp(-5))
    # Two of three phases the same, the third opposite: R̄ = 1/3.
    third = phase_uniformity(ring[[0, 0, 3]], basis)
    assert third.resultant == pytest.approx(1 / 3)
    assert third.p == pytest.approx(math.exp(-1 / 3))
    none = phase_uniformity(outside, basis)
    assert none.n == 0
    assert math.isnan(none.p)
    with pytest.raises(InputError, match="plane"):
        phase_uniformity(ring, torch.eye(4))
