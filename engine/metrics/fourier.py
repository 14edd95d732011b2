"""Fourier structure of modular arithmetic in a logits grid `L[a, b, c]` and an embedding.

Everything is done in the coordinates of the cyclic group in which the task is addition, so
that the answer is `c = a + b mod n` whatever the task:

    add        tokens are the coordinates, n = p
    subtract   b is relabelled to -b, n = p: frequencies refer to a - b - c
    multiply   token g^i has coordinate i for the least primitive root g, n = p - 1; pairs with
               a zero, and the answer zero, carry no frequency and are left out

The frequencies are 1..(p-1)/2 for all three; when n is even the last of them is its own
conjugate (no sine), which the normalisations below take into account.
Computed on the CPU in float64, whatever comes in.

Shapes: P tokens, N group order, K frequencies (P-1)/2, D width, M anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from engine.errors import InputError

Task = Literal["add", "subtract", "multiply"]

FVE_THRESHOLD = 0.95
"""Share of the logit variance that the key frequencies must explain (gate G2)."""
MAX_KEYS = 8
"""Most key frequencies that still count as structure (gate G2): at p = 113 a lookup table needs 54."""


def most_keys(p: int) -> int:
    """Most key frequencies that count as structure mod p: 8, or a third of all where that is fewer.

    Mod 17 a lookup table has 8 frequencies in all, so 8 would prove nothing there.
    """
    return max(1, min(MAX_KEYS, (p - 1) // 2 // 3))


@dataclass(frozen=True)
class Group:
    """The cyclic group in which a task is addition; coordinate i of axis a is token `a[i]`."""

    order: int
    a: Tensor
    b: Tensor
    c: Tensor


@dataclass(frozen=True)
class KeyFrequencies:
    """Frequencies by falling alpha², as many as reach the threshold (all, if none suffice)."""

    ks: tuple[int, ...]
    fve: float
    """Fraction of variance explained by `ks`; NaN for logits that do not depend on c."""
    threshold: float

    @property
    def reached(self) -> bool:
        """Whether `ks` explain as much variance as was asked for."""
        return self.fve >= self.threshold


@dataclass(frozen=True)
class _Grid:
    """A logits grid in group coordinates, centred over c, and what the metrics read of it."""

    logits: Tensor
    by_total: Tensor
    """Mean over the n pairs with a + b = t, per (t, c)."""
    square: float
    """Squared norm of the centred grid."""


def require_prime(p: int, where: str) -> None:
    """Raise `InputError` unless `p` is an odd prime."""
    if p < 3 or any(p % q == 0 for q in range(2, int(p**0.5) + 1)):
        raise InputError(where, f"modulus {p} is not an odd prime", "an odd prime, such as 113")


@lru_cache(maxsize=16)
def group(p: int, task: Task = "add") -> Group:
    """The group of `task` modulo the odd prime `p`; `InputError` for anything else."""
    require_prime(p, "p")
    if task not in get_args(Task):
        raise InputError("task", f"unknown task {task!r}", "add, subtract or multiply")
    if task == "multiply":
        powers = torch.tensor(_powers(p))
        return Group(p - 1, powers, powers, powers)
    tokens = torch.arange(p)
    return Group(p, tokens, (-tokens) % p if task == "subtract" else tokens, tokens)


def frequency_coefficients(L_PPP: Tensor, task: Task = "add") -> Tensor:
    """alpha_k of cos(w_k(a+b-c)), k = 1..(p-1)/2, in logit units: [K] (science.md §4, G2)."""
    return _alpha(_grid(L_PPP, task))


def fve(L_PPP: Tensor, ks: Sequence[int], task: Task = "add") -> float:
    """Fraction of the logits' variance (centred over c) that the frequencies `ks` explain.

    All (p-1)/2 frequencies together explain a lookup table entirely: only few mean anything.
    NaN for a grid that does not depend on c; `InputError` for an impossible frequency.
    """
    grid = _grid(L_PPP, task)
    index = torch.tensor(_checked(ks, grid), dtype=torch.long) - 1
    return float(_shares(grid)[index].sum())


def key_frequencies(
    L_PPP: Tensor, threshold: float = FVE_THRESHOLD, task: Task = "add"
) -> KeyFrequencies:
    """Smallest set of frequencies with FVE >= threshold, strongest first."""
    return _keys(_grid(L_PPP, task), threshold)


def embedding_spectrum(W_E_PD: Tensor, task: Task = "add") -> Tensor:
    """Power of the p number-token embeddings per frequency, [K], summing to their variance * p.

    `InputError` unless there are exactly p rows: drop the embedding of `=` first.
    """
    if W_E_PD.ndim != 2:
        raise InputError("W_E", f"shape {tuple(W_E_PD.shape)}", "[p, d]")
    require_prime(W_E_PD.shape[0], "W_E rows")
    space = group(W_E_PD.shape[0], task)
    spectrum: Tensor = torch.fft.rfft(_exact(W_E_PD)[space.a], dim=0)[1:]
    return spectrum.abs().square().sum(1) * conjugate_weights(space.order) / space.order


def gini(values_M: Tensor) -> float:
    """Gini index of non-negative values: 0 even, 1 - m/n for m equal ones among n."""
    x = _spread(values_M).sort().values
    ranks = torch.arange(1, len(x) + 1, dtype=torch.float64)
    return float((2 * ranks - len(x) - 1) @ x / (len(x) * x.sum()))


def hoyer(values_M: Tensor) -> float:
    """Hoyer sparsity (√n - |x|₁/|x|₂)/(√n - 1): 0 even, 1 for a single non-zero value."""
    x = _spread(values_M)
    root = len(x) ** 0.5
    return float((root - x.sum() / x.norm()) / (root - 1))


def restricted_loss(
    L_PPP: Tensor, ks: Sequence[int], pairs_PP: Tensor | None = None, task: Task = "add"
) -> float:
    """Cross-entropy (nats) of the mean logits plus their cos/sin(w_k(a+b)) components only.

    Over the pairs of a boolean mask, or over all. The 1 + 2|ks| sum components are kept, not
    the outer-product mask of Nanda's code (science.md §4, G3).
    """
    grid = _grid(L_PPP, task)
    mask = _mask(pairs_PP, L_PPP.shape[0], task, "pairs")
    return _restricted(grid, _checked(ks, grid), mask)


def excluded_loss(L_PPP: Tensor, ks: Sequence[int], train_PP: Tensor, task: Task = "add") -> float:
    """Cross-entropy (nats) on the train pairs with the cos/sin(w_k(a+b)) components removed."""
    grid = _grid(L_PPP, task)
    mask = _mask(train_PP, L_PPP.shape[0], task, "train_mask")
    return _excluded(grid, _checked(ks, grid), mask)


def margin(L_PPP: Tensor, task: Task = "add") -> float:
    """Mean over all pairs of the correct logit minus the best wrong one, in logit units."""
    return float(_margins(_grid(L_PPP, task)).mean())


def progress(
    L_PPP: Tensor,
    W_E_PD: Tensor,
    train_PP: Tensor,
    ks: Sequence[int] | None = None,
    task: Task = "add",
) -> dict[str, float]:
    """The structure curves of one training step, by name; losses in nats.

    `ks` are the frequencies of the restricted and excluded losses; by default the present key
    frequencies, at most the `most_keys(p)` strongest (early on no small set explains anything).
    `key_count` is 0 while no set reaches the threshold. `InputError` when no pair is held out.
    """
    grid = _grid(L_PPP, task)
    train = _mask(train_PP, L_PPP.shape[0], task, "train_mask")
    if bool(train.all()):
        raise InputError("train_mask", "every pair is a training pair", "some pairs held out")
    keys = _keys(grid, FVE_THRESHOLD)
    chosen = keys.ks[: most_keys(L_PPP.shape[0])] if ks is None else _checked(ks, grid)
    losses, margins, power = _losses(grid), _margins(grid), embedding_spectrum(W_E_PD, task)
    shares = _shares(grid)
    return {
        "train_loss": float(losses[train].mean()),
        "test_loss": float(losses[~train].mean()),
        "train_accuracy": float((margins[train] > 0).double().mean()),
        "test_accuracy": float((margins[~train] > 0).double().mean()),
        "margin": float(margins.mean()),
        "restricted_loss": _restricted(grid, chosen, torch.ones_like(train)),
        "restricted_test_loss": _restricted(grid, chosen, ~train),
        "excluded_loss": _excluded(grid, chosen, train),
        "key_count": float(len(keys.ks)) if keys.reached else 0.0,
        "fve": float(shares[torch.tensor(chosen, dtype=torch.long) - 1].sum()),
        "fve_all": float(shares.sum()),
        "embedding_gini": gini(power),
        "embedding_hoyer": hoyer(power),
    }


def wrapped_sums(grid_NNM: Tensor, sign: Literal[1, -1] = 1) -> Tensor:
    """Sum of grid[a, b] over the pairs with a + sign*b = t mod n: [N, M], float64."""
    n = grid_NNM.shape[0]
    sums = torch.zeros(n, grid_NNM.shape[2], dtype=torch.float64)
    # Slices of whole rows are ten times faster than index_add_ over the n² pairs.
    for i in range(n):
        if sign == 1:
            row = grid_NNM[i]
            sums[i:] += row[: n - i]
            sums[:i] += row[n - i :]
        else:
            column = grid_NNM[:, i]
            sums[: n - i] += column[i:]
            sums[n - i :] += column[:i]
    return sums


def conjugate_weights(n: int) -> Tensor:
    """What |rfft|² counts for, k = 1..n//2, [K]: 2 (k and its conjugate), but 1 where k = n/2."""
    weights = torch.full((n // 2,), 2.0, dtype=torch.float64)
    if n % 2 == 0:
        weights[-1] = 1.0
    return weights


def _powers(p: int) -> list[int]:
    """1, g, g², … modulo p for the least primitive root g."""
    for g in range(2, p):
        powers = [1]
        while (following := powers[-1] * g % p) != 1:
            powers.append(following)
        if len(powers) == p - 1:
            return powers
    raise AssertionError(f"no primitive root modulo {p}")


def _exact(x: Tensor) -> Tensor:
    # Always on the CPU: mps has no float64, and the grids are small.
    return x.detach().to("cpu", torch.float64)


def _grid(L_PPP: Tensor, task: Task) -> _Grid:
    shape = tuple(L_PPP.shape)
    if len(shape) != 3 or len(set(shape)) != 1:
        raise InputError("logits grid", f"shape {shape}", "[p, p, p]: the p answers over all pairs")
    space = group(shape[0], task)
    x = _exact(L_PPP)
    if task != "add":
        x = x[space.a[:, None], space.b]
        x = x[..., space.c] if task == "multiply" else x
    x = x - x.mean(-1, keepdim=True)
    square = float(x.flatten() @ x.flatten())
    if not np.isfinite(square):
        raise InputError("logits grid", "non-finite logits", "finite numbers")
    return _Grid(x, wrapped_sums(x) / space.order, square)


def _alpha(grid: _Grid) -> Tensor:
    n = grid.by_total.shape[0]
    # C_k depends on a+b-c alone: bin by it, then one FFT gives all inner products.
    by_offset = wrapped_sums(grid.by_total[..., None], -1)[:, 0]
    spectrum: Tensor = torch.fft.rfft(by_offset)
    return spectrum.real[1:] * conjugate_weights(n) / n**2


def _shares(grid: _Grid) -> Tensor:
    n = grid.by_total.shape[0]
    if grid.square == 0.0:
        return torch.full((n // 2,), torch.nan, dtype=torch.float64)
    return _alpha(grid).square() * n**3 / (conjugate_weights(n) * grid.square)


def _keys(grid: _Grid, threshold: float) -> KeyFrequencies:
    if not 0.0 < threshold < 1.0:
        raise InputError("threshold", f"{threshold}", "a fraction between 0 and 1")
    shares, order = _shares(grid).sort(descending=True, stable=True)
    running = shares.cumsum(0)
    count = min(int((running < threshold).sum()) + 1, len(running))
    ks = tuple(int(k) + 1 for k in order[:count])
    return KeyFrequencies(ks, float(running[count - 1]), threshold)


def _checked(ks: Sequence[int], grid: _Grid) -> tuple[int, ...]:
    most = grid.by_total.shape[0] // 2
    if len(set(ks)) != len(ks) or any(not 1 <= k <= most for k in ks):
        raise InputError("ks", f"frequencies {list(ks)}", f"distinct integers in 1..{most}")
    return tuple(ks)


def _mask(mask_PP: Tensor | None, p: int, task: Task, where: str) -> Tensor:
    space = group(p, task)
    if mask_PP is None:
        return torch.ones(space.order, space.order, dtype=torch.bool)
    if tuple(mask_PP.shape) != (p, p) or mask_PP.dtype != torch.bool:
        seen = f"{mask_PP.dtype} of shape {tuple(mask_PP.shape)}"
        raise InputError(where, seen, f"a boolean mask [{p}, {p}]")
    mask = mask_PP.cpu()[space.a[:, None], space.b]
    if not bool(mask.any()):
        raise InputError(where, "no pair is chosen", "at least one pair")
    return mask


def _answers(n: int) -> Tensor:
    line = torch.arange(n)
    return (line[:, None] + line) % n


def _losses(grid: _Grid) -> Tensor:
    answers = _answers(grid.by_total.shape[0])
    right = grid.logits.gather(-1, answers[..., None])[..., 0]
    return grid.logits.logsumexp(-1) - right


def _margins(grid: _Grid) -> Tensor:
    index = _answers(grid.by_total.shape[0])[..., None]
    right = grid.logits.gather(-1, index)
    wrong = grid.logits.scatter(-1, index, -torch.inf).amax(-1)
    return right[..., 0] - wrong


def _components(grid: _Grid, ks: tuple[int, ...]) -> Tensor:
    """The part of the logits along cos/sin(w_k(a+b)), k in ks, which depends on t = a+b: [t, c]."""
    n = grid.by_total.shape[0]
    keep = torch.zeros(n // 2 + 1, 1, dtype=torch.float64)
    keep[list(ks)] = 1.0
    spectrum = torch.fft.rfft(grid.by_total, dim=0) * keep
    components: Tensor = torch.fft.irfft(spectrum, n=n, dim=0)
    return components


def _restricted(grid: _Grid, ks: tuple[int, ...], pairs_NN: Tensor) -> float:
    logits = grid.by_total.mean(0) + _components(grid, ks)
    losses = logits.logsumexp(-1) - logits.diagonal()
    return float(losses[_answers(len(losses))[pairs_NN]].mean())


def _excluded(grid: _Grid, ks: tuple[int, ...], train_NN: Tensor) -> float:
    totals = _answers(grid.by_total.shape[0])[train_NN]
    logits = grid.logits[train_NN] - _components(grid, ks)[totals]
    return float((logits.logsumexp(-1) - logits.gather(-1, totals[:, None])[:, 0]).mean())


def _spread(values_M: Tensor) -> Tensor:
    x = _exact(values_M).flatten()
    if len(x) < 2 or not bool((x >= 0).all()) or not 0.0 < float(x.sum()) < float("inf"):
        raise InputError("values", "negative, all zero, not finite or fewer than two", "powers")
    return x
