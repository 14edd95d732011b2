"""Gradients of single logits toward the embeddings of both inputs, and a network that never learnt.

Shapes: M samples, T positions, D d_model, C answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engine.errors import InputError
from engine.subjects.reader import Network, Reader


def logit_gradients(
    network: Network,
    tokens_MT: Tensor,
    answers_M: Tensor,
    read_index: int,
    toward: Sequence[int],
) -> list[Tensor]:
    """Return ∂Q_c/∂E of each sample's logit Q_c at the read position, [M, D] per position in `toward`.

    E is what the token embedding gives there: equal tokens at two positions have two gradients.

    Raises:
        InputError: a position lies after the read one.
    """
    if not all(0 <= position <= read_index for position in toward):
        raise InputError("toward", f"positions {list(toward)}", f"0..{read_index}")
    count, width = len(tokens_MT), read_index + 1
    table = network.weights["tok_embed.weight"].detach()
    # Every sample gets tokens of its own, so that each row of the table belongs to one sample and position.
    own = table[tokens_MT[:, :width].T.reshape(-1)].clone().requires_grad_()
    numbered = torch.arange(width * count, device=tokens_MT.device).view(width, count).T
    private = replace(network, weights={**network.weights, "tok_embed.weight": own})
    found_MC = Reader(private, numbered.contiguous(), read_index).all_logits()
    chosen = found_MC.gather(1, answers_M[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, own)
    by_position = gradient.view(width, count, -1)
    return [by_position[position] for position in toward]


def fresh_network(like: Network, seed: int) -> Network:
    """Return a network of the same shape as TransformerLens' native model starts with.

    Normal weights of standard deviation .8/√d_model, divided by √(2·layers) where blocks write to the
    residual stream; biases 0, norms 1. Building the bridge would say the same in seconds.
    """
    generator = torch.Generator().manual_seed(seed)
    width = like.weights["tok_embed.weight"].shape[1]
    deviation = 0.8 / math.sqrt(width)
    weights = {}
    for name, tensor in sorted(like.weights.items()):
        if name.endswith(".bias"):
            weights[name] = torch.zeros_like(tensor)
        elif tensor.ndim == 1:
            weights[name] = torch.ones_like(tensor)
        else:
            writes = name.endswith(("attn.o.weight", "mlp.fc_out.weight"))
            scale = deviation / math.sqrt(2 * like.layers) if writes else deviation
            drawn = scale * torch.randn(tensor.shape, generator=generator)
            weights[name] = drawn.to(tensor.device)
    return replace(like, weights=weights)
