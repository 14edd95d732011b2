"""Tables of what else returns with another seed: activations, and single features beyond chance."""

from __future__ import annotations

from engine.report.markup import Cell, paragraph, table
from engine.report.wording import (
    MISSING,
    Record,
    cohort_label,
    fraction,
    interval,
    kappa_digits,
    percent,
)

MEASURES = {
    "pearson": "Pearson, best match",
    "pearson_matched": "Pearson, one to one",
    "jaccard": "Jaccard, best match",
    "jaccard_matched": "Jaccard, one to one",
}
NULLS = {
    "isotropic": "random directions",
    "effective": "random in effective dimensions",
    "surrogate": "surrogate (N3)",
}
Row = list[str | Cell]


def activation_table(summary: Record) -> str:
    """Return how far latents of different seeds respond to the same inputs, each with its null; nothing if no
    cohort was measured so."""
    rows: list[Row] = []
    notes = []
    for cohort in summary["cohorts"]:
        found = cohort.get("activation_match")
        if not found:
            continue
        label = cohort_label(summary, cohort)
        for name, title in MEASURES.items():
            cell = found[name]
            rows.append(
                [
                    Cell(label, "name"),
                    Cell(title, "w"),
                    fraction(cell["observed"], 3),
                    fraction(cell["null"], 3),
                    fraction(cell["kappa"], kappa_digits(cell)),
                    Cell(interval(cell) or str(cell["reason"]) or MISSING, "w"),
                ]
            )
        notes.append(f"{label}: {_counted(found)}.")
    if not rows:
        return ""
    columns = ("cohort", "", ">observed", ">null", ">κ", "95 % CI")
    shifts = {
        c["activation_match"]["shift"] for c in summary["cohorts"] if c.get("activation_match")
    }
    note = (
        "Correlation of latents over the same inputs, whatever their directions: the mean over features of "
        "their best match in another seed, and over the best one-to-one matching. Jaccard: overlap of the "
        f"inputs that the same partners fire on. Null: maps shifted {_shifted(shifts)}, each feature by an "
        "offset of its own, which keeps what a feature looks like and breaks what it shares. It decides no "
        "verdict."
    )
    html = table(columns, rows) + paragraph(note, "note") + paragraph(" ".join(notes), "note")
    return f"<h3>Latents matched by their activations</h3>\n{html}"


def _shifted(kinds: set[str]) -> str:
    said = {"torus": "on the torus of pairs (a, b)", "rows": "cyclically over the inputs"}
    return " or ".join(said[kind] for kind in sorted(kinds) if kind in said)


def _counted(found: Record) -> str:
    used, every = found["inputs"]["used"], found["inputs"]["of"]
    inputs = f"all {every:,} inputs" if used == every else f"{used:,} of {every:,} inputs"
    counts = ", ".join(f"{n:,}" for n in found["n_per_seed"])
    return f"{inputs}; {counts} latents by seed fire on at least {found['least_count']} of them"


def discoveries_table(summary: Record) -> str:
    """Return how many features of each seed most other seeds have, false discoveries held at a level."""
    rows: list[Row] = []
    level = None
    for cohort in summary["cohorts"]:
        found = cohort.get("discoveries")
        if not found:
            continue
        level = found["level"]
        tested = found["tested"]
        for name, title in NULLS.items():
            per_seed = found[name]["per_seed"] if name in found else None
            share = sum(per_seed) / sum(tested) if per_seed and sum(tested) else None
            rows.append(
                [
                    Cell(cohort_label(summary, cohort), "name"),
                    Cell(title, "w"),
                    MISSING if per_seed is None else f"{sum(per_seed):,} of {sum(tested):,}",
                    percent(share, 1),
                    MISSING if per_seed is None else ", ".join(f"{n:,}" for n in per_seed),
                ]
            )
    if not rows:
        return ""
    note = (
        "Live features that most of the other seeds have beyond chance, with at most "
        f"{percent(level)} false discoveries expected (Benjamini–Hochberg over all seeds of a cohort). "
        "Beyond random directions is little: what SAEs fit to noise is beyond them, too. Beyond the "
        "surrogate is beyond that; a dash means that there was none. A seed's own p- and q-values are in "
        "features.parquet."
    )
    columns = ("cohort", "against", ">features", ">share", ">by seed")
    return f"<h3>Features found again</h3>\n{table(columns, rows)}{paragraph(note, 'note')}"
