"""Large matchings are levelled before they are matched: what is found must stay the best there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from engine.metrics import assignment as module
from engine.metrics.assignment import LARGE, assignment

N = LARGE + 8


def directions(count: int, width: int = 32, seed: int = 0, mean: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(
        torch.randn(count, width, generator=generator, dtype=torch.float64) + mean, dim=1
    )


def clones(count: int) -> Tensor:
    return directions(40)[torch.arange(count) % 40]


MATRICES = {
    "chance": directions(N) @ directions(N, seed=1).T,
    "one cone": directions(N, mean=3.0) @ directions(N, seed=1, mean=3.0).T,
    "wider": directions(N - 20) @ directions(N, seed=1).T,
    "higher": directions(N) @ directions(N - 20, seed=1).T,
    "clones": clones(N) @ directions(N, seed=1).T,
    "clones of both": clones(N) @ clones(N).T,
    "opposite": -directions(N) @ directions(N).T,
    "nothing": torch.zeros(N, N, dtype=torch.float64),
    "one row far above": torch.cat([torch.ones(1, N).double(), torch.full((N - 1, N), -1.0).double()]),
    "one column far below": torch.cat([torch.rand(N, N - 1).double(), torch.full((N, 1), -1e6).double()], 1),
    "float32": (directions(N) @ directions(N, seed=1).T).float(),
}  # fmt: skip


@pytest.mark.parametrize("name", MATRICES)
def test_the_total_is_the_largest(name: str) -> None:
    matrix_AB = MATRICES[name]
    rows_P, columns_P = assignment(matrix_AB)
    exact_AB = matrix_AB.double().numpy()
    best = exact_AB[linear_sum_assignment(exact_AB, maximize=True)].sum()
    assert float(matrix_AB.double()[rows_P, columns_P].sum()) == pytest.approx(best, abs=1e-9)
    assert len(rows_P) == len(columns_P) == min(matrix_AB.shape)
    assert len(set(columns_P.tolist())) == len(columns_P)
    assert rows_P.tolist() == sorted(set(rows_P.tolist()))


def test_a_shuffled_dictionary_is_matched_with_itself() -> None:
    """Known by construction: every feature's cosine with itself is 1, with any other less."""
    order_N = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    rows_ND = directions(N)
    found = assignment(rows_ND @ rows_ND[order_N].T)
    assert torch.equal(order_N[found.columns], torch.arange(N))
    assert torch.equal(found.rows, torch.arange(N))


def test_the_features_left_over_are_the_worst() -> None:
    """The first three of N + 3 features are opposite to all others, so they go without a partner."""
    rows_ND = directions(N)
    opposite_3N = torch.full((3, N), -1.0, dtype=torch.float64)
    found = assignment(torch.cat([opposite_3N, rows_ND @ rows_ND.T]))
    assert torch.equal(found.rows, torch.arange(3, N + 3))
    assert torch.equal(found.columns, torch.arange(N))


def test_levelling_is_used_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    plain = module._potentials

    def counted(cosine_NN: Tensor) -> np.ndarray:
        seen.append(tuple(cosine_NN.shape))
        return plain(cosine_NN)

    monkeypatch.setattr(module, "_potentials", counted)
    assignment(directions(LARGE - 1) @ directions(LARGE - 1, seed=1).T)
    assignment(directions(LARGE // 2) @ directions(LARGE, seed=1).T)
    copies = directions(LARGE, seed=2)
    assignment(copies @ copies.flip(0).T)
    assert seen == [], "too small, too wide, or nothing to search"
    assignment(directions(LARGE) @ directions(LARGE - 2, seed=1).T)
    assert seen == [(LARGE, LARGE)]


def test_levelling_leaves_little_to_search() -> None:
    """Rows whose largest entry is in a column of their own are matched at once: far more after levelling."""
    matrix = MATRICES["one cone"].numpy()
    levelled = matrix + module._potentials(torch.from_numpy(matrix).float())
    wanted = [len(np.unique(table.argmax(1))) for table in (matrix, levelled)]
    assert wanted[0] < 0.5 * N
    assert wanted[1] > 0.6 * N


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    matrix = MATRICES["chance"].clone()
    matrix[3, 4] = bad
    with pytest.raises(ValueError, match="invalid numeric"):
        assignment(matrix)
