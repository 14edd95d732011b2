"""Matryoshka against SAELens' MatryoshkaBatchTopKTrainingSAE and dictionary_learning's trainer.

Ours is the mean over the nested dictionaries of the squared error of each. The loss of SAELens is their sum;
that of dictionary_learning is the mean of weighted errors, whose weights are by default one over the number
of dictionaries: it is given weights of 1. AuxK is compared with dictionary_learning only: the one of SAELens
is that of its TopK, beside a sum.
"""

import pytest
import reference
import torch
from ours import SPARSE, OurStep, needs
from sides import DEAD, F, K, Named, Side, agree, make_batch, make_weights, with_dead_latents

from engine.study.sae import Dead, Matryoshka

SHARES = (0.25, 0.25, 0.5)
WIDTHS = [F // 4, F // 2, F]
COEFFICIENT = 1 / 32
DECAY = 0.75
THRESHOLD = torch.tensor(0.7)


def config(coefficient: float = 0.0) -> Matryoshka:
    dead = Dead(coefficient=coefficient)
    return Matryoshka(d_sae=F, k=K, groups=SHARES, threshold_decay=DECAY, dead=dead)


def trainer(**settings: object) -> object:
    return reference.trainer(
        "matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer",
        k=K,
        group_fractions=list(SHARES),
        threshold_start_step=-1,
        threshold_beta=DECAY,
        **({"group_weights": [1.0] * len(SHARES)} | settings),
    )


def scaled(side: Side, factor: float) -> Side:
    """Return a side whose loss is in another unit."""
    side.gradients = {name: factor * gradient for name, gradient in side.gradients.items()}
    assert side.loss is not None
    side.loss = side.error = factor * side.loss
    return side


def sae_lens(weights: Named, x_BD: torch.Tensor) -> Side:
    sae, out, side = reference.sae_lens_step(
        "MatryoshkaBatchTopK",
        weights,
        x_BD,
        k=float(K),
        matryoshka_widths=list(WIDTHS),
        threshold=THRESHOLD,
        topk_threshold_lr=1 - DECAY,
    )
    inner = {name for name in out.losses if name.startswith("inner_mse_loss")}
    assert len(inner) == len(SHARES) - 1, "the whole one is not among them"
    side.threshold = sae.topk_threshold.clone()
    sae.topk_threshold.copy_(THRESHOLD)
    side.latents, side.reconstruction = reference.sae_lens_by_threshold(sae, x_BD)
    return scaled(side, 1 / len(SHARES))


def dictionary_learning(weights: Named, x_BD: torch.Tensor) -> Side:
    made = trainer()
    made.ae.threshold.copy_(THRESHOLD)
    log, side = reference.trainer_step(made, reference.SAE_LENS, weights, x_BD)
    side.threshold = made.ae.threshold.clone()
    side.loss = side.error = reference.term(log.losses["l2_loss"])
    made.ae.threshold.copy_(THRESHOLD)
    side.latents = made.ae.encode(x_BD, use_threshold=True)
    side.reconstruction = made.ae.decode(side.latents)
    return side


def test_the_libraries_agree_but_for_a_factor() -> None:
    weights, x_BD = make_weights(4), make_batch()
    agree(dictionary_learning(weights, x_BD), sae_lens(weights, x_BD))


def test_weights_of_dictionary_learning_by_default() -> None:
    """Its loss is then ours over the number of dictionaries."""
    weights, x_BD = make_weights(4), make_batch()
    made = trainer(group_weights=None)
    log, side = reference.trainer_step(made, reference.SAE_LENS, weights, x_BD)
    side.loss = reference.term(log.losses["l2_loss"])
    theirs = dictionary_learning(weights, x_BD)
    agree(theirs, scaled(side, len(SHARES)), without=("threshold",))


@needs("matryoshka")
@SPARSE
@pytest.mark.parametrize("reference_of", [sae_lens, dictionary_learning])
def test_ours(reference_of, sparse: bool) -> None:
    weights = make_weights(4)
    ours = OurStep(config(), {**weights, "threshold": THRESHOLD}, sparse)
    agree(ours.take(*weights), reference_of(weights, ours.x_BD))


@needs("matryoshka")
@SPARSE
def test_auxk_as_in_dictionary_learning(sparse: bool) -> None:
    """Of the residual of the whole dictionary. Its gradient reaches b_dec there and not here; our weight is
    in units of variance."""
    weights = with_dead_latents(0.02)
    ours = OurStep(config(COEFFICIENT), weights, sparse)
    ours.let_die(DEAD)
    made = trainer(auxk_alpha=COEFFICIENT * ours.spread)
    _, theirs = reference.with_dead(made, DEAD, reference.SAE_LENS, weights, ours.x_BD)
    agree(ours.take(), theirs, without=("b_dec",))
