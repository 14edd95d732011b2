"""How the features of one cohort lie to each other and fire together, beside chance.

Directions, dimensionality, symmetry and sparsity of science.md §3, over live features: dead rows never
left their random start.

Shapes: S seeds, N inputs, D width, F latents, P values of an argument, M sampled maps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.metrics import dimensionality as dims
from engine.metrics import directions as dirs
from engine.metrics import fourier, sparsity, symmetry
from engine.metrics.ground_truth import Plane, group_grid
from engine.metrics.parallel import side_by_side
from engine.metrics.uncertainty import spread
from engine.saes.formats import TrainedSaes
from engine.study.subject import Modular, Subject

Columns = dict[str, Tensor]

SAMPLED_MAPS = 64
"""Live features, evenly spaced by index, whose maps are compared under shifts: all would take seconds."""
SAMPLED_INPUTS = 2048
"""Inputs, drawn once, on which co-activation is measured."""
SAMPLED_FEATURES = 2048
"""Features, evenly spaced by index, whose co-activation is measured."""
CODE_VALUES = 2**24
"""Latents of one seed that are looked at, at most, where the subject has no grid of all inputs."""
STRONGEST = 5
"""Pairs of features that are named for each seed."""
NO_MAPS = (
    "activation maps over pairs of arguments exist for the modular subject alone: swap and shifts "
    "cannot be measured here"
)
NO_PLANES = "no true plane is known at this hook: phases cannot be measured"


@dataclass(frozen=True)
class Geometry:
    """The geometry of a cohort."""

    summary: dict[str, Any]
    """Plain values for the report."""
    features: list[Columns]
    """Per seed, named columns [F]."""


@dataclass(frozen=True)
class _Shifts:
    """Copies among the sampled maps of one seed."""

    sampled: int
    best: float
    best_unshifted: float
    orbits: symmetry.Orbits
    unshifted: symmetry.Orbits


@dataclass(frozen=True)
class _Seen:
    """What the latents of one seed said."""

    inputs: int
    codes: sparsity.Codes
    pairs: sparsity.Coactivation
    swap_F: Tensor | None
    shifts: _Shifts | None


@dataclass
class Survey:
    """Looks at the latents of each seed while they are there: those of all seeds would fill the memory."""

    live_SF: Tensor
    modular: Modular | None = None
    seen: dict[int, _Seen] = field(default_factory=dict)
    independent: sparsity.Coactivation | None = None
    """Co-activation in the first seed, were its latents independent."""
    scrambled: _Shifts | None = None
    """Copies in the first seed, were phases of its maps random."""

    def see(self, s: int, codes_NF: Tensor) -> None:
        """Look at the latents of seed `s`; those of a modular subject are of all pairs. Seeds may come in any
        order, from several threads at once."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randperm(len(codes_NF), generator=generator)[:SAMPLED_INPUTS]
        chosen = _evenly(torch.arange(codes_NF.shape[1]), SAMPLED_FEATURES)
        some_NF = codes_NF[rows]
        on_NF = sparsity.active(some_NF if len(chosen) == codes_NF.shape[1] else some_NF[:, chosen])
        pairs = _renamed(sparsity.coactivation(on_NF), chosen)
        swap_F, maps = None, None
        if self.modular is not None:
            swap_F = symmetry.swap_symmetry(codes_NF, self.modular.modulus)
            maps = self._maps(s, codes_NF)
        shifts = None if maps is None else _shifts(maps)
        if s == 0:
            self.independent = sparsity.coactivation(sparsity.independent_firings(on_NF))
            if maps is not None:
                self.scrambled = _shifts(symmetry.randomise_phases(maps))
        codes = sparsity.measure_codes(codes_NF)
        self.seen[s] = _Seen(len(codes_NF), codes, pairs, swap_F, shifts)

    def _maps(self, s: int, codes_NF: Tensor) -> Tensor | None:
        """Maps [M, P, P] of sampled live features; None of fewer than two."""
        assert self.modular is not None
        live = self.live_SF[s].nonzero()[:, 0]
        if len(live) < 2:
            return None
        chosen_NM = codes_NF[:, _evenly(live, SAMPLED_MAPS)]
        grid_PPM = group_grid(chosen_NM, self.modular.modulus, self.modular.task)
        return grid_PPM.permute(2, 0, 1).contiguous()


def survey_of(subject: Subject, live_SF: Tensor) -> Survey:
    """Return the survey of a cohort on a subject."""
    return Survey(live_SF, subject if isinstance(subject, Modular) else None)


def measure_geometry(
    survey: Survey,
    encode: Callable[[int, Tensor], Tensor],
    x_ND: Tensor,
    covariance_DD: Tensor,
    saes: TrainedSaes,
    planes: Sequence[Plane],
) -> Geometry:
    """Measure a cohort; latents that the survey has not seen yet are computed on a sample of the inputs.

    Args:
        survey: what was seen of the latents of live features.
        encode: latents [N, F] of a seed (by its place) on inputs.
        x_ND: activations.
        covariance_DD: theirs.
        saes: the cohort, with its firing counts.
        planes: the true planes that exist, if any are known.
    """
    some_ND = _sample(x_ND, saes.config.d_sae)
    for s in range(len(saes.seeds)):
        if s not in survey.seen:
            survey.see(s, encode(s, some_ND))
    live_SF = survey.live_SF
    decoders = [d_FD[live] for d_FD, live in zip(saes.weights.W_dec, live_SF, strict=True)]
    n_live = spread([float(len(d_ND)) for d_ND in decoders])
    summary = {
        "n_live": n_live,
        "directions": _directions(decoders),
        "dimensionality": _dimensionality(decoders, covariance_DD),
        "symmetry": _symmetry(survey, decoders, planes),
        "sparsity": _sparsity(survey, saes),
    }
    seeds = range(len(saes.seeds))
    columns = side_by_side(lambda s: _columns(saes.weights.W_dec[s], survey.seen[s]), seeds)
    return Geometry(summary, columns)


def _columns(decoder_FD: Tensor, seen: _Seen) -> Columns:
    columns = {
        "coherence": dirs.feature_coherence(decoder_FD),
        "dimensionality": dims.feature_dimensionality(decoder_FD),
    }
    if seen.swap_F is not None:
        columns["swap_symmetry"] = seen.swap_F
    return columns


def _directions(decoders: Sequence[Tensor]) -> dict[str, Any]:
    found = side_by_side(dirs.directions, [d_ND for d_ND in decoders if len(d_ND)])
    if not found:
        return {"reason": "no feature is live"}
    measured = ("resultant", "coherence", "antipodal", "duplicates")
    nulls = ("resultant_null", "coherence_null", "welch", "close_null")
    return {
        **{name: spread([float(getattr(f, name)) for f in found]) for name in measured},
        **{name: spread([float(getattr(f, name)) for f in found])["mean"] for name in nulls},
        "histogram": {
            "edges": dirs.bin_edges().tolist(),
            "observed": np.mean([f.histogram for f in found], axis=0).tolist(),
            "null": dirs.isotropic_histogram(decoders[0].shape[1]).tolist(),
        },
    }


def _dimensionality(decoders: Sequence[Tensor], covariance_DD: Tensor) -> dict[str, Any]:
    alive = [d_ND for d_ND in decoders if len(d_ND)]
    inputs = asdict(dims.dimensionality(dims.covariance_spectrum(covariance_DD)))
    if not alive:
        return {"activations": inputs, "reason": "no feature is live"}
    found = [asdict(dims.dimensionality(dims.dictionary_spectrum(d_ND))) for d_ND in alive]
    # One size for all seeds, that of the median one: its random dictionaries are drawn once.
    n, d = sorted(len(d_ND) for d_ND in alive)[len(alive) // 2], alive[0].shape[1]
    return {
        "activations": inputs,
        "decoders": {name: spread([f[name] for f in found]) for name in inputs},
        "null": asdict(dims.isotropic_dimensionality(n, d)),
        "per_feature": spread([float(dims.feature_dimensionality(d).nanmedian()) for d in alive]),
        "per_feature_null": dims.isotropic_feature_dimensionality(n, d),
    }


def _symmetry(
    survey: Survey, decoders: Sequence[Tensor], planes: Sequence[Plane]
) -> dict[str, Any]:
    phases = [_phases(decoders, plane) for plane in planes]
    summary: dict[str, Any] = {"phases": phases, "phases_reason": "" if planes else NO_PLANES}
    if survey.modular is None:
        return {**summary, "reason": NO_MAPS}
    swaps = [(survey.seen[s].swap_F, live) for s, live in enumerate(survey.live_SF)]
    medians = [
        float(swap_F[live].nanmedian()) if swap_F is not None and live.any() else math.nan
        for swap_F, live in swaps
    ]
    shifts = [seen.shifts for _, seen in sorted(survey.seen.items()) if seen.shifts is not None]
    return {
        **summary,
        "reason": "",
        "swap": spread(medians),
        "swap_null": symmetry.swap_null(survey.modular.modulus),
        "shifts": _shift_summary(shifts, survey.scrambled),
    }


def _phases(decoders: Sequence[Tensor], plane: Plane) -> dict[str, Any]:
    found = [symmetry.phase_uniformity(d_ND, plane.basis) for d_ND in decoders if len(d_ND)]
    return {
        "family": plane.family,
        "k": plane.k,
        "n": [f.n for f in found],
        "n_null": symmetry.BY_CHANCE * sum(len(d_ND) for d_ND in decoders) / max(1, len(decoders)),
        "resultant": spread([f.resultant for f in found]),
        "p": [None if math.isnan(f.p) else f.p for f in found],
    }


def _shift_summary(shifts: Sequence[_Shifts], scrambled: _Shifts | None) -> dict[str, Any] | None:
    if not shifts or scrambled is None:
        return None

    def told(found: Sequence[_Shifts]) -> dict[str, list[float]]:
        return {
            "best": [f.best for f in found],
            "best_unshifted": [f.best_unshifted for f in found],
            "share": [f.orbits.share for f in found],
            "share_unshifted": [f.unshifted.share for f in found],
            "orbits": [float(f.orbits.count) for f in found],
            "largest": [float(f.orbits.largest) for f in found],
        }

    return {
        "sampled": [f.sampled for f in shifts],
        **{name: spread(values) for name, values in told(shifts).items()},
        "null": {name: values[0] for name, values in told([scrambled]).items()},
    }


def _shifts(maps_MPP: Tensor) -> _Shifts:
    copies = symmetry.find_copies(maps_MPP)
    best, unshifted = (
        float(c_MM.clone().fill_diagonal_(-1.0).amax(1).mean())
        for c_MM in (copies.shifted, copies.unshifted)
    )
    return _Shifts(
        sampled=len(maps_MPP),
        best=best,
        best_unshifted=unshifted,
        orbits=symmetry.find_orbits(copies.shifted),
        unshifted=symmetry.find_orbits(copies.unshifted),
    )


def _sparsity(survey: Survey, saes: TrainedSaes) -> dict[str, Any]:
    assert saes.fires is not None, "cohorts are saved with their firing counts"
    seen = [one for _, one in sorted(survey.seen.items())]
    density_SF = saes.fires.double() / saes.inputs
    histograms = [sparsity.density_histogram(density_F) for density_F in density_SF]
    l0 = [_quantiles(one.codes.l0_N) for one in seen]
    measured = ("hoyer", "hoyer_equal", "gini", "gini_equal")
    return {
        "inputs": seen[0].inputs,
        "density": {
            "edges": sparsity.DENSITY_EDGES.tolist(),
            "observed": np.mean([shares for _, shares in histograms], axis=0).tolist(),
            "never": spread([never for never, _ in histograms]),
            "gini": spread([_gini(density_F) for density_F in density_SF]),
        },
        "l0": {
            **{name: spread([values[name] for values in l0]) for name in l0[0]},
            "sd_independent": spread([one.codes.l0_sd_independent for one in seen])["mean"],
        },
        **{name: spread([getattr(one.codes, name) for one in seen]) for name in measured},
        "coactivation": _coactivation(survey, saes.weights.W_dec),
    }


def _gini(density_F: Tensor) -> float:
    return fourier.gini(density_F) if float(density_F.sum()) > 0 else math.nan


def _quantiles(l0_N: Tensor) -> dict[str, float]:
    levels = {"least": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "most": 1.0}
    values = l0_N.numpy()
    told = {name: float(np.quantile(values, level)) for name, level in levels.items()}
    return {"mean": float(values.mean()), "sd": float(values.std()), **told}


def _coactivation(survey: Survey, decoders_SFD: Tensor) -> dict[str, Any]:
    pairs = [one.pairs for _, one in sorted(survey.seen.items())]
    independent = survey.independent
    assert independent is not None, "a seed was seen"
    edges = np.linspace(-1.0, 1.0, sparsity.BINS + 1)
    units_SFD = torch.nn.functional.normalize(decoders_SFD.double(), dim=2)
    return {
        "sampled_inputs": min(SAMPLED_INPUTS, next(iter(survey.seen.values())).inputs),
        "features": [len(one.kept) for one in pairs],
        "largest": spread([one.largest() for one in pairs]),
        "largest_null": _known(independent.largest()),
        "strongest": [
            [
                {"pair": [i, j], "phi": phi, "cosine": float(units_FD[i] @ units_FD[j])}
                for i, j, phi in one.strongest(STRONGEST)
            ]
            for one, units_FD in zip(pairs, units_SFD, strict=True)
        ],
        "histogram": {
            "edges": edges.tolist(),
            "observed": np.mean([one.histogram() for one in pairs], axis=0).tolist(),
            "null": independent.histogram().tolist(),
        },
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _evenly(indices: Tensor, most: int) -> Tensor:
    """At most so many of the indices, evenly spaced."""
    if len(indices) <= most:
        return indices
    return indices[torch.linspace(0, len(indices) - 1, most).round().long()]


def _renamed(pairs: sparsity.Coactivation, chosen: Tensor) -> sparsity.Coactivation:
    """Name latents by their index among all instead of among those chosen."""
    return sparsity.Coactivation(chosen[pairs.kept], pairs.phi_MM)


def _sample(x_ND: Tensor, width: int) -> Tensor:
    """Rows drawn once, so many that their latents stay within `CODE_VALUES`."""
    most = max(1, CODE_VALUES // width)
    if len(x_ND) <= most:
        return x_ND
    rows = torch.randperm(len(x_ND), generator=torch.Generator().manual_seed(0))[:most]
    return x_ND[rows.sort().values]
