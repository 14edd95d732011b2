"""The consensus dictionary against clusters laid out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.consensus import Links, consensus_of, find_consensus, mutual_links
from engine.metrics.matching import Nearest

EVERY = torch.ones(3, 3, dtype=torch.bool)


def at(*degrees: float) -> Tensor:
    """Unit rows of the plane at these angles."""
    angles = torch.tensor([math.radians(one) for one in degrees], dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_features_that_every_seed_has_are_one_cluster_each() -> None:
    # Seeds hold 0°, 90°, 180° in other orders, each turned a little; τ = .7 is 45.6°.
    decoders = torch.stack([at(0, 90, 180), at(184, 4, 94), at(86, 176, -4)])
    found = find_consensus(decoders, EVERY, 0.7)
    members = {tuple(row) for row in found.members.tolist()}
    assert members == {(0, 1, 2), (1, 2, 0), (2, 0, 1)}
    assert found.sizes.tolist() == [3, 3, 3]
    assert found.size.tolist() == [[3] * 3] * 3
    for c, row in enumerate(found.members):
        assert [found.cluster[s, f] for s, f in enumerate(row)] == [c] * 3
    # Of 0°, 4° and −4°: the mean points to 0°; cosines cos 4°, cos 4°, cos 8°.
    place = [tuple(row) for row in found.members.tolist()].index((0, 1, 2))
    assert found.directions[place] == pytest.approx([1, 0], abs=1e-12)
    mean = (2 * math.cos(math.radians(4)) + math.cos(math.radians(8))) / 3
    assert found.mean_cosine[place] == pytest.approx(mean)


def test_a_feature_of_two_seeds_and_one_that_is_alone() -> None:
    decoders = torch.stack([at(0, 90), at(2, 200), at(4, 300)])
    kept = torch.ones(3, 2, dtype=torch.bool)
    kept[2, 0] = False
    found = find_consensus(decoders, kept, 0.7)
    assert found.members.tolist() == [[0, 0, -1]]
    assert found.size.tolist() == [[2, 1], [2, 1], [0, 1]], "alone 1, not taking part 0"
    assert found.cluster.tolist() == [[0, -1], [0, -1], [-1, -1]]
    counts = found.counts()
    assert counts["clusters"] == {
        "all": 0,
        "most": 1,
        "some": 0,
        "total": 1,
        "by_size": {"2": 1, "3": 0},
    }
    assert counts["features"] == {
        "all": 0, "most": pytest.approx(2 / 5), "some": 0, "alone": pytest.approx(3 / 5), "total": 5,
    }  # fmt: skip


def links(*pairs: tuple[int, int, float]) -> Links:
    first, second, cosine = (np.array(column) for column in zip(*pairs, strict=True))
    return Links(first, second, cosine)


def nothing() -> Links:
    return Links(np.array([], dtype=np.int64), np.array([], dtype=np.int64), np.array([]))


def test_a_chain_that_does_not_close_is_no_cluster_of_three() -> None:
    # a–b and b–c are mutual neighbours, a–c are not: the closer pair stays, c is alone.
    chain = {(0, 1): links((0, 0, 0.8)), (1, 2): links((0, 0, 0.9)), (0, 2): nothing()}
    one = torch.ones(3, 1, dtype=torch.bool)
    found = consensus_of(chain, torch.stack([at(0), at(30), at(60)]), one, 0.7)
    assert found.members.tolist() == [[-1, 0, 0]]
    assert found.size.tolist() == [[1], [2], [2]]


def test_a_path_that_returns_to_another_feature_of_the_seed_is_not_joined() -> None:
    # 0:0 – 1:0 – 2:0 – 0:1: going round leads to another feature of seed 0.
    chain = {(0, 1): links((0, 0, 0.9)), (1, 2): links((0, 0, 0.8)), (0, 2): links((1, 0, 0.95))}
    decoders = torch.stack([at(0, 50), at(10, 200), at(40, 300)])
    found = consensus_of(chain, decoders, torch.ones(3, 2, dtype=torch.bool), 0.7)
    assert sorted(found.members.tolist()) == [[0, 0, -1], [1, -1, 0]]
    assert found.sizes.max() == 2


def test_independent_directions_share_nothing_and_copies_everything() -> None:
    g = torch.Generator().manual_seed(0)
    alone = find_consensus(torch.randn(4, 50, 64, generator=g), torch.ones(4, 50).bool(), 0.7)
    assert alone.counts()["features"]["alone"] == 1
    assert alone.directions.shape == (0, 64)
    one = torch.randn(50, 64, generator=g)
    copies = torch.stack([one[torch.randperm(50, generator=g)] for _ in range(4)])
    counts = find_consensus(copies, torch.ones(4, 50).bool(), 0.7).counts()
    assert counts["features"]["all"] == 1
    assert counts["clusters"]["all"] == counts["clusters"]["total"] == 50


def test_opposite_features_are_one_only_without_sign() -> None:
    decoders = torch.stack([at(10), at(190)])
    kept = torch.ones(2, 1, dtype=torch.bool)
    assert len(find_consensus(decoders, kept, 0.7).members) == 0
    found = find_consensus(decoders, kept, 0.7, "abs")
    assert found.members.tolist() == [[0, 0]]
    assert found.directions[0] == pytest.approx(at(10)[0].numpy())
    assert found.mean_cosine[0] == pytest.approx(1)


def test_links_need_both_sides_and_the_threshold() -> None:
    cosine = torch.tensor([[0.9, 0.1, 0.0], [0.95, 0.2, 0.1], [0.1, 0.3, 0.6]])
    found = mutual_links(Nearest.of(cosine), 0.7)
    assert (found.first.tolist(), found.second.tolist()) == ([1], [0])
    assert found.cosine == pytest.approx([0.95])


@pytest.mark.parametrize(
    ("decoders", "kept", "tau"),
    [
        (torch.ones(1, 2, 2), torch.ones(1, 2).bool(), 0.7),
        (torch.ones(2, 2, 2), torch.ones(2, 3).bool(), 0.7),
        (torch.ones(2, 2, 2), torch.ones(2, 2), 0.7),
        (torch.ones(2, 2, 2), torch.zeros(2, 2).bool(), 0.7),
        (torch.ones(2, 2, 2), torch.ones(2, 2).bool(), 0.0),
    ],
)
def test_bad_input_is_refused(decoders: Tensor, kept: Tensor, tau: float) -> None:
    with pytest.raises(InputError):
        find_consensus(decoders, kept, tau)
