"""The dictionaries of two cohorts across each other, for the swap of their labels.

Shapes: S = shared seeds, A = 2 cohorts, F = latents, D = width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.metrics.contrasts import constant
from engine.metrics.similarity import Sign, live_mask, mean_max, unit_cosines, unit_rows
from engine.metrics.uncertainty import pair_mean
from engine.stages.parts import read_cohort
from engine.stages.sides import cell_of, side_of

Floats = NDArray[np.float64]
Record = dict[str, Any]
COSTLIEST = 4e10
"""Multiplications for one contrast, about a second on one core; beyond it labels are not swapped."""


def inputs_of(analysis: RunDirectory) -> dict[str, RunDirectory]:
    """Return the jobs that an analysis read, by role."""
    inputs: Mapping[str, str] = analysis.read_job()["inputs"]
    return {role: RunDirectory(analysis.path.parent / name) for role, name in inputs.items()}


def cost(baseline: Record, variant: Record, n_seeds: int) -> float:
    """Return how many multiplications the tables across two cohorts take, those of N3 among them."""
    size = int(baseline["d_sae"]) * int(variant["d_sae"]) * int(baseline["d_in"])
    return 2.0 * n_seeds * (n_seeds - 1) * size


def crossed(
    cohorts: tuple[Record, Record],
    analyses: tuple[RunDirectory, RunDirectory],
    subset: str,
    seeds: Sequence[int],
    sign: Sign,
) -> tuple[Floats, Floats]:
    """Return what was observed and its null for every two SAEs of different seeds, [A, A, S, S].

    Within a cohort they are its own tables. Across, N3 compares the twins, raised to as many features as both
    tables within are (see `metrics.twin_counts`); a null of another kind is the mean of both cohorts' numbers.
    """
    n_seeds = len(seeds)
    observed_AASS, null_AASS = (np.full((2, 2, n_seeds, n_seeds), math.nan) for _ in range(2))
    for number, cohort in enumerate(cohorts):
        side = side_of(cohort, subset, seeds)
        assert side is not None, "contrasts of what was not measured are refused"
        observed_AASS[number, number], null_AASS[number, number] = side.observed_SS, side.null_SS
    cells = [cell_of(cohort, subset) for cohort in cohorts]
    inputs = [inputs_of(analysis) for analysis in analyses]
    _fill(observed_AASS, [_units(of, "cohort", seeds, subset) for of in inputs], sign)
    if all(cell["null_name"] == "N3" for cell in cells):
        twins = [_units(of, "surrogate", seeds, subset) for of in inputs]
        _fill(null_AASS, twins, sign)
        raised = [_raised(null_AASS[a, a], twins[a], sign) for a in range(2)]
        across = 1 - (1 - null_AASS[0, 1]) * math.sqrt(raised[0] * raised[1])
        null_AASS[0, 1], null_AASS[1, 0] = across, across.T
    else:
        between = sum(float(cell["null"]) for cell in cells) / 2
        null_AASS[0, 1] = null_AASS[1, 0] = constant(between, n_seeds)
    return observed_AASS, null_AASS


def _units(
    inputs: Mapping[str, RunDirectory], role: str, seeds: Sequence[int], subset: str
) -> list[Tensor]:
    """Return the unit decoder rows of each seed, of live latents where that is the subset."""
    saes = read_cohort(inputs, role).select(*seeds)
    assert saes.fires is not None, "cohorts are saved with their firing counts"
    units = []
    for decoder_FD, fires_F in zip(saes.weights.W_dec, saes.fires, strict=True):
        kept_F = (
            live_mask(fires_F, saes.inputs) if subset == "live" else torch.ones_like(fires_F) > 0
        )
        units.append(unit_rows(decoder_FD[kept_F]).rows)
    return units


def _raised(null_SS: Floats, twins: Sequence[Tensor], sign: Sign) -> float:
    """Return by what 1 − x of a cohort's twins was multiplied in its own table; 1 where they are as many."""
    pairs = list(combinations(range(len(twins)), 2))
    plain = sum(mean_max(unit_cosines(twins[s], twins[t], sign)) for s, t in pairs) / len(pairs)
    return min(1.0, (1 - pair_mean(null_SS)) / (1 - plain)) if plain < 1 else 1.0


def _fill(table_AASS: Floats, units: Sequence[Sequence[Tensor]], sign: Sign) -> None:
    """Set the entries across the two cohorts; seeds are never compared with themselves."""
    for s, t in permutations(range(table_AASS.shape[-1]), 2):
        value = mean_max(unit_cosines(units[0][s], units[1][t], sign))
        table_AASS[0, 1, s, t] = table_AASS[1, 0, t, s] = value
