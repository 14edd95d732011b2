"""Which class of stacked SAEs an architecture's settings name."""

from __future__ import annotations

from engine.saes.architecture import Architecture
from engine.saes.dense import GatedSaes, JumpReLUSaes, ReLUSaes
from engine.saes.ksparse import BatchTopKSaes, MatryoshkaSaes, TopKSaes
from engine.saes.weights import Weights
from engine.study.sae import BatchTopK, Gated, JumpReLU, Matryoshka, ReLU, Sae, TopK


def make_architecture(
    config: Sae, weights: Weights, sparse: bool | None = None, steps: int = 1
) -> Architecture:
    """Return the architecture that a study's settings name, around given weights.

    Args:
        config: the settings.
        weights: parameters, wrapped in place.
        sparse: use the sparse kernels; None where they are the faster way.
        steps: length of the training, for schedules given as shares of it.
    """
    match config:
        case TopK():
            return TopKSaes(config, weights, sparse)
        case Matryoshka():
            return MatryoshkaSaes(config, weights, sparse)
        case BatchTopK():
            return BatchTopKSaes(config, weights, sparse)
        case ReLU():
            return ReLUSaes(config, weights, sparse, steps)
        case JumpReLU():
            return JumpReLUSaes(config, weights, sparse)
        case Gated():
            return GatedSaes(config, weights, sparse)
