"""TopK and AuxK against SAELens, dictionary_learning and sparsify, on the sparse and the dense way."""

import reference
import torch
from ours import SPARSE, OurStep, needs
from sides import DEAD, D, F, K, agree, make_weights, with_dead_latents

from engine.study.sae import Dead, TopK

K_AUX = D // 2
"""All take half of d_in."""
COEFFICIENT = 1 / 32
pytestmark = needs("topk")


def config(dead: Dead | None = None) -> TopK:
    return TopK(d_sae=F, k=K, dead=dead or Dead(coefficient=0.0))


@SPARSE
def test_as_in_sae_lens(sparse: bool) -> None:
    weights = make_weights()
    ours = OurStep(config(), weights, sparse)
    sae, _, theirs = reference.sae_lens_step("TopK", weights, ours.x_BD, k=K)
    theirs.latents, theirs.reconstruction = sae.encode(ours.x_BD).to_dense(), sae(ours.x_BD)
    agree(ours.take(), theirs)


@SPARSE
def test_as_in_dictionary_learning(sparse: bool) -> None:
    weights = make_weights(1)
    ours = OurStep(config(), weights, sparse)
    made = reference.trainer("top_k.TopKTrainer", k=K)
    log, theirs = reference.trainer_step(made, reference.LINEAR, weights, ours.x_BD)
    theirs.loss = theirs.error = reference.term(log.losses["l2_loss"])
    theirs.latents = made.ae.encode(ours.x_BD)
    theirs.reconstruction = made.ae.decode(theirs.latents)
    agree(ours.take(), theirs)


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
    log, theirs = reference.with_dead(made, DEAD, reference.LINEAR, weights, ours.x_BD)
    theirs.latents, theirs.reconstruction = log.f, log.x_hat
    agree(ours.take(), theirs, without=("b_dec",))


@SPARSE
def test_auxk_as_in_sae_lens_where_all_are_above_zero(sparse: bool) -> None:
    """It has no ReLU there and does not divide by the residual's variance."""
    weights = with_dead_latents(0.2)
    ours = OurStep(config(Dead(coefficient=COEFFICIENT)), weights, sparse)
    ours.let_die(DEAD)
    _, out, _ = reference.sae_lens_step("TopK", weights, ours.x_BD, k=K)
    variance = reference.residual_variance(ours.x_BD, out.sae_out)
    weight = float(COEFFICIENT * ours.spread / variance)
    _, out, theirs = reference.sae_lens_step(
        "TopK", weights, ours.x_BD, k=K, dead_F=DEAD, aux_loss_coefficient=weight
    )
    assert (out.hidden_pre[:, DEAD].topk(K_AUX).values > 0).all()
    theirs.loss = theirs.error
    theirs.aux = out.losses["auxiliary_reconstruction_loss"] / (weight * variance)
    agree(ours.take(), theirs, without=("b_dec",))


@SPARSE
def test_auxk_as_in_sparsify(sparse: bool) -> None:
    """Divided by the variance of the inputs there; its encoder gets no gradient from it (1.3.3)."""
    weights = with_dead_latents(0.02)
    ours = OurStep(config(Dead(coefficient=COEFFICIENT)), weights, sparse)
    ours.let_die(DEAD)
    out, plain = reference.sparsify_step(weights, ours.x_BD, dead_F=DEAD)
    assert plain.reconstruction is not None
    of_inputs = (ours.x_BD - ours.x_BD.mean(0)).square().sum(1).mean()
    of_residual = reference.residual_variance(ours.x_BD, plain.reconstruction)
    weight = float(COEFFICIENT * ours.spread / of_residual)
    _, theirs = reference.sparsify_step(weights, ours.x_BD, dead_F=DEAD, aux_weight=weight)
    theirs.aux = out.auxk_loss * of_inputs / of_residual
    assert torch.count_nonzero(theirs.gradients["W_dec"][DEAD]) > 0
    agree(ours.take(), theirs, without=("W_enc", "b_enc", "b_dec"))
