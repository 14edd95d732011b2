"""What the analysis compares SAEs with: Fourier planes of a grokked model, planted features.

Shapes: S seeds, N activations (p² for the grid), D width, F latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.errors import InputError
from engine.metrics.activation_maps import FeatureScores, score_features
from engine.metrics.ground_truth import (
    FAMILIES,
    Planes,
    Recovery,
    baselines,
    class_truth,
    pca_directions,
    planes,
    random_directions,
    recover,
)
from engine.metrics.matching import TruthMatch, truth_match
from engine.metrics.nulls import effective_rank
from engine.saes.formats import TrainedSaes
from engine.stages.subject import WEIGHTS
from engine.study.subject import Modular
from engine.subjects.arithmetic import make_problem
from engine.subjects.planted import load_planted
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
    loss_recovered: list[float]
    """Per seed; empty where there is no model to splice into."""


def score_modular(
    subject: Modular, run: RunDirectory, hook: str, x_ND: Tensor, saes: TrainedSaes, live_SF: Tensor
) -> Truth:
    """Score each seed's decoder on the Fourier planes at its hook, beside dictionaries that cost nothing.

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
        maps = score_features(latents(saes, s, x_ND), p, task)
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
        "recall": _spread([recovery.recall for recovery, _ in scores]),
        "precision": _spread([recovery.precision for recovery, _ in scores]),
        "planes": [
            {"family": q.family, "k": q.k, "share": q.share, "exists": q.exists}
            for q in found.planes
        ],
        "baselines": {
            name: {
                "recall": _mean([r.recall for r in recoveries]),
                "precision": _mean([r.precision for r in recoveries]),
            }
            for name, recoveries in controls.items()
        },
        "activation_rank": rank,
        "energy_null": {
            "expected_max": scores[0][0].null.expected_max,
            "beyond": scores[0][0].null.beyond,
        },
        "class_truth": {"share": truth.share, "null": truth.null},
        "features": _map_summary([maps for _, maps in scores], live_SF),
    }
    return Truth(summary, columns, [])


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
        return _spread([float(v.nanmedian()) if len(v) else math.nan for v in kept])

    return {
        "selectivity": medians([m.selectivity for m in maps]),
        "selectivity_null": maps[0].selectivity_null,
        "family": medians([m.family for m in maps]),
        "family_control": medians([m.family_control for m in maps]),
        "eta2": {name: medians([m.eta2[n] for m in maps]) for n, name in enumerate(FAMILIES)},
        "eta2_null": maps[0].eta2_null,
        "localisation": medians([m.localisation.double() for m in maps]),
    }


def loss_recovered(
    subject: Modular, run: RunDirectory, hook: str, x_ND: Tensor, saes: TrainedSaes
) -> list[float]:
    """Return (CE_mean − CE_sae)/(CE_mean − CE_clean) by seed: 1 is as good as the real activations, 0 as
    good as their mean. Spliced at the read position only, over the full grid, in nats."""
    problem = make_problem(subject)
    model = read_network(subject, run.artifacts / WEIGHTS)
    tokens_NT, at = problem.tokens_NT, problem.read_index

    def loss(logits_NC: Tensor) -> float:
        return float(torch.nn.functional.cross_entropy(logits_NC.double(), problem.answers_N))

    def spliced(replacement_ND: Tensor) -> float:
        return loss(spliced_logits(model, tokens_NT, hook, at, replacement_ND))

    clean, mean = loss(logits(model, tokens_NT, at)), spliced(x_ND.mean(0).expand_as(x_ND))
    return [
        (mean - spliced(reconstruct(saes, s, x_ND))) / (mean - clean)
        for s in range(len(saes.seeds))
    ]


def reconstruct(saes: TrainedSaes, number: int, x_ND: Tensor) -> Tensor:
    """Return one seed's reconstruction of all activations, [N, D], computed in chunks."""
    one = saes.select(saes.seeds[number]).architecture()
    return torch.cat([one.decode(one.encode(rows[None]))[0] for rows in x_ND.split(CHUNK)])


def score_planted(run: RunDirectory, x_ND: Tensor, saes: TrainedSaes, live_SF: Tensor) -> Truth:
    """Match each seed's live atoms with the planted features, beside PCA and random directions."""
    truth_MD = load_planted(run.artifacts).features
    matches: list[TruthMatch | None] = []
    for decoder_FD, live_F in zip(saes.weights.W_dec, live_SF, strict=True):
        try:
            matches.append(truth_match(decoder_FD, truth_MD, live_N=live_F))
        except InputError:  # no live atom: nothing is recovered
            matches.append(None)
    width = truth_MD.shape[1]
    random_FD = random_directions(saes.config.d_sae, width, seed=0)
    controls = {"pca": pca_directions(x_ND), "random": random_FD}
    scored = {name: truth_match(d.double(), truth_MD.double()) for name, d in controls.items()}
    summary = {
        "gt_mcc": _spread([m.mcc if m else 0.0 for m in matches]),
        "recall": _spread([m.recall if m else 0.0 for m in matches]),
        "precision": _spread([m.precision if m else math.nan for m in matches]),
        "baselines": {
            name: {"gt_mcc": m.mcc, "recall": m.recall, "precision": m.precision}
            for name, m in scored.items()
        },
    }
    return Truth(summary, [{} for _ in saes.seeds], [])


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else None


def _spread(values: Sequence[float]) -> dict[str, Any]:
    known = [value for value in values if math.isfinite(value)]
    mean = _mean(values)
    sd = None
    if mean is not None and len(known) > 1:
        sd = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (len(known) - 1))
    plain = [value if math.isfinite(value) else None for value in values]
    return {"mean": mean, "sd": sd, "per_seed": plain}
