"""Directions, dimensions, symmetry and sparsity by loops."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from engine.metrics import dimensionality, directions, sparsity, symmetry
from tests.metrics import oracle, oracle_grid


def close(expected: object, tolerance: float = 1e-9) -> object:
    return pytest.approx(expected, abs=tolerance, nan_ok=True)


def rows_with_zero(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d)) * rng.uniform(0.1, 5, size=(n, 1))
    rows[n // 2] = 0
    rows[0] = -2 * rows[-1] if n > 2 else rows[0]
    return rows


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "d"), [(3, 2), (9, 4), (20, 3)])
def test_directions(n: int, d: int, seed: int) -> None:
    rows = rows_with_zero(n, d, seed)
    ours = directions.directions(torch.tensor(rows))
    kept = [rows[i] / np.linalg.norm(rows[i]) for i in oracle.nonzero(rows)]
    cosines = [oracle.cosine(u, v) for u, v in combinations(kept, 2)]
    assert ours.n == len(kept)
    assert ours.resultant == close(float(np.linalg.norm(sum(kept) / len(kept))))
    assert ours.coherence == close(max(abs(c) for c in cosines), 1e-6)
    assert ours.antipodal == sum(c <= -0.9 for c in cosines)
    assert ours.duplicates == sum(c >= 0.9 for c in cosines)
    assert float(ours.histogram.sum()) == close(1.0)
    below = float(ours.histogram[:50].sum())
    assert below == close(sum(c < 0 for c in cosines) / len(cosines), 1e-6)
    welch = math.sqrt((ours.n - d) / (d * (ours.n - 1))) if ours.n > d else 0.0
    assert ours.welch == close(welch)
    assert ours.coherence >= welch - 1e-6
    far = directions.feature_coherence(torch.tensor(rows))
    for i, row in enumerate(rows):
        others = [
            abs(oracle.cosine(row, v)) for j, v in enumerate(rows) if j != i and np.any(v != 0)
        ]
        expected = max(others) if np.any(row != 0) else math.nan
        assert float(far[i]) == close(expected, 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_dimensions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_with_zero(8, 5, seed)
    kept = np.array([rows[i] / np.linalg.norm(rows[i]) for i in oracle.nonzero(rows)])
    sigma = np.linalg.svd(kept, compute_uv=False)
    ours = dimensionality.dimensionality(dimensionality.dictionary_spectrum(torch.tensor(rows)))
    assert ours.entropy_rank == close(oracle.entropy_rank((sigma**2).tolist()), 1e-6)
    assert ours.entropy_rank_singular == close(oracle.entropy_rank(sigma.tolist()), 1e-6)
    assert ours.participation_ratio == close(oracle.participation_ratio((sigma**2).tolist()))
    assert ours.stable_rank == close(sum(sigma**2) / max(sigma) ** 2)
    share = dimensionality.feature_dimensionality(torch.tensor(rows))
    for i, w in enumerate(rows):
        if np.any(w != 0):
            unit = w / np.linalg.norm(w)
            overlap = sum(float(unit @ v) ** 2 for v in rows)
            assert float(share[i]) == close(float(w @ w) / overlap)
        else:
            assert math.isnan(float(share[i]))
    n, d = int(rng.integers(2, 40)), int(rng.integers(2, 20))
    expected = 1 / (1 + (n - 1) / d)
    assert dimensionality.isotropic_feature_dimensionality(n, d) == close(expected)


@pytest.mark.parametrize("p", [3, 5, 8])
def test_symmetries(p: int) -> None:
    rng = np.random.default_rng(p)
    maps = rng.normal(size=(5, p, p))
    maps[1] += 2 * maps[1].T
    maps[2] = np.roll(maps[0], 2, axis=0)
    maps[3] = 1.5
    flat = torch.tensor(maps.reshape(5, p * p).T.copy())
    swap = symmetry.swap_symmetry(flat, p)
    copies = symmetry.find_copies(torch.tensor(maps))
    for i in range(5):
        if i == 3:
            assert math.isnan(float(swap[i]))
            continue
        expected = oracle.pearson(maps[i].ravel().tolist(), maps[i].T.ravel().tolist())
        assert float(swap[i]) == close(expected, 1e-6)
        for j in range(5):
            if j != 3:
                shifted = [
                    oracle.pearson(
                        np.roll(maps[i], shift, axis=axis).ravel().tolist(),
                        maps[j].ravel().tolist(),
                    )
                    for shift in range(p)
                    for axis in (0, 1)
                ]
                assert float(copies.shifted[i, j]) == close(max(shifted), 1e-5)
                assert float(copies.unshifted[i, j]) == close(shifted[0], 1e-5)
    assert float(copies.shifted[0, 2]) == close(1.0, 1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_phases(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    rows = rng.normal(size=(12, 5)) @ np.diag([3, 3, 1, 1, 1]) @ axes.T
    basis = axes[:, :2]
    # More energy in the plane than 95 % of random directions in five dimensions have.
    least = next(e for e in np.linspace(0, 1, 100_001) if oracle.energy_f(e, 5) >= 0.95)
    angles = [
        math.atan2(row @ basis[:, 1], row @ basis[:, 0])
        for row in rows
        if oracle_grid.in_plane_energy(row, basis) >= least
    ]
    resultant = abs(sum(complex(math.cos(t), math.sin(t)) for t in angles)) / len(angles)
    ours = symmetry.phase_uniformity(torch.tensor(rows), torch.tensor(basis.copy()))
    assert ours.n == len(angles)
    assert ours.resultant == close(resultant)
    assert ours.p == close(math.exp(-len(angles) * resultant**2))


@pytest.mark.parametrize("seed", range(4))
def test_codes(seed: int) -> None:
    codes = np.random.default_rng(seed).normal(size=(60, 7)).clip(0)
    codes[3] = 0
    codes[:, 2] = 0
    ours = sparsity.measure_codes(torch.tensor(codes))
    active = [row.tolist() for row in codes if np.any(row > 0)]
    assert ours.l0_N.tolist() == [float(sum(v > 0 for v in row)) for row in codes]
    hoyer = sum(oracle_grid.hoyer(row) for row in active) / len(active)
    assert ours.hoyer == close(hoyer, 1e-6)
    assert ours.gini == close(sum(oracle_grid.gini(row) for row in active) / len(active), 1e-6)
    density = [(codes[:, j] > 0).mean() for j in range(7)]
    assert ours.l0_sd_independent == close(math.sqrt(sum(q * (1 - q) for q in density)), 1e-6)
    found = sparsity.coactivation(sparsity.active(torch.tensor(codes)))
    for i, j in combinations(range(len(found.kept)), 2):
        a, b = ((codes[:, int(found.kept[k])] > 0).astype(float).tolist() for k in (i, j))
        assert float(found.phi_MM[i, j]) == close(oracle.pearson(a, b), 1e-5)
