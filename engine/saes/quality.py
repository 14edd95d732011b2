"""How well SAEs reconstruct and how many latents they use: one definition of each.

Shapes: S seeds, B inputs of a chunk, D width, F latents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from engine.saes.architecture import Architecture


@dataclass(frozen=True)
class Quality:
    """Figures over the same inputs, one entry per seed."""

    explained_variance: list[float]
    """1 − Σ‖x−x̂‖² / Σ‖x−x̄‖², x̄ the mean of these inputs."""
    l0: list[float]
    """Mean number of latents above zero."""
    l1: list[float]
    """Mean L1 norm of the latents, in normalised units."""
    squared_error: list[float]
    """Mean of ‖x−x̂‖², in normalised units."""
    dead_fraction: list[float]
    """Share of latents above zero on none of these inputs."""
    n_live: list[int]
    """Latents above zero on at least one of them."""

    def as_dict(self) -> dict[str, list[float]]:
        """Return the figures by name."""
        return asdict(self)


def explained_variance(x: Tensor, reconstruction: Tensor) -> float:
    """Return 1 − Σ‖x−x̂‖² / Σ‖x−x̄‖² of inputs [B, D]; x̄ is their mean, so predicting it scores 0."""
    x, reconstruction = x.double(), reconstruction.double()
    return 1.0 - float((x - reconstruction).square().sum() / (x - x.mean(0)).square().sum())


@torch.no_grad()
def measure_quality(saes: Architecture, chunks: Iterable[Tensor]) -> Quality:
    """Measure SAEs on chunks [S, B, D] of inputs, summed in float64."""
    w = saes.weights
    S, F, D = w.W_dec.shape
    # float64 is missing on MPS; the sums are small, so they are kept on the CPU.
    error_S, l1_S = torch.zeros(S, dtype=torch.float64), torch.zeros(S, dtype=torch.float64)
    sum_SD, squares_S = torch.zeros(S, D, dtype=torch.float64), torch.zeros(S, dtype=torch.float64)
    fires_SF, inputs = torch.zeros(S, F, dtype=torch.int64), 0
    for x_SBD in chunks:
        z_SBF = saes.encode(x_SBD)
        error_SB = (x_SBD - saes.decode(z_SBF)).square().sum(2)
        error_S += error_SB.cpu().double().sum(1)
        l1_S += z_SBF.sum(2).cpu().double().sum(1)
        sum_SD += x_SBD.cpu().double().sum(1)
        squares_S += x_SBD.cpu().double().square().sum((1, 2))
        fires_SF += (z_SBF > 0).sum(1).cpu()
        inputs += x_SBD.shape[1]
    # The inputs are centred on the training mean, so the subtraction loses no digits.
    variance_S = squares_S - sum_SD.square().sum(1) / inputs
    n_live_S = (fires_SF > 0).sum(1)
    return Quality(
        explained_variance=(1.0 - error_S / variance_S).tolist(),
        l0=(fires_SF.sum(1) / inputs).tolist(),
        l1=(l1_S / inputs).tolist(),
        squared_error=(error_S / inputs).tolist(),
        dead_fraction=(1.0 - n_live_S / F).tolist(),
        n_live=n_live_S.tolist(),
    )


@torch.no_grad()
def count_fires(saes: Architecture, chunks: Iterable[Tensor]) -> tuple[Tensor, int]:
    """Return on how many inputs each latent is above zero, int64 [S, F], and their number."""
    fires_SF = torch.zeros(saes.weights.b_enc.shape, dtype=torch.int64)
    inputs = 0
    for x_SBD in chunks:
        fires_SF += (saes.encode(x_SBD) > 0).sum(1).cpu()
        inputs += x_SBD.shape[1]
    return fires_SF, inputs
