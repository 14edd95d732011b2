"""Distances between features that were matched: the same agreement on other scales, with what warns of each.

Shapes: P matched pairs, D input dimension, N inputs, A, B latents of two codes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.similarity import Sign, check_sign, unit_rows

COSINE, ANGULAR, L1, L2, LINF = "cosine", "angular", "l1", "l2", "linf"
DECODER_CORRELATION, CORRELATION = "decoder_correlation", "correlation"

DEFINITIONS = {
    COSINE: "1 − cos",
    ANGULAR: "arccos(cos)/π",
    CORRELATION: "1 − Pearson correlation of the latents over inputs",
    DECODER_CORRELATION: "1 − Pearson correlation of the decoder rows over coordinates",
    L2: "Euclidean, unit rows: its square is 2 − 2 cos",
    L1: "sum of absolute differences, unit rows",
    LINF: "largest absolute difference, unit rows",
}
"""Every distance, in the order of showing."""
NOT_INVARIANT = (
    "it changes when the residual coordinates are rotated, and these mean nothing in themselves"
)
WARNINGS = {
    DECODER_CORRELATION: (
        "it centres over residual coordinates, which is arbitrary: another basis gives another value"
    ),
    L1: NOT_INVARIANT,
    LINF: NOT_INVARIANT,
}
"""What a reader must know before using a distance; the others have no warning."""


def matched_distances(a_PD: Tensor, b_PD: Tensor, sign: Sign = "signed") -> dict[str, Tensor]:
    """Return every distance of decoder rows, [P] each, row i of one with row i of the other.

    With sign `abs`, rows are turned towards each other first.

    Raises:
        InputError: shapes differ, a row is zero, or a value is not finite.
    """
    check_sign(sign)
    if a_PD.shape != b_PD.shape:
        shapes = f"shapes {list(a_PD.shape)} and {list(b_PD.shape)}"
        raise InputError("matched rows", shapes, "as many rows of one width")
    (a_PD, _, dropped_a), (b_PD, _, dropped_b) = unit_rows(a_PD), unit_rows(b_PD)
    if dropped_a or dropped_b:
        raise InputError("matched rows", "a row is zero", "matches of non-zero features")
    cosine_P = (a_PD * b_PD).sum(1).clamp(-1, 1)
    if sign == "abs":
        b_PD = torch.where(cosine_P < 0, -1.0, 1.0).unsqueeze(1) * b_PD
        cosine_P = cosine_P.abs()
    return {
        COSINE: 1 - cosine_P,
        ANGULAR: cosine_P.arccos() / math.pi,
        DECODER_CORRELATION: 1 - _pearson(a_PD.T, b_PD.T),
        L2: lp_distance(a_PD, b_PD, 2),
        L1: lp_distance(a_PD, b_PD, 1),
        LINF: lp_distance(a_PD, b_PD, math.inf),
    }


def lp_distance(a_PD: Tensor, b_PD: Tensor, p: float) -> Tensor:
    """Return ‖a_i − b_i‖_p of rows as they are, [P]; only p = 2 is invariant to rotations.

    Raises:
        InputError: p is below 1, where it is no distance.
    """
    if not p >= 1:
        raise InputError("p", f"is {p}", "a norm: 1, 2, ..., inf")
    distance_P: Tensor = torch.linalg.vector_norm(a_PD.double() - b_PD.double(), ord=p, dim=1)
    return distance_P


def correlation_distance(code_NP: Tensor, other_NP: Tensor) -> Tensor:
    """Return 1 − Pearson correlation over N inputs of column i with column i, [P]; NaN for a constant one.

    Raises:
        InputError: shapes differ, or there are fewer than two inputs.
    """
    if code_NP.shape != other_NP.shape or code_NP.ndim != 2 or len(code_NP) < 2:
        shapes = f"shapes {list(code_NP.shape)} and {list(other_NP.shape)}"
        raise InputError("matched latents", shapes, "[inputs ≥ 2, pairs], both of the same inputs")
    return 1 - _pearson(code_NP, other_NP)


def standardised(code_NP: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return every column centred and at unit length, as rows [P, N]; NaN for a column that does not vary.

    The products of such rows are Pearson correlations; where many pairs are formed from the same columns,
    this is done once. float32 keeps correlations to 1e-5.
    """
    rows_PN = code_NP.T.to(dtype).contiguous()
    still_P1 = (rows_PN == rows_PN[:, :1]).all(1, keepdim=True)
    rows_PN = rows_PN - rows_PN.mean(1, keepdim=True)
    unit_PN: Tensor = rows_PN / rows_PN.norm(dim=1, keepdim=True)
    return unit_PN.masked_fill_(still_P1, math.nan)


def _pearson(x_NP: Tensor, y_NP: Tensor) -> Tensor:
    """Correlation of each column with its partner; NaN where one does not vary."""
    return (standardised(x_NP) * standardised(y_NP)).sum(1).clamp(-1, 1)
