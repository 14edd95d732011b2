"""What the analysis compares SAEs of planted data with: the features that were planted.

Shapes: S seeds, N activations, D width, F latents, M true features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.metrics.ground_truth import (
    Plane,
    Spectrum,
    baselines,
    pca_directions,
    random_directions,
    recover,
)
from engine.metrics.matching import truth_match
from engine.metrics.similarity import cosine_matrix
from engine.metrics.uncertainty import spread
from engine.saes.formats import TrainedSaes
from engine.stages.truth import BASELINE_SEEDS, Truth, baseline_summary
from engine.subjects.planted import PlantedData, load_planted


def score_planted(
    run: RunDirectory, covariance_DD: Tensor, saes: TrainedSaes, live_SF: Tensor
) -> Truth:
    """Compare each seed's live atoms with what was planted, beside PCA and random directions.

    Planes of a `fourier` subject are scored as planes: single directions in them are arbitrary. Features
    of both signs are two features each for a non-negative code. In `gaussian` data nothing is planted.
    """
    data = load_planted(run.artifacts)
    if data.config.generator == "gaussian":
        return Truth(None, [{} for _ in saes.seeds])
    if data.config.generator == "fourier":
        return _score_planes(planted_planes(data), covariance_DD, saes, live_SF)
    truth_MD = data.features
    if data.config.signed:
        truth_MD = torch.cat([truth_MD, -truth_MD])
    dictionaries = [d_FD[live] for d_FD, live in zip(saes.weights.W_dec, live_SF, strict=True)]
    n_live = [len(d_ND) for d_ND in dictionaries]
    # A dictionary of fewer atoms has fewer chances: random ones are as large as what is live.
    width, size = truth_MD.shape[1], max(1, round(sum(n_live) / len(n_live)))
    controls = {
        "pca": [pca_directions(Spectrum.of(covariance_DD))],
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
        **dict.fromkeys(NEED_MODEL, NO_MODEL),
    }
    nearest = [cosine_matrix(d_FD, truth_MD).amax(1) for d_FD in saes.weights.W_dec]
    return Truth(summary, [{"truth_cosine": cosine_F} for cosine_F in nearest])


NEED_MODEL = ("causal", "ablation", "frequency_ablation", "clock")
NO_MODEL = {"missing": "planted data come from no model whose answers could change"}


MATCH = ("gt_mcc", "recall", "precision")


def _match(dictionaries: Sequence[Tensor], truth_MD: Tensor) -> list[dict[str, float]]:
    """Return GT-MCC, recall and precision of each; without a live atom nothing is recovered."""
    found = []
    for atoms_ND in dictionaries:
        match = truth_match(atoms_ND.double(), truth_MD.double()) if len(atoms_ND) else None
        values = (match.mcc, match.recall, match.precision) if match else (0.0, 0.0, math.nan)
        found.append(dict(zip(MATCH, values, strict=True)))
    return found


def planted_planes(data: PlantedData) -> list[Plane]:
    """Return the planted planes: rows 2k and 2k+1 of the features span plane k."""
    bases = data.features.double().view(-1, 2, data.features.shape[1])
    share = 1 / len(bases)
    return [Plane("planted", k, share, basis.T, exists=True) for k, basis in enumerate(bases)]


def _score_planes(
    truth: list[Plane], covariance_DD: Tensor, saes: TrainedSaes, live_SF: Tensor
) -> Truth:
    """Score planted planes."""
    found = [
        recover(d_FD, truth, live) for d_FD, live in zip(saes.weights.W_dec, live_SF, strict=True)
    ]
    size = max(1, round(sum(r.n_live for r in found) / len(found)))
    controls = baselines(Spectrum.of(covariance_DD), truth, size, seeds=BASELINE_SEEDS)
    summary = {
        "recall": spread([recovery.recall for recovery in found]),
        "precision": spread([recovery.precision for recovery in found]),
        "n_live": spread([float(recovery.n_live) for recovery in found]),
        "baselines": baseline_summary(controls),
        **dict.fromkeys(NEED_MODEL, NO_MODEL),
    }
    energies = [{"plane_energy": recovery.best_energy} for recovery in found]
    return Truth(summary, energies, tuple(truth))
