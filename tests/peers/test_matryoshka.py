"""Matryoshka against SAELens' MatryoshkaBatchTopKTrainingSAE and dictionary_learning's trainer.

The loss of SAELens is the sum over the nested dictionaries, that of dictionary_learning the mean of the
losses that were each divided by their number already: the same but for a factor.
"""

import pytest
import reference
from ours import OurStep, needs
from sides import F, K, Named, Side, agree, make_batch, make_weights
from torch import Tensor

from engine.study.sae import Dead, Matryoshka

SHARES = (0.25, 0.25, 0.5)
WIDTHS = [F // 4, F // 2, F]
CONFIG = Matryoshka(d_sae=F, k=K, groups=SHARES, dead=Dead(coefficient=0.0))
OURS_IS_A_MEAN = True
"""Whether our loss is the mean over the nested dictionaries, or their sum."""


def scaled(side: Side, factor: float) -> Side:
    assert side.loss is not None
    gradients = {name: factor * gradient for name, gradient in side.gradients.items()}
    return Side(factor * side.loss, gradients, side.latents, side.reconstruction)


def sae_lens(weights: Named, x_BD: Tensor) -> Side:
    """The sum over the nested dictionaries."""
    _, out, gradients = reference.sae_lens_step(
        "MatryoshkaBatchTopK", weights, x_BD, k=float(K), matryoshka_widths=list(WIDTHS)
    )
    return Side(out.loss, gradients)


def dictionary_learning(weights: Named, x_BD: Tensor) -> Side:
    """Brought to the sum."""
    made = reference.trainer(
        "matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer", k=K, group_fractions=list(SHARES)
    )
    log, gradients = reference.trainer_step(made, reference.SAE_LENS, weights, x_BD)
    return scaled(Side(reference.term(log.losses["l2_loss"]), gradients), len(SHARES) ** 2)


def test_the_libraries_agree_but_for_a_factor() -> None:
    weights, x_BD = make_weights(4), make_batch()
    agree(sae_lens(weights, x_BD), dictionary_learning(weights, x_BD))


@needs("matryoshka")
@pytest.mark.parametrize("reference_of", [sae_lens, dictionary_learning])
def test_ours(reference_of) -> None:
    weights = make_weights(4)
    ours = OurStep(CONFIG, weights)
    theirs = scaled(reference_of(weights, ours.x_BD), 1 / len(SHARES) if OURS_IS_A_MEAN else 1.0)
    agree(ours.take(), theirs)
