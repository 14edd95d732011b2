"""Numbers and verdicts in words: the same on the terminal, in figures and on the page."""

from __future__ import annotations

import re
from typing import Any

from engine.disk.text import bare

Record = dict[str, Any]

MISSING = "–"
"""Stands for a number that could not be measured."""

METRICS = {
    "mean_max_cos": "mean max cosine",
    "matched_mcc": "matched cosine (MCC)",
    "shared_fraction": "shared fraction",
    "strict_shared_fraction": "strictly shared",
}
"""`strictly shared`: decoders and encoders both choose the pair (Paulo & Belrose)."""
NULLS = {
    "N0": "random directions",
    "N1": "directions drawn from the activations' covariance",
    "N2": "directions drawn from the decoders' covariance",
    "N3": "the same SAEs retrained on Gaussian data of the same mean and covariance",
    "N4": "SAEs of an untrained model",
    "N4 step 0": "the same SAEs before their first step",
    "N4 untrained": "the same SAEs trained on the model before its training",
    "N6": "every true plane turned by a random angle, what lies outside drawn",
}
SIMILARITY = {
    "chance": "no more alike than chance",
    "weak": "only a little more alike than chance",
    "moderate": "more alike than chance, but far from the same",
    "strong": "much more alike than chance",
}
SOURCES = {"neurons": "neurons", "pca": "PCA", "random": "random", "random_covariance": "rand. Σ"}
"""Dictionaries that cost nothing; `rand. Σ` is random with the covariance of the activations."""


def fraction(value: float | None, digits: int = 2) -> str:
    """Return a number bounded by one as statisticians print it: `.43`, `−.01`, `1.00`; what should be bounded
    and exploded as `−153.2`, `−3.2e33`."""
    if value is None:
        return MISSING
    if abs(value) >= 1000:
        return scientific(value)
    digits = min(digits, 1) if abs(value) >= 10 else digits
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def scientific(value: float) -> str:
    """Return a number too large for its digits to matter: `−3.2e33`."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share as `36 %`."""
    return MISSING if value is None else f"{100 * value:.{digits}f} %"


def quantity(value: float | None) -> str:
    """Return an unbounded number with three digits or, from 100 up, as a whole one: `31.9`, `12,769`."""
    if value is None:
        return MISSING
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size >= 1e7 and isinstance(value, float):
        return scientific(value)
    if isinstance(value, int) or size >= 100:
        return f"{sign}{size:,.0f}"
    digits = f"{size:.2g}" if 0 < size < 0.001 else f"{size:.1f}" if size >= 10 else f"{size:.3g}"
    return bare(f"{sign}{digits}")


def spread(value: Record | None, digits: int = 2) -> str:
    """Return `mean ± sd` of a bounded quantity; without a spread the mean alone."""
    if value is None or value.get("mean") is None:
        return MISSING
    mean, sd = fraction(value["mean"], digits), value.get("sd")
    return mean if sd is None else f"{mean} ± {fraction(sd, digits)}"


def kappa_digits(cell: Record) -> int:
    """Return how many digits κ and its interval need: three where two would round a bound to nothing, or the
    interval to less than two of its last digit."""
    value, low, high = (cell.get(name) for name in ("kappa", "ci_low", "ci_high"))
    tiny = any(one is not None and 0 < abs(one) < 0.005 for one in (value, low, high))
    narrow = low is not None and high is not None and 0 < high - low < 0.02
    return 3 if tiny or narrow else 2


def interval(cell: Record, joint: str = ", ") -> str:
    """Return the confidence interval of κ as `[−.03, .02]`; empty where there is none."""
    if cell.get("ci_low") is None or cell.get("ci_high") is None:
        return ""
    digits = kappa_digits(cell)
    return f"[{fraction(cell['ci_low'], digits)}{joint}{fraction(cell['ci_high'], digits)}]"


def kappa_text(cell: Record) -> str:
    """Return κ with its interval: `.12 [.03, .21]`."""
    kappa = fraction(cell.get("kappa"), kappa_digits(cell))
    return " ".join(part for part in (kappa, interval(cell)) if part)


def duration(seconds: float | None) -> str:
    """Return a duration for people: `4.2 s`, `1:23`, `2:05:10`."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: int | float | None) -> str:
    """Return bytes for people: `640 MB`, `1.2 GB` (powers of ten)."""
    if count is None:
        return MISSING
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            amount = count / scale
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{count:.0f} B"


def plural(count: int, noun: str) -> str:
    """Return `1 seed`, `5 seeds`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def short_null(name: str | None) -> str:
    """Return the code of a null (`N3` of `N3 surrogate`), or its name if it has none or its code is not its
    alone (`N4 untrained`)."""
    if not name:
        return MISSING
    if name in NULLS:
        return name
    code = re.match(r"N\d+", name)
    return code.group() if code else name


def explain_null(name: str | None) -> str:
    """Return `N3: the same SAEs retrained on …`, or the bare name of a null without a code."""
    code = short_null(name)
    return f"{code}: {NULLS[code]}" if code in NULLS else code


def metric_title(metric: str) -> str:
    """Return the name of a metric for people: `shared fraction (cos ≥ .7)`."""
    name, _, tau = metric.partition("@")
    if name in METRICS and tau:
        return f"{METRICS[name]} (cos ≥ {fraction(float(tau), 1)})"
    return METRICS.get(metric, metric)


def headline(cohort: Record) -> Record:
    """Return the stability cell on which the verdict of a cohort rests."""
    where = cohort["headline"]
    cell: Record = cohort["stability"][where["metric"]][where["subset"]]
    return cell


def several_hooks(summary: Record) -> bool:
    """Return whether the cohorts read more than one hook, so that titles alone do not tell them apart."""
    return len({cohort["hook"] for cohort in summary["cohorts"]}) > 1


def cohort_label(summary: Record, cohort: Record) -> str:
    """Return the title of a cohort, with its hook where the study has several."""
    title = str(cohort["title"])
    told = not several_hooks(summary) or str(cohort["hook"]) in title
    return title if told else f"{title} · {cohort['hook']}"


def verdict_line(cohort: Record) -> str:
    """Return verdict and κ in few words: `weak, κ .12 [.03, .21]`."""
    return f"{cohort['verdict']}, κ {kappa_text(headline(cohort))}"


def verdict_sentence(cohort: Record) -> str:
    """Return the verdict on a cohort as one sentence in plain words."""
    cell, seeds = headline(cohort), plural(len(cohort["seeds"]), "seed")
    digits = kappa_digits(cell)
    numbers = f"κ {fraction(cell['kappa'], digits)}"
    if cell.get("ci_low") is not None and cell.get("ci_high") is not None:
        low, high = (fraction(cell[name], digits) for name in ("ci_low", "ci_high"))
        numbers += f", 95 % CI {low} to {high}"
    if cell.get("null_name"):
        numbers += f", against {short_null(cell['null_name'])}"
    said = SIMILARITY.get(cohort["verdict"])
    if said:
        return f"The features of {seeds} are {said} ({numbers})."
    bounded = cell.get("ci_low") is not None and cell.get("ci_high") is not None
    # Where κ has its interval, it is the SAEs themselves that say nothing.
    warnings = " ".join(cohort.get("warnings") or ())
    unfair = "N3 is no fair null" in warnings and "did not train" not in warnings
    lost = "its twins on surrogate data learnt nothing" if unfair else "an SAE did not train"
    without = lost if bounded else "no interval"
    reason = str(cell.get("reason") or without).rstrip(".")
    return f"Whether the features of {seeds} are alike beyond chance is open: {reason} ({numbers})."


def subjects_of(summary: Record) -> list[Record]:
    """Return the subjects of a study: one, or those of a search over the subject's settings."""
    return list(summary.get("subjects") or [summary["subject"]])


def failed_gates(summary: Record) -> list[Record]:
    """Return the gates that do not hold, in order; of several subjects, each with its subject's title."""
    subjects = subjects_of(summary)
    gates = [
        (f"{subject['title']}: " if len(subjects) > 1 else "", gate)
        for subject in subjects
        for gate in (subject.get("gates") or {}).get("gates", ())
    ]
    return [{**g, "reason": bare(f"{which}{g['reason']}")} for which, g in gates if not g["passed"]]


def gates_mark(summary: Record) -> str:
    """Return the mark that every table carries when the study went on after failed gates, else ``''``."""
    if all(
        (subject.get("gates") or {"passed": True})["passed"] for subject in subjects_of(summary)
    ):
        return ""
    names = ", ".join(dict.fromkeys(str(gate["name"]) for gate in failed_gates(summary)))
    return f"gates failed: {names}" if names else "gates failed"


def step_range(bounds: list[float | None] | None) -> str:
    """Return when a threshold was crossed: `at steps 400–500`, `by step 500`, `never`.

    The bounds are the last measurement before the crossing and the first after it.
    """
    low, high = bounds or (None, None)
    if high is None:
        return "never"
    return f"by step {high:,}" if low is None else f"at steps {low:,}–{high:,}"


def describe_subject(summary: Record) -> str:
    """Return what the SAEs were trained on, in a few words."""
    more = len(subjects_of(summary)) - 1
    return _describe(summary) + (f", and {plural(more, 'variant')} of it" if more else "")


def _describe(summary: Record) -> str:
    subject = summary["subject"]
    settings = summary["provenance"].get("settings", {}).get("subject", {})
    if subject["kind"] == "modular":
        task = {"add": "a + b", "subtract": "a − b", "multiply": "a · b"}.get(
            subject["task"], str(subject["task"])
        )
        return f"{subject['layers']}-layer transformer, ({task}) mod {subject['modulus']}"
    if subject["kind"] == "external":
        name = str(settings.get("path", "files")).rsplit("/", 1)[-1]
        return f"recorded activations {name}, {subject['samples']:,} of width {subject['d_in']:,}"
    words = (
        [f"planted {settings['generator']} data"] if "generator" in settings else ["planted data"]
    )
    if "features" in settings and "d_in" in settings:
        words.append(f"{settings['features']} features in {settings['d_in']} dimensions")
    return ", ".join(words)


def truth_measures(cohort: Record) -> list[str]:
    """Return which measures of agreement with the ground truth a cohort has."""
    truth = cohort.get("ground_truth") or {}
    return [name for name in ("recall", "precision", "gt_mcc") if truth.get(name) is not None]
