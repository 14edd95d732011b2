"""Fourier structure and ground truth against `oracle_grid`, for every task and several small primes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.metrics import activation_maps, fourier, ground_truth
from engine.metrics.fourier import Task
from engine.subjects.surrogate import moments
from tests.metrics import oracle, oracle_grid

# Multiplication has groups of even order: 4, 6 and 10, whose last frequency has no sine.
CASES: list[tuple[int, Task]] = [
    (p, task) for p in (5, 7, 11) for task in ("add", "subtract", "multiply")
]


def close(expected: object, tolerance: float = 1e-9) -> object:
    return pytest.approx(expected, abs=tolerance, nan_ok=True)


def frequencies(p: int) -> range:
    return range(1, (p - 1) // 2 + 1)


def random_logits(p: int, seed: int) -> np.ndarray:
    """Noise, and some seeds with a wave that the task can hear."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(p, p, p)) * rng.uniform(0.5, 3)
    a, b, c = np.meshgrid(*[np.arange(p)] * 3, indexing="ij")
    wave = np.cos(2 * np.pi * (a + (-1) ** seed * b - c) / p)
    return logits + 5 * (seed % 3) * wave + rng.normal(size=(p, p, 1))


@pytest.mark.parametrize(("p", "task"), CASES)
class TestLogits:
    def test_frequencies(self, p: int, task: Task) -> None:
        for seed in range(3):
            logits = random_logits(p, seed)
            grid = oracle_grid.grid(logits, task)
            found = [oracle_grid.frequency(grid, k) for k in frequencies(p)]
            ours = fourier.frequency_coefficients(torch.tensor(logits), task).tolist()
            assert ours == close([alpha for alpha, _ in found])
            shares = [share for _, share in found]
            for k in frequencies(p):
                assert fourier.fve(torch.tensor(logits), [k], task) == close(shares[k - 1])
            several = list(frequencies(p))[::2]
            total = sum(shares[k - 1] for k in several)
            assert fourier.fve(torch.tensor(logits), several, task) == close(total)
            self.check_keys(torch.tensor(logits), task, shares)

    def check_keys(self, logits: torch.Tensor, task: Task, shares: list[float]) -> None:
        """The smallest set that reaches a share is the strongest few; all, if none does."""
        for threshold in (0.02, 0.3, 0.95):
            keys = fourier.key_frequencies(logits, threshold, task)
            order = sorted(frequencies(logits.shape[0]), key=lambda k: -shares[k - 1])
            count = next(
                (
                    m
                    for m in range(1, len(order) + 1)
                    if sum(shares[k - 1] for k in order[:m]) >= threshold
                ),
                len(order),
            )
            assert keys.ks == tuple(order[:count])
            assert keys.fve == close(sum(shares[k - 1] for k in order[:count]))
            assert keys.reached == (keys.fve >= threshold)

    def test_losses(self, p: int, task: Task) -> None:
        for seed in range(2):
            logits = random_logits(p, seed)
            pairs = np.random.default_rng(seed).random((p, p)) < 0.5
            pairs[1, 2] = True
            x, mask, everything = (
                torch.tensor(z) for z in (logits, pairs, np.ones((p, p), dtype=bool))
            )
            for ks in ([1], list(frequencies(p))[-2:], list(frequencies(p))):
                restricted = fourier.restricted_loss(x, ks, mask, task)
                assert restricted == close(oracle_grid.restricted_loss(logits, ks, pairs, task))
                excluded = fourier.excluded_loss(x, ks, mask, task)
                assert excluded == close(oracle_grid.excluded_loss(logits, ks, pairs, task))
            whole = oracle_grid.restricted_loss(logits, [1], everything.numpy(), task)
            assert fourier.restricted_loss(x, [1], None, task) == close(whole)
            assert fourier.margin(x, task) == close(oracle_grid.margin(logits, task))

    def test_curves(self, p: int, task: Task) -> None:
        logits, rng = random_logits(p, 2), np.random.default_rng(1)
        train = rng.random((p, p)) < 0.5
        train[1, 1], train[1, 2] = True, False
        embedding = rng.normal(size=(p, 3))
        ours = fourier.progress(
            torch.tensor(logits), torch.tensor(embedding), torch.tensor(train), [1], task
        )
        grid = oracle_grid.grid(logits, task)
        assert ours["train_loss"] == close(oracle_grid.cross_entropy(grid, grid.values, train))
        assert ours["test_loss"] == close(oracle_grid.cross_entropy(grid, grid.values, ~train))
        for split, mask in (("train", train), ("test", ~train)):
            right = [
                max(range(len(row)), key=row.__getitem__) == grid.answers.index(grid.total[i])
                for i, row in enumerate(grid.values.tolist())
                if mask.reshape(-1)[grid.rows[i]]
            ]
            assert ours[f"{split}_accuracy"] == close(sum(right) / len(right))
        restricted = oracle_grid.restricted_loss(logits, [1], ~train, task)
        assert ours["restricted_test_loss"] == close(restricted)
        excluded = oracle_grid.excluded_loss(logits, [1], train, task)
        assert ours["excluded_loss"] == close(excluded)
        assert ours["fve"] == close(oracle_grid.frequency(grid, 1)[1])
        power = [oracle_grid.embedding_power(embedding, k, task) for k in frequencies(p)]
        spectrum = fourier.embedding_spectrum(torch.tensor(embedding), task).tolist()
        assert spectrum == close(power)
        assert ours["embedding_gini"] == close(oracle_grid.gini(power))
        assert ours["embedding_hoyer"] == close(oracle_grid.hoyer(power))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_concentration(n: int) -> None:
    for seed in range(5):
        values = np.random.default_rng(seed).exponential(size=n) ** 2
        values[0] = 0
        assert fourier.gini(torch.tensor(values)) == close(oracle_grid.gini(values.tolist()))
        assert fourier.hoyer(torch.tensor(values)) == close(oracle_grid.hoyer(values.tolist()))


def random_activations(p: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a, b = (x.reshape(-1) for x in np.meshgrid(np.arange(p), np.arange(p), indexing="ij"))
    x = rng.normal(size=(p * p, width)) * 0.5 + rng.normal(size=width) * 4
    for k, t in ((1, a), (2, a + b), (1, a - b)):
        angle = 2 * np.pi * k * t / p
        x += np.outer(np.cos(angle), rng.normal(size=width))
        x += np.outer(np.sin(angle), rng.normal(size=width))
    return x


@pytest.mark.parametrize(("p", "task"), CASES)
class TestPlanes:
    def test_shares_and_directions(self, p: int, task: Task) -> None:
        for width in (1, 4):
            x = random_activations(p, width, width)
            keys = [1, (p - 1) // 2]
            found = ground_truth.planes(torch.tensor(x), p, keys, task)
            total = oracle_grid.total_variance(x, p, task)
            count = oracle_grid.cells(p, task)[0]
            shares = {
                (family, k): oracle_grid.plane_variances(x, p, k, family, task) / total
                for family in oracle_grid.FAMILIES
                for k in frequencies(p)
            }
            if task == "multiply":
                # At half the order cos(w(a-b)) is cos(w(a+b)): one plane, counted with the sum.
                shares["a-b", count // 2] = 0.0
            for plane in found.planes:
                share = shares[plane.family, plane.k]
                others = [shares[plane.family, k] for k in frequencies(p) if k not in keys]
                assert plane.share == close(share)
                assert plane.exists == (share >= 0.01 and share > max(others, default=0.0))
                assert found.other_share[plane.family] == close(max(others, default=0.0))
                if share > 0:
                    basis = plane.basis.numpy()
                    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-9)
                    for beta in oracle_grid.plane_basis(x, p, plane.k, plane.family, task).T:
                        np.testing.assert_allclose(basis @ (basis.T @ beta), beta, atol=1e-9)

    def test_classes(self, p: int, task: Task) -> None:
        x = random_activations(p, 3, 7)
        found = ground_truth.class_truth(torch.tensor(x), p, task)
        family = oracle_grid.answer_family(task)
        means = np.array([oracle_grid.class_means(f, p, family, task) for f in x.T]).T
        np.testing.assert_allclose(found.means, means, atol=1e-9)
        between = float(((means - means.mean(0)) ** 2).sum()) / len(means)
        assert found.share == close(between / oracle_grid.total_variance(x, p, task))

    def test_maps(self, p: int, task: Task) -> None:
        x = random_activations(p, 6, 3)
        maps = np.maximum(x - x.mean(0), 0)
        maps[:, 0] = 0  # dead
        maps[:, 1] = np.round(maps[:, 1])  # ties
        maps[:, 2] = 3.5  # always on, knowing nothing
        ours = activation_maps.score_features(torch.tensor(maps), p, task)
        spectrum = activation_maps.map_spectrum(torch.tensor(maps), p, task)
        for column in (0, 2):
            assert math.isnan(float(ours.selectivity[column]))
            assert int(ours.frequency[column]) == 0
        for column in (1, 3, 4, 5):
            f = maps[:, column]
            powers = [oracle_grid.selectivity(f, p, k, task) for k in frequencies(p)]
            assert float(ours.selectivity[column]) == close(max(powers))
            assert int(ours.frequency[column]) == powers.index(max(powers)) + 1
            families = [oracle_grid.family_power(f, p, k, task) for k in frequencies(p)]
            assert float(ours.family[column]) == close(max(families))
            for row, family in enumerate(oracle_grid.FAMILIES):
                eta2 = oracle_grid.eta2(f, p, family, task)
                assert float(ours.eta2[row, column]) == close(eta2)
            assert spectrum[:, :, column].sum(0).tolist() == close(powers)
        for column in range(6):
            expected = oracle_grid.localisation(maps[:, column], p, task)
            assert int(ours.localisation[column]) == expected

    def test_chance_of_maps(self, p: int, task: Task) -> None:
        # White noise: eight of n²-1 degrees of freedom per block, n-1 per argument.
        rng = np.random.default_rng(0)
        noise = rng.normal(size=(p * p, 800))
        ours = activation_maps.score_features(torch.tensor(noise), p, task)
        assert float(ours.eta2.mean()) == pytest.approx(ours.eta2_null, rel=0.05)
        first = activation_maps.map_spectrum(torch.tensor(noise), p, task)[:, 0].sum(0)
        assert float(first.mean()) == pytest.approx(ours.selectivity_null, rel=0.08)


@pytest.mark.parametrize("d", [2.5, 3, 4, 10, 64])
@pytest.mark.parametrize("n", [1, 7, 500])
def test_energy_of_random_directions(n: int, d: float) -> None:
    null = ground_truth.energy_null(d, n)
    assert null.mean == close(oracle.energy_maximum(1, d), 1e-3)
    assert null.expected_max == close(oracle.energy_maximum(n, d), 1e-3)
    assert null.critical_max == close(oracle.energy_critical(n, d, 0.05), 1e-6)
    assert null.beyond == close(1 - oracle.energy_f(0.9, d), 1e-9)
    assert ground_truth.energy_null(d, n, 3).critical_max == null_of_many(n, d)


def null_of_many(n: int, d: float) -> object:
    return close(oracle.energy_critical(3 * n, d, 0.05), 1e-6)


@pytest.mark.parametrize("size", range(7))
@pytest.mark.parametrize("dimensions", [1, 2])
def test_positive_span(size: int, dimensions: int) -> None:
    for seed in range(25):
        points = np.random.default_rng(100 * size + seed).normal(size=(size, dimensions))
        if size > 3 and seed % 5 == 0:
            points[1] = -points[0]  # a line, and what is beside it
            points[2] = 2 * points[0]
        ours = ground_truth.positively_span(torch.tensor(points))
        assert ours == oracle_grid.positively_span(points)


@pytest.mark.parametrize("seed", range(10))
def test_recall_and_precision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = int(rng.integers(5, 8))
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    # Two planes, and a line: the last frequency of an even group.
    bases = [axes[:, :2], axes[:, 2:4], axes[:, 4:5]]
    atoms = []
    for _ in range(14):
        basis = bases[rng.integers(3)]
        atoms.append(basis @ rng.normal(size=basis.shape[1]) + 0.12 * rng.normal(size=d))
    dictionary = np.array(atoms)
    dictionary[3] = 0
    live = rng.random(14) < 0.8
    planes = [
        ground_truth.Plane("a", k, 0.1, torch.tensor(basis.copy()), True)
        for k, basis in enumerate(bases)
    ]
    found = ground_truth.recover(torch.tensor(dictionary), planes, torch.tensor(live))
    recall, precision = oracle_grid.recovery(dictionary, bases, live)
    assert (found.recall, found.precision) == close((recall, precision))
    for i, atom in enumerate(dictionary):
        if np.any(atom != 0):
            energies = [oracle_grid.in_plane_energy(atom, basis) for basis in bases]
            assert float(found.best_energy[i]) == close(max(energies))
            assert int(found.best_plane[i]) == energies.index(max(energies))


@pytest.mark.parametrize("seed", range(3))
def test_principal_directions(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(60, 5)) * [5, 3, 1, 0.3, 0.1] + 7
    spectrum = ground_truth.Spectrum.of(moments(torch.tensor(x))[1])
    ours = ground_truth.pca_directions(spectrum, 0.95).numpy()
    values, vectors = np.linalg.eigh(np.cov(x.T))
    order = np.argsort(values)[::-1]
    needed = next(m for m in range(1, 6) if values[order[:m]].sum() >= 0.95 * values.sum())
    assert len(ours) == 2 * needed
    for row, column in zip(ours, [*order[:needed], *order[:needed]], strict=True):
        assert abs(float(row @ vectors[:, column])) == close(1.0, 1e-6)
    np.testing.assert_allclose(ours[:needed], -ours[needed:], atol=1e-12)
