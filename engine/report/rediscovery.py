"""How many single features other seeds have, in words: what an average over features cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.report.wording import Record, headline, percent, plural, short_null

NULLS = {
    "surrogate": "the surrogate (N3)",
    "effective": "random directions in the effective dimensions",
    "isotropic": "random directions",
}
"""What single features are tested against, the one that knows most of the data first."""
MIXED = "mixed"
"""Stands for cohorts at chance of which some features are found again all the same."""
UNTESTED = "untested"
"""Stands for cohorts at chance whose features were not tested one by one."""


@dataclass(frozen=True)
class FoundAgain:
    """Features that most other seeds have, false discoveries held at a level."""

    counts: dict[str, int]
    """By null; one that was not measured is missing."""
    tested: int
    level: float

    @property
    def null(self) -> str:
        """The null that is quoted: the first that was measured."""
        return next(name for name in NULLS if name in self.counts)

    @property
    def count(self) -> int:
        """Features found again beyond the null that is quoted."""
        return self.counts[self.null]


def found_again(cohort: Record) -> FoundAgain | None:
    """Return how many features of all seeds are found again; None where none was tested."""
    found = cohort.get("discoveries") or {}
    tested = sum(found.get("tested") or ())
    counts = {name: sum(found[name]["per_seed"]) for name in NULLS if found.get(name)}
    return FoundAgain(counts, tested, float(found["level"])) if tested and counts else None


def found_again_text(cohort: Record) -> str:
    """Return the count as a sentence, with what it was tested against; empty where none was tested."""
    found = found_again(cohort)
    if found is None:
        return ""
    share = f" ({percent(found.count / found.tested)})" if found.count else ""
    count = f"{found.count:,}" if found.count else "None"
    verb = "is" if found.count < 2 else "are"
    said = (
        f"{count} of {found.tested:,} live features{share} {verb} found again by most other seeds"
    )
    at = f"beyond {NULLS[found.null]}, {percent(found.level)} false discoveries"
    return f"{said} {at}.{_other(cohort, found)}"


def _other(cohort: Record, found: FoundAgain) -> str:
    """Say that the verdict is against another null than the features, where that is so."""
    name = short_null(headline(cohort).get("null_name"))
    if (
        found.null != "surrogate"
        or name == "N3"
        or not found.count
        or cohort["verdict"] != "chance"
    ):
        return ""
    return f" κ is taken against {name}, a larger null."


def standing(cohort: Record) -> str:
    """Return the verdict of a cohort, with chance split by what its single features say: `chance` where none is
    found again, MIXED, UNTESTED."""
    verdict = str(cohort["verdict"])
    if verdict != "chance":
        return verdict
    found = found_again(cohort)
    return UNTESTED if found is None else MIXED if found.count else verdict


def found_again_summary(cohorts: Sequence[Record]) -> str:
    """Return the counts of many cohorts in a sentence; empty where no feature of them was tested."""
    known = [found for cohort in cohorts if (found := found_again(cohort))]
    if not known:
        return ""
    shares = [found.count / found.tested for found in known]
    low, high = percent(min(shares)), percent(max(shares))
    span = low if low == high else f"{low} to {high}"
    return (
        f"Of the live features of {plural(len(known), 'cohort')}, {span} are found again by most other seeds "
        f"({percent(known[0].level)} false discoveries)."
    )
