"""What the latents of the seeds say of the same inputs, on a fixed sample of them.

Shapes: S seeds, N inputs of the sample, D width, F latents, P matched pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.metrics.distances import standardised
from engine.metrics.parallel import side_by_side
from engine.metrics.subspaces import MIN_INPUTS, debiased_cka, gram
from engine.metrics.uncertainty import pair_mean, spread
from engine.saes.formats import TrainedSaes
from engine.stages.cells import Cell, Pair, lacking, make_cell, make_null, tabulate
from engine.subjects.surrogate import surrogate

MOST_VALUES, MOST_INPUTS, FEWEST_INPUTS = 8_000_000, 8192, 256
"""Seeds × inputs × latents that are encoded, and bounds of the inputs: about 32 MB and a tenth of a second."""
CKA_INPUTS = 512
"""Of these, for CKA, whose time and memory are quadratic in them."""
SAMPLE_SEED = 0

Matched = Mapping[Pair, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Codes:
    """Latents [N, F] per seed; untrained ones and reconstructions of the inputs of CKA alone."""

    reason: str
    """Why there are none; empty if there are."""
    inputs: int = 0
    total: int = 0
    """How many there were to sample from."""
    plain: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    """The inputs of CKA [N, D]."""
    ours: list[Tensor] = field(default_factory=list)
    twins: list[Tensor] | None = None
    """Of surrogate inputs."""
    untrained: list[Tensor] = field(default_factory=list)
    rebuilt: dict[str, list[Tensor]] = field(default_factory=dict)
    """Reconstructions: `ours`, `twins`, `untrained`."""


@torch.no_grad()
def sample_codes(
    x_ND: Tensor,
    saes: TrainedSaes,
    start: TrainedSaes,
    twin: TrainedSaes | None,
    surrogate_seed: int,
) -> Codes:
    """Encode a fixed sample of the inputs with every seed, its twin (surrogate inputs), and its start.

    With so many latents that fewer than 256 inputs could be encoded, none are, and the reason is given.
    """
    total = len(x_ND)
    per_input = len(saes.seeds) * saes.config.d_sae
    n = min(total, MOST_INPUTS, MOST_VALUES // per_input)
    if n < min(FEWEST_INPUTS, total) or n < MIN_INPUTS:
        why = f"{per_input:,} latents × seeds leave room for {n:,} of {total:,} inputs, too few"
        return Codes(why, total=total)
    # Drawn, not evenly spaced: a stride could fall in step with the order of the inputs.
    drawn = np.random.default_rng(SAMPLE_SEED).choice(total, size=n, replace=False)
    places = torch.from_numpy(drawn)
    sample_ND = x_ND[places]
    ours_SNF = saes.encode(sample_ND)
    rebuilt = {"ours": _few(saes.decode(ours_SNF[:, :CKA_INPUTS]))}
    untrained_SNF = start.encode(sample_ND[:CKA_INPUTS])
    rebuilt["untrained"] = _few(start.decode(untrained_SNF))
    twins = None
    if twin is not None:
        twins_SNF = twin.encode(surrogate(x_ND, surrogate_seed)[places])
        rebuilt["twins"] = _few(twin.decode(twins_SNF[:, :CKA_INPUTS]))
        twins = list(twins_SNF)
    return Codes(
        reason="",
        inputs=n,
        total=total,
        plain=sample_ND[:CKA_INPUTS],
        ours=list(ours_SNF),
        twins=twins,
        untrained=_few(untrained_SNF),
        rebuilt=rebuilt,
    )


def _few(values_SNF: Tensor) -> list[Tensor]:
    return [values_NF[:CKA_INPUTS] for values_NF in values_SNF]


def cka(codes: Codes, why_no_twins: str) -> dict[str, Any]:
    """Return the debiased linear CKA of the codes, and of the reconstructions, of every pair of seeds."""
    about = {"inputs": len(codes.plain), "of": codes.total, "definition": "debiased linear CKA"}
    if codes.reason:
        empty = lacking(codes.reason)
        return {"codes": empty, "reconstructions": empty, **about}
    twins = None if codes.twins is None else _few_of(codes.twins)
    rebuilt = codes.rebuilt
    return {
        "codes": _cka_cell(_few_of(codes.ours), codes.plain, twins, codes.untrained, why_no_twins),
        "reconstructions": _cka_cell(
            rebuilt["ours"], codes.plain, rebuilt.get("twins"), rebuilt["untrained"], why_no_twins
        ),
        **about,
    }


def _few_of(codes: list[Tensor]) -> list[Tensor]:
    return [code_NF[:CKA_INPUTS] for code_NF in codes]


def _cka_cell(
    codes: list[Tensor],
    inputs_ND: Tensor,
    twins: list[Tensor] | None,
    untrained: list[Tensor],
    why_no_twins: str,
) -> Cell:
    grams = side_by_side(gram, codes)
    plain = gram(inputs_ND)
    nulls = [
        make_null("independent", 0.0, "expected of the debiased estimate"),
        make_null("untrained", _mean_cka(untrained)),
        make_null("N3", math.nan if twins is None else _mean_cka(twins), why_no_twins),
    ]
    pairs_SS = tabulate(lambda s, t: debiased_cka(grams[s], grams[t]), len(grams))
    return make_cell(pairs_SS, nulls, with_inputs=spread([debiased_cka(g, plain) for g in grams]))


def _mean_cka(codes: list[Tensor]) -> float:
    grams = side_by_side(gram, codes)
    return pair_mean(tabulate(lambda s, t: debiased_cka(grams[s], grams[t]), len(grams)))


def correlations(
    codes: Codes, matched: Matched, twins_matched: Matched | None, why_no_twins: str
) -> Cell:
    """Return 1 − Pearson correlation of the latents of matched features, the mean of every pair of seeds.

    Features that do not vary over the sample are left out; `unmeasured` is their share.
    """
    if codes.reason:
        return lacking(codes.reason)
    found = _correlation_distances(codes.ours, matched)
    pairs_SS = tabulate(lambda s, t: float(found[s, t].nanmean()), len(codes.ours))
    twin = math.nan
    if codes.twins is not None and twins_matched:
        theirs = _correlation_distances(codes.twins, twins_matched)
        twin = float(torch.stack([value_P.nanmean() for value_P in theirs.values()]).mean())
    nulls = [
        make_null(
            "independent", 1.0, "expected of features that have nothing to do with each other"
        ),
        make_null("N3", twin, why_no_twins),
    ]
    lost = float(torch.cat(list(found.values())).isnan().double().mean())
    more = {"inputs": codes.inputs, "of": codes.total, "unmeasured": lost}
    return make_cell(pairs_SS, nulls, **more)


def _correlation_distances(codes: list[Tensor], matched: Matched) -> dict[Pair, Tensor]:
    """Return 1 − correlation [P] of each matched pair of seeds; NaN where a latent does not vary."""
    ready = side_by_side(lambda code_NF: standardised(code_NF, torch.float32), codes)

    def distance(pair: Pair) -> Tensor:
        (s, t), (rows_P, columns_P) = pair, matched[pair]
        return 1 - (ready[s][rows_P] * ready[t][columns_P]).sum(1).clamp(-1, 1)

    return dict(zip(matched, side_by_side(distance, matched), strict=True))
