"""The methods section, written from the settings that were run: no number in it is typed."""

from __future__ import annotations

from typing import Any

from engine.report.recording import recording_method
from engine.report.sweeps import counts, crowded, search_text
from engine.report.wording import (
    MISSING,
    Record,
    explain_null,
    fraction,
    headline,
    metric_title,
    percent,
    plural,
    quantity,
)

NORMALIZATIONS = {"none": "no layer normalisation", "LN": "layer normalisation"}


class Settings:
    """The settings of a study, read by dotted path; what is not there reads as a dash."""

    def __init__(self, data: Record) -> None:
        self.data = data

    def get(self, path: str) -> Any:
        """Return the value at a path such as `training.lr`, or None."""
        value: Any = self.data
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def say(self, path: str) -> str:
        """Return the value at a path as text."""
        value = self.get(path)
        if value is None:
            return MISSING
        if isinstance(value, list):
            return ", ".join(str(item) for item in value)
        return _say(value)


def _say(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def methods(summary: Record) -> list[tuple[str, str]]:
    """Return the paragraphs of the methods section, each with its heading; none without settings."""
    settings = Settings(summary["provenance"].get("settings") or {})
    if not settings.data:
        return []
    subject = _subject(summary, settings)
    searched = search_text(settings.data)
    if searched:
        searched = (
            f"{searched} The values of all other settings, and those given above, are the study's."
        )
    return [
        ("Subject", subject),
        ("Sparse autoencoders", _saes(summary, settings)),
        *([("Search", searched)] if searched else []),
        ("Stability", _stability(summary, settings)),
        ("Numerics", _numerics(summary)),
    ]


def _subject(summary: Record, settings: Settings) -> str:
    kind = summary["subject"]["kind"]
    if kind == "external":
        return recording_method(summary)
    return _transformer(settings) if kind == "modular" else _planted(settings)


def _transformer(s: Settings) -> str:
    model, training = "subject.transformer", "subject.training"
    norm = str(s.get(f"{model}.normalization"))
    return (
        f"A transformer with {_layers(s)}, width {s.say(f'{model}.d_model')}, "
        f"{s.say(f'{model}.heads')} heads, an MLP of {s.say(f'{model}.d_mlp')} "
        f"{s.say(f'{model}.activation')} neurons and {NORMALIZATIONS.get(norm, norm)} "
        f"(init seed {s.say(f'{model}.init_seed')}) was trained to {s.say('subject.task')} mod "
        f"{s.say('subject.modulus')} in the {s.say('subject.tokens')} format, read at token "
        f"“{s.say('subject.position')}”. It saw {percent(s.get('subject.split.train'))} of all pairs "
        f"(split seed {s.say('subject.split_seed')}), {s.say(f'{training}.batch_size')} a step, for at most "
        f"{s.say(f'{training}.steps')} steps of AdamW: learning rate {s.say(f'{training}.lr')} after "
        f"{s.say(f'{training}.warmup_steps')} warm-up steps, {s.say(f'{training}.schedule')} schedule, weight "
        f"decay {s.say(f'{training}.weight_decay')}, betas {s.say(f'{training}.betas')}."
    )


def _layers(s: Settings) -> str:
    layers = s.get("subject.transformer.layers")
    return plural(layers, "layer") if isinstance(layers, int) else MISSING


def _planted(s: Settings) -> str:
    return (
        f"Planted {s.say('subject.generator')} data: {s.say('subject.samples')} samples of width "
        f"{s.say('subject.d_in')} with {s.say('subject.features')} true features, "
        f"{s.say('subject.l0')} active in a sample, and noise of standard deviation "
        f"{s.say('subject.noise')} (seed {s.say('subject.data_seed')})."
    )


def _saes(summary: Record, s: Settings) -> str:
    each = counts(summary).split(":")[0] if crowded(summary) else _each(summary)
    scaled = (
        ", scaled to unit variance per dimension on average" if s.get("training.normalize") else ""
    )
    return (
        f"{each}. Seeds {s.say('seeds')} vary {s.say('vary')}; all seeds of a cohort train together on the "
        f"same activations{scaled}. {s.say('training.epochs')} epochs of batches of "
        f"{s.say('training.batch_size')} with Adam: learning rate {s.say('training.lr')} after "
        f"{s.say('training.warmup_steps')} warm-up steps, {s.say('training.schedule')} schedule, betas "
        f"{s.say('training.betas')}, {_clipping(s)}; data order seed {s.say('training.data_order_seed')}. "
        f"{_dead_latents(summary)}Quality is measured "
        f"on the {percent(s.get('training.held_out'))} of activations held out of training (split seed "
        f"{s.say('training.split_seed')})."
    )


def _clipping(s: Settings) -> str:
    limit = s.get("training.clip_norm")
    return (
        "gradients as they are"
        if limit is None
        else f"gradients of a seed clipped to norm {limit:g}"
    )


def _dead_latents(summary: Record) -> str:
    """Return when a latent counts as dead and what is done about it, treatment by treatment."""
    treated: dict[str, list[str]] = {}
    for cohort in summary["cohorts"]:
        dead = (cohort.get("settings") or {}).get("dead")
        if dead:
            treated.setdefault(_treatment(dead), []).append(str(cohort["title"]))
    if len(treated) < 2:
        said = list(treated)
    elif crowded(summary):
        said = [f"{text} ({plural(len(titles), 'cohort')})" for text, titles in treated.items()]
    else:
        said = [f"{text} ({', '.join(titles)})" for text, titles in treated.items()]
    return f"Latents that stay silent: {'; '.join(said)}. " if said else ""


def _treatment(dead: Record) -> str:
    s = Settings(dead)
    until = percent(s.get("until"))
    doing = {
        "auxk": f"AuxK with weight {s.say('coefficient')}",
        "ghost": "ghost gradients",
        "resample": f"resampled every {_every(s.get('every'))} until {until} of the training",
        "none": "only counted",
    }
    return f"{doing.get(s.say('method'), MISSING)} after {s.say('after_tokens')} inputs"


def _every(steps: int | None) -> str:
    return "tenth of it" if steps is None else plural(steps, "step")


def _each(summary: Record) -> str:
    return "; ".join(
        f"{c['title']} at {c['hook']} (width {c['d_in']:,}, {c['d_sae']:,} latents, {c['steps']:,} steps)"
        for c in summary["cohorts"]
    )


def _stability(summary: Record, s: Settings) -> str:
    texts = []
    for metric, subset in dict.fromkeys(
        (c["headline"]["metric"], c["headline"]["subset"]) for c in summary["cohorts"]
    ):
        cell = next(
            headline(c)
            for c in summary["cohorts"]
            if (c["headline"]["metric"], c["headline"]["subset"]) == (metric, subset)
        )
        texts.append(f"{metric_title(metric)} of {subset} features ({cell['definition']})")
    nulls = dict.fromkeys(n["name"] for c in summary["cohorts"] for n in headline(c)["nulls"])
    ladder = "; ".join(explain_null(name) for name in nulls)
    tau = ", ".join(fraction(value, 1) for value in s.get("analysis.tau") or ())
    shared = f" Shared fractions count cosines of at least {tau}." if tau else ""
    return (
        f"The verdict rests on {' and '.join(texts)}, over all pairs of seeds, cosines "
        f"{s.say('analysis.sign')}. κ = (observed − null) / (1 − null) is taken against the largest admissible "
        f"null ({ladder}){_draws(summary)}. Its 95 % interval is a jackknife that leaves out one seed at a "
        "time, as pairs that share a seed are not independent; where the null is N3, that seed's surrogate "
        f"goes with it.{shared}{_surrogate(s)}"
    )


def _draws(summary: Record) -> str:
    """Return over how many draws random nulls are means."""
    known = {
        null["draws"] for c in summary["cohorts"] for null in headline(c)["nulls"] if null["draws"]
    }
    if not known:
        return ""
    least, most = min(known), max(known)
    return f", means over {least if least == most else f'{least} to {most}'} draws where they are random"


def _surrogate(s: Settings) -> str:
    if not s.get("analysis.surrogate"):
        return " No surrogate was trained." if s.get("analysis.surrogate") is False else ""
    return (
        " The surrogate is the same SAEs, of the same seeds, trained on Gaussian data of the activations' mean "
        f"and covariance (seed {s.say('analysis.surrogate_seed')})."
    )


def _numerics(summary: Record) -> str:
    environment = summary["provenance"].get("environment") or {}
    versions = summary["provenance"].get("versions") or {}
    said = ", ".join(f"{name} {value}" for name, value in versions.items())
    device = environment.get("device")
    where = f" on {device}" if device else ""
    seconds = (summary.get("timings") or {}).get("total_seconds")
    took = f", {quantity(seconds)} s of work" if seconds is not None else ""
    numbers = environment.get("precision")
    precise = f", {numbers} matrix products while training" if numbers else ""
    if environment.get("deterministic"):
        precise += ", deterministic kernels"
    if environment.get("tf32"):
        precise += ", float32 products rounded to TF32"
    return f"Profile {summary['profile']}{where}{precise}{took}; {said or 'versions not recorded'}."
