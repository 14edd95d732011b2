"""What the analysis compares SAEs with: Fourier planes of a grokked model, planted features.

Shapes: S seeds, N activations (p² for the grid), D width, F latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.disk.text import bare
from engine.metrics.activation_maps import FeatureScores, score_features
from engine.metrics.agreement import Stability
from engine.metrics.coverage import SATURATED, coverage, match_classes
from engine.metrics.ground_truth import (
    ENERGY,
    FAMILIES,
    EnergyNull,
    Plane,
    Planes,
    Recovery,
    Spectrum,
    baselines,
    class_truth,
    pca_directions,
    planes,
    random_directions,
    recover,
)
from engine.metrics.nulls import effective_rank
from engine.metrics.parallel import side_by_side, together
from engine.metrics.uncertainty import spread
from engine.saes.formats import TrainedSaes
from engine.stages.artifacts import WEIGHTS
from engine.stages.causal import Interventions, SeedEffects, summarise
from engine.stages.clock import measure_clock
from engine.study.subject import Modular
from engine.subjects.arithmetic import make_problem
from engine.subjects.downstream import Downstream
from engine.subjects.transformer import read_network

Columns = dict[str, Tensor]
Looks = Sequence[Callable[[int, Tensor], None]]
"""Each is shown the latents [N, F] of a seed, by its place."""
CHUNK = 1024
"""Inputs encoded at once: of 1,024 latents, what is kept and what is not stay in a core's cache."""
BASELINE_SEEDS = range(5)


@dataclass(frozen=True)
class Truth:
    """How a cohort compares with what is known to be there."""

    summary: dict[str, Any] | None
    """Plain values for the report; None where nothing is known."""
    features: list[Columns]
    """Per seed, named columns [F]."""
    planes: tuple[Plane, ...] = ()
    """The true planes that exist."""
    loss_recovered: dict[str, Any] | None = None
    """By seed, and of an SAE that was never trained; None without a model."""
    warnings: list[str] = field(default_factory=list)
    """What a reader must know before believing it."""


def score_modular(
    subject: Modular,
    run: RunDirectory,
    hook: str,
    x_ND: Tensor,
    covariance_DD: Tensor,
    saes: TrainedSaes,
    start: TrainedSaes,
    live_SF: Tensor,
    stability: Stability,
    held_out: Tensor,
    looks: Looks = (),
) -> Truth:
    """Score each seed's decoder on the Fourier planes at its hook, beside dictionaries that cost nothing,
    and what its features do to the answers.

    Each of `looks` is shown the latents [N, F] of every seed, by its place: computed once, one seed's at a
    time, as those of all would fill the memory.

    Recall and precision: science.md §5. Beside them: neurons, PCA, random directions, and random
    directions with the activations' covariance, which at a low-rank hook fall into the planes by chance.
    """
    p, task, ks = subject.modulus, subject.task, run.read_result()["key_frequencies"]
    if why := _no_planes(ks, x_ND):
        return _without_planes(x_ND, p, task, saes, live_SF, looks, why)
    found, rank = planes(x_ND, p, ks, task), effective_rank(covariance_DD)
    spectrum = Spectrum.of(covariance_DD)
    problem, network = make_problem(subject), read_network(subject, run.artifacts / WEIGHTS)
    hooked = Downstream(network, problem.tokens_NT, hook, problem.read_index)
    model = Interventions(problem, hooked, x_ND, spectrum, held_out, ks, task)
    scores, effects = list[tuple[Recovery, FeatureScores]](), list[SeedEffects]()
    z_NF = x_ND.new_empty(len(x_ND), saes.config.d_sae)
    for s, (d_FD, live_F) in enumerate(zip(saes.weights.W_dec, live_SF, strict=True)):
        recovery = recover(d_FD, found.existing, live_F, rank=rank)
        latents(saes, s, x_ND, z_NF)
        effect, maps = together(
            partial(_intervene, model, saes, s, z_NF, live_F, stability, recovery, found),
            partial(score_features, z_NF, p, task),
            *(partial(look, s, z_NF) for look in looks),
        )
        scores.append((recovery, maps))
        effects.append(effect)
    parts: list[Callable[[], dict[str, Any]]] = [
        lambda: _plane_summary(found, scores, rank),
        lambda: {"baselines": _baselines(run, hook, spectrum, found, rank, saes.config.d_sae)},
        lambda: {"features": _map_summary([maps for _, maps in scores], live_SF)},
        lambda: _classes(x_ND, spectrum, p, task, saes, live_SF),
        lambda: {"coverage": _coverage(spectrum, found.existing, rank, saes, live_SF)},
        lambda: summarise(model, _untrained(model, start, x_ND, z_NF), effects),
        lambda: {"clock": measure_clock(subject, problem, network, model.clean_NC)},
    ]
    told = side_by_side(lambda part: part(), parts)
    summary = {name: value for part in told for name, value in part.items()}
    recovered = spread([one.splice["loss_recovered"] for one in effects])
    recovered["untrained"] = summary["causal"]["baselines"]["untrained"]["loss_recovered"]
    columns = [_modular_columns(*score, found) for score in scores]
    warnings = _power_warnings(scores[0][0].null, rank)
    return Truth(summary, columns, tuple(found.existing), recovered, warnings)


def _untrained(
    model: Interventions, start: TrainedSaes, x_ND: Tensor, z_NF: Tensor
) -> dict[str, float]:
    """Return what is left of the answers behind an SAE that was not trained; latents go to `z_NF`."""
    z_NF = latents(start, 0, x_ND, z_NF)
    return model.splice(start.select(start.seeds[0]).decode(z_NF[None])[0])


def _baselines(
    run: RunDirectory, hook: str, spectrum: Spectrum, found: Planes, rank: float, size: int
) -> dict[str, Any]:
    """Return how well dictionaries that cost nothing recover the planes."""
    neurons_MD = neuron_directions(run, hook, len(spectrum.variances_D))
    return baseline_summary(
        baselines(spectrum, found.existing, size, neurons_MD, seeds=BASELINE_SEEDS, rank=rank)
    )


def _no_planes(ks: Sequence[int], x_ND: Tensor) -> str:
    """Return why there is no Fourier truth to look for; empty where there is one."""
    if not ks:
        return "the model has no key frequencies, so there is no Fourier truth to find"
    if not bool((x_ND != x_ND[0]).any()):
        return "the activations are the same for every input, so there is nothing to find"
    return ""


def _without_planes(
    x_ND: Tensor, p: int, task: Any, saes: TrainedSaes, live_SF: Tensor, looks: Looks, why: str
) -> Truth:
    """Return what is known of the features' maps alone, and why there is no more; show `looks` the latents."""
    scores = list[FeatureScores]()
    z_NF = x_ND.new_empty(len(x_ND), saes.config.d_sae)
    for s in range(len(saes.seeds)):
        latents(saes, s, x_ND, z_NF)
        show([*looks, lambda _, z_NF: scores.append(score_features(z_NF, p, task))], s, z_NF)
    columns = [_map_columns(maps) for maps in scores]
    return Truth({"missing": why, "features": _map_summary(scores, live_SF)}, columns)


def _plane_summary(
    found: Planes, scores: Sequence[tuple[Recovery, FeatureScores]], rank: float
) -> dict[str, Any]:
    """Return recall and precision, the planes themselves, and what random directions would reach."""
    null = scores[0][0].null
    return {
        "recall": spread([recovery.recall for recovery, _ in scores]),
        "precision": spread([recovery.precision for recovery, _ in scores]),
        "planes": [
            {"family": q.family, "k": q.k, "share": q.share, "exists": q.exists}
            for q in found.planes
        ],
        "activation_rank": rank,
        "energy_null": {
            "expected_max": null.expected_max,
            "beyond": null.beyond,
            "powerless": null.powerless,
        },
    }


def _intervene(
    model: Interventions,
    saes: TrainedSaes,
    s: int,
    z_NF: Tensor,
    live_F: Tensor,
    stability: Stability,
    recovery: Recovery,
    found: Planes,
) -> SeedEffects:
    """Intervene on one seed: a feature belongs to the frequency of the plane with most of its energy."""
    keys = torch.tensor([-1, *(model.keys.index(plane.k) for plane in found.existing)])
    others = [t for t in range(len(saes.seeds)) if t != s]
    best_TF = torch.from_numpy(stability.features.best[s][others])
    stable_F = best_TF.quantile(0.5, dim=0) if others else best_TF.new_zeros(len(live_F))
    weights = saes.weights
    return model.measure(
        z_NF,
        weights.W_dec[s],
        weights.b_dec[s],
        live_F,
        stable_F,
        keys[recovery.best_plane + 1],
        saes.seeds[s],
    )


def _power_warnings(null: EnergyNull, rank: float) -> list[str]:
    if not null.powerless:
        return []
    if rank <= 2:
        said = "no direction of theirs lies outside a plane"
    else:
        beyond = f"in-plane energy {ENERGY} with probability {null.beyond:.2g}"
        said = bare(f"a random direction reaches {beyond}")
    return [
        f"the activations have an effective rank of {rank:.1f}, where {said}: recall and precision "
        "of the planes have no power here"
    ]


def _coverage(
    spectrum: Spectrum, truth: Sequence[Plane], rank: float, saes: TrainedSaes, live_SF: Tensor
) -> dict[str, Any]:
    """Return how much of the planes the leading subspace of each decoder covers, beside that of PCA."""
    r = max(1, math.ceil(rank - 1e-6))
    if not truth:
        return {"missing": "no plane exists at this hook"}
    each = zip(saes.weights.W_dec, live_SF, strict=True)
    found = side_by_side(lambda one: coverage(one[0], truth, r, one[1]), each)
    pca = coverage(pca_directions(spectrum, 1 - 1e-12)[:r], truth, r)
    warning = None
    if r >= len(spectrum.variances_D):
        warning = "the subspace is the whole space: coverage is 1 whatever the atoms"
    elif pca.mean >= SATURATED and min(one.mean for one in found) >= SATURATED:
        warning = (
            f"the first {r} principal components cover the planes as well: coverage only says that the "
            "decoders span what the activations span"
        )
    return {
        **spread([one.mean for one in found]),
        "rank": r,
        "null": pca.null,
        "pca": pca.mean,
        "planes": [
            {"family": q.family, "k": q.k, **spread([float(one.planes[n]) for one in found])}
            for n, q in enumerate(truth)
        ],
        "warning": warning,
    }


def _classes(
    x_ND: Tensor, spectrum: Spectrum, p: int, task: Any, saes: TrainedSaes, live_SF: Tensor
) -> dict[str, Any]:
    """Return answer classes as truth: their share of the variance, and which atoms are class means."""
    truth = class_truth(x_ND, p, task)
    each = zip(saes.weights.W_dec, live_SF, strict=True)
    found = side_by_side(lambda one: match_classes(one[0], truth.means, one[1]), each)
    size = max(1, round(float(live_SF.sum()) / len(live_SF)))
    count, width = truth.means.shape
    controls = {
        "pca": pca_directions(spectrum),
        "random": random_directions(size, width, 0),
        "random_covariance": random_directions(size, width, 0, spectrum),
    }
    beside = {name: match_classes(atoms, truth.means) for name, atoms in controls.items()}
    return {
        "class_truth": {"share": truth.share, "null": truth.null},
        "classes": {
            "count": count,
            **{m: spread([getattr(one, m) for one in found]) for m in CLASS_MATCH},
            "baselines": {
                name: {m: _finite(getattr(one, m)) for m in CLASS_MATCH}
                for name, one in beside.items()
            },
            "lookup_possible": saes.config.d_sae >= count,
        },
    }


CLASS_MATCH = ("recall", "precision", "cosine")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def latents(saes: TrainedSaes, number: int, x_ND: Tensor, into_NF: Tensor | None = None) -> Tensor:
    """Return the latents of one seed over all activations, [N, F], computed in chunks; in place of others, if
    given: to get and clear so much memory takes as long as a third of the work."""
    one = saes.select(saes.seeds[number]).architecture()
    z_NF = x_ND.new_empty(len(x_ND), saes.config.d_sae) if into_NF is None else into_NF

    def encode(chunk: tuple[Tensor, Tensor]) -> None:
        rows_CD, z_CF = chunk
        z_CF.copy_(one.encode(rows_CD[None])[0])

    side_by_side(encode, zip(x_ND.split(CHUNK), z_NF.split(CHUNK), strict=True))
    return z_NF


def show(looks: Looks, s: int, z_NF: Tensor) -> None:
    """Show the latents [N, F] of a seed."""
    side_by_side(lambda look: look(s, z_NF), looks)


def neuron_directions(run: RunDirectory, hook: str, width: int) -> Tensor | None:
    """Return where the neurons before a hook write to, [M, D]; None at a hook of another width.

    At the residual stream the neurons of the layers up to the hook are the features that are there for
    nothing: any SAE must be compared with them.
    """
    layer, name = int(hook.split(".")[1]), hook.rsplit("hook_", 1)[-1]
    last = layer if name in ("resid_post", "mlp_out") else layer - 1
    first = layer if name == "mlp_out" else 0
    if "mlp.hook" in hook or last < first:
        return None
    weights = load_file(run.artifacts / WEIGHTS)
    written = [weights[f"layers.{n}.mlp.fc_out.weight"].T for n in range(first, last + 1)]
    neurons_MD = torch.cat(written)
    return neurons_MD if neurons_MD.shape[1] == width else None


def _modular_columns(recovery: Recovery, maps: FeatureScores, found: Planes) -> Columns:
    existing = found.existing
    ks = torch.tensor([0, *(plane.k for plane in existing)])
    family = torch.tensor([-1, *(FAMILIES.index(plane.family) for plane in existing)])
    return {
        "plane_frequency": ks[recovery.best_plane + 1],
        "plane_family": family[recovery.best_plane + 1],
        "plane_energy": recovery.best_energy,
        **_map_columns(maps),
    }


def _map_columns(maps: FeatureScores) -> Columns:
    """Return what is known of features from their maps alone."""
    names = {"a": "a", "b": "b", "a+b": "sum", "a-b": "difference"}
    return {
        "selectivity": maps.selectivity,
        "rectified_selectivity": maps.rectified,
        "frequency": maps.frequency,
        "frequency_family": maps.family,
        "localisation": maps.localisation,
        **{f"eta2_{names[one]}": maps.eta2[n] for n, one in enumerate(FAMILIES)},
    }


def _map_summary(maps: Sequence[FeatureScores], live_SF: Tensor) -> dict[str, Any]:
    """Return medians over live features, by seed: what features respond to."""

    def medians(values: Sequence[Tensor]) -> dict[str, Any]:
        kept = [v[live] for v, live in zip(values, live_SF, strict=True)]
        return spread([float(v.nanmedian()) if len(v) else math.nan for v in kept])

    return {
        "selectivity": medians([m.selectivity for m in maps]),
        "selectivity_null": maps[0].selectivity_null,
        "rectified_selectivity": medians([m.rectified for m in maps]),
        "family": medians([m.family for m in maps]),
        "family_control": medians([m.family_control for m in maps]),
        "eta2": {name: medians([m.eta2[n] for m in maps]) for n, name in enumerate(FAMILIES)},
        "eta2_null": maps[0].eta2_null,
        "localisation": medians([m.localisation.double() for m in maps]),
    }


def baseline_summary(controls: Mapping[str, Sequence[Recovery]]) -> dict[str, Any]:
    """Return recall and precision of dictionaries that cost nothing, by name, means over their seeds."""
    return {
        name: {
            "recall": spread([r.recall for r in recoveries])["mean"],
            "precision": spread([r.precision for r in recoveries])["mean"],
        }
        for name, recoveries in controls.items()
    }
