"""Their sides: weights of ours put into each library's own classes, and one step of its own code."""

from __future__ import annotations

import importlib.util
import sys
import types
from contextlib import redirect_stdout
from typing import Any

import torch
from sides import D, F, K, Named, Side, orthogonal_to
from torch import Tensor


def load_dictionary_learning() -> None:
    """Make its trainers importable without the package's first lines, which need nnsight."""
    found = importlib.util.find_spec("dictionary_learning")
    assert found
    if "dictionary_learning" not in sys.modules:
        package = types.ModuleType("dictionary_learning")
        package.__path__ = list(found.submodule_search_locations or ())
        sys.modules["dictionary_learning"] = package


load_dictionary_learning()
with redirect_stdout(sys.stderr):  # it prints what it found installed
    from sparsify import SparseCoder, SparseCoderConfig

# Where each library keeps what we call by these names, and whether transposed.
SAE_LENS = {
    "W_enc": ("W_enc", True),
    "b_enc": ("b_enc", False),
    "W_dec": ("W_dec", False),
    "b_dec": ("b_dec", False),
    "threshold": ("threshold", False),
    "b_gate": ("b_gate", False),
    "b_mag": ("b_mag", False),
    "r_mag": ("r_mag", False),
}
LINEAR = {
    "W_enc": ("encoder.weight", False),
    "b_enc": ("encoder.bias", False),
    "W_dec": ("decoder.weight", True),
    "b_dec": ("b_dec", False),
}
"""dictionary_learning's TopK and BatchTopK."""
STANDARD = {**LINEAR, "b_dec": ("bias", False)}
GATED = {
    "W_enc": ("encoder.weight", False),
    "W_dec": ("decoder.weight", True),
    "b_dec": ("decoder_bias", False),
    "b_gate": ("gate_bias", False),
    "b_mag": ("mag_bias", False),
    "r_mag": ("r_mag", False),
}
SPARSIFY = {**LINEAR, "W_dec": ("W_dec", False)}

Layout = dict[str, tuple[str, bool]]


def fill(module: torch.nn.Module, layout: Layout, weights: Named) -> None:
    """Put weights of ours into a library's module."""
    held = dict(module.named_parameters())
    with torch.no_grad():
        for name, tensor in weights.items():
            theirs, transposed = layout[name]
            held[theirs].copy_(tensor.T if transposed else tensor)


def gradients(module: torch.nn.Module, layout: Layout, weights: Named) -> Named:
    """Return a module's gradients in our layout, the decoder's without its parallel part."""
    held = dict(module.named_parameters())
    found: Named = {}
    for name in weights:
        theirs, transposed = layout[name]
        grad = held[theirs].grad
        if grad is not None:
            found[name] = grad.T if transposed else grad
    if "W_dec" in found:
        found["W_dec"] = orthogonal_to(weights["W_dec"], found["W_dec"])
    return found


def sae_lens_step(
    name: str,
    weights: Named,
    x_BD: Tensor,
    *,
    dead_F: Tensor | None = None,
    threshold: Tensor | None = None,
    **settings: Any,
) -> tuple[Any, Any, Side]:
    """Return (SAE, TrainStepOutput, side) of SAELens' training SAE of this name.

    The side has what all have in common. `coefficients` are what its trainer's schedules give: the full
    ones. `threshold` is where the running one of BatchTopK stands before the step.
    """
    import sae_lens.saes as classes
    from sae_lens.saes.sae import TrainStepInput

    config = getattr(classes, f"{name}TrainingSAEConfig")(d_in=D, d_sae=F, **settings)
    sae = getattr(classes, f"{name}TrainingSAE")(config)
    fill(sae, SAE_LENS, weights)
    if threshold is not None:
        sae.topk_threshold.copy_(threshold)
    coefficients = {
        key: float(getattr(value, "value", value)) for key, value in sae.get_coefficients().items()
    }
    step = TrainStepInput(
        sae_in=x_BD,
        coefficients=coefficients,
        dead_neuron_mask=dead_F,
        n_training_steps=0,
        is_logging_step=False,
    )
    out = sae.training_forward_pass(step)
    out.loss.backward()
    latents = out.feature_acts.to_dense() if out.feature_acts.is_sparse else out.feature_acts
    side = Side(
        out.loss,
        gradients(sae, SAE_LENS, weights),
        error=out.losses["mse_loss"],
        mass=latents.sum(0),
        trained=out.sae_out,
        threshold=getattr(sae, "topk_threshold", None),
    )
    return sae, out, side


def sae_lens_by_threshold(sae: Any, x_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Return (latents, reconstruction) of what SAELens saves of a BatchTopK: a JumpReLU."""
    from sae_lens.saes import JumpReLUSAE, JumpReLUSAEConfig

    state = sae.state_dict()
    sae.process_state_dict_for_saving_inference(state)
    saved = JumpReLUSAE(JumpReLUSAEConfig(d_in=D, d_sae=F))
    saved.load_state_dict(state)
    return saved.encode(x_BD), saved(x_BD)


def trainer(path: str, **settings: Any) -> Any:
    """Return a trainer of dictionary_learning, `path` as in `top_k.TopKTrainer`."""
    module, name = path.split(".")
    found = importlib.import_module(f"dictionary_learning.trainers.{module}")
    given = {"steps": 1_000, "activation_dim": D, "dict_size": F, "layer": 0, "lm_name": "none"}
    given |= {"warmup_steps": 0, "device": "cpu"} | settings
    return getattr(found, name)(**given)


def trainer_step(
    made: Any, layout: Layout, weights: Named, x_BD: Tensor, step: int = 0
) -> tuple[Any, Side]:
    """Return (its LossLog, side) of one loss of a trainer, before its optimizer.

    The side has what all have in common.
    """
    fill(made.ae, layout, weights)
    made.loss(x_BD, step=step).backward()
    found = gradients(made.ae, layout, weights)
    # What the loss keeps beside gradients is moved once, not by the second call, too.
    kept = {name: tensor.clone() for name, tensor in made.ae.state_dict().items()}
    with torch.no_grad():
        log = made.loss(x_BD, step=step, logging=True)
    made.ae.load_state_dict(kept)
    _, reconstruction, latents, _ = log
    return log, Side(gradients=found, mass=latents.sum(0), trained=reconstruction)


def with_dead(
    made: Any, dead_F: Tensor, layout: Layout, weights: Named, x_BD: Tensor
) -> tuple[Any, Side]:
    """Return what `trainer_step` does where these latents are dead, and the loss of bringing them back."""
    made.dead_feature_threshold = 10**6
    made.num_tokens_since_fired += dead_F * 10**6
    log, side = trainer_step(made, layout, weights, x_BD)
    assert made.dead_features == int(dead_F.sum()), "a dead latent fired"
    side.loss = side.error = term(log.losses["l2_loss"])
    side.aux = term(log.losses["auxk_loss"])
    assert side.aux > 0
    return log, side


def sparsify_step(
    weights: Named, x_BD: Tensor, *, dead_F: Tensor | None = None, aux_weight: float = 0.0
) -> tuple[Any, Side]:
    """Return (ForwardOutput, side) of sparsify, in our units: its losses are shares of the variance."""
    coder = SparseCoder(D, SparseCoderConfig(num_latents=F, k=K), dtype=torch.float32)
    fill(coder, SPARSIFY, weights)
    out = coder(x_BD, dead_mask=dead_F)
    unit = (x_BD - x_BD.mean(0)).square().sum() / len(x_BD)
    (unit * (out.fvu + aux_weight * out.auxk_loss)).backward()
    latents = torch.zeros(len(x_BD), F).scatter(1, out.latent_indices, out.latent_acts)
    side = Side(
        latents=latents,
        reconstruction=out.sae_out,
        loss=unit * out.fvu,
        error=unit * out.fvu,
        mass=latents.sum(0),
        trained=out.sae_out,
        gradients=gradients(coder, SPARSIFY, weights),
    )
    return out, side


def residual_variance(x_BD: Tensor, reconstruction_BD: Tensor) -> Tensor:
    """Return the residual's mean squared distance from its mean: what AuxK is measured in."""
    residual = (x_BD - reconstruction_BD).detach()
    return (residual - residual.mean(0)).square().sum(1).mean()


def term(value: object) -> Tensor:
    """Return a logged loss as a tensor."""
    return torch.as_tensor(value)
