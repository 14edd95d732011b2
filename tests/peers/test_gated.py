"""Gated against dictionary_learning's GatedSAETrainer and SAELens' GatedTrainingSAE.

With dictionary_learning everything is compared. In SAELens the reconstruction by the gates moves W_dec and
b_dec, too; in the paper, in dictionary_learning and here the decoder is held fixed for it. Its latents, loss
terms and the gradients of its encoder are compared.
"""

import reference
import torch
from ours import OurStep, needs
from sides import F, Named, Side, agree, make_batch, make_weights

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


def dictionary_learning(weights: Named, x_BD: torch.Tensor) -> Side:
    made = reference.trainer("gdm.GatedSAETrainer", l1_penalty=L1, sparsity_warmup_steps=None)
    log, side = reference.trainer_step(made, reference.GATED, weights, x_BD)
    terms = {name: reference.term(value) for name, value in log.losses.items()}
    side.loss, side.error = terms["loss"], terms["mse_loss"] + terms["aux_loss"]
    side.penalty = L1 * terms["sparsity_loss"]
    side.latents, side.reconstruction = log.f, log.x_hat
    return side


def sae_lens(weights: Named, x_BD: torch.Tensor) -> Side:
    """Without the gradients of the decoder and of b_dec, which hold more than they should."""
    sae, out, side = reference.sae_lens_step("Gated", weights, x_BD, l1_coefficient=L1)
    side.error = out.losses["mse_loss"] + out.losses["auxiliary_reconstruction_loss"]
    side.penalty = out.losses["l1_loss"]
    side.latents, side.reconstruction = sae.encode(x_BD), sae(x_BD)
    del side.gradients["W_dec"], side.gradients["b_dec"]
    return side


def test_the_libraries_agree_but_for_the_decoder() -> None:
    weights, x_BD = gated_weights(), make_batch()
    agree(dictionary_learning(weights, x_BD), sae_lens(weights, x_BD))


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
