"""What SAEs are trained on: the modular transformer, planted sparse data, activations in files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from engine.study.model import Config, refuse

Task = Literal["add", "subtract", "multiply"]
TokenFormat = Literal["answer-blank", "sequence", "tuple"]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def is_prime(n: int) -> bool:
    """Return whether n is prime (trial division; moduli are small)."""
    return n >= 2 and all(n % d for d in range(2, int(n**0.5) + 1))


def nearest_primes(n: int) -> tuple[int, int]:
    """Return the primes around n, n itself excluded: the largest below (or 2) and the next above."""
    below = next((m for m in range(n - 1, 1, -1) if is_prime(m)), 2)
    above = next(m for m in range(max(n + 1, 2), 2 * max(n, 2) + 2) if is_prime(m))
    return below, above


class Split(Config):
    """Fractions of the p² pairs; disjoint by construction."""

    train: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Pairs that the transformer is trained on."""
    validation: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Pairs held out for choosing settings; no gate reads them."""
    test: Fraction | None = None
    """Pairs that the gates read; by default all that is left."""

    @model_validator(mode="after")
    def _sums(self) -> Split:
        total = self.train + self.validation + (self.test or 0.0)
        if total > 1.0 + 1e-9:
            raise refuse("train", f"the fractions sum to {total:.3g}", "a sum of at most 1")
        if (self.test is not None and self.test <= 0.0) or (total >= 1.0 and self.test is None):
            raise refuse(
                "test", "no pair is left for the test", "train + validation below 1, test above 0"
            )
        return self


class Transformer(Config):
    """The size of the transformer and how its weights start."""

    layers: Annotated[int, Field(ge=1, le=12)] = 1
    """Number of blocks."""
    d_model: PositiveInt = 128
    """Width of the residual stream."""
    heads: PositiveInt = 4
    """Attention heads per block; must divide d_model."""
    d_mlp: PositiveInt = 512
    """Width of the MLP."""
    activation: Literal["relu", "gelu"] = "relu"
    """Nonlinearity of the MLP."""
    normalization: Literal["none", "LN"] = "none"
    """Layer normalisation; grokking with clean Fourier structure wants none."""
    init_seed: Seed = 0
    """Seed of the initial weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Transformer:
        if self.d_model % self.heads:
            raise refuse(
                "heads",
                f"{self.heads} does not divide d_model {self.d_model}",
                "heads that divide d_model",
            )
        return self


class EarlyStopping(Config):
    """Stop once every gate that reads the training run holds; never before."""

    enabled: bool = True
    """Whether the run may end before its last step."""
    settle: PositiveInt = 150
    """Steps that the gates must go on holding after they first do."""


class SubjectTraining(Config):
    """How the transformer is trained until it groks."""

    steps: PositiveInt = 4000
    """Budget of optimizer steps."""
    batch_size: PositiveInt = 1024
    """Training pairs per step, drawn without replacement; the full set if larger than it."""
    lr: PositiveFloat = 5e-3
    """Peak learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 1.3
    """Decoupled weight decay; without it nothing groks."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    """Decay rates of AdamW's moments."""
    warmup_steps: Annotated[int, Field(ge=0)] = 10
    """Steps of linear warm-up."""
    schedule: Literal["constant", "cosine", "linear", "step"] = "constant"
    """Learning rate after the warm-up; `step` divides it by ten at 60 % and 85 %."""
    measure_every: PositiveInt = 25
    """Steps between two rows of the curves."""
    checkpoint_every: PositiveInt = 500
    """Steps between two checkpoints."""
    data_order_seed: Seed = 0
    """Seed of the order of batches."""
    early_stopping: EarlyStopping = EarlyStopping()
    """When the run may end before its budget."""


class Modular(Config):
    """A transformer that groks (a ∘ b) mod p; its true features are Fourier modes of the group."""

    kind: Literal["modular"] = "modular"
    """This kind of subject."""
    modulus: Annotated[int, Field(ge=5, le=997)] = 113
    """The prime p."""
    task: Task = "add"
    """The operation: a+b, a−b or a·b, mod p."""
    tokens: TokenFormat = "answer-blank"
    """`answer-blank` [a,b,=], `sequence` [BOS,a,+,b,=,c,EOS], `tuple` [a,b,c]."""
    position: str = "="
    """Token at which the answer is predicted and activations are read: `=`, `a`, `b` or `c`."""
    split: Split = Split()
    """Fractions of pairs for training, validation and test."""
    split_seed: Seed = 0
    """Seed of the split."""
    transformer: Transformer = Transformer()
    """Size and initialisation."""
    training: SubjectTraining = SubjectTraining()
    """Optimisation."""
    gates: Literal["enforce", "warn"] = "enforce"
    """`enforce` stops the study at a failed gate; `warn` goes on and marks every result."""

    @model_validator(mode="after")
    def _consistent(self) -> Modular:
        if not is_prime(self.modulus):
            below, above = nearest_primes(self.modulus)
            raise refuse(
                "modulus", f"{self.modulus} is not prime", f"a prime, such as {below} or {above}"
            )
        if self.position not in self.positions():
            raise refuse(
                "position",
                f"{self.position!r} is not in the {self.tokens} format",
                "one of " + ", ".join(self.positions()),
            )
        return self

    def positions(self) -> tuple[str, ...]:
        """Return the names of the positions of the token format, in order."""
        if self.tokens == "answer-blank":
            return ("a", "b", "=")
        if self.tokens == "sequence":
            return ("BOS", "a", "op", "b", "=", "c", "EOS")
        return ("a", "b", "c")

    def hooks(self) -> dict[str, int]:
        """Return the hook names that can be harvested, each with its width.

        Before the first layer stands the token `=` alone, the same for all inputs: nothing to train on.
        """
        model = self.transformer
        widths: dict[str, int] = {}
        for layer in range(model.layers):
            for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"):
                widths[f"blocks.{layer}.hook_{name}"] = model.d_model
            widths[f"blocks.{layer}.mlp.hook_post"] = model.d_mlp
        del widths["blocks.0.hook_resid_pre"]
        return widths

    def hook_names(self) -> tuple[str, ...]:
        """Return the hooks that there are."""
        return tuple(self.hooks())


class Planted(Config):
    """Synthetic activations with known features (science.md §6)."""

    kind: Literal["planted"] = "planted"
    """This kind of subject."""
    generator: Literal["sparse", "fourier", "gaussian"] = "sparse"
    """`sparse` sA+σε (case A), `fourier` planes (case B), `gaussian` the same mean and covariance as
    `sparse` with nothing to find (negative control)."""
    d_in: PositiveInt = 32
    """Width of the activations."""
    features: PositiveInt = 64
    """Number of true features (`sparse`) or of planes (`fourier`)."""
    l0: PositiveInt = 4
    """Features active in a sample (`sparse`)."""
    noise: Annotated[float, Field(ge=0.0)] = 0.02
    """Standard deviation of the added noise."""
    samples: Annotated[int, Field(ge=100)] = 40_000
    """Number of samples."""
    orthonormal: bool = False
    """Orthonormal features by QR; needs features ≤ d_in."""
    signed: bool = False
    """Coefficients of both signs; a non-negative code then needs two latents per feature."""
    zipf: Annotated[float, Field(ge=0.0)] = 0.0
    """Exponent of the features' frequencies; 0 is uniform."""
    correlation: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability that an active feature brings its partner along."""
    hierarchy: bool = False
    """Odd features are active only together with the even feature before them."""
    mean_offset: Annotated[float, Field(ge=0.0)] = 0.0
    """Norm of a constant vector added to every sample."""
    gate: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Probability that a plane is on in a sample (`fourier`); 1 is the clock."""
    data_seed: Seed = 0
    """Seed of features, coefficients and noise."""

    @model_validator(mode="after")
    def _consistent(self) -> Planted:
        if self.generator != "fourier" and self.l0 > self.features:
            raise refuse(
                "l0",
                f"{self.l0} is above features {self.features}",
                f"at most {self.features}",
            )
        needed = 2 * self.features if self.generator == "fourier" else self.features
        if (self.orthonormal or self.generator == "fourier") and needed > self.d_in:
            raise refuse(
                "d_in",
                f"{needed} orthonormal directions do not fit into {self.d_in}",
                f"at least {needed}",
            )
        return self

    def hooks(self) -> dict[str, int]:
        """Return the one hook of planted data, with its width."""
        return {"planted": self.d_in}

    def hook_names(self) -> tuple[str, ...]:
        """Return the one hook of planted data."""
        return tuple(self.hooks())


class External(Config):
    """Activations recorded elsewhere, in files. How many and how wide they are, the files say: the plan reads
    their headers and their content's sha256, a worker their rows. No file is ever unpickled."""

    kind: Literal["external"]
    """This kind of subject."""
    path: Annotated[str, Field(min_length=1)]
    """A `.npy` or `.safetensors` file, or a folder of such files, read in the order of their names; relative
    to the study file. Floats, [inputs, width] or [sequences, tokens, width]; of the latter every token is an
    input, and tokens of one sequence are held out together."""
    tensor: Annotated[str, Field(min_length=1)] | None = None
    """Which tensor of a `.safetensors` file; may be left out where one alone is a matrix."""
    max_rows: Annotated[int, Field(ge=100)] | None = None
    """Inputs to keep of more, drawn once without replacement; by default all."""
    sample_seed: Seed = 0
    """Seed of that draw."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """What `sha256sum FILE` says, of a folder `sha256sum * | sha256sum` in it: other content is then refused.
    Without it the plan takes what is there."""

    def hook_names(self) -> tuple[str, ...]:
        """Return nothing: the study gives its one hook a name of its own."""
        return ()


Subject = Annotated[Modular | Planted | External, Field(discriminator="kind")]
