"""ReLU with L1 against SAELens' StandardTrainingSAE and dictionary_learning's StandardTrainer, and with a
norm below L1 against dictionary_learning's PAnnealTrainer."""

import pytest
import reference
from ours import OurStep, needs
from sides import F, Named, Side, agree, assert_near, make_weights
from torch import Tensor

from engine.study.sae import PAnneal, ReLU

L1 = 0.3
CONFIG = ReLU(d_sae=F, l1=L1)
P = 0.2
ANNEALED = ReLU(d_sae=F, l1=L1, p_anneal=PAnneal(start=0.2, end=0.5, p=P, updates=1))


@needs("relu")
def test_as_in_sae_lens() -> None:
    """Its penalty is weighted by the decoder's norms, which are 1; their gradient is parallel to the rows."""
    weights = make_weights()
    ours = OurStep(CONFIG, weights)
    sae, out, theirs = reference.sae_lens_step("Standard", weights, ours.x_BD, l1_coefficient=L1)
    assert set(out.losses) == {"mse_loss", "l1_loss"}
    theirs.penalty = out.losses["l1_loss"]
    theirs.latents, theirs.reconstruction = sae.encode(ours.x_BD), sae(ours.x_BD)
    agree(ours.take(), theirs)


@needs("relu")
def test_as_in_dictionary_learning() -> None:
    weights = make_weights(1)
    ours = OurStep(CONFIG, weights)
    made = reference.trainer("standard.StandardTrainer", l1_penalty=L1, sparsity_warmup_steps=None)
    log, theirs = reference.trainer_step(made, reference.STANDARD, weights, ours.x_BD)
    theirs.loss = reference.term(log.losses["loss"])
    theirs.error = reference.term(log.losses["mse_loss"])
    theirs.penalty = L1 * reference.term(log.losses["sparsity_loss"])
    theirs.latents, theirs.reconstruction = log.f, log.x_hat
    agree(ours.take(), theirs)


def annealing(**settings: object) -> object:
    """Return a trainer of Σ|z|^p; its default is the norm, (Σ|z|^p)^(1/p)."""
    given = {"sparsity_function": "Lp^p", "sparsity_warmup_steps": None, "p_end": P}
    return reference.trainer(
        "p_anneal.PAnnealTrainer", initial_sparsity_penalty=L1, **(given | settings)
    )


def annealed_step(made: object, weights: Named, x_BD: Tensor, step: int) -> Side:
    """Return one step at the p that the trainer stands at."""
    log, theirs = reference.trainer_step(made, reference.STANDARD, weights, x_BD, step)
    _, theirs.trained, theirs.latents, logged = log
    theirs.reconstruction = theirs.trained
    theirs.penalty = reference.term(logged["scaled_lp_loss"])
    theirs.error = (x_BD - theirs.trained).square().sum(1).mean()
    theirs.loss = theirs.error + theirs.penalty
    return theirs


def fall(ours: OurStep) -> int:
    """Return the first step of the smaller p: half way from start to end, both values hold equally long."""
    anneal = ANNEALED.p_anneal
    return int((anneal.start + anneal.end) / 2 * ours.cohort.steps)


@needs("relu")
@pytest.mark.parametrize("p", [1.0, P])
def test_at_a_fixed_p(p: float) -> None:
    """Before the norm falls, and after; its weight is l1 in both: no step was done at the other p."""
    weights = make_weights(7)
    ours = OurStep(ANNEALED, weights)
    ours.go_to(fall(ours) if p < 1.0 else 0)
    theirs = annealed_step(annealing(p_start=p), weights, ours.x_BD, 1)
    agree(ours.take(), theirs)


@needs("relu")
def test_when_p_falls() -> None:
    """The weight changes so that the penalty keeps its size: on the last batch of the larger p, which is a
    queue of length 1 there (its default is the mean of 10 batches; then the weights differ by their noise).
    """
    weights = make_weights(7)
    ours = OurStep(ANNEALED, weights)
    ours.go_to(fall(ours) - 1)
    made = annealing(
        p_start=1.0, anneal_start=0, anneal_end=10, n_sparsity_updates=2, sparsity_queue_length=1
    )
    reference.fill(made.ae, reference.STANDARD, weights)
    made.loss(ours.x_BD, step=0)  # says what the next p is
    last = made.loss(ours.x_BD, step=10).detach()
    assert (made.p, made.p_step_count) == (pytest.approx(P), 2)
    assert abs(made.sparsity_coeff / L1 - 1.0) > 0.1, "the fall would not show"
    before = ours.take().loss
    assert before is not None
    assert_near(before, last, "loss before the fall")
    ours.go_to(fall(ours))
    theirs = annealed_step(made, weights, ours.x_BD, 11)
    agree(ours.take(), theirs)
