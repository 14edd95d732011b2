"""Stage `cohort`: SAEs of one setting, trained for all seeds at once."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch import Tensor

from engine.metrics.similarity import mean_max_cos
from engine.saes.cohort import Cohort
from engine.saes.formats import START, save_cohort, save_sae, start_of, to_raw
from engine.saes.quality import Quality
from engine.stages.artifacts import FROZEN, SPLIT, read_activations
from engine.stages.context import Context, Result
from engine.study.recipe import SaeTraining
from engine.study.sae import Sae
from engine.subjects.surrogate import surrogate
from engine.training import checkpoint_rule, train

_SAE: TypeAdapter[Sae] = TypeAdapter(Sae)


def read_sae(config: object) -> Sae:
    """Return SAE settings from a job's plain values."""
    return _SAE.validate_python(config, strict=False)


def run(context: Context) -> Result:
    """Train a cohort and save it stacked and seed by seed, in units of the raw activations.

    Seeds that diverged are listed and left out, be it all of them: one job may hold a part of a cohort, and
    whether enough are left is seen where the parts are joined.

    With `surrogate` set, the activations are replaced by Gaussian data of the same mean and covariance:
    what the seeds then agree on, they agree on without anything to find (null N3).
    """
    config = context.config
    context.inputs["activations"].read_result()
    x_ND, groups_N = read_activations(context.inputs["activations"])
    if config["surrogate"] is not None:
        x_ND = surrogate(x_ND, int(config["surrogate"]["seed"]))
    training = SaeTraining.model_validate(config["training"], strict=False)
    seeds = tuple(config["seeds"])
    cohort = Cohort(
        read_sae(config["sae"]),
        training,
        seeds,
        x_ND,
        vary=config["vary"],
        device=context.device,
        precision=context.precision,
        groups_N=groups_N,
        agreement=agreement_of_each,
    )
    done = train(
        cohort,
        context.run,
        steps=cohort.steps,
        measure_every=training.measure_every,
        checkpoint=checkpoint_rule(training.checkpoint_every, training.warmup_steps),
        stop=context.stop,
        labels=[f"seed-{seed}" for seed in seeds],
    )
    quality = cohort.quality()
    diverged = cohort.freeze.diverged()
    sound = [seed for seed in seeds if seed not in diverged]
    _save(context, cohort, sound)
    return {
        "steps": done,
        "seeds": sound,
        "quality": figures_of(quality, [seeds.index(seed) for seed in sound]),
        "diverged": {str(seed): what for seed, what in diverged.items()},
    }


def _save(context: Context, cohort: Cohort, sound: list[int]) -> None:
    """Save the SAEs before and after training; frozen seeds go apart, where no analysis finds them."""
    saes = to_raw(cohort)
    folder = context.run.begin_artifacts()
    save_cohort(folder, saes.select(*sound))
    save_cohort(folder, start_of(cohort).select(*sound), START)
    save_file({"held_out": cohort.batches.held_out}, folder / SPLIT)
    for seed in saes.seeds:
        place = folder if seed in sound else folder / FROZEN
        save_sae(place / f"seed-{seed}", saes.select(seed))


def figures_of(quality: Quality, places: list[int]) -> dict[str, Any]:
    """Return the figures of some seeds; None for one that is not finite, which JSON does not know."""
    return {
        name: [row[p] if math.isfinite(row[p]) else None for p in places]
        for name, row in quality.as_dict().items()
    }


def agreement_of_each(W_dec_SFD: Tensor, alive_SF: Tensor) -> list[float]:
    """Return, per seed, the mean over the other seeds of `mean_max_cos` between live decoder rows; NaN for
    a pair of which one has no live row."""
    S = len(W_dec_SFD)
    pairs = torch.full((S, S), torch.nan, dtype=torch.float64)
    for i in range(S):
        for j in range(i):
            a_AD, b_BD = W_dec_SFD[i][alive_SF[i]], W_dec_SFD[j][alive_SF[j]]
            if len(a_AD) and len(b_BD):
                pairs[i, j] = pairs[j, i] = mean_max_cos(a_AD, b_BD)
    return [float(value) for value in pairs.nanmean(1)]
