"""TopK and AuxK against SAELens, dictionary_learning and sparsify."""

import pytest
import reference
import torch
from ours import OurStep
from sides import D, F, K, Named, Side, agree, assert_near, make_weights

from engine.study.sae import Dead, TopK

DEAD = torch.arange(F) % 4 == 0
K_AUX = D // 2
"""All take half of d_in."""
COEFFICIENT = 1 / 32
SPARSE = pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])


def config(dead: Dead | None = None) -> TopK:
    return TopK(d_sae=F, k=K, dead=dead or Dead(coefficient=0.0))


def with_dead_latents(bias: float) -> Named:
    """Return weights whose dead latents never are among the k largest (bias below zero), or always above 0."""
    weights = make_weights(2)
    weights["W_enc"][DEAD] /= 50
    weights["b_enc"][DEAD] = bias
    return weights


@SPARSE
def test_as_in_sae_lens(sparse: bool) -> None:
    weights = make_weights()
    ours = OurStep(config(), weights, sparse)
    sae, out, gradients = reference.sae_lens_step("TopK", weights, ours.x_BD, k=K)
    agree(ours.take(), Side(out.loss, gradients, sae.encode(ours.x_BD), sae(ours.x_BD)))


@SPARSE
def test_as_in_dictionary_learning(sparse: bool) -> None:
    weights = make_weights(1)
    ours = OurStep(config(), weights, sparse)
    made = reference.trainer("top_k.TopKTrainer", k=K, auxk_alpha=0.0)
    reference.fill(made.ae, reference.LINEAR, weights)
    made.loss(ours.x_BD, step=0).backward()
    latents = made.ae.encode(ours.x_BD)
    x_hat = made.ae.decode(latents)
    loss = (ours.x_BD - x_hat).square().sum(1).mean()
    gradients = reference.gradients(made.ae, reference.LINEAR, weights)
    agree(ours.take(), Side(loss, gradients, latents, x_hat))


@SPARSE
def test_as_in_sparsify(sparse: bool) -> None:
    weights = make_weights(2)
    ours = OurStep(config(), weights, sparse)
    _, theirs = reference.sparsify_step(weights, ours.x_BD)
    agree(ours.take(), theirs)


@SPARSE
def test_auxk_as_in_dictionary_learning(sparse: bool) -> None:
    """The same loss, whose gradient reaches b_dec there and not here; our weight is in units of variance."""
    weights = with_dead_latents(0.02)
    ours = OurStep(config(Dead(coefficient=COEFFICIENT)), weights, sparse)
    ours.let_die(DEAD)
    made = reference.trainer("top_k.TopKTrainer", k=K, auxk_alpha=COEFFICIENT * ours.spread)
    made.dead_feature_threshold = 10**6
    made.num_tokens_since_fired += DEAD * 10**6
    log, gradients = reference.trainer_step(made, reference.LINEAR, weights, ours.x_BD)
    side = ours.take()
    assert side.aux is not None
    assert side.aux > 0
    theirs = Side(
        reference.term(log.losses["l2_loss"]),
        gradients,
        log.f,
        log.x_hat,
        reference.term(log.losses["auxk_loss"]),
    )
    agree(side, theirs, without=("b_dec",))


def test_auxk_as_in_sae_lens_where_all_are_above_zero() -> None:
    """It has no ReLU there and does not divide by the residual's variance."""
    weights = with_dead_latents(0.2)
    ours = OurStep(config(Dead(coefficient=COEFFICIENT)), weights)
    ours.let_die(DEAD)
    _, out, _ = reference.sae_lens_step("TopK", weights, ours.x_BD, k=K)
    variance = reference.residual_variance(ours.x_BD, out.sae_out)
    weight = float(COEFFICIENT * ours.spread / variance)
    _, out, gradients = reference.sae_lens_step(
        "TopK", weights, ours.x_BD, k=K, dead_F=DEAD, aux_loss_coefficient=weight
    )
    assert (out.hidden_pre[:, DEAD].topk(K_AUX).values > 0).all()
    aux = out.losses["auxiliary_reconstruction_loss"] / (weight * variance)
    agree(ours.take(), Side(out.losses["mse_loss"], gradients, aux=aux), without=("b_dec",))


def test_auxk_as_in_sparsify() -> None:
    """Divided by the variance of the inputs there; its encoder gets no gradient from it (1.3.3)."""
    weights = with_dead_latents(0.02)
    ours = OurStep(config(Dead(coefficient=COEFFICIENT)), weights)
    ours.let_die(DEAD)
    out, plain = reference.sparsify_step(weights, ours.x_BD, dead_F=DEAD)
    assert plain.reconstruction is not None
    of_inputs = (ours.x_BD - ours.x_BD.mean(0)).square().sum(1).mean()
    of_residual = reference.residual_variance(ours.x_BD, plain.reconstruction)
    weight = float(COEFFICIENT * ours.spread / of_residual)
    _, theirs = reference.sparsify_step(weights, ours.x_BD, dead_F=DEAD, aux_weight=weight)
    theirs.aux = out.auxk_loss * of_inputs / of_residual
    side = ours.take()
    agree(side, theirs, without=("W_enc", "b_enc", "b_dec"))
    assert_near(side.gradients["W_dec"], theirs.gradients["W_dec"], "decoder")
