"""Clock or pizza: how a transformer that adds modulo p combines its two inputs.

Two measures of Zhong et al. (2306.17844), which disagree near the boundary: neither is a verdict by
itself. Their values: clock .33 and .85, pizza .994 and .17 (gradient symmetry, distance irrelevance's q).
In `distance_irrelevance` the logits are those of the right answers; their released script used the
runner-up's by mistake (science.md §4). Float64 on the CPU.

Shapes: M samples, D width, P tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics import fourier

_CONSTANT = 1e-6
"""Spread of logits, relative to the largest, that is float32 noise."""


def gradient_symmetry(toward_a_MD: Tensor, toward_b_MD: Tensor) -> float:
    """s_g: mean cosine of ∂Q_c/∂E_a and ∂Q_c/∂E_b over samples (a, b, c).

    1 where the model only sees E_a + E_b; about 1 without training, too. Samples with a zero gradient have
    no angle and are left out; NaN if none is left. `InputError` on unequal shapes.
    """
    if toward_a_MD.ndim != 2 or toward_a_MD.shape != toward_b_MD.shape:
        seen = f"{tuple(toward_a_MD.shape)} and {tuple(toward_b_MD.shape)}"
        raise InputError("gradients", f"shapes {seen}", "two of [samples, width]")
    a, b = toward_a_MD.detach().cpu().double(), toward_b_MD.detach().cpu().double()
    norms_M = a.norm(dim=1) * b.norm(dim=1)
    known = norms_M > 0
    if not bool(known.any()):
        return math.nan
    return float(((a * b).sum(1)[known] / norms_M[known]).mean())


def distance_irrelevance(correct_PP: Tensor, task: fourier.Task = "add") -> float:
    """q = mean over d of std over s of L[s, d], over std(L): L the right answer's logit, s = a+b, d = a-b.

    0 where the logit depends on the distance d alone (pizza), 1 where d does not matter (clock). For
    multiplication s and d are of the discrete logarithms, and pairs with a zero are left out. NaN for a
    constant logit; `InputError` unless there is a finite one per pair.
    """
    if correct_PP.ndim != 2 or correct_PP.shape[0] != correct_PP.shape[1]:
        raise InputError("correct logits", f"shape {tuple(correct_PP.shape)}", "[p, p]")
    space = fourier.group(correct_PP.shape[0], task)
    x = correct_PP.detach().cpu().double()[space.a[:, None], space.b]
    if not bool(x.isfinite().all()):
        raise InputError("correct logits", "non-finite values", "finite numbers")
    line = torch.arange(space.order)
    # Row d holds the n pairs (i, i - d): every s once, or for even n every second s twice.
    by_distance = x[line, (line - line[:, None]) % space.order]
    whole = float(x.std(correction=0))
    if whole <= _CONSTANT * float(x.abs().max()):
        return math.nan
    return float(by_distance.std(1, correction=0).mean()) / whole
