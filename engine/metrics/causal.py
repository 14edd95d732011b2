"""What an intervention does to a model's answers: losses, margins, and the strength of its frequencies.

Interventions are compared with the run into which the SAE is spliced, never with the untouched model:
the error of the reconstruction would count as an effect of the feature (science.md §5 and §7, 20).
Single features hardly move a saturated accuracy, so effects are in logits and margins. Float64 on the CPU.

Shapes: N rows (pairs), C answers, K frequencies, G groups, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics import fourier

_ROWS = 1024
"""Logits looked at at a time: they stay in a core's cache."""


@dataclass(frozen=True)
class Behaviour:
    """How well logits answer."""

    loss: float
    """Mean cross-entropy, in nats."""
    accuracy: float
    margin: float
    """Mean of the right logit less the best wrong one."""


@dataclass(frozen=True)
class Waves:
    """cos(w_k(s - c)) on some pairs: what `strengths` projects logits on."""

    kept: Tensor
    """Which of the rows have group coordinates, as indices (multiplication: those without a zero)."""
    classes: Tensor
    """Answers in the order of the group."""
    cos_sums: Tensor
    """cos(w_k s) of the kept rows [N, K]; likewise `sin_sums`, and of the answers [C, K]."""
    sin_sums: Tensor
    cos_classes: Tensor
    sin_classes: Tensor
    weights: Tensor
    """2, or 1 for a frequency that is its own conjugate, [K]."""


def margins(L_NC: Tensor, answers_N: Tensor) -> Tensor:
    """Right logit less the best wrong one, [N]."""
    x = _checked(L_NC)
    index = answers_N.cpu()[:, None]
    return x.gather(1, index)[:, 0] - x.scatter(1, index, -torch.inf).amax(1)


def behaviour(L_NC: Tensor, answers_N: Tensor) -> Behaviour:
    """Loss, accuracy and margin; a tie with a wrong answer is no right one."""
    x = _checked(L_NC)
    found_N = margins(x, answers_N)
    loss = torch.nn.functional.cross_entropy(x, answers_N.cpu())
    return Behaviour(float(loss), float((found_N > 0).double().mean()), float(found_N.mean()))


def loss_recovered(clean: float, mean: float, spliced: float) -> float:
    """(CE_mean - CE_sae)/(CE_mean - CE_clean); NaN where the mean costs nothing."""
    return (mean - spliced) / (mean - clean) if mean != clean else math.nan


def logit_change(after_NC: Tensor, before_NC: Tensor) -> float:
    """Root mean square of the change of the logits, which are centred over answers first."""
    change = _checked(after_NC) - _checked(before_NC)
    return float((change - change.mean(1, keepdim=True)).square().mean().sqrt())


def make_waves(rows_N: Tensor, p: int, ks: Sequence[int], task: fourier.Task = "add") -> Waves:
    """The waves of frequencies `ks` on pairs given by their rows a*p + b.

    `InputError` for an impossible frequency or row, or if no row is left.
    """
    space = fourier.group(p, task)
    n = space.order
    if not ks or len(set(ks)) != len(ks) or any(not 1 <= k <= n // 2 for k in ks):
        raise InputError("ks", f"frequencies {list(ks)}", f"distinct integers in 1..{n // 2}")
    rows_N = rows_N.cpu()
    if len(rows_N) and not 0 <= int(rows_N.min()) <= int(rows_N.max()) < p * p:
        raise InputError("rows", f"beyond the {p * p} pairs", f"0..{p * p - 1}")
    places = []
    for tokens, asked in ((space.a, rows_N // p), (space.b, rows_N % p)):
        place_P = torch.full((p,), -1)
        place_P[tokens] = torch.arange(n)
        places.append(place_P[asked])
    kept = ((places[0] >= 0) & (places[1] >= 0)).nonzero()[:, 0]
    if not len(kept):
        raise InputError("rows", "none has a frequency", "pairs without a zero")
    angles_K = 2 * torch.pi * torch.tensor(ks, dtype=torch.float64) / n
    sums = (places[0] + places[1])[kept].double()[:, None] * angles_K
    classes = torch.arange(n, dtype=torch.float64)[:, None] * angles_K
    return Waves(
        kept,
        space.c,
        sums.cos(),
        sums.sin(),
        classes.cos(),
        classes.sin(),
        fourier.conjugate_weights(n)[torch.tensor(ks) - 1],
    )


def strengths(L_NC: Tensor, waves: Waves) -> Tensor:
    """alpha_k of cos(w_k(s - c)) in logits, [K].

    Over all pairs it is `fourier.frequency_coefficients`. The waves are orthogonal over c at every pair
    already, so a part of the pairs estimates the same.
    """
    return _project(L_NC, waves)[0]


def explained(L_NC: Tensor, waves: Waves) -> float:
    """FVE: share of the variance of the logits over c that the waves explain; NaN if there is none."""
    alpha_K, square = _project(L_NC, waves)
    if square == 0.0:
        return math.nan
    power = alpha_K.square() / waves.weights
    return float(power.sum()) * len(waves.classes) / square


def ablation_matrix(ablated_GK: Tensor, spliced_K: Tensor) -> Tensor:
    """S[g, l] = alpha_l after the ablation of group g, over alpha_l of the spliced run: [G, K].

    Ideal groups leave 0 at their own frequency and 1 at all others. NaN where the spliced run has nothing.
    """
    ratio: Tensor = ablated_GK / spliced_K
    return torch.where(spliced_K.abs() > 0, ratio, torch.nan)


def matched_norm(removed_ND: Tensor, like_ND: Tensor) -> Tensor:
    """Rows of `removed` scaled to the norms of `like`'s; rows that are zero stay so."""
    if removed_ND.shape != like_ND.shape:
        seen = f"{tuple(removed_ND.shape)} and {tuple(like_ND.shape)}"
        raise InputError("removed", f"shapes {seen}", "two of one shape")
    norms = torch.linalg.vector_norm(removed_ND, dim=1, keepdim=True)
    wanted = torch.linalg.vector_norm(like_ND, dim=1, keepdim=True)
    return torch.where(norms > 0, removed_ND * (wanted / norms), removed_ND)


def _project(L_NC: Tensor, waves: Waves) -> tuple[Tensor, float]:
    """alpha [K], and the mean square length of a row less its mean over c."""
    _check_shape(L_NC)
    sums_K, square = torch.zeros(len(waves.weights), dtype=torch.float64), 0.0
    rows = zip(*(x.split(_ROWS) for x in (waves.kept, waves.cos_sums, waves.sin_sums)), strict=True)
    # Part by part: float64 copies of all logits would be read from memory five times.
    for kept_R, cos_RK, sin_RK in rows:
        x_RC = _checked(L_NC[kept_R])[:, waves.classes]
        x_RC -= x_RC.mean(1, keepdim=True)
        square += float(x_RC.square().sum())
        sums_K += (cos_RK * (x_RC @ waves.cos_classes)).sum(0)
        sums_K += (sin_RK * (x_RC @ waves.sin_classes)).sum(0)
    N = len(waves.kept)
    return sums_K * waves.weights / (N * len(waves.classes)), square / N


def _checked(L_NC: Tensor) -> Tensor:
    _check_shape(L_NC)
    return L_NC.detach().to("cpu", torch.float64)


def _check_shape(L_NC: Tensor) -> None:
    if L_NC.ndim != 2:
        raise InputError("logits", f"shape {tuple(L_NC.shape)}", "[pairs, answers]")
