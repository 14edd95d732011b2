"""Resampling: dead latents are set anew from inputs that are reconstructed badly (Bricken et al. 2023).

Shapes: S seeds, D width, F latents, M sampled inputs, P dead latents of a seed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from engine.saes.architecture import Architecture
from engine.saes.batches import Batches
from engine.saes.weights import Weights
from engine.training import stream

SAMPLE = 8_192
"""Inputs among which those with a large error are looked for."""
ENCODER_SHARE = 0.2
"""Norm of a new encoder row, in multiples of the mean norm of the live ones."""


@torch.no_grad()
def resample(
    saes: Architecture,
    start: Weights,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    dead_SF: Tensor,
    seeds: tuple[int, ...],
    step: int,
) -> None:
    """Set the dead latents of every seed anew, in place, and forget their moments.

    For each, an input is drawn with probability proportional to its squared error squared (the square of
    its loss); the decoder row becomes its direction from b_dec, the encoder row the same, `ENCODER_SHARE`
    as long as live rows are on average, the encoder bias 0; a threshold or magnitude of its own is again
    what it was at the start. A seed with a loss that is not finite is left alone.

    Args:
        saes: the SAEs.
        start: their weights before training.
        optimizer: Adam over their parameters.
        batches: where inputs are drawn from: a sample that seed and step decide.
        dead_SF: which latents are dead, bool.
        seeds: seed of each SAE.
        step: step of the training.
    """
    w = saes.weights
    dead_SF = dead_SF.clone()
    dead_SF[:, : len(saes.pinned_PD)] = False
    for place, seed in enumerate(seeds):
        dead_P = dead_SF[place].nonzero().view(-1)
        if not len(dead_P):
            continue
        generator = stream("resample", seed, step)
        sample_M = torch.randperm(len(batches.train), generator=generator)[:SAMPLE]
        x_MD = batches.take(batches.train[sample_M])
        loss_M = _losses(saes, x_MD, place)
        if not bool(torch.isfinite(loss_M).all()):
            continue  # the last step spoiled it, which the next one or a measurement will notice
        rows_PD = _directions(x_MD - w.b_dec[place], loss_M, len(dead_P), generator)
        live_F = ~dead_SF[place]
        norm = w.W_enc[place][live_F].norm(dim=1).mean() if bool(live_F.any()) else torch.ones(())
        w.W_dec[place, dead_P] = rows_PD
        w.W_enc[place, dead_P] = rows_PD * (ENCODER_SHARE * norm)
        w.b_enc[place, dead_P] = 0.0
        own = {name: extra for name, extra in w.extra.items() if extra.ndim > 1}
        for name, extra in own.items():
            extra[place, dead_P] = start.extra[name][place, dead_P.cpu()].to(extra.device)
        for parameter in (w.W_dec, w.W_enc, w.b_enc, *own.values()):
            for name, moment in optimizer.state[parameter].items():
                if name in ("exp_avg", "exp_avg_sq"):
                    moment[place, dead_P] = 0.0


def _losses(saes: Architecture, x_MD: Tensor, place: int) -> Tensor:
    """Return the squared error of each input [M] for one seed."""
    x_SMD = x_MD.expand(len(saes.weights.W_dec), -1, -1)
    parts = [
        (part - saes.decode(saes.encode(part)))[place].square().sum(1)
        for part in x_SMD.split(1024, dim=1)
    ]
    return torch.cat(parts)


def _directions(x_MD: Tensor, loss_M: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` inputs at norm 1, drawn by their squared losses, none twice if there are enough."""
    chance_M = (loss_M / loss_M.amax().clamp_min(1e-30)).square().double().cpu() + 1e-12
    replacement = count > len(chance_M)
    chosen = torch.multinomial(chance_M, count, replacement, generator=generator)
    return normalize(x_MD[chosen.to(x_MD.device)], dim=-1)
