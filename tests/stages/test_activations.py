from __future__ import annotations

import math

import torch

from engine.saes.batches import Batches
from engine.stages.activations import commuting_pairs, rank_one_share
from engine.study.recipe import SaeTraining
from engine.study.subject import Modular, Transformer


def test_a_pair_and_its_mirror_are_one_group() -> None:
    # Rows (0,0) (0,1) (0,2) (1,0) (1,1) (1,2) (2,0) (2,1) (2,2); the group is 3·min + max.
    assert commuting_pairs(3).tolist() == [0, 1, 2, 1, 4, 5, 2, 5, 8]


def test_mirrors_are_held_out_together() -> None:
    p, training = 7, SaeTraining(held_out=0.3, batch_size=4)
    x_ND = torch.randn(p * p, 3, generator=torch.Generator().manual_seed(0))
    groups_N = commuting_pairs(p)
    options = {"seeds": [1], "vary_order": False, "device": torch.device("cpu")}
    batches = Batches(x_ND, training, groups_N=groups_N, **options)  # type: ignore[arg-type]
    held, kept = (set(groups_N[rows].tolist()) for rows in (batches.held_out, batches.train))
    assert not held & kept
    assert sorted(torch.cat([batches.held_out, batches.train]).tolist()) == list(range(p * p))
    assert 15 <= len(batches.held_out) <= 16, "three tenths of 49, and one mirror at most"
    alone = Batches(x_ND, training, **options)  # type: ignore[arg-type]
    parted = [set(groups_N[rows].tolist()) for rows in (alone.held_out, alone.train)]
    assert parted[0] & parted[1], "without groups mirrors part: the test can fail"


def test_a_share_of_no_variance_is_none() -> None:
    assert rank_one_share(torch.diag(torch.tensor([3.0, 1.0]))) == (4.0, 0.75)
    variance, share = rank_one_share(torch.zeros(2, 2))
    assert variance == 0
    assert math.isnan(share)


def test_before_the_first_layer_there_is_nothing_to_read() -> None:
    hooks = Modular(modulus=7, transformer=Transformer(layers=2)).hooks()
    assert "blocks.0.hook_resid_pre" not in hooks
    assert "blocks.1.hook_resid_pre" in hooks
