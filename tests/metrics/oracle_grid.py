"""The formulas of science.md §4 and §5 once more, by sums over the grid of pairs (see `oracle`).

A task is the list of its pairs (a, b) with the arguments they have in the group: t for a, b, a+b, a-b, and the
class that is the answer. Row a*p + b of an activation map is the pair (a, b).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

FAMILIES = ("a", "b", "a+b", "a-b")


@dataclass(frozen=True)
class Cell:
    """One pair: its row, and its coordinates in the group."""

    row: int
    a: int
    b: int


def discrete_log(p: int) -> dict[int, int]:
    """Exponents of the least generator: g^i = token."""
    for g in range(2, p):
        logs = {pow(g, i, p): i for i in range(p - 1)}
        if len(logs) == p - 1:
            return logs
    return {1: 0, 2: 1}


def cells(p: int, task: str = "add") -> tuple[int, list[Cell]]:
    """Order of the group and its pairs."""
    if task == "multiply":
        logs = discrete_log(p)
        pairs = [(x, y) for x in range(1, p) for y in range(1, p)]
        return p - 1, [Cell(x * p + y, logs[x], logs[y]) for x, y in pairs]
    return p, [Cell(x * p + y, x, y) for x in range(p) for y in range(p)]


def argument(cell: Cell, family: str) -> int:
    return {"a": cell.a, "b": cell.b, "a+b": cell.a + cell.b, "a-b": cell.a - cell.b}[family]


def answer_family(task: str) -> str:
    return "a-b" if task == "subtract" else "a+b"


def _waves(n: int, pairs: list[Cell], k: int, family: str) -> list[np.ndarray]:
    """cos and sin(2πk t/n) on the pairs; for k = n/2 the sine is zero and left out."""
    angle = np.array([2 * math.pi * k * argument(cell, family) / n for cell in pairs])
    waves = [np.cos(angle)]
    return waves if 2 * k == n else [*waves, np.sin(angle)]


def plane_variances(x: np.ndarray, p: int, k: int, family: str, task: str = "add") -> float:
    """Variance of the activations along cos and sin(w_k t), in all columns: projections, one by one."""
    n, pairs = cells(p, task)
    rows = x[[cell.row for cell in pairs]].astype(float)
    variance = 0.0
    for wave in _waves(n, pairs, k, family):
        for column in rows.T:
            beta = float(column @ wave) / float(wave @ wave)
            variance += beta**2 * float(wave @ wave) / len(pairs)
    return variance


def plane_basis(x: np.ndarray, p: int, k: int, family: str, task: str = "add") -> np.ndarray:
    """beta_cos and beta_sin as columns [D, 2] (or [D, 1])."""
    n, pairs = cells(p, task)
    rows = x[[cell.row for cell in pairs]].astype(float)
    return np.stack([rows.T @ w / (w @ w) for w in _waves(n, pairs, k, family)], axis=1)


def total_variance(x: np.ndarray, p: int, task: str = "add") -> float:
    _, pairs = cells(p, task)
    rows = x[[cell.row for cell in pairs]].astype(float)
    return float(((rows - rows.mean(0)) ** 2).sum() / len(pairs))


def selectivity(f: np.ndarray, p: int, k: int, task: str = "add") -> float:
    """Power of a map in {1, c, s}⊗{1, c, s} without the constant, over its variance: least squares."""
    n, pairs = cells(p, task)
    values = np.array([float(f[cell.row]) for cell in pairs])
    values -= values.mean()
    one = [np.ones(len(pairs))]
    columns = [
        u * v for u in one + _waves(n, pairs, k, "a") for v in one + _waves(n, pairs, k, "b")
    ]
    design = np.stack(columns, axis=1)
    weights = np.linalg.lstsq(design, values, rcond=None)[0]
    fitted = design @ weights
    return float(fitted @ fitted / (values @ values))


def family_power(f: np.ndarray, p: int, k: int, task: str = "add") -> float:
    """Selectivity of k, 2k and 3k, each frequency once."""
    n, _ = cells(p, task)
    folded = {min(m * k % n, -m * k % n) for m in (1, 2, 3)} - {0}
    return sum(selectivity(f, p, j, task) for j in folded)


def class_means(f: np.ndarray, p: int, family: str, task: str = "add") -> list[float]:
    n, pairs = cells(p, task)
    groups: list[list[float]] = [[] for _ in range(n)]
    for cell in pairs:
        groups[argument(cell, family) % n].append(float(f[cell.row]))
    return [sum(group) / len(group) for group in groups]


def eta2(f: np.ndarray, p: int, family: str, task: str = "add") -> float:
    """Var(E[f|t]) / Var f."""
    _, pairs = cells(p, task)
    means = class_means(f, p, family, task)
    middle = sum(means) / len(means)
    values = [float(f[cell.row]) for cell in pairs]
    mean = sum(values) / len(values)
    between = sum((m - middle) ** 2 for m in means) / len(means)
    return between / (sum((v - mean) ** 2 for v in values) / len(values))


def localisation(f: np.ndarray, p: int, task: str = "add") -> int:
    means = class_means(f, p, answer_family(task), task)
    return sum(m > 0.1 * max(means) for m in means)


# -- logits ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Logits:
    """Logits of a task in the group: one row per pair, centred over the answers that count."""

    n: int
    values: np.ndarray
    total: list[int]
    """Class of the right answer, per pair."""
    answers: list[int]
    """Coordinate of each answer (column)."""
    rows: list[int]


def grid(logits: np.ndarray, task: str = "add") -> Logits:
    p = logits.shape[0]
    n, pairs = cells(p, task)
    logs = discrete_log(p) if task == "multiply" else None
    columns = list(range(1, p)) if logs else list(range(p))
    values = np.array([[float(logits[c.row // p, c.row % p, j]) for j in columns] for c in pairs])
    values = values - values.mean(1, keepdims=True)
    total = [argument(cell, answer_family(task)) % n for cell in pairs]
    answers = [logs[j] if logs else j for j in columns]
    return Logits(n, values, total, answers, [cell.row for cell in pairs])


def frequency(g: Logits, k: int) -> tuple[float, float]:
    """alpha_k and the share of variance of cos(w_k(t - c))."""
    wave = np.array(
        [[math.cos(2 * math.pi * k * (t - c) / g.n) for c in g.answers] for t in g.total]
    )
    size = float((wave * wave).sum())
    alpha = float((g.values * wave).sum()) / size
    return alpha, alpha**2 * size / float((g.values**2).sum())


def _waves_of_total(g: Logits, ks: Sequence[int]) -> list[np.ndarray]:
    waves = []
    for k in ks:
        angle = np.array([2 * math.pi * k * t / g.n for t in g.total])
        waves.append(np.cos(angle))
        if 2 * k != g.n:
            waves.append(np.sin(angle))
    return waves


def components(g: Logits, ks: Sequence[int]) -> np.ndarray:
    """The part of every answer's logit along cos and sin(w_k t)."""
    part = np.zeros_like(g.values)
    for wave in _waves_of_total(g, ks):
        part += np.outer(wave, wave @ g.values / (wave @ wave))
    return part


def cross_entropy(g: Logits, values: np.ndarray, pairs: np.ndarray) -> float:
    """Mean over the pairs (a mask [p, p]) of -log softmax at the answer."""
    chosen = pairs.reshape(-1)
    losses = []
    for i, row in enumerate(g.rows):
        if chosen[row]:
            right = values[i][g.answers.index(g.total[i])]
            losses.append(math.log(sum(math.exp(v - right) for v in values[i])))
    return sum(losses) / len(losses)


def restricted_loss(logits: np.ndarray, ks: Sequence[int], pairs: np.ndarray, task: str) -> float:
    g = grid(logits, task)
    return cross_entropy(g, g.values.mean(0) + components(g, ks), pairs)


def excluded_loss(logits: np.ndarray, ks: Sequence[int], pairs: np.ndarray, task: str) -> float:
    g = grid(logits, task)
    return cross_entropy(g, g.values - components(g, ks), pairs)


def margin(logits: np.ndarray, task: str) -> float:
    g = grid(logits, task)
    gaps = []
    for i, t in enumerate(g.total):
        at = g.answers.index(t)
        gaps.append(g.values[i][at] - max(v for j, v in enumerate(g.values[i]) if j != at))
    return sum(gaps) / len(gaps)


def embedding_power(w: np.ndarray, k: int, task: str = "add") -> float:
    """Squared norm of the embeddings along cos and sin(w_k i), i the coordinate of a token."""
    p = len(w)
    logs = discrete_log(p) if task == "multiply" else {i: i for i in range(p)}
    n, power = len(logs), 0.0
    tokens = sorted(logs)
    for turn in (math.cos,) if 2 * k == n else (math.cos, math.sin):
        wave = np.array([turn(2 * math.pi * k * logs[i] / n) for i in tokens])
        power += float(((wave @ w[tokens]) ** 2).sum() / (wave @ wave))
    return power


def gini(values: Sequence[float]) -> float:
    """Mean absolute difference over twice the mean."""
    n = len(values)
    return sum(abs(x - y) for x in values for y in values) / (2 * n * sum(values))


def hoyer(values: Sequence[float]) -> float:
    root = math.sqrt(len(values))
    length = math.sqrt(sum(v * v for v in values))
    return (root - sum(values) / length) / (root - 1)


# -- recovery -------------------------------------------------------------------------------------


def positively_span(points: np.ndarray) -> bool:
    """Whether ± each axis is a non-negative combination of the points: linear programming."""
    if len(points) == 0:
        return False
    for axis in np.vstack([np.eye(points.shape[1]), -np.eye(points.shape[1])]):
        solved = linprog(np.zeros(len(points)), A_eq=points.T, b_eq=axis, bounds=(0, None))
        if solved.status != 0:
            return False
    return True


def in_plane_energy(atom: np.ndarray, basis: np.ndarray) -> float:
    """‖Uᵀd̂‖², U an orthonormal basis of the columns: the squared cosine with the nearest vector of it."""
    nearest = basis @ np.linalg.lstsq(basis, atom, rcond=None)[0]
    return float(nearest @ nearest / (atom @ atom))


def recovery(
    atoms: np.ndarray, bases: Sequence[np.ndarray], live: Sequence[bool]
) -> tuple[float, float]:
    """Recall and precision of the live atoms that are not zero, at energy .9."""
    kept = [atom for atom, lives in zip(atoms, live, strict=True) if lives and np.any(atom != 0)]
    inside = [[atom for atom in kept if in_plane_energy(atom, u) >= 0.9] for u in bases]
    spanned = [
        positively_span(np.array([u.T @ atom / math.sqrt(atom @ atom) for atom in group]))
        for group, u in zip(inside, bases, strict=True)
    ]
    hits = sum(any(in_plane_energy(atom, u) >= 0.9 for u in bases) for atom in kept)
    return sum(spanned) / len(bases), hits / len(kept) if kept else math.nan
