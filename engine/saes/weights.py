"""Parameters of stacked SAEs, and the values that they start from.

Shapes: S seeds, D width of the activations (d_in), F latents (d_sae), P pinned rows, N inputs.
Encoder and decoder are stored as rows [S, F, D]: row f of a seed reads, and writes, latent f.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import normalize

from engine.saes.batches import Batches
from engine.study.recipe import SaeTraining
from engine.study.sae import BatchTopK, Gated, JumpReLU, Matryoshka, Sae
from engine.training import stream

UNSET = -1.0
"""Threshold of a BatchTopK that has seen no batch yet."""
SAMPLE = 32_768
"""Inputs that the geometric median is taken of."""


@dataclass
class Weights:
    """The parameters of S SAEs of one size."""

    W_enc: Tensor
    """Encoder rows [S, F, D]."""
    b_enc: Tensor
    """Encoder bias [S, F]; of the gates for Gated."""
    W_dec: Tensor
    """Decoder rows [S, F, D], of norm 1."""
    b_dec: Tensor
    """Decoder bias [S, D], subtracted before the encoder and added after the decoder."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """What an architecture has beside these: `extra_shapes`."""

    @classmethod
    def of(cls, named: Mapping[str, Tensor]) -> Weights:
        """Return the weights made of tensors by name."""
        own = {name: named[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
        return cls(**own, extra={k: v for k, v in named.items() if k not in own})

    def named(self) -> dict[str, Tensor]:
        """Return the tensors by name, in a fixed order."""
        own = {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec, "b_dec": self.b_dec}
        return {**own, **self.extra}

    def pick(self, seeds: Sequence[int]) -> Weights:
        """Return the weights of some of the seeds, by their place."""
        return self.map(lambda tensor: tensor[list(seeds)])

    def map(self, change: Callable[[Tensor], Tensor]) -> Weights:
        """Return the weights with every tensor changed."""
        return Weights.of({name: change(tensor) for name, tensor in self.named().items()})


def extra_shapes(config: Sae) -> dict[str, tuple[int, ...]]:
    """Return the shapes, for one seed, of what an architecture has beside the common weights.

    `threshold` [] of BatchTopK and Matryoshka, [F] of JumpReLU; `b_mag` and `r_mag` [F] of Gated.
    """
    if isinstance(config, (BatchTopK, Matryoshka)):
        return {"threshold": ()}
    if isinstance(config, JumpReLU):
        return {"threshold": (config.d_sae,)}
    if isinstance(config, Gated):
        return {"b_mag": (config.d_sae,), "r_mag": (config.d_sae,)}
    return {}


def initial_decoder(seed: int, d_sae: int, d_in: int) -> Tensor:
    """Return decoder rows [F, D] to start from: directions at random.

    A function of its arguments alone, equal for all architectures.
    """
    rows_FD = torch.randn(d_sae, d_in, generator=stream("sae init", seed))
    return normalize(rows_FD, dim=-1)


def initial_weights(
    config: Sae, training: SaeTraining, seeds: Sequence[int], batches: Batches
) -> Weights:
    """Return fresh weights on the CPU: encoder rows those of the decoder unless `tied_init` is off.

    Biases are zero, which for b_dec is the mean of the centred activations, or their geometric median.
    """
    chosen = (training.init_seed,) * len(seeds) if config.stability.shared_init else tuple(seeds)
    F, D, S = config.d_sae, batches.width, len(chosen)
    W_dec = torch.stack([_decoder(seed, F, training.init, batches) for seed in chosen])
    pinned_PD = pinned_rows(config, training, batches)
    W_dec[:, : len(pinned_PD)] = pinned_PD
    W_enc = W_dec.clone()
    if not training.tied_init:
        rows = [torch.randn(F, D, generator=stream("sae encoder init", seed)) for seed in chosen]
        W_enc = normalize(torch.stack(rows), dim=-1)
    b_dec = torch.zeros(D)
    if training.b_dec_init == "geometric_median":
        b_dec = geometric_median(batches.take(batches.train[:SAMPLE]).cpu())
    return Weights(
        W_enc, torch.zeros(S, F), W_dec, b_dec.expand(S, -1).clone(), _initial_extra(config, S)
    )


def pinned_rows(config: Sae, training: SaeTraining, batches: Batches) -> Tensor:
    """Return the decoder rows that never move [P, D]: inputs of norm 1, the same for every seed."""
    P = round(config.stability.pinned * config.d_sae)
    return _inputs_as_rows(batches, P, "pinned rows", training.init_seed)


def _initial_extra(config: Sae, seeds: int) -> dict[str, Tensor]:
    start = {"b_mag": 0.0, "r_mag": 0.0, "threshold": UNSET}
    if isinstance(config, JumpReLU):
        start["threshold"] = config.threshold
    return {
        name: torch.full((seeds, *shape), start[name])
        for name, shape in extra_shapes(config).items()
    }


def _decoder(seed: int, d_sae: int, init: str, batches: Batches) -> Tensor:
    if init == "data":
        return _inputs_as_rows(batches, d_sae, "sae init from data", seed)
    if init == "orthogonal":
        return _orthonormal_bases(seed, d_sae, batches.width)
    return initial_decoder(seed, d_sae, batches.width)


def _orthonormal_bases(seed: int, rows: int, width: int) -> Tensor:
    """Return rows [F, D] made of orthonormal bases, each drawn uniformly, one after another."""
    generator = stream("sae init orthogonal", seed)
    bases = []
    for _ in range(-(-rows // width)):
        Q, R = torch.linalg.qr(torch.randn(width, width, generator=generator))
        bases.append((Q * R.diagonal().sign()).mT)  # without the signs Q would not be uniform
    return torch.cat(bases)[:rows].contiguous()


def _inputs_as_rows(batches: Batches, count: int, purpose: str, seed: int) -> Tensor:
    generator = stream(purpose, seed)
    available = len(batches.train)
    chosen = torch.cat(
        [torch.randperm(available, generator=generator) for _ in range(-(-count // available))]
        or [torch.zeros(0, dtype=torch.int64)]
    )[:count]
    rows_PD = batches.take(batches.train[chosen]).cpu()
    # An input equal to the mean has no direction: it gets one at random.
    spare_PD = torch.randn(rows_PD.shape, generator=generator)
    none_P1 = torch.linalg.vector_norm(rows_PD, dim=1, keepdim=True) < 1e-6
    return normalize(torch.where(none_P1, spare_PD, rows_PD), dim=-1)


def geometric_median(x_ND: Tensor, steps: int = 100, tolerance: float = 1e-6) -> Tensor:
    """Return the point [D] with the smallest sum of distances to the rows (Weiszfeld's iteration)."""
    rows = x_ND.double()
    point_D = rows.mean(0)
    for _ in range(steps):
        weights_N = 1.0 / (rows - point_D).norm(dim=1).clamp_min(1e-12)
        moved_D = (weights_N.unsqueeze(1) * rows).sum(0) / weights_N.sum()
        done = float((moved_D - point_D).norm()) <= tolerance * (1.0 + float(point_D.norm()))
        point_D = moved_D
        if done:
            break
    return point_D.to(x_ND.dtype)
