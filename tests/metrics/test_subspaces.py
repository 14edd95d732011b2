"""Subspaces, principal angles and debiased CKA against worked, published and brute-force values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.subspaces import (
    debiased_cka,
    debiased_hsic,
    gram,
    leading_directions,
    overlap_null,
    principal_angles,
    principal_angles_null,
    subspace_overlap,
)


def basis(rows: int, columns: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    q: Tensor = torch.linalg.qr(torch.randn(rows, columns, generator=g, dtype=torch.float64))[0]
    return q


def test_overlap_and_angles_of_two_planes_by_hand() -> None:
    # Planes of e1, e2 and of e1, (e2 + e3)/√2 in three dimensions: cosines 1 and 1/√2.
    u = torch.eye(3, dtype=torch.float64)[:, :2]
    v = torch.tensor([[1, 0], [0, math.sqrt(0.5)], [0, math.sqrt(0.5)]], dtype=torch.float64)
    assert subspace_overlap(u, v) == pytest.approx(0.75)
    assert principal_angles(u, v) == pytest.approx([0, math.pi / 4], abs=1e-12)


def test_any_basis_of_a_space_is_the_same_space() -> None:
    u = basis(12, 4, 0)
    turned = u @ basis(4, 4, 1)
    assert subspace_overlap(u, turned) == pytest.approx(1)
    assert principal_angles(u, turned) == pytest.approx([0] * 4, abs=1e-7)


def test_null_of_the_overlap_is_k_over_d() -> None:
    # science.md §8: d = 128, k = 8: .0625 (sd .011).
    values = [subspace_overlap(basis(128, 8, s), basis(128, 8, s + 1000)) for s in range(60)]
    assert overlap_null(8, 128) == 0.0625
    assert np.mean(values) == pytest.approx(0.0625, abs=0.005)
    assert np.std(values, ddof=1) == pytest.approx(0.011, abs=0.004)
    assert overlap_null(9, 6) == 1


def test_null_of_the_angles_is_that_of_random_spaces() -> None:
    drawn = [principal_angles(basis(10, 2, s), basis(10, 2, s + 500)) for s in range(300)]
    assert principal_angles_null(2, 10, 300) == pytest.approx(np.mean(drawn, axis=0), abs=0.03)
    # One direction in the plane: the angle is uniform over [0, π/2].
    assert principal_angles_null(1, 2, 4000)[0] == pytest.approx(math.pi / 4, abs=0.03)
    assert principal_angles_null(3, 3) == pytest.approx([0, 0, 0])


def test_leading_directions_are_the_right_singular_vectors() -> None:
    g = torch.Generator().manual_seed(3)
    rows = torch.randn(40, 6, generator=g, dtype=torch.float64) * torch.tensor([9, 5, 3, 2, 1, 0.5])
    rows[7] = 0
    units = torch.nn.functional.normalize(rows[rows.abs().sum(1) > 0], dim=1)
    _, _, vt = torch.linalg.svd(units, full_matrices=False)
    found = leading_directions(rows)
    assert found.shape == (6, 6)
    assert (found.T @ vt.T).abs().diagonal() == pytest.approx(torch.ones(6), abs=1e-9)


def test_leading_directions_stop_at_the_rank() -> None:
    assert leading_directions(torch.tensor([[2.0, 0, 0], [3.0, 0, 0], [0, 1.0, 0]])).shape == (3, 2)


def brute_hsic(k: np.ndarray, l_: np.ndarray) -> float:
    """The U-statistic itself: the mean of k_ij (l_ij + l_qr − 2 l_iq) over four different inputs."""
    quads = itertools.permutations(range(len(k)), 4)
    return float(np.mean([k[i, j] * (l_[i, j] + l_[q, r] - 2 * l_[i, q]) for i, j, q, r in quads]))


def test_debiased_hsic_is_the_u_statistic() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 3)), rng.standard_normal((7, 2))
    k, l_ = x @ x.T, y @ y.T
    expected = brute_hsic(k, l_)
    for kernel in (k, l_):
        np.fill_diagonal(kernel, 0)
    found = debiased_hsic(torch.from_numpy(k), torch.from_numpy(l_))
    assert found == pytest.approx(expected, rel=1e-10)


def biased_cka(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / norms)


def test_debiased_cka_of_independent_codes_is_zero_where_the_biased_one_is_not() -> None:
    # science.md §2: independent 20-d data, n = 500: biased .037, debiased −.001.
    rng = np.random.default_rng(1)
    biased, debiased = [], []
    for _ in range(20):
        x, y = rng.standard_normal((2, 500, 20))
        biased.append(biased_cka(x, y))
        debiased.append(debiased_cka(gram(torch.from_numpy(x)), gram(torch.from_numpy(y))))
    assert np.mean(biased) == pytest.approx(0.037, abs=0.003)
    assert np.mean(debiased) == pytest.approx(-0.001, abs=0.003)


def test_cka_sees_neither_rotation_nor_scale_nor_shift() -> None:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(60, 5, generator=g, dtype=torch.float64)
    moved = 3 * x @ basis(5, 5, 4) + 1000
    assert debiased_cka(gram(x), gram(moved)) == pytest.approx(1, abs=1e-9)


def test_a_code_that_does_not_vary_has_no_cka() -> None:
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert math.isnan(debiased_cka(gram(x), gram(torch.ones(20, 3))))


@pytest.mark.parametrize(
    "call",
    [
        lambda: subspace_overlap(torch.eye(4)[:, :2], torch.eye(4)[:, :3]),
        lambda: subspace_overlap(2 * torch.eye(4)[:, :2], torch.eye(4)[:, :2]),
        lambda: principal_angles(torch.ones(3), torch.ones(3)),
        lambda: leading_directions(torch.zeros(3, 4)),
        lambda: leading_directions(torch.tensor([[1.0, math.nan]])),
        lambda: overlap_null(0, 4),
        lambda: gram(torch.ones(3, 2)),
        lambda: gram(torch.full((5, 2), math.inf)),
        lambda: debiased_hsic(torch.zeros(5, 5), torch.zeros(6, 6)),
    ],
)
def test_bad_input_is_refused(call: object) -> None:
    with pytest.raises(InputError):
        call()  # type: ignore[operator]
