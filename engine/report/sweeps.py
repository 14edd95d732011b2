"""Studies with many cohorts: what was searched, and how to say much in little room."""

from __future__ import annotations

import re

from engine.report.wording import Record, plural, verdict_line
from engine.study.sae import DEAD_TITLES
from engine.study.search import compact

CROWD = 10
"""From this many cohorts on, a sentence and a set of figures for each would hide the result."""
VERDICTS = ("strong", "moderate", "weak", "chance", "undetermined")


def crowded(summary: Record) -> bool:
    """Return whether a study has too many cohorts to speak of each."""
    return len(summary["cohorts"]) >= CROWD


def searched(summary: Record) -> dict[str, str]:
    """Return the searched key paths with short names: `saes.*.d_sae` → `d_sae`."""
    paths = list(dict.fromkeys(path for c in summary["cohorts"] for path in c.get("point") or {}))
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return {
        path: name if last.count(name) == 1 else path
        for path, name in zip(paths, last, strict=True)
    }


def identity(summary: Record, cohort: Record) -> list[tuple[str, str]]:
    """Return what names a cohort, column by column: its title, or in a sweep the rest of its title and the
    searched values; a column of numbers is called `>x`."""
    names = searched(summary)
    if not names:
        return [("cohort", str(cohort["title"]))]
    point = cohort["point"]
    numeric = {
        path: all(_is_number(c["point"].get(path)) for c in summary["cohorts"]) for path in names
    }
    return [
        ("SAE", family(cohort)),
        *(
            (
                f"{'>' if numeric[path] else ''}{name}",
                compact(point[path]) if path in point else "–",
            )
            for path, name in names.items()
        ),
    ]


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def family(cohort: Record) -> str:
    """Return the title of a cohort without the searched values: `topk k16` of `topk 64 k16`."""
    title = str(cohort["title"])
    for path, value in (cohort.get("point") or {}).items():
        name, text = path.rsplit(".", 1)[-1], re.escape(compact(value))
        if name == "d_sae":
            said = rf"(?<=^{re.escape(title.split()[0])}) {text}"
        elif name == "k":
            said = rf" k{text}"
        elif name == "target_l0":
            said = rf" target {text}"
        elif path.endswith("dead.method") and value in DEAD_TITLES:
            said = rf" {DEAD_TITLES[value]}"
        elif name == "hooks":
            said = rf" {re.escape(str(cohort['hook']))}"
        else:
            said = rf" (\S*\.)?{re.escape(name)} {text}"
        title = re.sub(rf"{said}(?= |$)", "", title, count=1)
    return title


def counts(summary: Record) -> str:
    """Return how often each verdict occurs: `45 cohorts: 12 moderate, 3 weak, 30 chance`."""
    verdicts = [cohort["verdict"] for cohort in summary["cohorts"]]
    known = [*VERDICTS, *sorted(set(verdicts) - set(VERDICTS))]
    said = ", ".join(f"{verdicts.count(v)} {v}" for v in known if v in verdicts)
    return f"{plural(len(verdicts), 'cohort')}: {said}"


def closing_lines(summary: Record) -> list[str]:
    """Return the verdicts once more, for the end of a long output: a line each, or how often each occurs."""
    if crowded(summary):
        return [counts(summary)]
    return [f"{cohort['title']}: {verdict_line(cohort)}" for cohort in summary["cohorts"]]


def search_text(settings: Record) -> str:
    """Return what was searched as a sentence; empty without a search."""
    search = settings.get("search")
    if not search:
        return ""
    over = "; ".join(f"{path} over {_range(values)}" for path, values in search["over"].items())
    if search["kind"] == "grid":
        return f"Every combination of {over}."
    return f"{plural(search['samples'], 'sample')} (seed {search['seed']}) of {over}; repeated points are one."


def _range(values: object) -> str:
    if isinstance(values, dict):
        return "; ".join(
            f"{name.replace('_', '-')} {compact(ends)}" for name, ends in values.items()
        )
    return (
        ", ".join(compact(value) for value in values) if isinstance(values, list) else str(values)
    )


def missing(summary: Record) -> list[str]:
    """Return the cohorts that failed, each with its reason."""
    return [f"{failed['title']}: {failed['reason']}" for failed in summary.get("failed") or ()]


def every_warning(summary: Record) -> list[str]:
    """Return the warnings, without those that `missing` tells."""
    told = tuple(f"{failed['title']} is missing: " for failed in summary.get("failed") or ())
    return [text for text in map(str, summary["warnings"]) if not (told and text.startswith(told))]


def other_warnings(summary: Record) -> list[str]:
    """Return one warning of each kind, without those that `missing` tells: what several cohorts share is said
    once, with their names or, in a crowd, how many they are."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for text in every_warning(summary):
        title = next(
            (t for c in summary["cohorts"] if text.startswith(f"{(t := str(c['title']))}: ")), ""
        )
        said = text.removeprefix(f"{title}: ") if title else text
        kind = _kind(said) if crowded(summary) or _of_the_study(said) else text
        kinds.setdefault(kind, []).append((title, said))
    return [_once(found, summary) for found in kinds.values()]


def _kind(said: str) -> str:
    return re.sub(r"[−-]?\d[\d.]*|[−-]?\.\d+", "#", said)


def _of_the_study(said: str) -> bool:
    """Return whether a warning says the same of every cohort of a study, but for its digits."""
    return said.startswith("loss recovered says nothing")


def _once(found: list[tuple[str, str]], summary: Record) -> str:
    title, said = found[0]
    if len(found) == 1:
        return f"{title}: {said}" if title else said
    if crowded(summary):
        return f"{plural(len(found), 'cohort')} such as {title}: {said}"
    alike = "" if len({text for _, text in found}) == 1 else "; the others alike"
    every = len(found) == len(summary["cohorts"]) > 2
    named = "every cohort" if every else ", ".join(title for title, _ in found)
    return f"{named}: {said}{alike}"
