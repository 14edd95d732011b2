"""The transformer that groks: TransformerLens' native model.

The bridge is the model: it holds the parameters, and its hooks give the activations. Whoever needs
logits only takes its `network` to a `reader.Reader`.

Shapes: N rows, T positions, D d_model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.errors import CorruptArtifact, InputError
from engine.study.subject import Modular
from engine.subjects.arithmetic import MARKS
from engine.subjects.reader import CHUNK, Network

EPS = 1e-5
"""Added to the variance in layer normalisation (TransformerLens' default)."""


class Bridge(Protocol):
    """What is used of a TransformerLens `TransformerBridge`."""

    cfg: Any

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return the logits at every position."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return all parameters with their names."""

    def run_with_cache(self, tokens: Tensor, *, names_filter: list[str]) -> tuple[Tensor, Any]:
        """Return the logits and the activations of the named hooks."""


def make_transformer(config: Modular, device: str | torch.device = "cpu") -> Bridge:
    """Build the transformer of a config with fresh weights from its `init_seed`.

    Biases start at zero and are frozen, as in TransformerLens' Grokking_Demo. The global random
    state is left alone.
    """
    # Importing TransformerLens takes seconds, and only building a model needs it.
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    size = config.transformer
    settings = TransformerBridgeConfig(
        architecture="TransformerLensNative",
        n_layers=size.layers,
        d_model=size.d_model,
        d_head=size.d_model // size.heads,
        n_heads=size.heads,
        d_mlp=size.d_mlp,
        n_ctx=len(config.positions()),
        d_vocab=config.modulus + len(MARKS[config.tokens]),
        d_vocab_out=config.modulus,
        act_fn=size.activation,
        normalization_type=None if size.normalization == "none" else size.normalization,
        eps=EPS,
        seed=size.init_seed,
        init_weights=True,
    )
    with torch.random.fork_rng(devices=[]):
        model: Bridge = TransformerBridge.boot_native(settings, device=device)
    for name, weight in weights(model).items():
        if name.endswith(".bias"):
            weight.requires_grad_(False)
    return model


def weights(model: Bridge) -> dict[str, nn.Parameter]:
    """Return the parameters by the native model's own names, such as `layers.0.attn.q.weight`."""
    named = {
        name.replace("_original_component.", ""): weight
        for name, weight in model.named_parameters()
    }
    # TransformerLens 3.9 adds an unembedding bias to the bridge that 4.x lacks; it is zero and stays so.
    named.pop("head.bias", None)
    return named


def network(model: Bridge) -> Network:
    """Return the bridge's parameters, not copied, with what a reader must know of their use."""
    cfg = model.cfg
    return Network(
        weights=dict(weights(model)),
        layers=int(cfg.n_layers),
        heads=int(cfg.n_heads),
        normalized=cfg.normalization_type is not None,
        eps=float(cfg.eps),
        gelu=cfg.act_fn == "gelu",
    )


def read_network(config: Modular, path: Path, device: str | torch.device = "cpu") -> Network:
    """Return the network of a config with the parameters in a file, without building the bridge.

    Raises:
        CorruptArtifact: the file is unreadable.
    """
    size = config.transformer
    return Network(
        weights={name: tensor.to(device) for name, tensor in _read_tensors(path).items()},
        layers=size.layers,
        heads=size.heads,
        normalized=size.normalization != "none",
        eps=EPS,
        gelu=size.activation == "gelu",
    )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CorruptArtifact(f"{path}: no safetensors file ({error})") from None


def embedding(model: Bridge, modulus: int) -> Tensor:
    """Return the embedding of the numbers 0 to p - 1, [p, D], detached."""
    return weights(model)["tok_embed.weight"].detach()[:modulus]


def save_weights(model: Bridge, path: Path) -> None:
    """Write all parameters as safetensors."""
    save_file({name: w.detach().cpu().contiguous() for name, w in weights(model).items()}, path)


def load_weights(config: Modular, path: Path, device: str | torch.device = "cpu") -> Bridge:
    """Build the transformer of a config with the parameters in a file.

    Raises:
        CorruptArtifact: the file is unreadable, or its names or shapes are not those of the config.
    """
    found = _read_tensors(path)
    model = make_transformer(config, device)
    own = weights(model)
    if {k: w.shape for k, w in own.items()} != {k: w.shape for k, w in found.items()}:
        raise CorruptArtifact(f"{path}: names or shapes of the weights are not those of the config")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(found[name])
    return model


@torch.no_grad()
def activations(
    model: Bridge, tokens_NT: Tensor, hooks: Sequence[str], read_index: int
) -> dict[str, Tensor]:
    """Return the activations at the read position, [N, width] per hook, by the bridge's own hooks.

    Raises:
        InputError: the model has no hook of a name.
    """
    found: dict[str, list[Tensor]] = {hook: [] for hook in hooks}
    for part in torch.split(tokens_NT, CHUNK):
        try:
            _, cache = model.run_with_cache(part, names_filter=list(hooks))
            for hook in hooks:
                found[hook].append(cache[hook][:, read_index].clone())
        except KeyError as error:
            raise InputError("hook", f"the transformer has none such ({error})") from None
    return {hook: torch.cat(parts) for hook, parts in found.items()}


@torch.no_grad()
def bridge_logits(model: Bridge, tokens_NT: Tensor, read_index: int) -> Tensor:
    """Return the logits at the read position [N, C] by the bridge's own full forward pass.

    Slower than a reader, which cannot see later tokens: a leak from them shows only here.
    """
    parts = [model(part)[:, read_index] for part in torch.split(tokens_NT, CHUNK)]
    return torch.cat(parts)


def token_embedding(model: Bridge) -> Tensor:
    """Return the embedding of every token of the vocabulary, [V, D], detached."""
    return weights(model)["tok_embed.weight"].detach()
