"""Stage `analysis`: how far the seeds of one cohort agree beyond chance, and with the truth.

Shapes: S seeds, N activations, D width, F latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.errors import Diverged
from engine.metrics.activation_matching import ActivationSample, torus
from engine.metrics.agreement import Stability, SubsetName
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
from engine.study.subject import External, Modular, Subject
from engine.subjects.surrogate import moments


@dataclass(frozen=True)
class _Cohort:
    """What the analysis reads of a cohort."""

    inputs: dict[str, RunDirectory]
    results: Results
    hook: str
    options: Analysis
    settings: dict[str, Any]
    """Of its training."""
    x_ND: Tensor
    covariance_DD: Tensor
    """Of the activations."""
    saes: TrainedSaes
    twin: TrainedSaes | None
    """The same on surrogate data."""
    start: TrainedSaes
    """The same before training."""
    live_SF: Tensor

    @property
    def dependence(self) -> str:
        """Why the seeds depend on each other; empty if they do not."""
        return dependence(self.settings)


def run(context: Context) -> Result:
    """Measure one cohort: quality, stability with its nulls, agreement with the ground truth.

    Raises:
        Diverged: fewer than two seeds are left to compare; the others and their steps are named.
    """
    cohort = _read(context)
    saes, live_SF = cohort.saes, cohort.live_SF
    stability = _stability(cohort)
    subject = read_subject(cohort.inputs["subject"])
    survey = survey_of(subject, live_SF)
    seen_ND = looked_at(subject, cohort.x_ND, saes.config.d_sae)
    sample = _activation_sample(subject, len(seen_ND))
    gallery = Gallery(saes, live_SF, stability, getattr(subject, "modulus", None))

    looks = (survey.see, lambda s, z_NF: sample.add(s, z_NF, live_SF[s]), gallery.see)
    truth = _truth(cohort, seen_ND, stability, looks)
    geometry = measure_geometry(
        survey, partial(latents, saes), cohort.x_ND, cohort.covariance_DD, saes, truth.planes
    )
    plain = stability.to_json()
    subset = _headline_subset(plain)
    similar = _similarity(cohort, stability, subset)
    folder = context.run.begin_artifacts()
    fake = twin_features(cohort.twin, cohort.options.sign) if cohort.twin else None
    discoveries = find_again(stability, fake.match if fake else None, live_SF)
    columns = [{**t, **g} for t, g in zip(truth.features, geometry.features, strict=True)]
    write_features(
        folder, cohort.hook, saes, live_SF, stability, discoveries, columns, similar.consensus
    )
    save_consensus(folder, similar.consensus, saes.seeds)
    shown = gallery.write(folder, truth.features[0], fake)
    told = _describe(cohort)
    told["quality"]["loss_recovered"] = truth.loss_recovered
    warnings = red_flags(cohort.results, cohort.settings["training"], told, plain) + truth.warnings
    if cohort.dependence:
        warnings.append(cohort.dependence)
    return {
        "cohort": {
            **told,
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


def _read(context: Context) -> _Cohort:
    inputs = context.inputs
    results = {role: source.read_result() for role, source in inputs.items()}
    x_ND, _ = read_activations(inputs["activations"])
    saes, twin = _read_pair(inputs, results)
    return _Cohort(
        inputs=inputs,
        results=results,
        hook=str(context.config["hook"]),
        options=Analysis.model_validate(context.config["analysis"], strict=False),
        settings=inputs["cohort"].read_job()["config"],
        x_ND=x_ND,
        covariance_DD=moments(x_ND)[1],
        saes=saes,
        twin=twin,
        start=read_cohort(inputs, "cohort", START).select(*saes.seeds),
        live_SF=_live(saes),
    )


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


def _stability(cohort: _Cohort) -> Stability:
    start, twin, options = cohort.start, cohort.twin, cohort.options
    fresh = starts_at_chance(cohort.settings)
    return measure_stability(
        cohort.saes.weights.W_dec,
        cohort.live_SF,
        activation_covariance_DD=cohort.covariance_DD,
        initial_SFD=start.weights.W_dec if fresh else None,
        surrogate_SFD=twin.weights.W_dec if twin else None,
        surrogate_live_SF=_live(twin) if twin else None,
        sign=options.sign,
        draws=options.draws,
        tau=options.tau,
        encoders_SFD=cohort.saes.weights.W_enc,
        dependence=cohort.dependence,
        beside=read_beside(cohort.inputs, cohort.results, cohort.hook, cohort.x_ND, start),
    )


def _similarity(cohort: _Cohort, stability: Stability, subset: SubsetName) -> Similarity:
    twin, drawn = cohort.twin, None
    if twin:
        drawn = cohort.inputs["surrogate"].read_job()["config"]["surrogate"]
    return measure_similarity(
        cohort.x_ND,
        cohort.covariance_DD,
        cohort.saes,
        cohort.live_SF,
        cohort.start,
        twin,
        _live(twin) if twin else None,
        stability,
        (HEADLINE_METRIC, subset),
        surrogate_seed=int(drawn["seed"]) if drawn else 0,
        dependence=cohort.dependence,
    )


def _activation_sample(subject: Subject, count: int) -> ActivationSample:
    if isinstance(subject, Modular):
        return ActivationSample(torus(subject.modulus, subject.task))
    return ActivationSample(torch.arange(count))


def _truth(cohort: _Cohort, x_ND: Tensor, stability: Stability, looks: Looks) -> Truth:
    """Return the agreement with the ground truth, and whether the features that agree are the stable ones; show
    `looks` the latents of each seed, which are computed once."""
    run, saes, live_SF = cohort.inputs["subject"], cohort.saes, cohort.live_SF
    subject = read_subject(run)
    if isinstance(subject, Modular):
        held_out = read_held_out(cohort.inputs["cohort"])
        truth = score_modular(
            subject, run, cohort.hook, x_ND, saes, cohort.start, live_SF, stability, held_out, looks
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


def _describe(cohort: _Cohort) -> dict[str, Any]:
    """Return what the cohort is, how well it reconstructs and how far it came from its start.

    Dead latents fire on none of all activations; live ones often enough to be counted (science.md §2);
    the rest fire rarely.
    """
    saes, results, job = cohort.saes, cohort.results, cohort.inputs["cohort"].read_job()
    quality = quality_of(results, "cohort", saes.seeds)
    alignment = [
        float(enc_dec_alignment(e_FD, d_FD).nanmean())
        for e_FD, d_FD in zip(saes.weights.W_enc, saes.weights.W_dec, strict=True)
    ]
    # Rows keep their place, so each can be compared with where it started.
    # Dead rows never move; they would hide that the others did.
    began = cohort.start.weights.W_dec
    cosine_SF = torch.nn.functional.cosine_similarity(saes.weights.W_dec, began, dim=2)
    kept = [float(c[live].mean()) for c, live in zip(cosine_SF, cohort.live_SF, strict=True)]
    assert saes.fires is not None, "cohorts are saved with their firing counts"
    return {
        "title": job["name"],
        "hook": cohort.hook,
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
            "live_fraction": spread(cohort.live_SF.double().mean(1).tolist()),
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
