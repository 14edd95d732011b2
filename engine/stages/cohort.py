"""Stage `cohort`: SAEs of one setting, trained for all seeds at once."""

from __future__ import annotations

from pydantic import TypeAdapter
from safetensors.torch import save_file

from engine.saes.cohort import Cohort
from engine.saes.formats import save_cohort, save_sae, to_raw
from engine.stages.artifacts import SPLIT, read_activations
from engine.stages.context import Context, Result
from engine.study.sae import Sae, SaeTraining
from engine.subjects.surrogate import surrogate
from engine.training import train

_SAE: TypeAdapter[Sae] = TypeAdapter(Sae)


def read_sae(config: object) -> Sae:
    """Return SAE settings from a job's plain values."""
    return _SAE.validate_python(config, strict=False)


def run(context: Context) -> Result:
    """Train a cohort and save it stacked and seed by seed, in units of the raw activations.

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
        groups_N=groups_N,
    )
    done = train(
        cohort,
        context.run,
        steps=cohort.steps,
        measure_every=training.measure_every,
        checkpoint_every=training.checkpoint_every,
        stop=context.stop,
        labels=[f"seed-{seed}" for seed in seeds],
    )
    quality = cohort.quality()
    saes = to_raw(cohort)
    folder = context.run.begin_artifacts()
    save_cohort(folder, saes)
    save_file({"held_out": cohort.batches.held_out}, folder / SPLIT)
    for seed in seeds:
        save_sae(folder / f"seed-{seed}", saes.select(seed))
    return {"steps": done, "seeds": list(seeds), "quality": quality.as_dict()}
