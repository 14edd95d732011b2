"""What a result means, and what must not be concluded from it."""

from __future__ import annotations

from engine.report.sweeps import crowded
from engine.report.wording import Record, failed_gates, fraction, headline, plural, quantity

MEANING = {
    "chance": "Another seed gives other features. What one such SAE shows is a way to describe the "
    "activations, not evidence for parts of the model.",
    "weak": "The seeds have something in common, but most of their agreement is what chance gives anyway. "
    "A single feature of a single seed needs its own evidence.",
    "moderate": "A part of the features returns with every seed and is a property of the model and its data; "
    "the rest depends on the seed. Keep to features that several seeds share.",
    "strong": "Most features return with every seed: they are a property of the model and its data under "
    "this architecture and size.",
    "undetermined": "Nothing is decided, for the reason given with the verdict. An interval of κ takes three "
    "seeds; five are recommended.",
}
FEW_SEEDS = 5
"""Below this many seeds the interval over seeds is wide (science: at least 3, better 5)."""


def meaning(summary: Record) -> list[str]:
    """Return one note for each verdict that occurs, naming its cohorts."""
    notes = []
    for verdict, text in MEANING.items():
        titles = [str(c["title"]) for c in summary["cohorts"] if c["verdict"] == verdict]
        if titles:
            named = ", ".join(dict.fromkeys(titles))
            several = f"{verdict.capitalize()} ({plural(len(titles), 'cohort')})"
            notes.append(f"{several if crowded(summary) else named}: {text}")
    return notes


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
