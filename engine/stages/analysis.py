"""Stage `analysis`: how far the seeds of one cohort agree beyond chance, and with the truth.

Shapes: S seeds, N activations, D width, F latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.metrics.agreement import Stability
from engine.metrics.similarity import enc_dec_alignment, live_mask
from engine.metrics.stability import measure_stability
from engine.saes.architectures import initial_weights
from engine.saes.formats import TrainedSaes, load_cohort
from engine.stages.activations import read_activations, read_subject
from engine.stages.context import Context, Result
from engine.stages.features import write_features
from engine.stages.truth import Truth, loss_recovered, score_modular, score_planted
from engine.study.spec import Analysis
from engine.study.subject import Modular
from engine.subjects.surrogate import moments

HEADLINE_METRIC = "mean_max_cos"
NEAR_START = 0.5
"""Mean cosine of decoder rows with their start above which they are called undertrained (convention)."""


def run(context: Context) -> Result:
    """Measure one cohort: quality, stability with its nulls, agreement with the ground truth."""
    inputs, config = context.inputs, context.config
    options = Analysis.model_validate(config["analysis"], strict=False)
    for source in inputs.values():
        source.read_result()
    x_ND, saes = read_activations(inputs["activations"]), load_cohort(inputs["cohort"].artifacts)
    live_SF = _live(saes)
    initial_SFD, varied = _initial_decoders(inputs["cohort"], saes)
    stability = _stability(inputs, x_ND, saes, initial_SFD if varied else None, live_SF, options)
    truth = _truth(inputs, str(config["hook"]), x_ND, saes, live_SF)
    folder = context.run.begin_artifacts()
    write_features(folder, str(config["hook"]), saes, live_SF, stability, truth.features)
    cohort = _describe(inputs, str(config["hook"]), saes, initial_SFD)
    cohort["quality"]["loss_recovered"] = (
        spread(truth.loss_recovered) if truth.loss_recovered else None
    )
    plain = stability.to_json() if stability else {"metrics": {}, "step_zero": None}
    warnings = _red_flags(inputs, cohort, plain)
    subset = _headline_subset(plain)
    return {
        "cohort": {
            **cohort,
            "stability": plain["metrics"],
            "step_zero": plain["step_zero"],
            "headline": {"metric": HEADLINE_METRIC, "subset": subset},
            "verdict": _verdict(plain, subset, warnings),
            "ground_truth": truth.summary,
            "warnings": warnings,
        }
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation (ddof 1) and the values by seed; NaN becomes null."""
    mean = math.fsum(values) / len(values)
    variance = (
        math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
        if len(values) > 1
        else math.nan
    )
    return {
        "mean": _plain(mean),
        "sd": _plain(math.sqrt(variance)) if not math.isnan(variance) else None,
        "per_seed": [_plain(value) for value in values],
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _live(saes: TrainedSaes) -> Tensor:
    """Return which latents fire often enough to be counted, bool [S, F]."""
    assert saes.fires is not None, "cohorts are saved with their firing counts"
    return torch.stack([live_mask(fires_F, saes.inputs) for fires_F in saes.fires])


def _stability(
    inputs: dict[str, RunDirectory],
    x_ND: Tensor,
    saes: TrainedSaes,
    initial_SFD: Tensor | None,
    live_SF: Tensor,
    options: Analysis,
) -> Stability | None:
    """Return the agreement of the seeds; one seed has nothing to agree with."""
    if len(saes.seeds) < 2:
        return None
    twin = load_cohort(inputs["surrogate"].artifacts) if "surrogate" in inputs else None
    return measure_stability(
        saes.weights.W_dec,
        live_SF,
        activation_covariance_DD=moments(x_ND)[1],
        initial_SFD=initial_SFD,
        surrogate_SFD=twin.weights.W_dec if twin else None,
        surrogate_live_SF=_live(twin) if twin else None,
        sign=options.sign,
        draws=options.draws,
        tau=options.tau,
    )


def _truth(
    inputs: dict[str, RunDirectory], hook: str, x_ND: Tensor, saes: TrainedSaes, live_SF: Tensor
) -> Truth:
    subject = read_subject(inputs["subject"])
    if isinstance(subject, Modular):
        truth = score_modular(subject, inputs["subject"], hook, x_ND, saes, live_SF)
        recovered = loss_recovered(subject, inputs["subject"], hook, x_ND, saes)
        return Truth(truth.summary, truth.features, recovered)
    return score_planted(inputs["subject"], x_ND, saes, live_SF)


def _initial_decoders(run: RunDirectory, saes: TrainedSaes) -> tuple[Tensor, bool]:
    """Return the decoders before training [S, F, D], and whether each seed has its own."""
    job = run.read_job()["config"]
    varied = "init" in job["vary"]
    seeds = saes.seeds if varied else (int(job["training"]["init_seed"]),) * len(saes.seeds)
    return initial_weights(seeds, saes.config.d_sae, saes.weights.W_dec.shape[2]).W_dec, varied


def _describe(
    inputs: dict[str, RunDirectory], hook: str, saes: TrainedSaes, initial_SFD: Tensor
) -> dict[str, Any]:
    """Return what the cohort is and how well it reconstructs."""
    result, job = inputs["cohort"].read_result(), inputs["cohort"].read_job()
    quality = result["quality"]
    alignment = [
        float(enc_dec_alignment(e_FD, d_FD).nanmean())
        for e_FD, d_FD in zip(saes.weights.W_enc, saes.weights.W_dec, strict=True)
    ]
    # Rows keep their place, so each can be compared with where it started.
    kept = torch.nn.functional.cosine_similarity(saes.weights.W_dec, initial_SFD, dim=2).mean(1)
    return {
        "title": job["name"],
        "hook": hook,
        "architecture": saes.config.architecture,
        "d_in": saes.weights.W_dec.shape[2],
        "d_sae": saes.config.d_sae,
        "k": getattr(saes.config, "k", None),
        "l1": getattr(saes.config, "l1", None),
        "seeds": list(saes.seeds),
        "steps": result["steps"],
        "quality": {
            **{
                name: spread(quality[name])
                for name in ("explained_variance", "l0", "dead_fraction")
            },
            "encoder_decoder_alignment": spread(alignment),
            "cosine_with_start": spread(kept.tolist()),
        },
    }


def _headline_subset(plain: dict[str, Any]) -> str:
    """Return `live` where it can be measured: dead rows never left their random start and agree by
    chance alone, so they would dilute what the seeds share."""
    live = plain["metrics"].get(HEADLINE_METRIC, {}).get("live")
    return "live" if live and live["observed"] is not None else "all"


def _verdict(plain: dict[str, Any], subset: str, warnings: list[str]) -> str:
    """Return the headline's verdict; SAEs that did not train have none."""
    agreement = plain["metrics"].get(HEADLINE_METRIC, {}).get(subset)
    if agreement is None or any("did not train" in text for text in warnings):
        return "undetermined"
    return str(agreement["verdict"])


def _red_flags(
    inputs: dict[str, RunDirectory], cohort: dict[str, Any], plain: dict[str, Any]
) -> list[str]:
    """Return what a reader must know before believing the cohort's figures."""
    flags = []
    floor = inputs["activations"].read_result()["rank_one_variance"]
    quality = cohort["quality"]
    ev, dead = quality["explained_variance"], quality["dead_fraction"]["mean"]
    worst = min(value if value is not None else -math.inf for value in ev["per_seed"])
    if worst < floor:
        flags.append(
            f"a seed explains {worst:.3f} of the variance, less than one principal direction ({floor:.3f}): "
            "it did not train"
        )
    elif ev["mean"] < 0.7:
        flags.append(
            f"explained variance is {ev['mean']:.2f}, below .7: the features describe little"
        )
    if dead > 0.3:
        flags.append(f"{dead:.0%} of the latents are dead on the held-out activations")
    kept = quality["cosine_with_start"]["mean"]
    if kept > NEAR_START:
        flags.append(
            f"decoder rows still have a mean cosine of {kept:.2f} with their random start: what the seeds "
            "agree on is mostly how they were initialised; train longer or with a larger learning rate"
        )
    step_zero = plain["step_zero"]
    if step_zero is not None and not step_zero["ok"]:
        flags.append(
            f"before training the seeds already score {step_zero['observed']:.3f} where independent ones "
            f"score {step_zero['expected']:.3f}: they share their initialisation"
        )
    return flags
