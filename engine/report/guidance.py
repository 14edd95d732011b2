"""What would change the verdicts of a study: its own seeds, nulls, metrics, training. Arithmetic on what was
measured; nothing is measured anew."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from engine.report.wording import (
    Record,
    explain_null,
    fraction,
    headline,
    kappa_digits,
    metric_title,
    short_null,
)
from engine.study.guide import MODERATE_BELOW, WEAK_BELOW

FEWEST, RECOMMENDED = 3, 5
MOST_SEEDS = 200
"""Above this many seeds, asking for more of them is no advice."""


def would_change(summary: Record, cohort: Record) -> list[str]:
    """Return what would give a cohort another verdict, or why nothing named here would."""
    cell = headline(cohort)
    if cell.get("kappa") is None:
        reason = str(cell.get("reason") or "nothing could be measured").rstrip(".")
        return [f"A measurement at all: {reason}."]
    found = [
        *_training(cohort),
        *_seeds(cohort, cell),
        *_distance(cohort, cell),
        *_single_seeds(cohort, cell),
        *_nulls(cell),
        *_metrics(cohort),
        *_variation(summary),
    ]
    return found or ["Nothing that was measured here points to another verdict."]


def thresholds_here(cohort: Record) -> str:
    """Return what the threshold .7 is worth at a cohort's hook; empty where the effective rank is not known."""
    rank = (cohort.get("ground_truth") or {}).get("activation_rank")
    if rank is None:
        return ""
    said = f"Here the activations have an effective rank of {rank:.1f} of {cohort['d_in']:,} dimensions"
    if rank < 25:
        return (
            f"{said}: inside that subspace .7 is no barrier to chance. Only nulls that know the data "
            "(N1 to N3, N6) say what a cosine means."
        )
    return f"{said}, so chance passes .7 rarely; the shared fraction has its null beside it all the same."


def _training(cohort: Record) -> Iterator[str]:
    for text in cohort.get("warnings") or ():
        if str(text).startswith("undertrained"):
            kept = (cohort["quality"].get("cosine_with_start") or {}).get("mean")
            said = f"live features keep a cosine of {fraction(kept)} with their random start, so "
            yield (
                f"Longer training (training.epochs): {said if kept else ''}agreement that training would bring "
                "has not had the time to show."
            )


def _seeds(cohort: Record, cell: Record) -> Iterator[str]:
    count = len(cohort["seeds"])
    if count < FEWEST:
        yield f"More seeds: {count} give no interval; {FEWEST} are the least, {RECOMMENDED} recommended."
        return
    kappa, low, high = cell["kappa"], cell.get("ci_low"), cell.get("ci_high")
    if low is None or high is None or not low <= 0 < kappa:
        return
    needed = math.ceil(count * ((high - low) / 2 / kappa) ** 2)
    if needed > MOST_SEEDS:
        yield (
            f"Hardly more seeds: if κ is {fraction(kappa, kappa_digits(cell))}, an interval that leaves out 0 "
            f"takes more than {MOST_SEEDS} of them."
        )
    else:
        yield (
            f"More seeds: if κ stays at {fraction(kappa, kappa_digits(cell))}, about {max(needed, count + 1)} "
            f"seeds would give an interval that leaves out 0 ({count} now)."
        )


def _distance(cohort: Record, cell: Record) -> Iterator[str]:
    """Say how alike the seeds would have to be for the next word."""
    null = cell.get("null")
    steps = {"weak": ("moderate", WEAK_BELOW), "moderate": ("strong", MODERATE_BELOW)}
    if cohort["verdict"] not in steps or null is None:
        return
    word, needed = steps[cohort["verdict"]]
    yield (
        f"Seeds more alike: “{word}” begins at κ {fraction(needed, 1)}, at this null an observed "
        f"{fraction(null + needed * (1 - null), 3)} (now {fraction(cell['observed'], 3)})."
    )


def _single_seeds(cohort: Record, cell: Record) -> Iterator[str]:
    """Say whether leaving out one seed would change the word; a null by seeds is left out along."""
    if len(cohort["seeds"]) <= FEWEST or cohort["verdict"] not in ("weak", "moderate", "strong"):
        return
    values = leave_one_out(cohort, cell)
    if not values:
        return
    word = _word(cell["kappa"])
    others = [
        (seed, value)
        for seed, value in zip(cohort["seeds"], values, strict=True)
        if _word(value) != word
    ]
    digits = 3 if max(values) - min(values) < 0.02 else 2
    bounds = f"{fraction(min(values), digits)} to {fraction(max(values), digits)}"
    if others:
        named = ", ".join(f"{seed} (κ {fraction(value, digits)})" for seed, value in others)
        yield f"Another choice of seeds: the word changes without seed {named}."
    else:
        yield f"No single seed decides it: with any one left out κ lies between {bounds}."


def leave_one_out(cohort: Record, cell: Record) -> list[float]:
    """Return κ with each seed left out in turn; empty where a pair is missing.

    The null's seed is left out along with its own where the null κ is against has a value for each pair.
    """
    pairs, twin = cell.get("pairs") or [], cell.get("null_pairs")
    values = []
    for place in range(len(cohort["seeds"])):
        observed = _mean_without(pairs, place)
        null = cell.get("null") if twin is None else _mean_without(twin, place)
        if observed is None or null is None or null >= 1:
            return []
        values.append((observed - null) / (1 - null))
    return values


def _mean_without(pairs: Sequence[Sequence[float | None]], place: int) -> float | None:
    kept = [
        value
        for i, row in enumerate(pairs)
        for j, value in enumerate(row)
        if i < j and place not in (i, j)
    ]
    known = [value for value in kept if value is not None]
    return sum(known) / len(known) if known and len(known) == len(kept) else None


def _word(kappa: float) -> str:
    if kappa <= 0:
        return "chance"
    return "weak" if kappa < WEAK_BELOW else "moderate" if kappa < MODERATE_BELOW else "strong"


def _nulls(cell: Record) -> Iterator[str]:
    """Say what κ would be against the next largest admissible null."""
    below = [
        null
        for null in cell["nulls"]
        if null["admissible"] and null["kappa"] is not None and null["name"] != cell["null_name"]
    ]
    if below:
        second = max(below, key=lambda null: null["value"])
        yield (
            f"Another null: against {explain_null(second['name'])}, κ would be {fraction(second['kappa'])}. "
            "Smaller nulls know less of the data, so they are no reason to believe more."
        )
    if not any(short_null(null["name"]) == "N3" and null["admissible"] for null in cell["nulls"]):
        yield (
            "The surrogate (analysis.surrogate): without N3 nothing says what SAEs find in structureless data."
        )


def _metrics(cohort: Record) -> Iterator[str]:
    where = cohort["headline"]
    other = {}
    for metric, subsets in cohort["stability"].items():
        cell = subsets.get(where["subset"])
        if (
            metric != where["metric"]
            and cell
            and cell["verdict"]
            not in (
                cohort["verdict"],
                "undetermined",
            )
        ):
            other[metric_title(metric)] = cell["verdict"]
    if other and cohort["verdict"] != "undetermined":
        said = "; ".join(f"{name}: {verdict}" for name, verdict in other.items())
        yield f"Another measure of the same features gives another word ({said})."


def _variation(summary: Record) -> Iterator[str]:
    settings = summary["provenance"].get("settings") or {}
    if settings.get("vary") == ["init"]:
        yield (
            "Another kind of seed: here only the initial weights differ; vary: [init, order] would let the "
            "order of the data differ, too."
        )
