"""Networks that no library built."""

from __future__ import annotations

import torch

from engine.study.subject import Modular
from engine.subjects.reader import Network


def made_up(settings: Modular, seed: int = 9) -> Network:
    """A network whose biases and norms are not at their trivial starting values, without TransformerLens."""
    size, generator = settings.transformer, torch.Generator().manual_seed(seed)
    D, M = size.d_model, size.d_mlp
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embed.weight": (settings.modulus + 4, D),
        "pos.weight": (len(settings.positions()), D),
        "head.weight": (settings.modulus, D),
        "ln_out.weight": (D,),
        "ln_out.bias": (D,),
    }
    for n in range(size.layers):
        block = f"layers.{n}"
        for part, shape in (
            ("attn.q", (D, D)), ("attn.k", (D, D)), ("attn.v", (D, D)), ("attn.o", (D, D)),
            ("mlp.fc_in", (M, D)), ("mlp.fc_out", (D, M)), ("ln1", (D,)), ("ln2", (D,)),
        ):  # fmt: skip
            shapes[f"{block}.{part}.weight"] = shape
            shapes[f"{block}.{part}.bias"] = shape[:1]
    drawn = {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    normalized = size.normalization != "none"
    return Network(drawn, size.layers, size.heads, normalized, 1e-5, size.activation == "gelu")
