"""An order of the seeds in which neighbours are alike: for reading a heatmap, nothing may be concluded from it.

The order is the shortest open path through all seeds (the travelling salesman's without his way home).
Shapes: S seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

Floats = NDArray[np.float64]

EXACT_UP_TO = 9
"""Seeds for which the best order is found for certain (Held & Karp 1962: S² 2^S steps)."""


@dataclass(frozen=True)
class SeedOrder:
    """An order of the seeds."""

    order: tuple[int, ...]
    """Places of the seeds; of both directions the one that begins with the lower place."""
    length: float
    """Sum of the distances between neighbours."""
    exact: bool
    """Whether no order is shorter; else it is what greedy search and 2-opt found."""


def seed_order(distances_SS: Floats) -> SeedOrder:
    """Return the order of the seeds with the least sum of distances between neighbours.

    Exact for up to nine seeds. Beyond, a greedy path from every start, the best one improved by 2-opt.

    Raises:
        InputError: not a square symmetric matrix, or a distance off the diagonal is not finite.
    """
    distances_SS = _checked(distances_SS)
    n_seeds = len(distances_SS)
    exact = n_seeds <= EXACT_UP_TO
    if exact:
        order = _shortest(distances_SS)
    else:
        paths = [greedy_path(distances_SS, start) for start in range(n_seeds)]
        best = min(paths, key=lambda path: path_length(distances_SS, path))
        order = two_opt(distances_SS, best)
    order = order if order[0] <= order[-1] else order[::-1]
    return SeedOrder(tuple(order), path_length(distances_SS, order), exact)


def path_length(distances_SS: Floats, order: list[int]) -> float:
    """Return the sum of the distances between neighbours."""
    return float(sum(distances_SS[a, b] for a, b in pairwise(order)))


def greedy_path(distances_SS: Floats, start: int) -> list[int]:
    """Return the path from `start` that always goes on to the nearest seed left, the lowest of equals."""
    path, left = [start], set(range(len(distances_SS))) - {start}
    while left:
        here = path[-1]
        path.append(min(left, key=lambda s: (distances_SS[here, s], s)))
        left.remove(path[-1])
    return path


def two_opt(distances_SS: Floats, order: list[int]) -> list[int]:
    """Return the path after every reversal of a stretch that shortens it, ends included."""
    order, improved = list(order), True
    while improved:
        improved = False
        for i, j in combinations(range(len(order)), 2):
            turned = order[:i] + order[i : j + 1][::-1] + order[j + 1 :]
            if path_length(distances_SS, turned) < path_length(distances_SS, order) - 1e-12:
                order, improved = turned, True
    return order


def _shortest(distances_SS: Floats) -> list[int]:
    """The best path by dynamic programming over (seeds visited, last seed)."""
    n = len(distances_SS)
    best: dict[tuple[int, int], tuple[float, int]] = {(1 << s, s): (0.0, -1) for s in range(n)}
    for visited in range(1, 1 << n):
        for last in range(n):
            if (visited, last) not in best:
                continue
            so_far = best[visited, last][0]
            for s in range(n):
                if visited >> s & 1:
                    continue
                key, length = (visited | 1 << s, s), so_far + float(distances_SS[last, s])
                if key not in best or length < best[key][0]:
                    best[key] = (length, last)
    visited = (1 << n) - 1
    last = min(range(n), key=lambda s: best[visited, s][0])
    path: list[int] = []
    while last >= 0:
        path.append(last)
        visited, last = visited ^ 1 << last, best[visited, last][1]
    return path


def _checked(distances_SS: Floats) -> Floats:
    distances_SS = np.array(distances_SS, dtype=np.float64)
    n = len(distances_SS)
    if distances_SS.shape != (n, n) or n < 1:
        shape = list(distances_SS.shape)
        raise InputError("distances", f"have shape {shape}", "a square [S, S] matrix")
    np.fill_diagonal(distances_SS, 0.0)
    if not np.isfinite(distances_SS).all():
        raise InputError("distances", "a pair has no finite value", "one per pair of seeds")
    if not np.allclose(distances_SS, distances_SS.T, atol=1e-9):
        raise InputError("distances", "are not symmetric", "one per unordered pair of seeds")
    return distances_SS
