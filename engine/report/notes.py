"""What a result means, and what must not be concluded from it."""

from __future__ import annotations

from engine.report.rediscovery import (
    MIXED,
    UNTESTED,
    found_again_summary,
    found_again_text,
    standing,
)
from engine.report.sweeps import crowded
from engine.report.wording import (
    Record,
    cohort_label,
    failed_gates,
    fraction,
    headline,
    plural,
    quantity,
)

MEANING = {
    "chance": "Another seed gives other features. What one such SAE shows is a way to describe the "
    "activations, not evidence for parts of the model.",
    MIXED: "On average over features the seeds agree no more than chance, yet some features return. Those can "
    "be looked at one by one; what another feature shows is a way to describe the activations.",
    UNTESTED: "On average over features the seeds agree no more than chance. Which single features return all "
    "the same was not tested.",
    "weak": "The seeds have something in common, but most of their agreement is what chance gives anyway. "
    "A single feature of a single seed needs its own evidence.",
    "moderate": "A part of what the SAEs show returns with every seed and is a property of the model and its "
    "data; the rest depends on the seed. Keep to features that several seeds share.",
    "strong": "Most of what the SAEs show returns with every seed: it is a property of the model and its data "
    "under this architecture and size.",
    "undetermined": "Nothing is decided, for the reason given with the verdict. An interval of κ takes three "
    "seeds; five are recommended.",
}
"""By verdict; chance is split by what single features say."""
FEW_SEEDS = 5
"""Below this many seeds the interval over seeds is wide (science: at least 3, better 5)."""


def meaning(summary: Record) -> list[str]:
    """Return one note for each verdict that occurs, naming its cohorts, with how many of their features are
    found again."""
    notes = []
    for verdict, text in MEANING.items():
        cohorts = [cohort for cohort in summary["cohorts"] if standing(cohort) == verdict]
        if not cohorts:
            continue
        named = ", ".join(dict.fromkeys(cohort_label(summary, cohort) for cohort in cohorts))
        word = str(cohorts[0]["verdict"]).capitalize()
        start = f"{word} ({plural(len(cohorts), 'cohort')})" if crowded(summary) else named
        notes.append(" ".join(filter(None, (f"{start}: {text}", _found_again(summary, cohorts)))))
    return notes


def _found_again(summary: Record, cohorts: list[Record]) -> str:
    if crowded(summary):
        return found_again_summary(cohorts)
    told = [(cohort_label(summary, cohort), found_again_text(cohort)) for cohort in cohorts]
    if len(told) == 1:
        return told[0][1]
    return " ".join(f"{label}: {text}" for label, text in told if text)


def caveats(summary: Record) -> list[str]:
    """Return what the numbers do not say."""
    cohorts = summary["cohorts"]
    notes = []
    if failed_gates(summary):
        notes.append(
            "Gates failed, so this model has no verified structure: nothing here says what an SAE finds in a "
            "model that has one, and recall and precision have no meaning."
        )
    notes += [
        "Stable is not correct. Seeds can agree on features that are not in the model; only the ground truth "
        "speaks to that, and only where there is one.",
        "A raw similarity means nothing without its null. Similarities of SAEs with another number of "
        "latents, another width or another sign convention cannot be compared; κ can.",
    ]
    if any(cohort["verdict"] == "chance" for cohort in cohorts):
        notes.append(
            "“Chance” says that the interval of κ includes 0 or lies below. It does not prove that the "
            "seeds share nothing; more seeds narrow the interval."
        )
    if any((headline(cohort)["null_name"] or "").startswith("N6") for cohort in cohorts):
        notes.append(
            "Against N6, seeds that find the same planes and tile each at phases of their own are at chance; "
            "what they share outside the planes counts. Whether atoms lie in the planes at all is for "
            "precision and recall to say."
        )
    fewest = min((len(cohort["seeds"]) for cohort in cohorts), default=FEW_SEEDS)
    if fewest < FEW_SEEDS:
        notes.append(f"With {plural(fewest, 'seed')}, intervals are wide or missing.")
    notes += _comparison_notes(cohorts)
    settings = summary["provenance"].get("settings", {})
    if settings.get("vary") == ["init"]:
        notes.append(
            "Seeds differ in their initial weights alone and see the same batches in the same order; other "
            "orders could lower the agreement."
        )
    if summary["subject"]["kind"] == "modular" and any(c.get("ground_truth") for c in cohorts):
        notes.append(
            "Low recall of Fourier planes need not be a fault of the training: every key frequency is "
            "active on every input, and a sparse code prefers features that are rarely active. Neurons, PCA "
            "and random directions show what no SAE would give."
        )
    return notes


def _comparison_notes(cohorts: list[Record]) -> list[str]:
    if len(cohorts) < 2:
        return []
    notes = []
    for name, title, write in (("l0", "L0", quantity), ("explained_variance", "EV", _three)):
        means = [(cohort["quality"].get(name) or {}).get("mean") for cohort in cohorts]
        known = [mean for mean in means if mean is not None]
        if len(known) > 1:
            notes.append(f"{title} from {write(min(known))} to {write(max(known))}")
    if not notes:
        return []
    return [
        "Cohorts compare fairly only at matched sparsity, quality and number of live latents. Here they have "
        + " and ".join(notes)
        + "."
    ]


def _three(value: float | None) -> str:
    return fraction(value, 3)
