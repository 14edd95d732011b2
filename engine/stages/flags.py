"""Red flags: what a reader must know before believing a cohort's figures."""

from __future__ import annotations

import math
from typing import Any

from pydantic import TypeAdapter

from engine.disk.curves import Flag
from engine.disk.text import bare
from engine.saes.watch import flags_at_end
from engine.stages.parts import Results, quality_of
from engine.study.sae import Sae

_SAE: TypeAdapter[Sae] = TypeAdapter(Sae)

HEADLINE_METRIC = "mean_max_cos"
"""The seeds' own measure (their PWMCC), so that their numbers can be compared with."""
NEAR_START = 0.5
"""Mean cosine of live decoder rows with their start above which SAEs are called undertrained."""
LOW_EV = 0.7
MANY_DEAD = 0.3
SATURATED = 0.95
"""Loss recovered by an untrained SAE from which the measure says nothing."""
UNTRAINED = "did not train"
"""Words of the flag that leaves a cohort without a verdict."""
UNFAIR_SURROGATE = "N3 is no fair null here"
"""Words of the flag of a surrogate that learnt nothing."""

TOLD_OTHERWISE = {"dead_latents", "low_explained_variance", "diverged"}
"""Flags of the training whose finished SAEs have figures and flags of their own."""

SHARED_INITIALISATION = (
    "the seeds share their initial weights: this measures what the order of batches decides, not whether "
    "features depend on the seed"
)
ONLY_N3 = (
    "so agreement is judged against twins trained in the same way on surrogate data (N3) alone"
)


def dependence(settings: dict[str, Any]) -> str:
    """Return why the seeds of a cohort (settings of its job) depend on each other; nothing if they do not."""
    options = settings["sae"]["stability"]
    if "init" not in settings["vary"] or options["shared_init"]:
        return SHARED_INITIALISATION
    if options["consistency"]:
        return f"a consistency loss draws the seeds together, {ONLY_N3}"
    if options["pinned"]:
        return (
            f"{options['pinned']:.0%} of the decoder rows are pinned to the same inputs, {ONLY_N3}"
        )
    if settings["training"]["init"] == "data":
        return f"the decoders start from inputs of one data set, {ONLY_N3}"
    return ""


def starts_at_chance(settings: dict[str, Any]) -> bool:
    """Return whether decoders before training should agree as isotropic directions do."""
    return settings["training"]["init"] == "random" and not dependence(settings)


def red_flags(
    results: Results, training: dict[str, Any], cohort: dict[str, Any], stability: dict[str, Any]
) -> list[str]:
    """Return one sentence per flag; the thresholds are conventions (science.md §7 and the seeds')."""
    floor = float(results["activations"]["rank_one_variance"])
    flags = [
        *reconstruction_flags(cohort["quality"], floor),
        *_surrogate(results, cohort),
        *_diverged(cohort),
        *_start(cohort["quality"], stability),
        *_batches(int(results["activations"]["samples"]), training),
        *results["activations"].get("warnings", ()),
    ]
    return [*flags, *_open(cohort, stability["metrics"].get(HEADLINE_METRIC, {}))]


def _open(cohort: dict[str, Any], cells: dict[str, Any]) -> list[str]:
    """Return why there is no verdict, or why it does not rest on live features."""
    live, every = cells.get("live"), cells.get("all")
    flags = []
    if live and live["observed"] is None and every and every["observed"] is not None:
        counts = zip(cohort["seeds"], live["n_per_seed"], strict=True)
        silent = ", ".join(str(seed) for seed, count in counts if not count)
        why = f"no live feature in seed {silent}" if silent else live["reason"]
        flags.append(f"{why}: what is said of stability is of all features, dead ones included")
        live = every
    if live and live["verdict"] == "undetermined" and live["reason"]:
        flags.append(f"no verdict: {live['reason']}")
    return flags


def flags_of_training(cohort: dict[str, Any], traced: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the red flags of the curves with their steps, and whether each still holds at the end."""
    config: Sae = _SAE.validate_python(cohort["settings"], strict=False)
    last = {(f.name, f.seed) for f in flags_at_end(config, traced["seeds"], traced["curves"])}
    return [
        {"step": row["step"], **flag, "holds": (flag["name"], flag["seed"]) in last}
        for row in traced["curves"]
        for flag in row.get("flags", ())
    ]


def warnings_of_training(cohort: dict[str, Any], traced: dict[str, Any]) -> list[str]:
    """Return one sentence for each kind of red flag that holds at the end and that no figure of the finished
    SAEs tells: of the loss and of L0."""
    config: Sae = _SAE.validate_python(cohort["settings"], strict=False)
    kinds: dict[str, list[Flag]] = {}
    for flag in flags_at_end(config, traced["seeds"], traced["curves"]):
        if flag.name not in TOLD_OTHERWISE and flag.seed in cohort["seeds"]:
            kinds.setdefault(flag.name, []).append(flag)
    return [_together(flags) for flags in kinds.values()]


def _together(flags: list[Flag]) -> str:
    first, *others = flags
    if not others:
        return first.message
    seeds = ", ".join(str(flag.seed) for flag in others)
    return f"{first.message} (likewise seed{'s' if len(others) > 1 else ''} {seeds})"


def reconstruction_flags(quality: dict[str, Any], floor: float) -> list[str]:
    """Return the flags of SAEs that explain little; `floor` is what one principal direction explains."""
    ev, dead = quality["explained_variance"], quality["dead_fraction"]["mean"]
    worst = min(value if value is not None else -math.inf for value in ev["per_seed"])
    flags = []
    if worst < floor:
        flags.append(
            f"a seed explains {_number(worst)} of the variance, less than one principal direction "
            f"({_number(floor)}): it {UNTRAINED}"
        )
    elif ev["mean"] < LOW_EV:
        flags.append(
            f"explained variance is {_number(ev['mean'], 2)}, below .7: the features describe little"
        )
    if dead > MANY_DEAD:
        flags.append(f"{dead:.0%} of the latents never fire")
    recovered = quality["loss_recovered"]
    if recovered and recovered["untrained"] is not None and recovered["untrained"] >= SATURATED:
        flags.append(
            f"loss recovered says nothing here: an untrained SAE recovers "
            f"{_number(recovered['untrained'])}"
        )
    return flags


def _surrogate(results: Results, cohort: dict[str, Any]) -> list[str]:
    """The twin on Gaussian data has less to find, but must have learnt what there is."""
    if "surrogate" not in results or _lack_twins(cohort):
        return []
    known = quality_of(results, "surrogate", cohort["seeds"])["explained_variance"]
    worst = min(value if math.isfinite(value) else -math.inf for value in known)
    if worst > 0:
        return []
    return [
        f"the surrogate behind N3 explains {_number(worst)} of its variance: {UNFAIR_SURROGATE}"
    ]


def _batches(samples: int, training: dict[str, Any]) -> list[str]:
    """A batch cannot hold more than there is: what a study asked for is not what was done."""
    kept = samples - max(1, round(samples * training["held_out"]))
    if training["batch_size"] <= kept:
        return []
    return [
        f"batch_size {training['batch_size']:,} is more than the {kept:,} activations of the training: "
        "every step takes all of them"
    ]


def _diverged(cohort: dict[str, Any]) -> list[str]:
    flags = [
        f"seed {seed} diverged at step {what['step']} and is left out of all figures"
        for seed, what in cohort["diverged"].items()
    ]
    if lacking := _lack_twins(cohort):
        return [
            *flags,
            f"on surrogate data seed {', '.join(map(str, lacking))} diverged: fewer than two seeds are "
            "sound there and here, so there is no N3",
        ]
    return flags + [
        f"seed {seed} diverged on surrogate data at step {what['step']}: N3 is without it, so all figures are"
        for seed, what in cohort["surrogate_diverged"].items()
    ]


def _lack_twins(cohort: dict[str, Any]) -> list[int]:
    """Return the seeds that are compared although their twins diverged: then there is no N3."""
    return [seed for seed in cohort["seeds"] if str(seed) in cohort["surrogate_diverged"]]


def _start(quality: dict[str, Any], stability: dict[str, Any]) -> list[str]:
    flags = []
    kept = quality["cosine_with_start"]["mean"]
    if kept is not None and kept > NEAR_START:
        flags.append(
            f"undertrained: live decoder rows keep a mean cosine of {_number(kept, 2)} with their random "
            "start, so agreement that longer training would bring cannot show yet"
        )
    step_zero = stability["step_zero"]
    if step_zero is not None and not step_zero["ok"]:
        flags.append(
            f"before training the seeds already score {_number(step_zero['observed'])} where independent ones "
            f"score {_number(step_zero['expected'])}: they share their initialisation"
        )
    return flags


def _number(value: float, digits: int = 3) -> str:
    """Return a share with a few digits: `.123`, `−3.2e33`; what exploded has no use for more."""
    if not math.isfinite(value):
        return "no finite share"
    if abs(value) < 1000:
        return bare(f"{value:.{digits}f}".replace("-", "−"))
    mantissa, _, exponent = f"{value:.1e}".replace("-", "−").partition("e")
    return f"{mantissa}e{exponent.lstrip('+').lstrip('0')}"
