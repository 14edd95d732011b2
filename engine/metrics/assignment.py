"""The one-to-one matching of features with the largest total cosine.

Shapes: A, B = features of two dictionaries, P = matched pairs = min(A, B), N = max(A, B).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Floats = NDArray[np.float64]

LARGE = 512
"""Columns from which levelling first is worth its passes over the matrix: of directions at random it leaves
half to three quarters of the time at 512, three fifths to two thirds at 1,024."""
SETTLED = 0.95
"""Share of columns that are some row's largest from which there is little to search, and levelling costs more
than it saves: twice the time where each feature has its copy."""
NEARLY_SQUARE = 0.95
"""Rows per column from which a matrix is filled up to a square one: the rows that are added, all alike, cost as
much as any."""
STAGES = ((0.02, 6), (0.005, 10))
"""Temperatures of the scaling, and rounds at each. Colder potentials are nearer to the best ones, but take many
rounds to come there where cosines spread much: from warmer ones they start half-way."""
FLOOR = -60.0
"""Exponents are kept above it: no entry becomes zero or subnormal, with which products are slow."""
BLOCK = 256
"""Rows that are worked on at a time: a megabyte of 1,024 columns."""


class Assignment(NamedTuple):
    """A one-to-one matching: row `rows[k]` is paired with column `columns[k]`."""

    rows: Tensor
    columns: Tensor


def assignment(cosine_AB: Tensor) -> Assignment:
    """The one-to-one matching of largest total cosine (Hungarian); about n^2.5 in time."""
    cosine = cosine_AB.detach().cpu().numpy()
    few, many = sorted(cosine.shape)
    if many < LARGE or few < NEARLY_SQUARE * many or _settled(cosine):
        rows, columns = linear_sum_assignment(cosine, maximize=True)
    elif len(cosine) <= cosine.shape[1]:
        rows, columns = _matched(cosine)
    else:
        columns, rows = _matched(cosine.T)
        order = rows.argsort()
        rows, columns = rows[order], columns[order]
    return Assignment(torch.from_numpy(rows), torch.from_numpy(columns))


def _settled(cosine_AB: NDArray[np.floating[Any]]) -> bool:
    """Whether nearly every row wants a column of its own."""
    wanted = np.unique(cosine_AB.argmax(1))
    return bool(len(wanted) >= SETTLED * min(cosine_AB.shape))


def _matched(cosine_AB: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same of a matrix that is at most as high as wide: levelled first, then matched exactly.

    What is added to a whole row or column of a square matrix changes the total of every matching by as much,
    hence not which is the best. Potentials near those of the dual problem leave few rows that want the same
    column, and the search for augmenting paths is what takes the time. They are those of optimal transport
    with a little entropy, which Sinkhorn's scaling finds in a few products (Cuturi 2013, arXiv:1306.0895).
    They decide how fast, and between equal matchings which, nothing else: float32 is good enough for them.
    Those of the rows do not even decide how fast: the search goes row by row.
    """
    A, N = cosine_AB.shape
    level_NN = np.empty((N, N))
    level_NN[:A], level_NN[A:] = cosine_AB, cosine_AB.max()
    column_N = _potentials(torch.from_numpy(level_NN).float())
    # The least of the negative: to find the largest, scipy would make that copy itself.
    if np.isfinite(column_N).all():
        np.subtract(-column_N, level_NN, out=level_NN)
    else:
        np.negative(level_NN, out=level_NN)
    rows_N, columns_N = linear_sum_assignment(level_NN)
    return rows_N[:A], columns_N[:A]


def _potentials(cosine_NN: Tensor) -> Floats:
    """What to add to columns, so that a best matching is nearly the largest in each row."""
    N = len(cosine_NN)
    added_N, kernel_NN = torch.zeros(N), torch.empty(N, N)
    # Block by block, what is in the cache is read by all steps, and both products of a round.
    blocks = list(zip(cosine_NN.split(BLOCK), kernel_NN.split(BLOCK), strict=True))
    for temperature, rounds in STAGES:
        for cosine_BN, kernel_BN in blocks:
            torch.add(cosine_BN, added_N, out=kernel_BN)
            kernel_BN.sub_(kernel_BN.amax(1, keepdim=True))
            kernel_BN.mul_(1 / temperature).clamp_min_(FLOOR).exp_()
        column_N = torch.ones(N)
        for _ in range(rounds):
            sum_N = torch.zeros(N)
            for _, kernel_BN in blocks:
                sum_N.addmv_(kernel_BN.T, kernel_BN.mv(column_N).reciprocal_())
            column_N = sum_N.reciprocal_()
        added_N += temperature * column_N.log()
    return added_N.double().numpy()
