"""ReLU with L1 against SAELens' StandardTrainingSAE and dictionary_learning's StandardTrainer."""

import reference
from ours import OurStep
from sides import F, Side, agree, make_weights, total

from engine.study.sae import ReLU

L1 = 0.3
CONFIG = ReLU(d_sae=F, l1=L1)


def test_as_in_sae_lens() -> None:
    """Its penalty is weighted by the decoder's norms, which are 1; their gradient is parallel to the rows."""
    weights = make_weights()
    ours = OurStep(CONFIG, weights)
    sae, out, gradients = reference.sae_lens_step("Standard", weights, ours.x_BD, l1_coefficient=L1)
    theirs = Side(out.loss, gradients, sae.encode(ours.x_BD), sae(ours.x_BD))
    assert set(out.losses) == {"mse_loss", "l1_loss"}
    assert total(out.losses) == out.loss
    agree(ours.take(), theirs)


def test_as_in_dictionary_learning() -> None:
    weights = make_weights(1)
    ours = OurStep(CONFIG, weights)
    made = reference.trainer("standard.StandardTrainer", l1_penalty=L1, sparsity_warmup_steps=None)
    log, gradients = reference.trainer_step(made, reference.STANDARD, weights, ours.x_BD)
    theirs = Side(reference.term(log.losses["loss"]), gradients, log.f, log.x_hat)
    agree(ours.take(), theirs)
