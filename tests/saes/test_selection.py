"""The k largest: exact, with ties, NaN and infinities."""

import pytest
import torch

from engine.saes.selection import largest


@pytest.mark.parametrize(("columns", "k"), [(7, 1), (7, 7), (64, 3), (96, 6), (256, 8), (1024, 32)])
def test_largest_is_exact(columns: int, k: int) -> None:
    values = torch.randn(50, columns, generator=torch.Generator().manual_seed(columns))
    found, at = largest(values, k)
    assert torch.equal(values.gather(1, at), found)
    assert torch.equal(found.sort(1).values, values.topk(k).values.sort(1).values)
    assert all(len(set(row)) == k for row in at.tolist())


def test_largest_by_hand() -> None:
    values = torch.tensor([[-1.0, -0.5, -3.0, -0.0], [2.0, 0.0, 5.0, 5.0]])
    found, at = largest(values, 2)
    assert [sorted(row) for row in found.tolist()] == [[-0.5, 0.0], [5.0, 5.0]]
    assert [sorted(row) for row in at.tolist()] == [[1, 3], [2, 3]]


def test_largest_lets_nan_and_infinity_through() -> None:
    rows = [[1.0, torch.nan, 2.0], [1.0, -torch.nan, 2.0], [1.0, torch.inf, 2.0]]
    found, at = largest(torch.tensor(rows), 1)
    assert torch.isnan(found[:2]).all()
    assert torch.isinf(found[2, 0])
    assert at.tolist() == [[1], [1], [1]]


def test_largest_agrees_across_its_paths() -> None:
    values = torch.randn(20, 512, generator=torch.Generator().manual_seed(0))
    narrow = largest(values, 4)[0]
    wide = largest(values.double(), 4)[0].float()
    assert torch.equal(narrow.sort(1).values, wide.sort(1).values)


@pytest.mark.parametrize(("columns", "k"), [(8, 3), (64, 4), (1024, 32)])
def test_ties_are_kept_in_the_right_number(columns: int, k: int) -> None:
    """Rows of few distinct values, a row of one value, and one with NaN: ties and lacks must not cancel."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randint(0, 4, (40, columns), generator=generator).float()
    values[3] = 2.0
    values[7, :2] = torch.nan
    found, at = largest(values, k)
    assert torch.equal(values.gather(1, at).nan_to_num(9.0), found.nan_to_num(9.0))
    want = values.nan_to_num(9.0).topk(k).values
    assert torch.equal(found.nan_to_num(9.0).sort(1).values, want.sort(1).values)
    assert all(len(set(row)) == k for row in at.tolist())


def test_columns_rise_within_a_row() -> None:
    values = torch.randn(30, 256, generator=torch.Generator().manual_seed(2))
    at = largest(values, 8)[1]
    assert (at.diff(dim=1) > 0).all()
