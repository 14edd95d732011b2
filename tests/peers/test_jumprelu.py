"""JumpReLU against SAELens' JumpReLUTrainingSAE and dictionary_learning's JumpReluTrainer.

dictionary_learning does not subtract b_dec from the inputs, and its L0 is counted on activations that have
jumped already, so the lower half of the window gives its thresholds no gradient.
"""

import reference
import torch
from ours import OurStep, needs
from sides import F, Named, Side, agree, make_batch, make_weights
from torch import Tensor

from engine.study.sae import JumpReLU

WEIGHT, BANDWIDTH, TARGET = 0.2, 0.5, 5.0
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
STEP = JumpReLU(d_sae=F, l0=WEIGHT, bandwidth=BANDWIDTH)
AIMED = JumpReLU(d_sae=F, l0=WEIGHT, bandwidth=BANDWIDTH, target_l0=TARGET)


def weights_with_thresholds() -> Named:
    return make_weights(5, threshold=torch.linspace(0.3, 0.9, F))


def sae_lens(weights: Named, x_BD: Tensor) -> Side:
    """The penalty is the weight times L0."""
    sae, out, gradients = reference.sae_lens_step(
        "JumpReLU", weights, x_BD, l0_coefficient=WEIGHT, jumprelu_bandwidth=BANDWIDTH
    )
    return Side(out.loss, gradients, sae.encode(x_BD), sae(x_BD))


def dictionary_learning(weights: Named, x_BD: Tensor) -> Side:
    """The penalty is the weight times (L0 / target − 1)², L0 the mean of the batch."""
    made = reference.trainer(
        "jumprelu.JumpReluTrainer",
        bandwidth=BANDWIDTH,
        sparsity_penalty=WEIGHT,
        target_l0=TARGET,
        sparsity_warmup_steps=None,
    )
    moved = {**weights, "b_enc": weights["b_enc"] - weights["W_enc"] @ weights["b_dec"]}
    log, gradients = reference.trainer_step(made, reference.SAE_LENS, moved, x_BD)
    # Its encoder reads x, ours x − b_dec: with δ the gradient of b_enc, ours is theirs − δ ⊗ b_dec.
    gradients["W_enc"] = gradients["W_enc"] - torch.outer(gradients["b_enc"], weights["b_dec"])
    return Side(reference.term(log.losses["loss"]), gradients, log.f, log.recon)


def test_the_libraries_agree_on_what_they_share() -> None:
    weights, x_BD = weights_with_thresholds(), make_batch()
    one, other = sae_lens(weights, x_BD), dictionary_learning(weights, x_BD)
    one.loss = None  # two penalties
    agree(one, other, without=("b_dec", "threshold"))


@needs("jumprelu")
def test_ours_as_in_sae_lens() -> None:
    weights = weights_with_thresholds()
    ours = OurStep(STEP, weights)
    agree(ours.take(*NAMES), sae_lens(weights, ours.x_BD))


@needs("jumprelu")
def test_ours_as_in_dictionary_learning() -> None:
    weights = weights_with_thresholds()
    ours = OurStep(AIMED, weights)
    agree(
        ours.take(*NAMES), dictionary_learning(weights, ours.x_BD), without=("b_dec", "threshold")
    )
