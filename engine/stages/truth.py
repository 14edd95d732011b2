"""What the analysis compares SAEs with: Fourier planes of a grokked model, planted features.

Shapes: S seeds, N activations (p² for the grid), D width, F latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.metrics.activation_maps import FeatureScores, score_features
from engine.metrics.ground_truth import (
    FAMILIES,
    Plane,
    Planes,
    Recovery,
    baselines,
    class_truth,
    pca_directions,
    planes,
    random_directions,
    recover,
)
from engine.metrics.matching import truth_match
from engine.metrics.nulls import effective_rank
from engine.metrics.uncertainty import spread
from engine.saes.formats import TrainedSaes
from engine.stages.artifacts import WEIGHTS
from engine.study.subject import Modular
from engine.subjects.arithmetic import make_problem
from engine.subjects.planted import PlantedData, load_planted
from engine.subjects.reader import logits, spliced_logits
from engine.subjects.surrogate import moments
from engine.subjects.transformer import read_network

Columns = dict[str, Tensor]
CHUNK = 4096
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


def score_modular(
    subject: Modular,
    run: RunDirectory,
    hook: str,
    x_ND: Tensor,
    saes: TrainedSaes,
    live_SF: Tensor,
    see: Callable[[int, Tensor], None],
) -> Truth:
    """Score each seed's decoder on the Fourier planes at its hook, beside dictionaries that cost nothing.

    `see` is shown the latents [N, F] of every seed, by its place: they are computed once.

    Recall and precision: science.md §5. Beside them: neurons, PCA, random directions, and random
    directions with the activations' covariance, which at a low-rank hook fall into the planes by chance.
    """
    p, task = subject.modulus, subject.task
    ks = run.read_result()["key_frequencies"]
    found = planes(x_ND, p, ks, task)
    rank = effective_rank(moments(x_ND)[1])
    scores = []
    columns: list[Columns] = []
    for s in range(len(saes.seeds)):
        recovery = recover(saes.weights.W_dec[s], found.existing, live_SF[s], rank=rank)
        codes_NF = latents(saes, s, x_ND)
        see(s, codes_NF)
        maps = score_features(codes_NF, p, task)
        scores.append((recovery, maps))
        columns.append(_modular_columns(recovery, maps, found))
    controls = baselines(
        x_ND,
        found.existing,
        saes.config.d_sae,
        neuron_directions(run, hook, found.planes[0].basis.shape[0]),
        seeds=BASELINE_SEEDS,
        rank=rank,
    )
    truth = class_truth(x_ND, p, task)
    summary = {
        "recall": spread([recovery.recall for recovery, _ in scores]),
        "precision": spread([recovery.precision for recovery, _ in scores]),
        "planes": [
            {"family": q.family, "k": q.k, "share": q.share, "exists": q.exists}
            for q in found.planes
        ],
        "baselines": _baseline_summary(controls),
        "activation_rank": rank,
        "energy_null": {
            "expected_max": scores[0][0].null.expected_max,
            "beyond": scores[0][0].null.beyond,
        },
        "class_truth": {"share": truth.share, "null": truth.null},
        "features": _map_summary([maps for _, maps in scores], live_SF),
    }
    return Truth(summary, columns, tuple(found.existing))


def latents(saes: TrainedSaes, number: int, x_ND: Tensor) -> Tensor:
    """Return the latents of one seed over all activations, [N, F], computed in chunks."""
    one = saes.select(saes.seeds[number]).architecture()
    return torch.cat([one.encode(rows[None])[0] for rows in x_ND.split(CHUNK)])


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
    columns = {
        "plane_frequency": ks[recovery.best_plane + 1],
        "plane_family": family[recovery.best_plane + 1],
        "plane_energy": recovery.best_energy,
        "selectivity": maps.selectivity,
        "frequency": maps.frequency,
        "frequency_family": maps.family,
        "localisation": maps.localisation,
    }
    names = {"a": "a", "b": "b", "a+b": "sum", "a-b": "difference"}
    for number, argument in enumerate(FAMILIES):
        columns[f"eta2_{names[argument]}"] = maps.eta2[number]
    return columns


def _map_summary(maps: Sequence[FeatureScores], live_SF: Tensor) -> dict[str, Any]:
    """Return medians over live features, by seed: what features respond to."""

    def medians(values: Sequence[Tensor]) -> dict[str, Any]:
        kept = [v[live] for v, live in zip(values, live_SF, strict=True)]
        return spread([float(v.nanmedian()) if len(v) else math.nan for v in kept])

    return {
        "selectivity": medians([m.selectivity for m in maps]),
        "selectivity_null": maps[0].selectivity_null,
        "family": medians([m.family for m in maps]),
        "family_control": medians([m.family_control for m in maps]),
        "eta2": {name: medians([m.eta2[n] for m in maps]) for n, name in enumerate(FAMILIES)},
        "eta2_null": maps[0].eta2_null,
        "localisation": medians([m.localisation.double() for m in maps]),
    }


@dataclass(frozen=True)
class LossRecovered:
    """(CE_mean − CE_sae)/(CE_mean − CE_clean): 1 is as good as the real activations, 0 as their mean."""

    per_seed: list[float]
    untrained: float
    """The same of an SAE that was never trained: how little the measure asks here."""


def loss_recovered(
    subject: Modular,
    run: RunDirectory,
    hook: str,
    x_ND: Tensor,
    saes: TrainedSaes,
    start: TrainedSaes,
    held_out: Tensor,
) -> LossRecovered:
    """Splice each seed's reconstruction at the read position; on held-out pairs, in nats. `start` are the
    same SAEs before training."""
    problem = make_problem(subject)
    network = read_network(subject, run.artifacts / WEIGHTS)
    tokens_HT, answers_H = problem.tokens_NT[held_out], problem.answers_N[held_out]
    x_HD, mean_D, at = x_ND[held_out], x_ND.mean(0), problem.read_index

    def loss(logits_HC: Tensor) -> float:
        return float(torch.nn.functional.cross_entropy(logits_HC.double(), answers_H))

    def spliced(replacement_HD: Tensor) -> float:
        return loss(spliced_logits(network, tokens_HT, hook, at, replacement_HD))

    clean, mean = loss(logits(network, tokens_HT, at)), spliced(mean_D.expand_as(x_HD))

    def recovered(one: TrainedSaes) -> float:
        return (mean - spliced(one.decode(one.encode(x_HD))[0])) / (mean - clean)

    return LossRecovered(
        per_seed=[recovered(saes.select(seed)) for seed in saes.seeds],
        untrained=recovered(start.select(start.seeds[0])),
    )


def score_planted(run: RunDirectory, x_ND: Tensor, saes: TrainedSaes, live_SF: Tensor) -> Truth:
    """Compare each seed's live atoms with what was planted, beside PCA and random directions.

    Planes of a `fourier` subject are scored as planes: single directions in them are arbitrary. Features
    of both signs are two features each for a non-negative code. In `gaussian` data nothing is planted.
    """
    data = load_planted(run.artifacts)
    nothing: list[Columns] = [{} for _ in saes.seeds]
    if data.config.generator == "gaussian":
        return Truth(None, nothing)
    if data.config.generator == "fourier":
        truth = _planted_planes(data)
        return Truth(_score_planes(truth, x_ND, saes, live_SF), nothing, tuple(truth))
    truth_MD = data.features
    if data.config.signed:
        truth_MD = torch.cat([truth_MD, -truth_MD])
    dictionaries = [d_FD[live] for d_FD, live in zip(saes.weights.W_dec, live_SF, strict=True)]
    n_live = [len(d_ND) for d_ND in dictionaries]
    # A dictionary of fewer atoms has fewer chances: random ones are as large as what is live.
    width, size = truth_MD.shape[1], max(1, round(sum(n_live) / len(n_live)))
    controls = {
        "pca": [pca_directions(x_ND)],
        "random": [random_directions(size, width, seed) for seed in BASELINE_SEEDS],
    }
    matches = _match(dictionaries, truth_MD)
    summary = {
        **{name: spread([match[name] for match in matches]) for name in MATCH},
        "n_live": spread([float(n) for n in n_live]),
        "baselines": {
            name: {
                key: spread([match[key] for match in _match(group, truth_MD)])["mean"]
                for key in MATCH
            }
            for name, group in controls.items()
        },
    }
    return Truth(summary, nothing)


MATCH = ("gt_mcc", "recall", "precision")


def _match(dictionaries: Sequence[Tensor], truth_MD: Tensor) -> list[dict[str, float]]:
    """Return GT-MCC, recall and precision of each; without a live atom nothing is recovered."""
    found = []
    for atoms_ND in dictionaries:
        match = truth_match(atoms_ND.double(), truth_MD.double()) if len(atoms_ND) else None
        values = (match.mcc, match.recall, match.precision) if match else (0.0, 0.0, math.nan)
        found.append(dict(zip(MATCH, values, strict=True)))
    return found


def _planted_planes(data: PlantedData) -> list[Plane]:
    """Return the planted planes: rows 2k and 2k+1 of the features span plane k."""
    bases = data.features.double().view(-1, 2, data.features.shape[1])
    share = 1 / len(bases)
    return [Plane("planted", k, share, basis.T, exists=True) for k, basis in enumerate(bases)]


def _score_planes(
    truth: list[Plane], x_ND: Tensor, saes: TrainedSaes, live_SF: Tensor
) -> dict[str, Any]:
    """Score planted planes."""
    found = [
        recover(d_FD, truth, live) for d_FD, live in zip(saes.weights.W_dec, live_SF, strict=True)
    ]
    size = max(1, round(sum(r.n_live for r in found) / len(found)))
    controls = baselines(x_ND, truth, size, seeds=BASELINE_SEEDS)
    return {
        "recall": spread([recovery.recall for recovery in found]),
        "precision": spread([recovery.precision for recovery in found]),
        "n_live": spread([float(recovery.n_live) for recovery in found]),
        "baselines": _baseline_summary(controls),
    }


def _baseline_summary(controls: Mapping[str, Sequence[Recovery]]) -> dict[str, Any]:
    return {
        name: {
            "recall": spread([r.recall for r in recoveries])["mean"],
            "precision": spread([r.precision for r in recoveries])["mean"],
        }
        for name, recoveries in controls.items()
    }
