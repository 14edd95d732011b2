"""Directions of a dictionary against values worked by hand and against random dictionaries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.metrics import directions as module
from engine.metrics.directions import (
    BINS,
    directions,
    feature_coherence,
    isotropic_coherence,
    isotropic_histogram,
    welch_bound,
)

# cos: 0-1 is -1, 0-2 and 1-2 are ±.6; the zero row takes no part.
ROWS = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [0.0, 0.0]])


def test_welch_bound() -> None:
    assert welch_bound(1024, 128) == pytest.approx(0.0827, abs=5e-5)
    # Three directions at 120° are as far apart as can be: |cos| is ½.
    assert welch_bound(3, 2) == pytest.approx(0.5)
    assert welch_bound(8, 8) == 0.0
    assert welch_bound(1, 1) == 0.0
    with pytest.raises(InputError, match="0 rows"):
        welch_bound(0, 4)


def test_directions_by_hand() -> None:
    found = directions(ROWS)
    assert found.n == 3
    assert found.resultant == pytest.approx(1 / 3)  # (1, 0) + (-1, 0) + (.6, .8) has length 1
    assert found.resultant_null == pytest.approx(3**-0.5)
    assert found.coherence == pytest.approx(1)
    assert (found.antipodal, found.duplicates) == (1, 0)
    # In the plane the angle is uniform: P(cos ≤ -.9) is arccos(.9)/π, for three pairs.
    assert found.close_null == pytest.approx(3 * math.acos(0.9) / math.pi)
    shares = {int(b): float(found.histogram[b]) for b in np.flatnonzero(found.histogram)}
    assert sum(shares.values()) == pytest.approx(1)
    assert sorted(shares.values()) == pytest.approx([1 / 3] * 3)
    assert 0 in shares


def test_a_regular_triangle_reaches_the_welch_bound_and_cancels() -> None:
    angle = 2 * math.pi * torch.arange(3, dtype=torch.float64) / 3
    found = directions(torch.stack([angle.cos(), angle.sin()], dim=1))
    assert found.coherence == pytest.approx(found.welch, abs=1e-6)
    assert found.resultant == pytest.approx(0, abs=1e-12)


def test_duplicates_are_no_antipodal_pairs() -> None:
    found = directions(torch.tensor([[1.0, 0.0], [1.0, 0.1], [5.0, 0.0]]))
    assert (found.antipodal, found.duplicates) == (0, 3)


def test_one_direction_has_no_pair() -> None:
    found = directions(torch.tensor([[3.0, 4.0]]))
    assert found.resultant == pytest.approx(1)
    assert math.isnan(found.coherence)
    assert math.isnan(found.coherence_null)
    assert found.histogram.sum() == 0


@pytest.mark.parametrize("rows", [torch.zeros(3, 2), torch.ones(0, 2), torch.ones(3)])
def test_what_has_no_direction_is_refused(rows: torch.Tensor) -> None:
    with pytest.raises(InputError):
        directions(rows)


def test_coherence_of_single_features() -> None:
    found = feature_coherence(ROWS)
    assert found[:3].tolist() == pytest.approx([1, 1, 0.6], abs=1e-6)
    assert math.isnan(found[3])
    assert feature_coherence(torch.tensor([[1.0, 1.0], [0.0, 0.0]])).isnan().all()


def test_random_directions_are_where_the_null_says() -> None:
    n, d = 600, 16
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(3))
    found = directions(rows)
    null = isotropic_histogram(d)
    assert null.sum() == pytest.approx(1)
    assert (null >= 0).all()
    assert null == pytest.approx(null[::-1])
    assert np.abs(found.histogram - null).max() < 0.002
    assert found.resultant == pytest.approx(found.resultant_null, rel=0.4)
    assert found.coherence == pytest.approx(found.coherence_null, abs=0.05)
    # In three dimensions the cosine is uniform.
    assert isotropic_histogram(3) == pytest.approx(np.full(BINS, 1 / BINS))


def test_the_null_of_coherence_is_that_of_all_pairs() -> None:
    draws = [directions(torch.randn(40, 8, generator=torch.Generator().manual_seed(s))).coherence
             for s in range(60)]  # fmt: skip
    assert np.mean(draws) == pytest.approx(isotropic_coherence(40, 8), abs=0.012)


def test_parts_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    whole, coherence = directions(rows), feature_coherence(rows)
    monkeypatch.setattr(module, "_CHUNK", 7)
    parts = directions(rows)
    assert parts.histogram == pytest.approx(whole.histogram)
    assert (parts.antipodal, parts.duplicates) == (whole.antipodal, whole.duplicates)
    assert parts.coherence == pytest.approx(whole.coherence)
    assert torch.allclose(feature_coherence(rows), coherence, atol=1e-6)
