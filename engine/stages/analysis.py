"""Stage `analysis`: how far the seeds of one cohort agree beyond chance, and with the truth.

Shapes: S seeds, N activations, D width, F latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.errors import Diverged
from engine.metrics.activation_matching import ActivationSample, torus
from engine.metrics.agreement import Stability, SubsetName
from engine.metrics.discoveries import Discoveries
from engine.metrics.parallel import together
from engine.metrics.similarity import enc_dec_alignment, live_mask
from engine.metrics.stability import measure_stability
from engine.metrics.uncertainty import spread
from engine.saes.formats import START, TrainedSaes
from engine.stages.artifacts import read_activations, read_held_out, read_subject
from engine.stages.context import Context, Result
from engine.stages.external import looked_at
from engine.stages.features import find_again, load_parquet, write_features
from engine.stages.flags import (
    HEADLINE_METRIC,
    UNFAIR_SURROGATE,
    UNTRAINED,
    dependence,
    red_flags,
    starts_at_chance,
)
from engine.stages.gallery import Gallery, TwinFeatures, twin_features
from engine.stages.geometry import Geometry, measure_geometry, survey_of
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


@dataclass(frozen=True)
class _Found:
    """What is measured of a cohort."""

    stability: Stability
    subset: SubsetName
    """That of the headline."""
    truth: Truth
    geometry: Geometry
    similar: Similarity
    activation_match: dict[str, Any]
    discoveries: Discoveries
    gallery: Gallery
    fake: TwinFeatures | None
    """The features of the twins."""


def run(context: Context) -> Result:
    """Measure one cohort: quality, stability with its nulls, agreement with the ground truth.

    Raises:
        Diverged: fewer than two seeds are left to compare; the others and their steps are named.
    """
    cohort = _read(context)
    found = _measure(cohort)
    shown = _write(context.run.begin_artifacts(), cohort, found)
    plain, truth = found.stability.to_json(), found.truth
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
            "activation_match": found.activation_match,
            "discoveries": found.discoveries.to_json(),
            **shown,
            "headline": {"metric": HEADLINE_METRIC, "subset": found.subset},
            "verdict": _verdict(plain, found.subset, warnings),
            "ground_truth": truth.summary,
            "geometry": found.geometry.summary,
            "similarity": found.similar.summary,
            "warnings": warnings,
        }
    }


def _measure(cohort: _Cohort) -> _Found:
    saes, live_SF = cohort.saes, cohort.live_SF
    stability = _stability(cohort)
    subset = _headline_subset(stability.to_json())
    subject = read_subject(cohort.inputs["subject"])
    survey = survey_of(subject, live_SF)
    seen_ND = looked_at(subject, cohort.x_ND, saes.config.d_sae)
    sample = _activation_sample(subject, len(seen_ND))
    gallery = Gallery(saes, live_SF, stability, getattr(subject, "modulus", None))
    looks = (survey.see, lambda s, z_NF: sample.add(s, z_NF, live_SF[s]), gallery.see)
    # What needs no truth fills the gaps that its looks at one seed after the other leave.
    truth, (similar, (fake, discoveries)) = together(
        partial(_truth, cohort, subject, seen_ND, stability, looks),
        partial(
            together,
            partial(_similarity, cohort, stability, subset),
            partial(_found_again, cohort, stability),
        ),
        load_parquet,
    )
    encode, planes = partial(latents, saes), truth.planes
    geometry, matched = together(
        lambda: measure_geometry(survey, encode, cohort.x_ND, cohort.covariance_DD, saes, planes),
        sample.measure,
        partial(_correlate, truth, stability, live_SF),
    )
    return _Found(stability, subset, truth, geometry, similar, matched, discoveries, gallery, fake)


def _write(folder: Path, cohort: _Cohort, found: _Found) -> dict[str, Any]:
    """Write the artifacts; return what the summary shows of the gallery."""
    columns = [
        {**t, **g} for t, g in zip(found.truth.features, found.geometry.features, strict=True)
    ]
    consensus = found.similar.consensus
    write_features(
        folder,
        cohort.hook,
        cohort.saes,
        cohort.live_SF,
        found.stability,
        found.discoveries,
        columns,
        consensus,
    )
    save_consensus(folder, consensus, cohort.saes.seeds)
    return found.gallery.write(folder, found.truth.features[0], found.fake)


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


def _truth(
    cohort: _Cohort, subject: Subject, x_ND: Tensor, stability: Stability, looks: Looks
) -> Truth:
    """Return the agreement with the ground truth; show `looks` the latents of each seed, which are computed
    once."""
    run, saes, live_SF = cohort.inputs["subject"], cohort.saes, cohort.live_SF
    if isinstance(subject, Modular):
        held_out = read_held_out(cohort.inputs["cohort"])
        return score_modular(
            subject,
            run,
            cohort.hook,
            x_ND,
            cohort.covariance_DD,
            saes,
            cohort.start,
            live_SF,
            stability,
            held_out,
            looks,
        )
    for s in range(len(saes.seeds)):
        show(looks, s, latents(saes, s, x_ND))
    if isinstance(subject, External):
        return Truth(None, [{} for _ in saes.seeds])
    return score_planted(run, cohort.covariance_DD, saes, live_SF)


def _correlate(truth: Truth, stability: Stability, live_SF: Tensor) -> None:
    """Say in the truth's summary whether the features that agree with it are the stable ones."""
    if truth.summary is not None:
        found = correlate_stability(truth.features, stability, live_SF)
        truth.summary["stability_correlation"] = found


def _found_again(cohort: _Cohort, stability: Stability) -> tuple[TwinFeatures | None, Discoveries]:
    """Return the twins' features, if there are twins, and which of the cohort's are found beyond chance."""
    fake = twin_features(cohort.twin, cohort.options.sign) if cohort.twin else None
    return fake, find_again(stability, fake.match if fake else None, cohort.live_SF)


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
