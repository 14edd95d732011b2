"""SAE settings: one entry of a study's `saes` is one cohort, trained for all seeds at once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from engine.study.model import Config, refuse
from engine.study.subject import Fraction

Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0.0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Dead(Config):
    """When a latent counts as dead, and what is done about it."""

    method: Literal["auxk", "ghost", "resample", "none"] = "auxk"
    """`auxk`: dead latents reconstruct the residual (Gao et al. 2024). `ghost`: they do so through an
    exponential, scaled to the main loss (Jermyn & Templeton 2024). `resample`: their weights are set anew
    from inputs with a large error (Bricken et al. 2023). `none`: they are only counted."""
    after_tokens: PositiveInt = 25_000
    """Inputs without firing after which a latent counts as dead."""
    auxk: PositiveInt | None = None
    """Dead latents per input that take part in AuxK; None is half of d_in."""
    coefficient: Weight = 1 / 32
    """Weight of the AuxK loss; 0 switches it off."""
    every: PositiveInt | None = None
    """Steps between two resamplings; None is a tenth of the training."""
    until: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Share of the training after which nothing is resampled: new latents need time to settle."""

    @model_validator(mode="after")
    def _resampling_is_asked(self) -> Dead:
        if self.every is not None and self.method != "resample":
            raise refuse(
                "every",
                f"nothing is resampled with method {self.method}",
                "method resample, or no every",
            )
        return self


class Stability(Config):
    """What is added to make seeds agree. Seeds then depend on each other, so that agreement is judged
    against twins trained in the same way on surrogate data (null N3) alone."""

    consistency: Weight = 0.0
    """Weight of the cross-seed consistency loss: 1 − the cosine of a decoder row with its best match in
    another seed, mean over rows, in units of the data's variance."""
    orthogonality: Weight = 0.0
    """Weight of the squared cosines between the decoder rows of one seed: their sum over the others, mean
    over rows, in units of the data's variance."""
    pinned: Share = 0.0
    """Share of the decoder rows that are inputs (centred, norm 1), the same for all seeds, and never move."""
    shared_init: bool = False
    """Start all seeds from the weights of `training.init_seed`; they must then differ in the order of
    batches (`vary` with `order`)."""
    start: Share = 0.0
    """Share of the training before consistency and orthogonality join: two stages, reconstruction first."""

    @model_validator(mode="after")
    def _start_starts_something(self) -> Stability:
        if self.start > 0 and not (self.consistency or self.orthogonality):
            raise refuse(
                "start",
                f"nothing joins at {self.start:g}: neither consistency nor orthogonality is set",
                "a weight above 0 for one of them, or no start",
            )
        return self


FEWEST_LATENTS = 2
"""With one, there is no matching to get wrong and no geometry to measure."""


class _Sae(Config):
    """What all architectures have."""

    d_sae: PositiveInt
    """Number of latents."""
    dead: Dead = Dead()
    """Treatment of dead latents."""
    stability: Stability = Stability()
    """What is added to make seeds agree; nothing by default."""

    @model_validator(mode="after")
    def _several_latents(self) -> _Sae:
        if self.d_sae < FEWEST_LATENTS:
            raise refuse("d_sae", "one latent has none beside it to be told from", "2 or more")
        return self


class _KSparse(_Sae):
    """What the architectures with a given number of latents have."""

    k: PositiveInt
    """Latents kept per input; on average over the batch for BatchTopK and Matryoshka."""
    k_warmup_steps: Count = 0
    """Steps over which the number falls linearly from `k_start` to `k`."""
    k_start: PositiveInt | None = None
    """Where the fall begins; None is ten times k (at most d_sae)."""

    @model_validator(mode="after")
    def _k_fits(self) -> Any:
        for name in ("k", "k_start"):
            value = getattr(self, name)
            if value is not None and value > self.d_sae:
                raise refuse(name, f"{value} is above d_sae {self.d_sae}", f"at most {self.d_sae}")
        if self.k_start is not None and not self.k_warmup_steps:
            raise refuse(
                "k_start", "has no steps to fall over", "k_warmup_steps above 0, or no k_start"
            )
        if self.k_start is not None and self.k_start < self.k:
            raise refuse(
                "k_start", f"{self.k_start} is below k {self.k}, but k falls", f"at least {self.k}"
            )
        return self


class TopK(_KSparse):
    """Keeps the k largest pre-activations, after ReLU (Gao et al. 2024)."""

    architecture: Literal["topk"] = "topk"
    """This architecture."""


class BatchTopK(_KSparse):
    """Keeps the k·B largest pre-activations of a batch of B; afterwards those above a threshold that was
    learnt on the way (Bussmann et al. 2024)."""

    architecture: Literal["batch_topk"] = "batch_topk"
    """This architecture."""
    threshold_decay: Fraction = 0.9
    """Decay per step of the threshold, the running mean of the smallest latent kept in a batch."""


class Matryoshka(_KSparse):
    """BatchTopK whose first latents must reconstruct alone, too: nested dictionaries (Bussmann et al. 2025)."""

    architecture: Literal["matryoshka"] = "matryoshka"
    """This architecture."""
    groups: Annotated[tuple[PositiveFloat, ...], Field(min_length=2)] = (
        1 / 16,
        1 / 16,
        1 / 8,
        1 / 4,
        1 / 2,
    )
    """Shares of d_sae that each larger dictionary adds; their sum is 1."""
    threshold_decay: Fraction = 0.9
    """Decay per step of the threshold, the running mean of the smallest latent kept in a batch."""

    @model_validator(mode="after")
    def _groups_fit(self) -> Matryoshka:
        if abs(sum(self.groups) - 1.0) > 1e-6:
            raise refuse("groups", f"their sum is {sum(self.groups):g}", "shares with sum 1")
        if min(self.sizes()) < 1:
            raise refuse(
                "groups",
                f"one has no latent of the {self.d_sae}",
                "larger shares, or a larger d_sae",
            )
        return self

    def sizes(self) -> tuple[int, ...]:
        """Return the latents of each group; the last takes what rounding leaves."""
        first = [round(share * self.d_sae) for share in self.groups[:-1]]
        return (*first, self.d_sae - sum(first))


class PAnneal(Config):
    """Replaces the L1 norm by Σ|z|^p with p falling from 1 (Karvonen et al. 2024)."""

    start: Share = 0.2
    """Share of the training after which p falls."""
    end: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the training by which it has arrived and stayed for as long as at every value before."""
    p: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Where it arrives."""
    updates: PositiveInt = 10
    """Equal steps in which it falls; at each the weight changes so that the penalty keeps its size."""

    @model_validator(mode="after")
    def _ordered(self) -> PAnneal:
        if self.start >= self.end:
            raise refuse("end", f"{self.end:g} is not after start {self.start:g}", "a later share")
        return self


class ReLU(_Sae):
    """ReLU with an L1 penalty on the latents (Bricken et al. 2023)."""

    architecture: Literal["relu"] = "relu"
    """This architecture."""
    l1: PositiveFloat
    """Weight of the L1 norm of the latents (summed over latents, mean over inputs) beside the squared
    error (summed over d_in, mean over inputs)."""
    l1_warmup_steps: Count = 0
    """Steps over which the penalty rises linearly from zero."""
    p_anneal: PAnneal | None = None
    """Lets the norm fall below L1 in the course of the training."""
    dead: Dead = Dead(method="none")
    """Treatment of dead latents."""


class JumpReLU(_Sae):
    """ReLU with a threshold per latent, trained through a rectangle kernel (Rajamanoharan et al. 2024b)."""

    architecture: Literal["jumprelu"] = "jumprelu"
    """This architecture."""
    l0: PositiveFloat | None = None
    """Weight of L0 (latents per input) beside the squared error; this or `target_l0`."""
    target_l0: PositiveFloat | None = None
    """Latents per input to aim at: the penalty is target_weight·(L0/target − 1)²."""
    target_weight: PositiveFloat = 10.0
    """Weight of that penalty beside the squared error."""
    l0_warmup_steps: Count = 0
    """Steps over which the penalty rises linearly from zero."""
    bandwidth: PositiveFloat = 0.05
    """Width of the kernel, in units of the normalised pre-activations."""
    threshold: PositiveFloat = 0.01
    """Where every threshold starts."""
    threshold_lr: PositiveFloat = 10.0
    """Learning rate of the thresholds in multiples of `lr`."""
    dead: Dead = Dead(method="none")
    """Treatment of dead latents."""

    @model_validator(mode="after")
    def _one_penalty(self) -> JumpReLU:
        if (self.l0 is None) == (self.target_l0 is None):
            both = "l0 and target_l0 exclude each other" if self.l0 else "nothing is penalised"
            raise refuse("target_l0", both, "one of l0 and target_l0")
        if self.target_l0 is not None and self.target_l0 >= self.d_sae:
            what = f"{self.target_l0:g} of {self.d_sae} latents (d_sae) is no sparsity"
            raise refuse("target_l0", what, f"below {self.d_sae}")
        return self


class Gated(_Sae):
    """Decides which latents are on apart from how strong they are (Rajamanoharan et al. 2024a)."""

    architecture: Literal["gated"] = "gated"
    """This architecture."""
    l1: PositiveFloat
    """Weight of the L1 norm of the gates beside the two squared errors."""
    l1_warmup_steps: Count = 0
    """Steps over which the penalty rises linearly from zero."""
    dead: Dead = Dead(method="none")
    """Treatment of dead latents."""


Sae = Annotated[
    TopK | BatchTopK | Matryoshka | ReLU | JumpReLU | Gated, Field(discriminator="architecture")
]


DEAD_TITLES = {"auxk": "AuxK", "ghost": "ghost", "resample": "resample", "none": "dead none"}
"""What a title calls each treatment of dead latents."""


def sae_title(sae: Sae) -> str:
    """Return a short name of SAE settings: `topk 1024 k32`, `relu 1024 l1 0.001`."""
    if isinstance(sae, (TopK, BatchTopK, Matryoshka)):
        sparsity = f"k{sae.k}"
    elif isinstance(sae, JumpReLU):
        sparsity = f"target {sae.target_l0:g}" if sae.target_l0 else f"l0 {sae.l0:g}"
    else:
        annealed = "p-anneal " if isinstance(sae, ReLU) and sae.p_anneal else ""
        sparsity = f"{annealed}l1 {sae.l1:g}"
    return f"{sae.architecture} {sae.d_sae} {sparsity}"
