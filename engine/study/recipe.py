"""How SAEs are trained: the recipe that all cohorts of a study share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from engine.study.model import Config
from engine.study.subject import Fraction, Seed

Count = Annotated[int, Field(ge=0)]


class SaeTraining(Config):
    """How a cohort is trained; shared by all cohorts of the study."""

    epochs: PositiveInt = 20
    """Passes over the training activations."""
    batch_size: PositiveInt = 256
    """Inputs per step."""
    lr: PositiveFloat = 3e-4
    """Peak learning rate of Adam."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay rates of Adam's moments."""
    warmup_steps: Count = 50
    """Steps of linear warm-up."""
    schedule: Literal["constant", "cosine", "linear", "step"] = "constant"
    """Learning rate after the warm-up; `step` divides it by ten at 60 % and 85 %."""
    clip_norm: PositiveFloat | None = None
    """Largest norm of the gradient of one seed; larger ones are scaled down to it. None: no limit."""
    init: Literal["random", "orthogonal", "data"] = "random"
    """Decoder rows at the start: directions at random, orthonormal bases one after another, or inputs."""
    tied_init: bool = True
    """Start the encoder as the decoder's transpose; otherwise from random rows of norm 1 of its own."""
    b_dec_init: Literal["mean", "geometric_median"] = "mean"
    """Decoder bias at the start: mean, or geometric median, of the training activations."""
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Fraction of the activations kept from training; quality is measured on it."""
    normalize: bool = True
    """Scale activations so that their mean squared norm about the mean is d_in; undone on export."""
    init_seed: Seed = 0
    """Seed of the initial weights of all seeds where `vary` leaves `init` out."""
    data_order_seed: Seed = 0
    """Seed of the order of batches; shared by all seeds unless `vary` says otherwise."""
    split_seed: Seed = 0
    """Seed of the held-out split."""
    measure_every: PositiveInt = 50
    """Steps between two rows of the curves."""
    stability_every: Count = 250
    """Steps between two values of the cohort's agreement in the curves (also at the start and the end);
    0 leaves it out."""
    checkpoint_every: PositiveInt | None = None
    """Steps between two checkpoints; None is 1,000 during the warm-up and 5,000 after it."""
