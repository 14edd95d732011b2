"""What the ground truth says beyond recall: interventions, classes, coverage, stability, clock or pizza."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from engine.report.markup import Cell, folded, paragraph, table
from engine.report.sweeps import crowded
from engine.report.wording import (
    MISSING,
    SOURCES,
    Record,
    cohort_label,
    fraction,
    quantity,
    spread,
)
from engine.study.guide import LEAST_OF_A_KIND

Row = list[str | Cell]
RUNS = {
    "clean": "the model itself",
    "untrained": "an untrained SAE (first seed)",
    "mean": "the mean activation",
}
KINDS = {"stable": "most stable", "active": "most active", "random": "random"}
SCORES = {
    "plane_energy": "in-plane energy",
    "selectivity": "selectivity",
    "truth_cosine": "cosine with a planted feature",
}
AGREEMENTS = {
    "median_best_cosine": "median best cosine",
    "stability": "share of seeds that have it",
}
PERMUTED = 3


def truth_section(summary: Record, figures: str = "") -> str:
    """Return every part of the ground truth that was measured, and why the others were not.

    Args:
        summary: the summary of the study.
        figures: HTML of the figures of ablated frequencies.
    """
    cohorts = [cohort for cohort in summary["cohorts"] if cohort.get("ground_truth")]
    parts = [
        ("What the reconstructions do to the answers", _splice(summary, cohorts)),
        ("Single features taken out", _single(summary, cohorts)),
        ("Features of one frequency taken out", _groups(summary, cohorts, figures)),
        ("Are the true features the stable ones?", _correlation(summary, cohorts)),
        ("Answer classes as truth", _classes(summary, cohorts)),
        ("Planes in the decoders' leading subspace", _coverage(summary, cohorts)),
        ("How the model adds: clock or pizza", _clock(summary, cohorts)),
    ]
    many = crowded(summary)
    html = ""
    for title, body in parts:
        if body:
            html += folded(title, body) if many else f"<h3>{escape(title)}</h3>\n{body}"
    return html + _missing(cohorts)


def no_truth(summary: Record) -> str:
    """Return why cohorts have no ground truth, each reason once; empty where all have one."""
    reasons: dict[str, list[str]] = {}
    for cohort in summary["cohorts"]:
        if why := (cohort.get("ground_truth") or {}).get("missing"):
            reasons.setdefault(why, []).append(cohort_label(summary, cohort))
    said = [f"{', '.join(titles)}: {why}." for why, titles in reasons.items()]
    return "".join(paragraph(text, "note") for text in said)


def _measured(cohorts: Sequence[Record], key: str) -> list[tuple[Record, Record]]:
    """Return the cohorts that have a part, each with it."""
    found = [(cohort, cohort["ground_truth"].get(key)) for cohort in cohorts]
    return [(cohort, part) for cohort, part in found if part and "missing" not in part]


def _name(summary: Record, cohort: Record, first: bool = True) -> Cell:
    return Cell(cohort_label(summary, cohort) if first else "", "name")


def _splice(summary: Record, cohorts: Sequence[Record]) -> str:
    rows: list[Row] = []
    for cohort, causal in _measured(cohorts, "causal"):
        means = {name: value["mean"] for name, value in causal.items() if _is_spread(value)}
        runs = [("the SAE, spliced in", means), *((RUNS[k], causal["baselines"][k]) for k in RUNS)]
        for number, (what, values) in enumerate(runs):
            chosen = "" if number else "chosen"
            cells = [
                Cell(_loss(values["loss"]), chosen),
                Cell(fraction(values["loss_recovered"], 4), chosen),
                Cell(fraction(values["accuracy"], 4), chosen),
                Cell(quantity(values["margin"]), chosen),
                Cell(fraction(values["fve"], 3), chosen),
            ]
            rows.append([_name(summary, cohort, not number), what, *cells])
    if not rows:
        return ""
    columns = ("cohort", "run", ">loss", ">loss recovered", ">accuracy", ">margin", ">FVE")
    note = (
        "Spliced in at the read position alone; mean over seeds. Loss (nats), accuracy and margin (right "
        "logit less the best wrong one) on held-out pairs; FVE: share of the logits' variance at the key "
        "frequencies, over all pairs. Where an untrained SAE recovers the loss, loss recovered and accuracy "
        "say nothing; margin and FVE show what is lost."
    )
    return table(columns, rows) + paragraph(note, "note")


def _single(summary: Record, cohorts: Sequence[Record]) -> str:
    rows: list[Row] = []
    said = ""
    for cohort, ablation in _measured(cohorts, "ablation"):
        said = (
            f"{ablation['features_per_seed']} features of each kind and seed, on at most "
            f"{ablation['inputs_per_feature']} inputs on which each fires, against {ablation['against']}."
        )
        for number, (kind, effects) in enumerate(ablation["kinds"].items()):
            logits, margin = (
                [_pm(effects[what][m]) for what in ("feature", "random", "random_covariance")]
                for m in ("logits", "margin")
            )
            logits[0], margin[0] = Cell(logits[0].text, "chosen"), Cell(margin[0].text, "chosen")
            name = _name(summary, cohort, not number)
            rows.append([name, Cell(KINDS[kind], "w"), *logits, *margin])
    if not rows:
        return ""
    heads = (">Δ logits", ">random", ">rand. Σ", ">Δ margin", ">random", ">rand. Σ")
    note = (
        f"{said} Δ logits: root mean square over answers. Beside each feature: random directions of the "
        "same norm, isotropic and with the activations' covariance. A feature that does no more than they "
        "do has no effect of its own."
    )
    return table(("cohort", "features", *heads), rows) + paragraph(note, "note")


def _groups(summary: Record, cohorts: Sequence[Record], figures: str) -> str:
    rows: list[Row] = []
    for cohort, found in _measured(cohorts, "frequency_ablation"):
        sizes = ", ".join(
            f"{quantity(size['mean'])} at {key}"
            for key, size in zip(found["keys"], found["group_sizes"], strict=True)
        )
        values = [
            _pm(found[name])
            for name in (
                "matrix_diagonal",
                "control_diagonal",
                "matrix_off_diagonal",
                "control_off_diagonal",
            )
        ]
        values[0], values[2] = Cell(values[0].text, "chosen"), Cell(values[2].text, "chosen")
        rows.append([_name(summary, cohort), *values, Cell(sizes, "w")])
    if not rows:
        return ""
    heads = (">own frequency", ">random group", ">others", ">random group", "group sizes")
    note = (
        "Share of the strength α of a key frequency that is left once a group of live features is ablated, "
        "against the run with the SAE spliced in. A feature belongs to the frequency of the plane that holds "
        "most of its decoder. Groups that are the frequencies leave 0 of their own and 1 of the others. "
        "Random groups: as many live features, scaled to the same norm at every input."
    )
    return table(("cohort", *heads), rows) + paragraph(note, "note") + figures


def _correlation(summary: Record, cohorts: Sequence[Record]) -> str:
    rows: list[Row] = []
    permutations = 0
    for cohort, found in _measured(cohorts, "stability_correlation"):
        first = True
        for score, agreements in found.items():
            for name, value in agreements.items():
                permutations = value["permutations"]
                what = [Cell(SCORES.get(score, score), "w"), Cell(AGREEMENTS.get(name, name), "w")]
                rows.append([_name(summary, cohort, first), *what, *_rho(value)])
                first = False
    if not rows:
        return ""
    columns = ("cohort", "how true", "how stable", ">true", ">ρ", "95 % CI", "p")
    note = (
        "Spearman's ρ over live features, mean over seeds; interval by leaving out seeds; p from "
        f"{permutations} permutations of the features within seeds, which takes features of one seed as "
        "independent: where the two disagree, believe the interval. Null: 0. True: in-plane energy or cosine "
        f"from .9 on; selectivity knows no such cut. With fewer than {LEAST_OF_A_KIND} features of either kind "
        "over all seeds no ρ is told."
    )
    return table(columns, rows) + paragraph(note, "note")


def _rho(value: Record) -> list[str | Cell]:
    """Return how many features are true, ρ, its interval and p; or why there is none."""
    bounds = f"none: {value['no_interval']}" if "no_interval" in value else MISSING
    if value["ci_low"] is not None and value["ci_high"] is not None:
        bounds = f"[{fraction(value['ci_low'])}, {fraction(value['ci_high'])}]"
    true = value.get("n_true")
    count = MISSING if true is None else f"{true:,} of {sum(value['n_per_seed']):,}"
    p = value.get("missing") or fraction(value["p"], PERMUTED)
    return [Cell(count, "w"), Cell(fraction(value["mean"]), "chosen"), Cell(bounds, "w"), p]


def _classes(summary: Record, cohorts: Sequence[Record]) -> str:
    rows: list[Row] = []
    count, lookup = 0, False
    for cohort, found in _measured(cohorts, "classes"):
        count, lookup = found["count"], lookup or found["lookup_possible"]
        for number, (measure, what) in enumerate(
            (("recall", "recall"), ("cosine", "matched cosine"))
        ):
            others = [
                fraction((found["baselines"].get(name) or {}).get(measure))
                for name in SOURCES
                if name != "neurons"
            ]
            sae = Cell(spread(found[measure]), "chosen")
            rows.append([_name(summary, cohort, not number), Cell(what, "w"), sae, *others])
    if not rows:
        return ""
    heads = [f">{title}" for name, title in SOURCES.items() if name != "neurons"]
    note = (
        f"Live atoms matched one-to-one with the mean activations of the {count} answers, centred."
    )
    if lookup:
        note += (
            f" A dictionary of at least {count} atoms can be a lookup table of the answers, which a perfect "
            "reconstruction does not rule out; recall here says whether it is one."
        )
    return table(("cohort", "", ">SAE", *heads), rows) + paragraph(note, "note")


def _coverage(summary: Record, cohorts: Sequence[Record]) -> str:
    rows: list[Row] = []
    for cohort, found in _measured(cohorts, "coverage"):
        values = [fraction(found["pca"]), fraction(found["null"], 3)]
        warning = str(found["warning"] or "")
        sae = Cell(spread(found, 3), "chosen")
        rows.append([_name(summary, cohort), str(found["rank"]), sae, *values, warning])
    if not rows:
        return ""
    columns = ("cohort", ">r", ">coverage", ">PCA", ">random subspace", "")
    note = (
        "Share of the existing planes that the top r right singular vectors of the live unit atoms span; r is "
        "the activations' effective rank, rounded up. The whole decoder would cover everything."
    )
    return table(columns, rows) + paragraph(note, "note")


def _clock(summary: Record, cohorts: Sequence[Record]) -> str:
    found: dict[str, tuple[Record, Record]] = {}
    for cohort, clock in _measured(cohorts, "clock"):
        found.setdefault(json.dumps(clock, sort_keys=True), (cohort, clock))
    if not found:
        return ""
    several = len(found) > 1
    rows: list[Row] = []
    for cohort, clock in found.values():
        who = f"the subject of {cohort_label(summary, cohort)}" if several else "the subject"
        rows.append([Cell(who, "name"), *_measures(clock, "chosen")])
        untrained = clock["baselines"]["untrained"]
        means = {name: (value or {}).get("mean") for name, value in untrained.items()}
        rows.append([Cell("untrained", "name"), *_measures(means)])
    clock = next(iter(found.values()))[1]
    for kind, values in clock["known"].items():
        rows.append([Cell(f"a {kind} (published)", "name"), *_measures(values)])
    columns = ("", ">gradient symmetry", ">distance irrelevance q")
    note = (
        f"Zhong et al. 2023. Gradient symmetry: mean cosine of ∂Q/∂E of both inputs over {clock['samples']} "
        "random (a, b, c); 1 without training. q: spread of the right logit along a + b at fixed a − b, over "
        "its whole spread. The two disagree near the boundary, so no label is given."
    )
    return table(columns, rows) + paragraph(note, "note")


def _measures(values: Mapping[str, Any], style: str = "") -> list[Cell]:
    names = ("gradient_symmetry", "distance_irrelevance")
    return [Cell(fraction(values.get(name), 3), style) for name in names]


def _missing(cohorts: Sequence[Record]) -> str:
    """Return why parts were not measured, each reason once."""
    titles = {
        "causal": "Splices",
        "ablation": "ablations of features",
        "frequency_ablation": "ablations of frequencies",
        "coverage": "coverage",
        "stability_correlation": "correlation with stability",
        "clock": "clock or pizza",
    }
    reasons: dict[str, list[str]] = {}
    for key, title in titles.items():
        for cohort in cohorts:
            why = (cohort["ground_truth"].get(key) or {}).get("missing")
            if why and title not in reasons.setdefault(why, []):
                reasons[why].append(title)
    said = [f"Not measured: {', '.join(what).lower()}: {why}." for why, what in reasons.items()]
    return "".join(paragraph(text, "note") for text in said)


def _is_spread(value: object) -> bool:
    return isinstance(value, dict) and "per_seed" in value


def _loss(value: float | None) -> str:
    return quantity(value)


def _pm(value: Record) -> Cell:
    """Return `mean ± sd` of an effect in logits, or of a share."""
    return Cell(spread(value), "w")
