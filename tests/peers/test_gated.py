"""Gated against dictionary_learning's GatedSAETrainer and SAELens' GatedTrainingSAE.

SAELens lets the auxiliary reconstruction move the decoder; the paper and dictionary_learning do not.
"""

import reference
import torch
from ours import OurStep, needs
from sides import F, Named, Side, agree, make_batch, make_weights
from torch import Tensor

from engine.study.sae import Gated

L1 = 0.3
CONFIG = Gated(d_sae=F, l1=L1)
NAMES = ("W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag")


def gated_weights() -> Named:
    numbers = torch.Generator().manual_seed(6)
    extra = {name: torch.randn(F, generator=numbers) / 10 for name in ("b_gate", "b_mag", "r_mag")}
    weights = make_weights(6, **extra)
    del weights["b_enc"]
    return weights


def dictionary_learning(weights: Named, x_BD: Tensor) -> Side:
    made = reference.trainer("gdm.GatedSAETrainer", l1_penalty=L1, sparsity_warmup_steps=None)
    log, gradients = reference.trainer_step(made, reference.GATED, weights, x_BD)
    return Side(reference.term(log.losses["loss"]), gradients, log.f, log.x_hat)


def sae_lens(weights: Named, x_BD: Tensor) -> Side:
    """The gradients of the decoder and of b_dec hold more than they should."""
    sae, out, gradients = reference.sae_lens_step("Gated", weights, x_BD, l1_coefficient=L1)
    del gradients["W_dec"], gradients["b_dec"]
    return Side(out.loss, gradients, sae.encode(x_BD), sae(x_BD))


def test_the_libraries_agree_but_for_the_decoder() -> None:
    weights, x_BD = gated_weights(), make_batch()
    agree(sae_lens(weights, x_BD), dictionary_learning(weights, x_BD))


@needs("gated")
def test_ours_as_in_dictionary_learning() -> None:
    weights = gated_weights()
    ours = OurStep(CONFIG, weights)
    agree(ours.take(*NAMES), dictionary_learning(weights, ours.x_BD))


@needs("gated")
def test_ours_as_in_sae_lens() -> None:
    weights = gated_weights()
    ours = OurStep(CONFIG, weights)
    agree(ours.take(*NAMES), sae_lens(weights, ours.x_BD))
