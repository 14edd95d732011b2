"""BatchTopK against SAELens' BatchTopKTrainingSAE and dictionary_learning's BatchTopKTrainer.

In training they choose alike. The threshold of inference is a running mean of the smallest latent kept: that
of SAELens starts from 0, that of dictionary_learning and ours from the first batch, so all are set to one
value before the step. AuxK is in each library that of its TopK.
"""

import pytest
import reference
import torch
from ours import SPARSE, OurStep, needs
from sides import (
    DEAD,
    F,
    K,
    Named,
    Side,
    agree,
    assert_near,
    make_batch,
    make_weights,
    with_dead_latents,
)

from engine.study.sae import BatchTopK, Dead

COEFFICIENT = 1 / 32
DECAY = 0.75
"""No library's default, and small enough for one step to show."""
THRESHOLD = torch.tensor(0.7)
UNSET = torch.tensor(-1.0)


def config(coefficient: float = 0.0) -> BatchTopK:
    return BatchTopK(d_sae=F, k=K, threshold_decay=DECAY, dead=Dead(coefficient=coefficient))


def trainer(**settings: float) -> object:
    return reference.trainer(
        "batch_top_k.BatchTopKTrainer",
        k=K,
        threshold_start_step=-1,
        threshold_beta=DECAY,
        **settings,
    )


def sae_lens(weights: Named, x_BD: torch.Tensor) -> Side:
    """Its inference is by what it saves: a JumpReLU of one threshold."""
    sae, _, side = reference.sae_lens_step(
        "BatchTopK", weights, x_BD, k=float(K), threshold=THRESHOLD, topk_threshold_lr=1 - DECAY
    )
    side.threshold = sae.topk_threshold.clone()
    sae.topk_threshold.copy_(THRESHOLD)
    side.latents, side.reconstruction = reference.sae_lens_by_threshold(sae, x_BD)
    return side


def dictionary_learning(weights: Named, x_BD: torch.Tensor) -> Side:
    made = trainer()
    made.ae.threshold.copy_(THRESHOLD)
    log, side = reference.trainer_step(made, reference.LINEAR, weights, x_BD)
    side.threshold = made.ae.threshold.clone()
    side.loss = side.error = reference.term(log.losses["l2_loss"])
    made.ae.threshold.copy_(THRESHOLD)
    side.latents = made.ae.encode(x_BD, use_threshold=True)
    side.reconstruction = made.ae.decode(side.latents)
    return side


def test_the_libraries_agree() -> None:
    weights, x_BD = make_weights(3), make_batch()
    agree(dictionary_learning(weights, x_BD), sae_lens(weights, x_BD))


@needs("batch_topk")
@SPARSE
@pytest.mark.parametrize("reference_of", [sae_lens, dictionary_learning])
def test_ours(reference_of, sparse: bool) -> None:
    weights = make_weights(3)
    ours = OurStep(config(), {**weights, "threshold": THRESHOLD}, sparse)
    side = ours.take(*weights)
    assert side.latents is not None
    assert 0 < torch.count_nonzero(side.latents) != K * len(ours.x_BD), "chosen by threshold"
    agree(side, reference_of(weights, ours.x_BD))


@needs("batch_topk")
@SPARSE
def test_the_first_batch(sparse: bool) -> None:
    """The threshold starts from it, as in dictionary_learning. Before it ours keeps what the training would;
    theirs keeps all that is above 0, so their latents of the training are compared."""
    weights = make_weights(3)
    ours = OurStep(config(), weights, sparse)
    made = trainer()
    assert made.ae.threshold == UNSET
    log, theirs = reference.trainer_step(made, reference.LINEAR, weights, ours.x_BD)
    theirs.threshold = made.ae.threshold
    assert_near(made.ae.threshold, log.f[log.f > 0].min(), "smallest latent kept")
    theirs.latents, theirs.reconstruction = log.f, log.x_hat
    agree(ours.take(), theirs)


@needs("batch_topk")
@SPARSE
def test_auxk_as_in_dictionary_learning(sparse: bool) -> None:
    """Its gradient reaches b_dec there and not here; our weight is in units of variance."""
    weights = with_dead_latents(0.02)
    ours = OurStep(config(COEFFICIENT), weights, sparse)
    ours.let_die(DEAD)
    made = trainer(auxk_alpha=COEFFICIENT * ours.spread)
    _, theirs = reference.with_dead(made, DEAD, reference.LINEAR, weights, ours.x_BD)
    agree(ours.take(), theirs, without=("b_dec",))
