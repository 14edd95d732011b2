"""Clock and pizza, interventions, coverage, contrasts and rank correlations by loops."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from engine.metrics import causal, clock, contrasts, coverage, rank_correlation
from engine.metrics.fourier import Task
from engine.metrics.ground_truth import Plane
from tests.metrics import oracle, oracle_grid


def close(expected: object, tolerance: float = 1e-9) -> object:
    return pytest.approx(expected, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("task", ["add", "subtract", "multiply"])
@pytest.mark.parametrize("p", [5, 7, 11])
def test_distance_irrelevance(p: int, task: Task) -> None:
    logits = np.random.default_rng(p).normal(size=(p, p))
    n, cells = oracle_grid.cells(p, task)
    # Subtraction is addition of -b, so its sum is a-b and its distance a+b.
    distance = "a+b" if task == "subtract" else "a-b"
    groups: list[list[float]] = [[] for _ in range(n)]
    for cell in cells:
        value = float(logits[cell.row // p, cell.row % p])
        groups[oracle_grid.argument(cell, distance) % n].append(value)
    expected = float(np.mean([np.std(group) for group in groups]) / np.std(np.concatenate(groups)))
    assert clock.distance_irrelevance(torch.tensor(logits), task) == close(expected)


def test_gradient_symmetry() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 9, 4))
    a[2] = 0
    expected = (
        sum(oracle.cosine(u, v) for i, (u, v) in enumerate(zip(a, b, strict=True)) if i != 2) / 8
    )
    assert clock.gradient_symmetry(torch.tensor(a), torch.tensor(b)) == close(expected)


@pytest.mark.parametrize("task", ["add", "subtract", "multiply"])
@pytest.mark.parametrize("p", [5, 7])
def test_interventions(p: int, task: Task) -> None:
    rng = np.random.default_rng(p)
    logits = rng.normal(size=(p, p, p)) * 2
    rows, ks = torch.arange(p * p), list(range(1, (p - 1) // 2 + 1))
    waves = causal.make_waves(rows, p, ks, task)
    flat = torch.tensor(logits.reshape(p * p, p))
    grid = oracle_grid.grid(logits, task)
    found = [oracle_grid.frequency(grid, k) for k in ks]
    assert causal.strengths(flat, waves).tolist() == close([alpha for alpha, _ in found])
    assert causal.explained(flat, waves) == close(sum(share for _, share in found))
    answers = torch.tensor(rng.integers(p, size=p * p))
    losses, right, gaps = [], 0, []
    for row, answer in zip(flat.tolist(), answers.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(v) for v in row)) - row[answer])
        gaps.append(row[answer] - max(v for c, v in enumerate(row) if c != answer))
        right += gaps[-1] > 0
    ours = causal.behaviour(flat, answers)
    assert (ours.loss, ours.margin) == close((np.mean(losses), np.mean(gaps)))
    assert ours.accuracy == close(right / p**2)


def test_loss_recovered() -> None:
    """(CE_mean - CE_sae)/(CE_mean - CE_clean)."""
    assert causal.loss_recovered(clean=0.5, mean=4.5, spliced=1.5) == close(0.75)
    assert causal.loss_recovered(clean=0.5, mean=4.5, spliced=0.5) == close(1)
    assert causal.loss_recovered(clean=0.5, mean=4.5, spliced=5.5) == close(-0.25)


@pytest.mark.parametrize("seed", range(5))
def test_coverage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, axes = rng.normal(size=(9, 6)), np.linalg.qr(rng.normal(size=(6, 6)))[0]
    rows[4] = 0
    planes = [Plane("a", 1, 0.1, torch.tensor(axes[:, :2].copy()), True)]
    planes += [Plane("b", 1, 0.1, torch.tensor(axes[:, 3:4].copy()), True)]
    unit = np.array([row / np.linalg.norm(row) for row in rows if np.any(row != 0)])
    leading = np.linalg.svd(unit)[2][:3]
    expected = [
        sum(float(u @ v) ** 2 for u in plane.basis.numpy().T for v in leading)
        / plane.basis.shape[1]
        for plane in planes
    ]
    ours = coverage.coverage(torch.tensor(rows), planes, 3)
    assert ours.planes.tolist() == close(expected)
    assert ours.mean == close(sum(expected) / 2)
    assert ours.null == close(3 / 6)


@pytest.mark.parametrize("seed", range(4))
def test_contrasts(seed: int) -> None:
    rng, n = np.random.default_rng(seed), 4
    tables = rng.uniform(0.2, 0.8, size=(2, 2, 2, n, n))
    tables = (tables + tables.swapaxes(3, 4)) / 2
    # tables[what][a][b][s][t]: what is observed or null; symmetric in (a, s) and (b, t).
    for what in range(2):
        tables[what][1][0] = tables[what][0][1].T
    observed, null = tables[0], tables[1] / 4
    sides = [contrasts.Side(observed[a][a], null[a][a]) for a in range(2)]

    def kappa(a: int, seeds: list[int]) -> float:
        return oracle.kappa(
            oracle.pair_mean(observed[a][a], seeds), oracle.pair_mean(null[a][a], seeds)
        )

    theirs = oracle.jackknife(lambda seeds: kappa(1, seeds) - kappa(0, seeds), n)
    ours = contrasts.difference(*sides)
    assert (ours.value, ours.se, ours.low, ours.high) == close(theirs, 1e-6)

    def swapped(labels: tuple[int, ...]) -> float:
        def mean(table: np.ndarray, chosen: list[int]) -> float:
            pairs = [(s, t) for s in range(n) for t in range(s + 1, n)]
            return sum(float(table[chosen[s]][chosen[t]][s][t]) for s, t in pairs) / len(pairs)

        first, second = list(labels), [1 - x for x in labels]
        values = [oracle.kappa(mean(observed, x), mean(null, x)) for x in (first, second)]
        return abs(values[1] - values[0])

    seen = swapped((0,) * n)
    others = [swapped(labels) for labels in product((0, 1), repeat=n) if any(labels)]
    count = sum(value >= seen - 1e-12 for value in others)
    permutation = contrasts.label_permutation(observed, null)
    assert permutation.p == close((1 + count) / (1 + len(others)))


@pytest.mark.parametrize("seed", range(5))
def test_holm(seed: int) -> None:
    p = np.random.default_rng(seed).uniform(size=6) ** 3
    assert contrasts.holm(p.tolist()) == close(oracle.holm(p.tolist()))


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 5, size=12).astype(float), rng.normal(size=12)

    def ranks(values: np.ndarray) -> list[float]:
        return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]

    assert rank_correlation.spearman(x, y) == close(oracle.pearson(ranks(x), ranks(y)))
