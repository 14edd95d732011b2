"""The formulas of science.md once more: slow, by loops, sharing no code with the engine.

Written from the text alone, in plain Python and numpy, so that a mistake would have to be made twice. What
the engine computes by FFT, closed form or Hungarian algorithm is done here by sums over the grid, numerical
integration and trying every permutation. Grids and Fourier structure: `oracle_grid`.

A dictionary is a list (or array) of rows; a number that does not exist is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations, permutations, product

import numpy as np

Rows = Sequence[Sequence[float]] | np.ndarray

STUDENT_975 = {2: 4.302653, 3: 3.182446, 4: 2.776445, 5: 2.570582, 6: 2.446912, 9: 2.262157}
"""Printed table of Student's t, by degrees of freedom."""


def cosine(u: Sequence[float], v: Sequence[float], sign: str = "signed") -> float:
    if not any(u) or not any(v):
        return 0.0
    # In units of the largest entry, so that squares of tiny and huge rows exist.
    u = [float(x) / max(abs(float(z)) for z in u) for x in u]
    v = [float(y) / max(abs(float(z)) for z in v) for y in v]
    dot = sum(x * y for x, y in zip(u, v, strict=True))
    size = math.sqrt(sum(x * x for x in u)) * math.sqrt(sum(y * y for y in v))
    return abs(dot / size) if sign == "abs" else dot / size


def nonzero(rows: Rows) -> list[int]:
    return [i for i, row in enumerate(rows) if any(float(x) != 0 for x in row)]


def cosines(a: Rows, b: Rows, sign: str = "signed") -> list[list[float]]:
    """Between the non-zero rows."""
    return [[cosine(a[i], b[j], sign) for j in nonzero(b)] for i in nonzero(a)]


def mmcs(a: Rows, b: Rows, sign: str = "signed") -> float:
    table = cosines(a, b, sign)
    return sum(max(row) for row in table) / len(table)


def mean_max_cos(a: Rows, b: Rows, sign: str = "signed") -> float:
    return (mmcs(a, b, sign) + mmcs(b, a, sign)) / 2


def best_matching(table: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """The one-to-one pairs of largest sum, by trying all."""
    n, m = len(table), len(table[0])
    if n > m:
        flipped = [[table[i][j] for i in range(n)] for j in range(m)]
        return sorted((i, j) for j, i in best_matching(flipped))
    best = max(permutations(range(m), n), key=lambda p: sum(table[i][p[i]] for i in range(n)))
    return list(enumerate(best))


def matched_mcc(a: Rows, b: Rows, sign: str = "signed") -> float:
    table = cosines(a, b, sign)
    total = sum(table[i][j] for i, j in best_matching(table))
    return total / min(len(table), len(table[0]))


def mutual(table: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs that are each other's nearest; of equals the first is nearest."""
    n, m = len(table), len(table[0])
    pairs = []
    for i in range(n):
        j = max(range(m), key=lambda j: (table[i][j], -j))
        if max(range(n), key=lambda r: (table[r][j], -r)) == i:
            pairs.append((i, j))
    return pairs


def shared_fraction(a: Rows, b: Rows, tau: float, sign: str = "signed") -> float:
    table = cosines(a, b, sign)
    count = sum(table[i][j] >= tau for i, j in mutual(table))
    return (count / len(table) + count / len(table[0])) / 2


def strict_shared_fraction(
    a: Rows, b: Rows, enc_a: Rows, enc_b: Rows, tau: float, sign: str = "signed"
) -> float:
    """Paulo & Belrose: both matchings choose the pair, and both its cosines reach tau."""
    decoders = cosines(a, b, sign)
    encoders = [[cosine(enc_a[i], enc_b[j], sign) for j in nonzero(b)] for i in nonzero(a)]
    both = set(best_matching(decoders)) & set(best_matching(encoders))
    count = sum(decoders[i][j] >= tau and encoders[i][j] >= tau for i, j in both)
    return (count / len(decoders) + count / len(decoders[0])) / 2


def truth_match(
    atoms: Rows, truth: Rows, live: Sequence[bool], tau: float
) -> tuple[float, float, float]:
    """GT-MCC, recall over all true features, precision over live atoms that are not zero."""
    kept = [atoms[i] for i in nonzero(atoms) if live[i]]
    table = [[cosine(atom, feature) for feature in truth] for atom in kept]
    values = [table[i][j] for i, j in best_matching(table)]
    hits = sum(value >= tau for value in values)
    return sum(values) / min(len(kept), len(truth)), hits / len(truth), hits / len(kept)


def feature_stability(seeds: Sequence[Rows], s: int, tau: float = 0.7) -> list[float]:
    """Share of other seeds with a mutual nearest neighbour of cosine >= tau; NaN for zero rows."""
    found = [math.nan] * len(seeds[s])
    for i in nonzero(seeds[s]):
        found[i] = 0.0
    for t, other in enumerate(seeds):
        if t != s:
            table = cosines(seeds[s], other)
            for i, j in mutual(table):
                found[nonzero(seeds[s])[i]] += (table[i][j] >= tau) / (len(seeds) - 1)
    return found


def live(fires: int, samples: int) -> bool:
    return fires >= 10 and fires >= samples / 10_000


# -- chance ---------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _angles(d: float, sign: str, steps: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """x on a grid of angles, and the distribution of cos there: its density is (1-x²)^((d-3)/2).

    With x = sin t the density is cos^(d-2) t, which is finite in every dimension from two up.
    """
    t = np.linspace(0.0 if sign == "abs" else -math.pi / 2, math.pi / 2, steps + 1)
    density = np.cos(t).clip(0) ** (d - 2)
    steps_up = (density[1:] + density[:-1]) / 2
    below = np.concatenate([[0.0], np.cumsum(steps_up)])
    return np.sin(t), below / below[-1]


def expected_max_cos(n: int, d: float, sign: str = "signed") -> float:
    """E max = 1 - ∫ F^n dx, from the lowest possible value up."""
    x, f = _angles(d, sign)
    power = f**n
    return 1.0 - float(((power[1:] + power[:-1]) / 2 * np.diff(x)).sum())


def max_cos_p(value: float, n: int, d: float, sign: str = "signed") -> float:
    x, f = _angles(d, sign)
    return 1.0 - float(np.interp(value, x, f)) ** n


def critical_max_cos(alpha: float, n: int, d: float, sign: str = "signed") -> float:
    x, f = _angles(d, sign)
    return float(np.interp((1 - alpha) ** (1 / n), f, x))


def kappa(observed: float, null: float) -> float:
    return math.nan if null >= 1 else (observed - null) / (1 - null)


def entropy_rank(values: Sequence[float]) -> float:
    """exp(H) of the shares."""
    total = sum(values)
    return math.exp(-sum(v / total * math.log(v / total) for v in values if v / total > 1e-12))


def participation_ratio(values: Sequence[float]) -> float:
    return sum(values) ** 2 / sum(v * v for v in values)


def energy_outside(rows: Rows, covariance: np.ndarray) -> list[float]:
    """Share of each row's square outside the leading eigenvectors, as many as the entropy rank."""
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1]
    count = math.ceil(entropy_rank([max(v, 0.0) for v in values]) - 1e-6)
    shares = []
    for row in np.asarray(rows, dtype=float):
        inside = sum(float(row @ vectors[:, c]) ** 2 for c in order[:count])
        shares.append(1 - inside / float(row @ row))
    return shares


def energy_f(s: float, d: float) -> float:
    """Distribution of the in-plane energy of a random direction: its density is (1-s)^((d-4)/2)."""
    return 1 - (1 - s) ** ((d - 2) / 2)


def energy_maximum(n: int, d: float, steps: int = 200_000) -> float:
    """E max of n energies = ∫ (1 - F^n) ds."""
    s = (np.arange(steps) + 0.5) / steps
    return float(np.mean(1 - (1 - (1 - s) ** ((d - 2) / 2)) ** n))


def energy_critical(n: int, d: float, level: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if energy_f(middle, d) ** n < 1 - level else (low, middle)
    return low


def benjamini_hochberg(p: Sequence[float], level: float) -> list[bool]:
    """Reject the k smallest, k the largest with p_(k) <= k level / m."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    most = max((k for k, i in enumerate(order, 1) if p[i] <= k * level / len(p)), default=0)
    chosen = set(order[:most])
    return [i in chosen for i in range(len(p))]


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p: running maximum of (m - rank) p, at most 1."""
    adjusted = [0.0] * len(p)
    running = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = running
    return adjusted


# -- seeds ----------------------------------------------------------------------------------------


def pair_mean(pairs: Rows, seeds: Sequence[int]) -> float:
    values = [float(pairs[s][t]) for s, t in combinations(seeds, 2)]
    return sum(values) / len(values) if values else math.nan


def jackknife(
    statistic: Callable[[list[int]], float], n_seeds: int
) -> tuple[float, float, float, float]:
    """Value, SE and t interval (95 %)."""
    everyone = list(range(n_seeds))
    value = statistic(everyone)
    left_out = [statistic([t for t in everyone if t != s]) for s in everyone]
    middle = sum(left_out) / n_seeds
    se = math.sqrt((n_seeds - 1) / n_seeds * sum((x - middle) ** 2 for x in left_out))
    half = STUDENT_975[n_seeds - 1] * se
    return value, se, value - half, value + half


def bootstrap_moments(pairs: Rows, self_pairs: float | None = None) -> tuple[float, float]:
    """Mean and sd over ALL resamples of seeds; pairs of a seed with itself left out, or given a value."""
    n_seeds, means = len(pairs), []
    for drawn in product(range(n_seeds), repeat=n_seeds):
        values = []
        for i, j in combinations(range(n_seeds), 2):
            if drawn[i] != drawn[j]:
                values.append(float(pairs[drawn[i]][drawn[j]]))
            elif self_pairs is not None:
                values.append(self_pairs)
        if values:
            means.append(sum(values) / len(values))
    middle = sum(means) / len(means)
    return middle, math.sqrt(sum((m - middle) ** 2 for m in means) / len(means))


def verdict(value: float, low: float, high: float) -> str:
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        return "undetermined"
    if value <= 0 or (low <= 0 and high >= 0):
        return "chance"
    for name, limit in (("weak", 0.2), ("moderate", 0.6)):
        if value < limit:
            return name
    return "strong"


# -- inputs and outputs ---------------------------------------------------------------------------


def explained_variance(x: Rows, reconstruction: Rows) -> float:
    """1 - Σ‖x-x̂‖² / Σ‖x-x̄‖²."""
    x, reconstruction = np.asarray(x, dtype=float), np.asarray(reconstruction, dtype=float)
    error = total = 0.0
    for column in range(x.shape[1]):
        mean = sum(x[:, column]) / len(x)
        error += sum(
            (u - v) ** 2 for u, v in zip(x[:, column], reconstruction[:, column], strict=True)
        )
        total += sum((u - mean) ** 2 for u in x[:, column])
    return 1 - error / total


def pearson(u: Sequence[float], v: Sequence[float]) -> float:
    mu, mv = sum(u) / len(u), sum(v) / len(v)
    return cosine([x - mu for x in u], [y - mv for y in v])


def jaccard(u: Sequence[float], v: Sequence[float]) -> float:
    """Of the inputs on which each is above zero."""
    both = sum(x > 0 and y > 0 for x, y in zip(u, v, strict=True))
    either = sum(x > 0 or y > 0 for x, y in zip(u, v, strict=True))
    return both / either if either else math.nan


def subspace_overlap(a: Rows, b: Rows, k: int) -> float:
    """‖U_kᵀV_k‖²_F / k of the leading eigenvectors of AᵀA and BᵀB."""
    leading = []
    for rows in (a, b):
        x = np.asarray(rows, dtype=float)
        values, vectors = np.linalg.eigh(x.T @ x)
        leading.append([vectors[:, i] for i in np.argsort(values)[::-1][:k]])
    return sum(float(u @ v) ** 2 for u in leading[0] for v in leading[1]) / k


def debiased_cka(x: Rows, y: Rows) -> float:
    """Unbiased HSIC of linear kernels (Song et al. 2012), normalised; U-centred matrices by loops."""

    def centred(z: Rows) -> np.ndarray:
        z = np.asarray(z, dtype=float)
        n = len(z)
        gram = np.array(
            [[0.0 if i == j else float(z[i] @ z[j]) for j in range(n)] for i in range(n)]
        )
        row, total = gram.sum(1), gram.sum()
        out = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                if i != j:
                    out[i, j] = (
                        gram[i, j] - (row[i] + row[j]) / (n - 2) + total / ((n - 1) * (n - 2))
                    )
        return out

    u, v = centred(x), centred(y)
    return float((u * v).sum() / math.sqrt((u * u).sum() * (v * v).sum()))


def biased_cka(x: Rows, y: Rows) -> float:
    x, y = (np.asarray(z, dtype=float) - np.mean(z, axis=0) for z in (x, y))
    return float(np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def shortest_path(distance: Rows) -> float:
    """Length of the best open path through all, by trying every order."""
    n = len(distance)
    return min(
        sum(float(distance[p[i]][p[i + 1]]) for i in range(n - 1)) for p in permutations(range(n))
    )
