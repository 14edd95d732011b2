"""Spaces, codes, clusters, orders and discoveries against `oracle`, on random inputs."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from engine.metrics import (
    activation_matching,
    consensus,
    discoveries,
    distances,
    phase_null,
    seriation,
    subspaces,
)
from tests.metrics import oracle


def close(expected: object, tolerance: float = 1e-9) -> object:
    return pytest.approx(expected, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "m", "d", "k"), [(9, 5, 6, 2), (4, 4, 4, 1), (30, 8, 5, 4)])
def test_subspaces(n: int, m: int, d: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, d)), rng.normal(size=(m, d)) * 3.0 ** rng.normal(size=d)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    u, v = (subspaces.leading_directions(torch.tensor(x))[:, :k] for x in (a, b))
    expected = oracle.subspace_overlap(*unit, k)
    assert subspaces.subspace_overlap(u, v) == close(expected)
    angles = subspaces.principal_angles(u, v)
    assert sum(math.cos(angle) ** 2 for angle in angles) / k == close(expected)
    assert (np.diff(angles) >= -1e-12).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "p", "q"), [(4, 1, 3), (12, 5, 2), (25, 3, 3)])
def test_cka(n: int, p: int, q: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + 5
    y = rng.normal(size=(n, q)) + x[:, :1]
    ours = subspaces.debiased_cka(subspaces.gram(torch.tensor(x)), subspaces.gram(torch.tensor(y)))
    assert ours == close(oracle.debiased_cka(x, y), 1e-7)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_seeds", [1, 2, 4, 6])
def test_order_of_seeds(n_seeds: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(size=(n_seeds, n_seeds))
    distance = values + values.T
    ours = seriation.seed_order(distance)
    assert ours.length == close(oracle.shortest_path(distance))
    assert ours.exact
    assert sorted(ours.order) == list(range(n_seeds))
    along = sum(float(distance[s, t]) for s, t in zip(ours.order, ours.order[1:], strict=False))
    assert along == close(ours.length)


@pytest.mark.parametrize("seed", range(4))
def test_distances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    for sign in ("signed", "abs"):
        ours = distances.matched_distances(torch.tensor(a), torch.tensor(b), sign)  # type: ignore[arg-type]
        for i in range(6):
            cosine = oracle.cosine(a[i], b[i], sign)
            u = a[i] / math.sqrt(sum(x * x for x in a[i]))
            v = b[i] / math.sqrt(sum(x * x for x in b[i]))
            v = -v if sign == "abs" and oracle.cosine(a[i], b[i]) < 0 else v
            gaps = [abs(x - y) for x, y in zip(u, v, strict=True)]
            assert float(ours["cosine"][i]) == close(1 - cosine)
            assert float(ours["angular"][i]) == close(math.acos(cosine) / math.pi)
            assert float(ours["l1"][i]) == close(sum(gaps))
            assert float(ours["l2"][i]) ** 2 == close(2 - 2 * cosine)
            assert float(ours["linf"][i]) == close(max(gaps))
            assert float(ours["decoder_correlation"][i]) == close(1 - oracle.pearson(u, v))
    codes = rng.normal(size=(2, 15, 3)).clip(0)
    codes[0, :, 2] = 1
    found = distances.correlation_distance(torch.tensor(codes[0]), torch.tensor(codes[1]))
    for j in range(2):
        assert float(found[j]) == close(1 - oracle.pearson(codes[0, :, j], codes[1, :, j]))
    assert math.isnan(float(found[2]))


@pytest.mark.parametrize("seed", range(8))
def test_consensus(seed: int) -> None:
    """Every cluster is a clique of mutual neighbours, and where links are consistent, all of them are found."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(6, 5))
    seeds = [truth[rng.permutation(6)] + 0.25 * rng.normal(size=(6, 5)) for _ in range(4)]
    seeds[0][3] = 0
    found = consensus.find_consensus(
        torch.tensor(np.array(seeds)), torch.ones(4, 6, dtype=torch.bool), 0.7
    )
    links = set()
    for s, t in combinations(range(4), 2):
        table = oracle.cosines(seeds[s], seeds[t])
        for i, j in oracle.mutual(table):
            if table[i][j] >= 0.7:
                links.add(((s, oracle.nonzero(seeds[s])[i]), (t, oracle.nonzero(seeds[t])[j])))
    members = [[(s, int(f)) for s, f in enumerate(row) if f >= 0] for row in found.members.tolist()]
    for group, direction, mean in zip(members, found.directions, found.mean_cosine, strict=True):
        assert all(pair in links for pair in combinations(group, 2))
        cosines = [
            oracle.cosine(seeds[s][f], seeds[t][g]) for (s, f), (t, g) in combinations(group, 2)
        ]
        assert float(mean) == close(sum(cosines) / len(cosines))
        total = sum(seeds[s][f] / np.linalg.norm(seeds[s][f]) for s, f in group)
        assert oracle.cosine(total, direction) == close(1.0)
    # Components of the graph of links that are cliques must be clusters as they are.
    features = {feature for link in links for feature in link}
    while features:
        component, frontier = set(), {features.pop()}
        while frontier:
            component |= frontier
            near = {b for a, b in links if a in component} | {a for a, b in links if b in component}
            frontier = near - component
        features -= component
        clique = sorted(component)
        if all(pair in links for pair in combinations(clique, 2)):
            assert clique in members


@pytest.mark.parametrize("seed", range(8))
def test_discoveries(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=30) ** (1 + seed)
    p[3] = p[4]
    q = discoveries.benjamini_hochberg(np.append(p, math.nan))
    assert math.isnan(q[-1])
    for level in (0.01, 0.05, 0.2, 0.7):
        assert (q[:-1] <= level).tolist() == oracle.benjamini_hochberg(p.tolist(), level)
    several = rng.uniform(size=(seed + 1, 4))
    combined = discoveries.partial_conjunction(several)
    needed = (seed + 1) // 2 + 1
    for column in range(4):
        smallest = sorted(several[:, column])
        expected = min(1.0, (seed + 1 - needed + 1) * smallest[needed - 1])
        assert combined[column] == close(expected)


@pytest.mark.parametrize("seed", range(5))
def test_activation_matching(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(40, 4)).clip(0), rng.normal(size=(40, 3)).clip(0)
    y[:, 0] = x[:, 1] + 0.1 * rng.normal(size=40).clip(0)
    r = [[oracle.pearson(x[:, i], y[:, j]) for j in range(3)] for i in range(4)]
    j_of = [[oracle.jaccard(x[:, i], y[:, j]) for j in range(3)] for i in range(4)]
    forward = [max(range(3), key=lambda j, i=i: r[i][j]) for i in range(4)]
    backward = [max(range(4), key=lambda i, j=j: r[i][j]) for j in range(3)]
    pairs = oracle.best_matching(r)
    expected = [
        (sum(r[i][forward[i]] for i in range(4)) / 4 + sum(r[backward[j]][j] for j in range(3)) / 3)
        / 2,
        sum(r[i][j] for i, j in pairs) / 3,
        (
            sum(j_of[i][forward[i]] for i in range(4)) / 4
            + sum(j_of[backward[j]][j] for j in range(3)) / 3
        )
        / 2,
        sum(j_of[i][j] for i, j in pairs) / 3,
    ]
    a, b = (activation_matching.take_maps(torch.tensor(z.T)) for z in (x, y))
    assert activation_matching.match_values(a, b) == close(expected, 1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_turned_planes(seed: int) -> None:
    """N6: in orthogonal planes a turn is a rotation of the coordinates, and all else stays."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    rows, angles = rng.normal(size=(7, 6)), rng.uniform(0, 6.28, size=2)
    bases = [torch.tensor(axes[:, :2].copy()), torch.tensor(axes[:, 2:4].copy())]
    ours = phase_null.turn(torch.tensor(rows), bases, angles.tolist())
    for row, turned in zip(rows, ours.numpy(), strict=True):
        expected = np.zeros(6)
        for axis in (4, 5):
            expected += (row @ axes[:, axis]) * axes[:, axis]
        for plane, angle in enumerate(angles):
            u, v = axes[:, 2 * plane], axes[:, 2 * plane + 1]
            x, y = row @ u, row @ v
            expected += (math.cos(angle) * x - math.sin(angle) * y) * u
            expected += (math.sin(angle) * x + math.cos(angle) * y) * v
        np.testing.assert_allclose(turned, expected / np.linalg.norm(row), atol=1e-9)
