"""JumpReLU against SAELens' JumpReLUTrainingSAE (its "step" loss) and dictionary_learning's JumpReluTrainer.

dictionary_learning has the penalty that aims at an L0, but its encoder does not subtract b_dec from the
inputs, and its L0 is counted on activations that have jumped already, so the lower half of the window gives
its thresholds no gradient. The first is a change of variables; the thresholds are compared with SAELens'.
The "quadratic" loss of SAELens (Gemma Scope 2) is another one: a mean over inputs of (L0 − target)² of each,
where ours and dictionary_learning take the L0 of the batch.
"""

import reference
import torch
from ours import OurStep, needs
from sides import F, Named, Side, agree, assert_near, make_batch, make_weights

from engine.study.sae import JumpReLU

WEIGHT, BANDWIDTH, TARGET, TARGET_WEIGHT = 0.2, 0.5, 5.0, 10.0
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
STEP = JumpReLU(d_sae=F, l0=WEIGHT, bandwidth=BANDWIDTH)
AIMED = JumpReLU(d_sae=F, target_l0=TARGET, target_weight=TARGET_WEIGHT, bandwidth=BANDWIDTH)


def weights_with_thresholds() -> Named:
    """Return weights whose windows reach below zero for some latents, and not for others."""
    return make_weights(5, threshold=torch.linspace(0.1, 0.9, F))


def sae_lens(weights: Named, x_BD: torch.Tensor, weight: float = WEIGHT) -> Side:
    """The penalty is the weight times L0."""
    sae, out, side = reference.sae_lens_step(
        "JumpReLU", weights, x_BD, l0_coefficient=weight, jumprelu_bandwidth=BANDWIDTH
    )
    assert set(out.losses) == {"mse_loss", "l0_loss"}
    side.penalty = out.losses["l0_loss"]
    side.latents, side.reconstruction = sae.encode(x_BD), sae(x_BD)
    return side


def dictionary_learning(weights: Named, x_BD: torch.Tensor) -> Side:
    """The penalty is the weight times (L0 / target − 1)², L0 the mean of the batch."""
    made = reference.trainer(
        "jumprelu.JumpReluTrainer",
        bandwidth=BANDWIDTH,
        sparsity_penalty=TARGET_WEIGHT,
        target_l0=TARGET,
        sparsity_warmup_steps=None,
    )
    # Its encoder reads x, ours x − b_dec: the same where b_enc holds the difference. With δ the gradient of
    # b_enc, the gradient of W_enc is then theirs − δ ⊗ b_dec, that of b_dec theirs − W_encᵀ δ.
    W_enc, b_dec = weights["W_enc"], weights["b_dec"]
    moved = {**weights, "b_enc": weights["b_enc"] - W_enc @ b_dec}
    log, side = reference.trainer_step(made, reference.SAE_LENS, moved, x_BD)
    delta = side.gradients["b_enc"]
    side.gradients["W_enc"] = side.gradients["W_enc"] - torch.outer(delta, b_dec)
    side.gradients["b_dec"] = side.gradients["b_dec"] - W_enc.T @ delta
    side.loss, side.error = (reference.term(log.losses[name]) for name in ("loss", "l2_loss"))
    side.penalty = side.loss - side.error
    side.latents, side.reconstruction = log.f, log.recon
    return side


def test_the_libraries_agree_on_what_they_share() -> None:
    """All but the penalties, which are two, and what they do to the thresholds."""
    weights, x_BD = weights_with_thresholds(), make_batch()
    one, other = sae_lens(weights, x_BD), dictionary_learning(weights, x_BD)
    agree(one, other, without=("loss", "penalty", "threshold"))


@needs("jumprelu")
def test_ours_as_in_sae_lens() -> None:
    weights = weights_with_thresholds()
    ours = OurStep(STEP, weights)
    agree(ours.take(*NAMES), sae_lens(weights, ours.x_BD))


@needs("jumprelu")
def test_the_target_as_in_dictionary_learning() -> None:
    weights = weights_with_thresholds()
    ours = OurStep(AIMED, weights)
    agree(ours.take(*NAMES), dictionary_learning(weights, ours.x_BD), without=("threshold",))


@needs("jumprelu")
def test_thresholds_under_the_target_as_in_sae_lens() -> None:
    """The gradient of w·(L0/target − 1)² is that of SAELens' L0 with the weight 2w·(L0/target − 1)/target."""
    weights = weights_with_thresholds()
    ours = OurStep(AIMED, weights)
    latents = dictionary_learning(weights, ours.x_BD).latents
    assert latents is not None
    off = float((latents > 0).sum(1).float().mean()) / TARGET - 1.0
    assert abs(off) > 0.1
    theirs = sae_lens(weights, ours.x_BD, 2 * TARGET_WEIGHT * off / TARGET)
    side = ours.take(*NAMES)
    agree(side, theirs, without=("loss", "penalty"))
    # Two terms meet in a threshold; neither is small beside the other.
    without_penalty = sae_lens(weights, ours.x_BD, 0.0).gradients["threshold"]
    of_penalty = theirs.gradients["threshold"] - without_penalty
    for part in (without_penalty, of_penalty):
        assert part.abs().max() > 0.05 * theirs.gradients["threshold"].abs().max()
    assert_near(side.gradients["threshold"] - without_penalty, of_penalty, "gradient of the target")
