"""BatchTopK against SAELens' BatchTopKTrainingSAE and dictionary_learning's BatchTopKTrainer.

They differ in how the threshold is learnt: SAELens' starts from 0 and moves by a hundredth, that of
dictionary_learning starts from the first batch. What it does afterwards is the same.
"""

import pytest
import reference
import torch
from ours import OurStep, needs
from sides import F, K, Named, Side, agree, assert_near, make_batch, make_weights
from torch import Tensor

from engine.study.sae import BatchTopK, Dead

CONFIG = BatchTopK(d_sae=F, k=K, dead=Dead(coefficient=0.0))
THRESHOLD = torch.tensor(0.7)


def sae_lens(weights: Named, x_BD: Tensor) -> Side:
    _, out, gradients = reference.sae_lens_step("BatchTopK", weights, x_BD, k=float(K))
    return Side(out.loss, gradients)


def dictionary_learning(weights: Named, x_BD: Tensor) -> Side:
    made = reference.trainer("batch_top_k.BatchTopKTrainer", k=K, threshold_start_step=-1)
    log, gradients = reference.trainer_step(made, reference.LINEAR, weights, x_BD)
    threshold = made.ae.threshold.clone()
    made.ae.threshold.copy_(THRESHOLD)
    latents = made.ae.encode(x_BD, use_threshold=True)
    loss = reference.term(log.losses["l2_loss"])
    return Side(loss, gradients, latents, made.ae.decode(latents), threshold=threshold)


REFERENCES = pytest.mark.parametrize("reference_of", [sae_lens, dictionary_learning])


def test_the_libraries_agree() -> None:
    weights, x_BD = make_weights(3), make_batch()
    agree(sae_lens(weights, x_BD), dictionary_learning(weights, x_BD))


def test_the_threshold_is_the_smallest_latent_kept() -> None:
    weights, x_BD = make_weights(3), make_batch()
    _, out, _ = reference.sae_lens_step("BatchTopK", weights, x_BD, k=float(K))
    kept = out.feature_acts[out.feature_acts > 0]
    assert len(kept) == K * len(x_BD)
    threshold = dictionary_learning(weights, x_BD).threshold
    assert threshold is not None
    assert_near(threshold, kept.min(), "threshold")


@needs("batch_topk")
@REFERENCES
def test_ours(reference_of) -> None:
    weights = make_weights(3)
    ours = OurStep(CONFIG, {**weights, "threshold": THRESHOLD})
    agree(ours.take(*weights), reference_of(weights, ours.x_BD))
