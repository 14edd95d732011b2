"""Stage `analysis`: how far the seeds of one cohort agree beyond chance, and with the truth.

Shapes: S seeds, N activations, D width, F latents.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.errors import Diverged
from engine.metrics.activation_matching import ActivationSample, torus
from engine.metrics.agreement import Stability, SubsetName
from engine.metrics.rungs import Beside
from engine.metrics.similarity import enc_dec_alignment, live_mask
from engine.metrics.stability import measure_stability
from engine.metrics.uncertainty import spread
from engine.saes.formats import START, TrainedSaes
from engine.stages.artifacts import read_activations, read_held_out, read_subject
from engine.stages.context import Context, Result
from engine.stages.external import looked_at
from engine.stages.features import find_again, write_features
from engine.stages.flags import (
    HEADLINE_METRIC,
    UNFAIR_SURROGATE,
    UNTRAINED,
    dependence,
    red_flags,
    starts_at_chance,
)
from engine.stages.gallery import Gallery, twin_features
from engine.stages.geometry import measure_geometry, survey_of
from engine.stages.parts import Results, diverged_of, quality_of, read_cohort
from engine.stages.planted import score_planted
from engine.stages.recovery import correlate_stability
from engine.stages.rungs import read_beside
from engine.stages.similarity import Similarity, measure_similarity, save_consensus
from engine.stages.truth import Looks, Truth, latents, score_modular, show
from engine.study.spec import Analysis
from engine.study.subject import External, Modular
from engine.subjects.surrogate import moments


def run(context: Context) -> Result:
    """Measure one cohort: quality, stability with its nulls, agreement with the ground truth.

    Raises:
        Diverged: fewer than two seeds are left to compare; the others and their steps are named.
    """
    inputs, config = context.inputs, context.config
    options = Analysis.model_validate(config["analysis"], strict=False)
    results = {role: source.read_result() for role, source in inputs.items()}
    x_ND, _ = read_activations(inputs["activations"])
    saes, twin = _read_pair(inputs, results)
    start = read_cohort(inputs, "cohort", START).select(*saes.seeds)
    live_SF = _live(saes)
    settings = inputs["cohort"].read_job()["config"]
    reason = dependence(settings)
    hook = str(config["hook"])
    beside = read_beside(inputs, results, hook, x_ND, start)
    covariance_DD = moments(x_ND)[1]
    stability = _stability(covariance_DD, saes, twin, start, live_SF, options, settings, beside)
    subject = read_subject(inputs["subject"])
    survey = survey_of(subject, live_SF)
    seen_ND = looked_at(subject, x_ND, saes.config.d_sae)
    sample = _activation_sample(inputs, len(seen_ND))
    gallery = Gallery(saes, live_SF, stability, getattr(subject, "modulus", None))

    looks = (survey.see, lambda s, z_NF: sample.add(s, z_NF, live_SF[s]), gallery.see)
    truth = _truth(inputs, hook, seen_ND, saes, start, live_SF, stability, looks)
    geometry = measure_geometry(
        survey, partial(latents, saes), x_ND, covariance_DD, saes, truth.planes
    )
    plain = stability.to_json()
    subset = _headline_subset(plain)
    similar = _similarity(
        inputs, x_ND, covariance_DD, saes, twin, start, live_SF, stability, subset
    )
    folder = context.run.begin_artifacts()
    fake = twin_features(twin, options.sign) if twin else None
    discoveries = find_again(stability, fake.match if fake else None, live_SF)
    columns = [{**t, **g} for t, g in zip(truth.features, geometry.features, strict=True)]
    write_features(folder, hook, saes, live_SF, stability, discoveries, columns, similar.consensus)
    save_consensus(folder, similar.consensus, saes.seeds)
    shown = gallery.write(folder, truth.features[0], fake)
    cohort = _describe(
        inputs["cohort"].read_job(), results, hook, saes, start.weights.W_dec, live_SF
    )
    cohort["quality"]["loss_recovered"] = truth.loss_recovered
    warnings = red_flags(results, settings["training"], cohort, plain) + truth.warnings
    if reason:
        warnings.append(reason)
    return {
        "cohort": {
            **cohort,
            "stability": plain["metrics"],
            "step_zero": plain["step_zero"],
            "activation_match": sample.measure(),
            "discoveries": discoveries.to_json(),
            **shown,
            "headline": {"metric": HEADLINE_METRIC, "subset": subset},
            "verdict": _verdict(plain, subset, warnings),
            "ground_truth": truth.summary,
            "geometry": geometry.summary,
            "similarity": similar.summary,
            "warnings": warnings,
        }
    }


def _read_pair(
    inputs: dict[str, RunDirectory], results: Results
) -> tuple[TrainedSaes, TrainedSaes | None]:
    """Return the cohort and its twin on surrogate data, both of the seeds that are sound in both.

    A seed and its twin start from the same weights: what the jackknife leaves out are both. Without two
    such seeds there is no twin, and the cohort is that of all its sound seeds.
    """
    saes = read_cohort(inputs, "cohort")
    diverged = diverged_of(results, "cohort")
    if diverged and len(saes.seeds) < 2:
        said = ", ".join(f"seed {seed} at step {what['step']}" for seed, what in diverged.items())
        raise Diverged(f"fewer than two seeds are left: loss or weights are not finite: {said}")
    if "surrogate" not in inputs:
        return saes, None
    twin = read_cohort(inputs, "surrogate")
    common = [seed for seed in saes.seeds if seed in twin.seeds]
    if len(common) < 2:
        return saes, None
    return saes.select(*common), twin.select(*common)


def _live(saes: TrainedSaes) -> Tensor:
    """Return which latents fire often enough to be counted, bool [S, F]."""
    assert saes.fires is not None, "cohorts are saved with their firing counts"
    return torch.stack([live_mask(fires_F, saes.inputs) for fires_F in saes.fires])


def _stability(
    covariance_DD: Tensor,
    saes: TrainedSaes,
    twin: TrainedSaes | None,
    start: TrainedSaes,
    live_SF: Tensor,
    options: Analysis,
    settings: dict[str, Any],
    beside: Beside,
) -> Stability:
    return measure_stability(
        saes.weights.W_dec,
        live_SF,
        activation_covariance_DD=covariance_DD,
        initial_SFD=start.weights.W_dec if starts_at_chance(settings) else None,
        surrogate_SFD=twin.weights.W_dec if twin else None,
        surrogate_live_SF=_live(twin) if twin else None,
        sign=options.sign,
        draws=options.draws,
        tau=options.tau,
        encoders_SFD=saes.weights.W_enc,
        dependence=dependence(settings),
        beside=beside,
    )


def _similarity(
    inputs: dict[str, RunDirectory],
    x_ND: Tensor,
    covariance_DD: Tensor,
    saes: TrainedSaes,
    twin: TrainedSaes | None,
    start: TrainedSaes,
    live_SF: Tensor,
    stability: Stability,
    subset: SubsetName,
) -> Similarity:
    drawn = inputs["surrogate"].read_job()["config"]["surrogate"] if twin else None
    return measure_similarity(
        x_ND,
        covariance_DD,
        saes,
        live_SF,
        start,
        twin,
        _live(twin) if twin else None,
        stability,
        (HEADLINE_METRIC, subset),
        surrogate_seed=int(drawn["seed"]) if drawn else 0,
        dependence=dependence(inputs["cohort"].read_job()["config"]),
    )


def _activation_sample(inputs: dict[str, RunDirectory], count: int) -> ActivationSample:
    subject = read_subject(inputs["subject"])
    if isinstance(subject, Modular):
        return ActivationSample(torus(subject.modulus, subject.task))
    return ActivationSample(torch.arange(count))


def _truth(
    inputs: dict[str, RunDirectory],
    hook: str,
    x_ND: Tensor,
    saes: TrainedSaes,
    start: TrainedSaes,
    live_SF: Tensor,
    stability: Stability,
    looks: Looks,
) -> Truth:
    """Return the agreement with the ground truth, and whether the features that agree are the stable ones; show
    `looks` the latents of each seed, which are computed once."""
    subject, run = read_subject(inputs["subject"]), inputs["subject"]
    if isinstance(subject, Modular):
        held_out = read_held_out(inputs["cohort"])
        truth = score_modular(
            subject, run, hook, x_ND, saes, start, live_SF, stability, held_out, looks
        )
    else:
        for s in range(len(saes.seeds)):
            show(looks, s, latents(saes, s, x_ND))
        if isinstance(subject, External):
            return Truth(None, [{} for _ in saes.seeds])
        truth = score_planted(run, x_ND, saes, live_SF)
    if truth.summary is not None:
        found = correlate_stability(truth.features, stability, live_SF)
        truth.summary["stability_correlation"] = found
    return truth


def _describe(
    job: dict[str, Any],
    results: Results,
    hook: str,
    saes: TrainedSaes,
    initial_SFD: Tensor,
    live_SF: Tensor,
) -> dict[str, Any]:
    """Return what the cohort is, how well it reconstructs and how far it came from its start.

    Dead latents fire on none of all activations; live ones often enough to be counted (science.md §2);
    the rest fire rarely.
    """
    quality = quality_of(results, "cohort", saes.seeds)
    alignment = [
        float(enc_dec_alignment(e_FD, d_FD).nanmean())
        for e_FD, d_FD in zip(saes.weights.W_enc, saes.weights.W_dec, strict=True)
    ]
    # Rows keep their place, so each can be compared with where it started.
    # Dead rows never move; they would hide that the others did.
    cosine_SF = torch.nn.functional.cosine_similarity(saes.weights.W_dec, initial_SFD, dim=2)
    kept = [float(c[live].mean()) for c, live in zip(cosine_SF, live_SF, strict=True)]
    assert saes.fires is not None, "cohorts are saved with their firing counts"
    return {
        "title": job["name"],
        "hook": hook,
        "architecture": saes.config.architecture,
        "d_in": saes.weights.W_dec.shape[2],
        "d_sae": saes.config.d_sae,
        "k": getattr(saes.config, "k", None),
        "l1": getattr(saes.config, "l1", None),
        "target_l0": getattr(saes.config, "target_l0", None),
        "seeds": list(saes.seeds),
        "steps": results["cohort"]["steps"],
        "settings": job["config"]["sae"],
        "diverged": diverged_of(results, "cohort"),
        "surrogate_diverged": diverged_of(results, "surrogate"),
        "quality": {
            **{name: spread(quality[name]) for name in ("explained_variance", "l0")},
            "dead_fraction": spread((saes.fires == 0).double().mean(1).tolist()),
            "live_fraction": spread(live_SF.double().mean(1).tolist()),
            "encoder_decoder_alignment": spread(alignment),
            "cosine_with_start": spread(kept),
        },
    }


def _headline_subset(plain: dict[str, Any]) -> SubsetName:
    """Return `live` where it can be measured: dead rows never left their random start and agree by
    chance alone, so they would dilute what the seeds share."""
    live = plain["metrics"].get(HEADLINE_METRIC, {}).get("live")
    return "live" if live and live["observed"] is not None else "all"


def _verdict(plain: dict[str, Any], subset: str, warnings: list[str]) -> str:
    """Return the headline's verdict. SAEs that did not train have none; beyond chance none has whose twins did
    not learn, as without N3: twins at their start agree less than any that fit noise."""
    agreement = plain["metrics"].get(HEADLINE_METRIC, {}).get(subset)
    if agreement is None or any(UNTRAINED in text for text in warnings):
        return "undetermined"
    if agreement["verdict"] != "chance" and any(UNFAIR_SURROGATE in text for text in warnings):
        return "undetermined"
    return str(agreement["verdict"])
