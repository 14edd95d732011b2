"""How often noise is given a verdict, and a signal none: the whole decision on simulated cohorts of seeds.

Nominally 2.5 % of the intervals of noise lie above 0. Dictionaries are rows of one law, twins (N3) others of
the same law; the pairs of a cohort are computed at once, what decides is the engine.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.metrics.nulls import Null, headline, isotropic_mean_max_cos, kappa
from engine.metrics.uncertainty import jackknife, pair_mean, verdict

N, D = 24, 12


def pairs_of(rows_SND: Tensor) -> np.ndarray:
    """mean_max_cos of every pair of seeds [S, S]."""
    units = torch.nn.functional.normalize(rows_SND, dim=2)
    first, second = (list(x) for x in zip(*combinations(range(len(units)), 2), strict=True))
    cosine = units[first] @ units[second].transpose(1, 2)
    values = (cosine.amax(2).mean(1) + cosine.amax(1).mean(1)) / 2
    table = np.full((len(units), len(units)), np.nan)
    table[first, second] = table[second, first] = values.numpy()
    return table


def decide(real: Tensor, twin: Tensor, *, isotropic: bool) -> tuple[str, bool]:
    """The verdict, and whether the interval holds 0; N0 stands beside N3 if the seeds are independent."""
    observed, surrogate = pairs_of(real), pairs_of(twin)
    nulls = [Null("N3", pair_mean(surrogate), 0, 1, True, "")]
    if isotropic:
        nulls.append(Null("N0", isotropic_mean_max_cos(N, N, D), 0, 0, True, ""))
    top = headline(nulls)

    def corrected(seeds: object) -> float:
        null = pair_mean(surrogate, seeds) if top.name == "N3" else top.value  # type: ignore[arg-type]
        return kappa(pair_mean(observed, seeds), null)  # type: ignore[arg-type]

    found = jackknife(corrected, len(real))
    return verdict(found.value, (found.low, found.high)), found.low <= 0 <= found.high


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize("law", ["even", "crowded", "each seed its own"])
def test_noise_is_chance(law: str, n_seeds: int) -> None:
    generator = torch.Generator().manual_seed(n_seeds)
    runs, told, covered = 300, 0, 0
    for _ in range(runs):
        real, twin = torch.randn(2, n_seeds, N, D, generator=generator)
        if law != "even":
            slope = torch.ones(n_seeds, 1, 1)
            if law == "each seed its own":
                # A seed and its twin share what makes the seed crowd: data, initial weights, batches.
                slope = slope + 0.4 * torch.randn(n_seeds, 1, 1, generator=generator)
            scale = torch.arange(1, D + 1) ** (-0.7 * slope)
            real, twin = real * scale, twin * scale
        said, holds = decide(real, twin, isotropic=law == "even")
        told += said != "chance"
        covered += holds
    assert told / runs <= 0.025 + 3 * (0.025 * 0.975 / runs) ** 0.5
    assert covered / runs >= 0.95 - 3 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.parametrize(
    ("n_seeds", "share", "least"), [(3, 0.5, 0.9), (5, 0.25, 0.9), (10, 0.25, 1.0)]
)
def test_a_shared_part_is_seen(n_seeds: int, share: float, least: float) -> None:
    """Features found again with a cosine of about .86, the others noise."""
    generator = torch.Generator().manual_seed(n_seeds)
    runs, seen, kept = 100, 0, round(share * N)
    for _ in range(runs):
        real, twin = torch.randn(2, n_seeds, N, D, generator=generator)
        truth = torch.nn.functional.normalize(torch.randn(kept, D, generator=generator), dim=1)
        noise = torch.nn.functional.normalize(real[:, :kept], dim=2)
        real[:, :kept] = truth + 0.4 * noise
        seen += decide(real, twin, isotropic=True)[0] != "chance"
    assert seen / runs >= least
