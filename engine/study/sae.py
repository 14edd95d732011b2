"""SAE settings: one entry of a study's `saes` is one cohort, trained for all seeds at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from engine.study.model import Config, refuse
from engine.study.subject import Fraction, Seed


class Dead(Config):
    """When a latent counts as dead, and what is done about it."""

    after_tokens: PositiveInt = 25_000
    """Inputs without firing after which a latent counts as dead."""
    auxk: PositiveInt | None = None
    """Dead latents that reconstruct the residual in the AuxK loss; None is half of d_in."""
    coefficient: Annotated[float, Field(ge=0.0)] = 1 / 32
    """Weight of the AuxK loss (Gao et al. 2024); 0 switches it off."""


class TopK(Config):
    """Keeps the k largest pre-activations, after ReLU (Gao et al. 2024)."""

    architecture: Literal["topk"] = "topk"
    """This architecture."""
    d_sae: PositiveInt
    """Number of latents."""
    k: PositiveInt
    """Latents kept per input."""
    dead: Dead = Dead()
    """Treatment of dead latents."""

    @model_validator(mode="after")
    def _k_fits(self) -> TopK:
        if self.k > self.d_sae:
            raise refuse("k", f"{self.k} is above d_sae {self.d_sae}", f"at most {self.d_sae}")
        return self


class ReLU(Config):
    """ReLU with an L1 penalty on the latents (Bricken et al. 2023)."""

    architecture: Literal["relu"] = "relu"
    """This architecture."""
    d_sae: PositiveInt
    """Number of latents."""
    l1: PositiveFloat
    """Weight of the L1 norm of the latents (summed over latents, mean over inputs) beside the squared
    error (summed over d_in, mean over inputs)."""
    l1_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the penalty rises linearly from zero."""
    dead_after_tokens: PositiveInt = 25_000
    """Inputs without firing after which a latent counts as dead in the curves."""


Sae = Annotated[TopK | ReLU, Field(discriminator="architecture")]


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
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    """Steps of linear warm-up."""
    schedule: Literal["constant", "cosine", "linear", "step"] = "constant"
    """Learning rate after the warm-up; `step` divides it by ten at 60 % and 85 %."""
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
    checkpoint_every: PositiveInt = 500
    """Steps between two checkpoints."""
