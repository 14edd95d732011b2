"""How the numbers of a study speak to a claim: questions to a summary, each with an answer and its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.report.contrasts import kappa_change, matched_text
from engine.report.trends import trend_sentence
from engine.report.wording import (
    Record,
    fraction,
    headline,
    kappa_text,
    plural,
    short_null,
)

SUPPORTS, CONTRADICTS, OPEN = "supports", "contradicts", "cannot tell"
NARROW = 0.05
"""An interval of Δκ within this of 0 says that two architectures are equally stable (convention)."""
CUTS = (0.3, 0.7)
"""What the original project took for an unstable and for a stable similarity."""
AT_CUT = "shared_fraction@0.7"
"""The measure that counts features past the upper of them."""
FOUND, MISSED = 0.9, 0.1
"""Recall from which planted planes count as found, and below which as missed (acceptance of the controls)."""
EXPECTED = 0.6
"""Lower end of the recovery that the original project expected of good SAEs."""
K_SPARSE = frozenset({"topk", "batch_topk", "matryoshka"})
"""Architectures whose sparsity is a number k."""
T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t for 95 % with 1 to 9 degrees of freedom; with more the last is a little wide."""
LISTED = 6
"""Cohorts named in an answer; more are counted."""
NEXT_TO_NOTHING = 0.2
"""Upper end of κ below which a cohort at chance supports that nothing is shared; wider intervals are open."""
UNDERTRAINED = 0.5
"""Mean cosine with the start from which a cohort cannot speak (see the red flags)."""


@dataclass(frozen=True)
class Answer:
    """What a study says on a claim."""

    says: str
    because: str


def _architectures(summary: Record) -> list[tuple[int, Record]]:
    """Return the contrasts of TopK and ReLU, each with the sign that makes it ReLU less TopK."""
    found = []
    for one in summary.get("contrasts") or []:
        names = tuple(str(one[side]).split()[0] for side in ("baseline", "variant"))
        if not one["objective"] and set(names) == {"topk", "relu"}:
            found.append((1 if names[1] == "relu" else -1, one))
    return found


def _found(summary: Record) -> list[tuple[int, Record]]:
    return [(sign, one) for sign, one in _architectures(summary) if not one["refusals"]]


def _told(contrasts: Sequence[tuple[int, Record]]) -> str:
    said = []
    for _, one in contrasts:
        where = f" {matched_text(one)}" if one.get("matched_on") else ""
        note = ""
        if "interval" in one and one["interval"] is None:
            note = " (no interval)"
        unmatched = [mark for mark in one["marks"] if "not matched" in mark]
        beside = f", {'; '.join(unmatched)}" if unmatched else ""
        names = f"{one['baseline']} → {one['variant']}"
        said.append(f"{names}{where}: Δκ {kappa_change(one)}{note}{beside}")
    return "; ".join(said) + "."


def _refused(summary: Record) -> Answer | None:
    refused = _architectures(summary)
    if not refused:
        return None
    _, one = refused[0]
    kappas = " and ".join(
        f"{one[side]} {kappa_text(_cell(one, side))}"
        for side in ("baseline", "variant")
        if one["kappa"][side] is not None
    )
    shown = f" (κ: {kappas})" if kappas else ""
    return Answer(OPEN, f"The comparison is refused: {'; '.join(one['refusals'])}{shown}.")


def _cell(contrast: Record, side: str) -> Record:
    low, high = contrast["kappa"][f"{side}_interval"]
    return {"kappa": contrast["kappa"][side], "ci_low": low, "ci_high": high}


def equal(summary: Record) -> Answer | None:
    """Ask whether TopK and ReLU are equally stable: supported by a narrow interval around 0 alone."""
    found = _found(summary)
    if not found:
        return _refused(summary)
    if any(one["finding"] in ("higher", "lower") for _, one in found):
        return Answer(CONTRADICTS, _told(found))
    bounds = [one["interval"] for _, one in found]
    narrow = all(b and max(abs(b[0]), abs(b[1])) <= NARROW for b in bounds)
    return Answer(SUPPORTS if narrow else OPEN, _told(found))


def ordered(relu_more: bool) -> Callable[[Record], Answer | None]:
    """Return the question whether ReLU agrees more than TopK, or the reverse."""

    def ask(summary: Record) -> Answer | None:
        found = _found(summary)
        if not found:
            return _refused(summary)
        ways = {
            (one["finding"] == "higher") == (sign > 0)
            for sign, one in found
            if one["finding"] in ("higher", "lower")
        }
        if len(ways) != 1:
            return Answer(OPEN, _told(found))
        return Answer(SUPPORTS if ways == {relu_more} else CONTRADICTS, _told(found))

    return ask


def beyond_chance(summary: Record) -> Answer | None:
    """Ask whether κ includes 0: agreement beyond chance contradicts that features do not converge.

    An interval that holds 0 does not show that there is nothing; one that also ends below `weak` does.
    """
    known = [c for c in summary["cohorts"] if headline(c).get("kappa") is not None]
    if not known:
        return None
    able = [c for c in known if not _near_start(c) and c["verdict"] != "undetermined"]
    if not able:
        said = "; ".join(f"{c['title']} κ {kappa_text(headline(c))}" for c in known)
        return Answer(
            OPEN, f"No cohort is trained far enough from its start, or has a verdict: {said}."
        )
    chance = [c for c in able if c["verdict"] == "chance"]
    said = "; ".join(
        f"{c['title']} κ {kappa_text(headline(c))} against {short_null(headline(c)['null_name'])}"
        for c in able[:LISTED]
    )
    more = f"; and {len(able) - LISTED} more" if len(able) > LISTED else ""
    count = (
        f"κ includes 0, or lies below, in {len(chance)} of {plural(len(able), 'trained cohort')}"
    )
    narrow = all((headline(c).get("ci_high") or 0.0) < NEXT_TO_NOTHING for c in chance)
    says = OPEN if chance else CONTRADICTS
    if len(chance) == len(able) and narrow:
        says = SUPPORTS
    return Answer(says, f"{count}: {said}{more}.")


def _near_start(cohort: Record) -> bool:
    kept = (cohort["quality"].get("cosine_with_start") or {}).get("mean")
    return kept is not None and kept > UNDERTRAINED


def cutoffs(summary: Record) -> Answer | None:
    """Show .3 and .7 beside what chance scores; they mean nothing without it."""
    cells = [(c, headline(c)) for c in summary["cohorts"] if headline(c).get("null") is not None]
    if not cells:
        return None
    nulls = [float(cell["null"]) for _, cell in cells]
    isotropic = [
        float(null["value"])
        for _, cell in cells
        for null in cell["nulls"]
        if short_null(null["name"]) == "N0" and null["value"] is not None
    ]
    n0 = f"random directions score {_range(isotropic)}, " if isotropic else ""
    said = f"Here {n0}and the largest admissible null {_range(nulls)}."
    halves = [_half(cut, nulls) for cut in CUTS]
    says = CONTRADICTS if max(nulls) >= min(CUTS) else OPEN
    return Answer(says, " ".join(filter(None, [said, *halves, _shared_by_chance(summary)])))


def _half(cut: float, nulls: Sequence[float]) -> str:
    """Say of one threshold what chance scores beside it."""
    at, over = f"At {fraction(cut, 1)}", sum(null >= cut for null in nulls)
    of = plural(len(nulls), "cohort")
    if not over:
        return f"{at}: chance stays {fraction(cut - max(nulls))} below it in {of}."
    return f"{at}: chance alone reaches it in {over} of {of}, where it cuts nothing off."


def _shared_by_chance(summary: Record) -> str:
    """Say which share of the features pass the upper threshold by chance; a mean below it is no promise."""
    nulls = [
        float(cell["null"])
        for cohort in summary["cohorts"]
        if (cell := (cohort["stability"].get(AT_CUT) or {}).get(cohort["headline"]["subset"]))
        and cell.get("null") is not None
    ]
    if not nulls:
        return ""
    return f"Of single features chance carries {_range(nulls)} past {fraction(max(CUTS), 1)}, as a share."


def _range(values: Sequence[float]) -> str:
    low, high = fraction(min(values), 3), fraction(max(values), 3)
    return low if low == high else f"{low} to {high}"


def _bounds(spread: Record) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of a share over seeds, by Student's t; None below three seeds."""
    known = [value for value in spread["per_seed"] if value is not None]
    if len(known) < 3 or spread["sd"] is None:
        return None
    half = T975[min(len(known), len(T975) + 1) - 2] * spread["sd"] / math.sqrt(len(known))
    return max(0.0, spread["mean"] - half), min(1.0, spread["mean"] + half)


def _planes(summary: Record) -> list[Record]:
    """Return the cohorts whose ground truth is planes: Fourier planes of a model, or planted ones."""
    return [
        cohort
        for cohort in summary["cohorts"]
        if (cohort.get("ground_truth") or {}).get("recall") is not None
        and "gt_mcc" not in cohort["ground_truth"]
    ]


def recovery(summary: Record) -> Answer | None:
    """Ask which share of the model's planes the SAEs span, beside what costs nothing."""
    cohorts = _planes(summary)
    if not cohorts or summary["subject"]["kind"] != "modular":
        return None
    if any(not gate["passed"] for gate in (summary["subject"].get("gates") or {}).get("gates", ())):
        return Answer(OPEN, "A gate of the subject failed: it has no verified Fourier truth.")
    # "Good SAEs" left their start, and recall must be able to tell planes from what lies there anyway.
    good = [
        cohort
        for cohort in cohorts
        if not (_near_start(cohort) or _powerless(cohort) or _untrained(cohort))
    ]
    reached = [_side(_bounds(cohort["ground_truth"]["recall"])) for cohort in good]
    said = _recalls(cohorts)
    if len(good) < len(cohorts):
        left = plural(len(cohorts) - len(good), "cohort")
        said += (
            f" Left out of the answer: {left} near the start or not trained, or where random directions fill "
            "the planes."
        )
    says = OPEN
    if reached and all(side == "above" for side in reached):
        says = SUPPORTS
    elif reached and all(side == "below" for side in reached):
        says = CONTRADICTS
    return Answer(says, f"{said} Positive control: preset fourier-control.")


def _untrained(cohort: Record) -> bool:
    return any("did not train" in str(text) for text in cohort.get("warnings") or ())


def _powerless(cohort: Record) -> bool:
    return bool((cohort["ground_truth"].get("energy_null") or {}).get("powerless"))


def control(summary: Record) -> Answer | None:
    """Ask whether planted planes are found where they are rarely on, and only there."""
    cohorts = [(c, _gate(summary, c)) for c in _planes(summary)]
    if summary["subject"]["kind"] != "planted" or not any(gate for _, gate in cohorts):
        return None
    bounds = [(_bounds(c["ground_truth"]["recall"]), gate) for c, gate in cohorts]
    gated = [b for b, gate in bounds if b and gate is not None and gate < 1]
    always = [b for b, gate in bounds if b and gate == 1]
    says = OPEN
    if gated and always:
        if any(low >= FOUND for low, _ in gated) and all(high < MISSED for _, high in always):
            says = SUPPORTS
        elif all(high < FOUND for _, high in gated) or any(low >= MISSED for low, _ in always):
            says = CONTRADICTS
    return Answer(says, _recalls([cohort for cohort, _ in cohorts]))


def _gate(summary: Record, cohort: Record) -> float | None:
    """Return how often a planted plane is on; None for other subjects."""
    settings = summary["provenance"].get("settings", {}).get("subject", {})
    if settings.get("generator") != "fourier":
        return None
    gate = (cohort.get("point") or {}).get("subject.gate", settings.get("gate"))
    return None if gate is None else float(gate)


def _recalls(cohorts: list[Record]) -> str:
    """Return recall and precision by cohort, and once for each kind of truth what costs nothing."""
    said = [_recall_text(cohort) for cohort in cohorts[:LISTED]]
    more = f"; and {len(cohorts) - LISTED} more" if len(cohorts) > LISTED else ""
    found = [_baselines(cohort["ground_truth"].get("baselines") or {}) for cohort in cohorts]
    beside = " or ".join(dict.fromkeys(text for text in found if text))
    return f"{'; '.join(said)}{more}." + (f" Without an SAE: recall of {beside}." if beside else "")


def _recall_text(cohort: Record) -> str:
    truth = cohort["ground_truth"]
    recall, bounds = truth["recall"], _bounds(truth["recall"])
    shown = f" [{fraction(bounds[0])}, {fraction(bounds[1])}]" if bounds else ""
    precision = fraction((truth.get("precision") or {}).get("mean"))
    return f"{cohort['title']}: recall {fraction(recall['mean'])}{shown}, precision {precision}"


def _side(bounds: tuple[float, float] | None) -> str:
    if bounds is None:
        return "unknown"
    low, high = bounds
    return "above" if low >= EXPECTED else "below" if high < EXPECTED else "between"


def _baselines(found: Record) -> str:
    recalls = [
        f"{name.replace('random_covariance', 'rand. Σ').replace('pca', 'PCA')} {fraction(one['recall'])}"
        for name, one in found.items()
        if one.get("recall") is not None
    ]
    return ", ".join(recalls)


def sweep(over: str, expected: str) -> Callable[[Record], Answer | None]:
    """Return the question whether κ `rises` or `falls` along what was varied."""

    def ask(summary: Record) -> Answer | None:
        trends = [
            one
            for one in summary.get("trends") or []
            if one["over"] == over and (over != "l0" or one["line"].split()[0] in K_SPARSE)
        ]
        if not trends:
            return None
        said = " ".join(trend_sentence(one) for one in trends)
        ways = {one["direction"] for one in trends if one["direction"] != "refused"}
        if ways == {expected}:
            return Answer(SUPPORTS, said)
        opposite = {"rises": "falls", "falls": "rises"}[expected]
        return Answer(CONTRADICTS if ways == {opposite} else OPEN, said)

    return ask
