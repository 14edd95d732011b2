"""What a verdict rests on, in lines: the sentence, the pairs, the ladder of nulls, contrasts, warnings."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from engine.client.findings import (
    MISSING,
    explain_null,
    failed_gates,
    found_again_text,
    fraction,
    interval,
    kappa_text,
    metric_title,
    percent,
    plural,
    quantity,
    short_null,
    spread,
    subjects_of,
)
from husai_tui.state.compare import SUBSETS, TONES, Cohorts, Comparison, mean, signed
from husai_tui.state.contrasts import contrast_lines, joint_sentence, paragraph
from husai_tui.state.heat import Heat, figure
from husai_tui.tones import Part, Tone

Line = list[Part]


def subject_line(comparison: Comparison, jobs: tuple[dict[str, Any], ...] = ()) -> list[Part]:
    """Say whether what the SAEs were trained on is sound: gates, accuracy, key frequencies, FVE."""
    summary = comparison.summary
    parts: list[Part] = [(comparison.study, "strong")]
    gates = summary["subject"].get("gates")
    failed = failed_gates(summary)
    if failed:
        names = ", ".join(f"{gate['name']} {gate['title']}" for gate in failed)
        parts.append((f"  ✗ gates failed: {names}", "bad"))
    elif gates:
        parts.append(("  ✓ gates passed", "good"))
    elif gates is None:
        parts.append((f"  {summary['subject'].get('kind', '')}, no gates", "faint"))
    subjects = subjects_of(summary)
    # The figures of one of several subjects would pass for those of all.
    measured = _measured(subjects[0]) if len(subjects) == 1 else [f"{len(subjects)} subjects"]
    parts += [(f"  {text}", "faint") for text in measured]
    missing = summary.get("failed") or ()
    if missing:
        parts.append((f"  ! {plural(len(missing), 'cohort')} missing", "warn"))
    left = [job for job in jobs if job["state"] not in ("done", "cancelled", "skipped")]
    if left:
        parts.append((f"  ◐ an earlier report; {plural(len(left), 'job')} to do", "warn"))
    return parts


def _measured(subject: dict[str, Any]) -> list[str]:
    found = []
    if subject.get("test_accuracy") is not None:
        found.append(f"test acc. {figure(subject['test_accuracy'])}")
    if subject.get("key_frequencies"):
        found.append("freq. " + " ".join(str(k) for k in sorted(subject["key_frequencies"])))
    if subject.get("fve") is not None:
        found.append(f"FVE {fraction(subject['fve'], 3)}")
    return found


def title(cohorts: Cohorts, label: str) -> list[Part]:
    """Name the selected cohort and what is measured of it."""
    found = cohorts.comparison
    if found is None or label not in found.cohorts:
        return []
    cell, used = found.cell(label, cohorts.metric, cohorts.subset)
    counts = sorted(set(cell.get("n_per_seed") or ()))
    size = (
        f"{counts[0]:,}–{counts[-1]:,}" if len(counts) > 1 else f"{counts[0]:,}" if counts else ""
    )
    per = f", {size} per seed" if size else ""
    return [
        (label, "accent"),
        (f"   {metric_title(cohorts.metric)} of {used} features", ""),
        (per, "faint"),
    ]


def evidence(cohorts: Cohorts, label: str, width: int, *, brief: bool = False) -> list[Line]:
    """Return all that the verdict on a cohort rests on, in lines of so many columns; in brief: the nulls in
    one line, and no contrasts."""
    found = cohorts.comparison
    if found is None or label not in found.cohorts:
        return []
    cell, used = found.cell(label, cohorts.metric, cohorts.subset)
    verdict = found.verdict(label, cohorts.metric, cohorts.subset)
    lines = paragraph(found.sentence(label, cohorts.metric, cohorts.subset), width, "strong")
    if cell:
        heat = found.heat(label, cohorts.metric, cohorts.subset)
        lines += paragraph(_pairs(heat), width, "")
        if used == "live":
            lines += paragraph(found_again_text(found.cohorts[label]), width, "")
        if cell.get("reason") and verdict != "undetermined":
            lines += paragraph(str(cell["reason"]), width, "warn")
    if cohorts.delta and label != cohorts.pinned:
        lines += _against(cohorts, label, width)
    if (cohorts.metric, used) != _headline(found, label):
        where = found.cohorts[label]["headline"]
        said = (
            f"its verdict in the report rests on {metric_title(where['metric'])}, {where['subset']}"
        )
        lines += paragraph(f"{said}: {found.cohorts[label]['verdict']}", width, "faint")
    warnings = found.cohorts[label].get("warnings") or ()
    if warnings:
        lines += [[(f"! {plural(len(warnings), 'warning')}", "warn"), (": w reads them", "faint")]]
    if brief:
        return [*lines[:-1], _rungs(cell), *lines[-1:]] if cell else lines
    lines += [[], *paragraph(_quality(found.cohorts[label]), width, "")]
    if cell:
        lines += [[], *ladder(cell, width)]
    lines += [[], *_everywhere(cohorts, label)]
    return [*lines, [], *contrast_lines(found, width)]


def _everywhere(cohorts: Cohorts, label: str) -> list[Line]:
    """Return the agreement at every metric and subset; the one in sight is marked."""
    found = cohorts.comparison
    assert found is not None, "asked for one of its cohorts"
    room = max([len(metric_title(metric)) for metric in found.metrics], default=0) + 9
    head = f"{'  every metric':<{room}}{'observed':>8}{'null':>10}{'κ':>6}  verdict"
    lines: list[Line] = [[(head, "faint")]]
    for metric in found.metrics:
        for subset in SUBSETS:
            cell = (found.cohorts[label]["stability"].get(metric) or {}).get(subset)
            if not cell:
                continue
            here = (metric, subset) == (cohorts.metric, cohorts.subset)
            null = f"{fraction(cell['null'], 3)} {short_null(cell['null_name']):<2}"
            figures = f"{fraction(cell['observed'], 3):>8}{null:>10}{fraction(cell['kappa'], 2):>6}"
            name = f"{'▸' if here else ' '} {metric_title(metric)}, {subset}"
            verdict = found.verdict(label, metric, subset)
            lines.append(
                [
                    (f"{name:<{room}}{figures}", "strong" if here else ""),
                    (f"  {verdict}", TONES.get(verdict, "faint")),
                ]
            )
    return lines


def _rungs(cell: dict[str, Any]) -> Line:
    """Return the ladder of nulls in one line; the one that κ is taken against is marked."""
    line: Line = [("nulls ", "faint")]
    for null in cell["nulls"]:
        chosen = null["name"] == cell.get("null_name")
        # N4 never has a say: what is short of room leaves it to the whole ladder.
        if null["value"] is not None and not str(null["name"]).startswith("N4"):
            text = f" {'▸' if chosen else ' '}{null['name']} {fraction(null['value'], 3)}"
            line.append((text, "strong" if chosen else "" if null["admissible"] else "faint"))
            if not null["admissible"]:
                line.append((" (unfit)", "faint"))
    return line


def _quality(cohort: dict[str, Any]) -> str:
    """Return how well the SAEs reconstruct: mean and spread over the seeds."""
    quality = cohort["quality"]
    said = [
        plural(len(cohort["seeds"]), "seed"),
        f"EV {spread(quality.get('explained_variance'), 3)}",
        f"L0 {quantity(mean(cohort, 'l0'))}",
        f"dead {percent(mean(cohort, 'dead_fraction'))}",
        f"live {percent(mean(cohort, 'live_fraction'))}",
    ]
    return "   ".join(said)


def _headline(found: Comparison, label: str) -> tuple[str, str]:
    where = found.cohorts[label]["headline"]
    return where["metric"], where["subset"]


def _pairs(heat: Heat) -> str:
    """Say how the pairs of seeds lie to the null: what the colours show, in words."""
    pairs, null = heat.pairs, heat.null
    if not pairs:
        return "No pair of seeds could be measured."
    ends = f"{fraction(min(pairs), 3)}–{fraction(max(pairs), 3)}"
    if null is None:
        return f"The {plural(len(pairs), 'pair')} of seeds lie at {ends}; there is no null."
    above = sum(value > null for value in pairs)
    if len(pairs) == 1:
        side_of = "above" if above else "not above"
        return f"The one pair of seeds lies at {ends}, {side_of} the null ({fraction(null, 3)})."
    some = {len(pairs): f"All {len(pairs)}", 0: f"None of the {len(pairs)}"}
    count = some.get(above, f"{above} of the {len(pairs)}")
    return f"{count} pairs of seeds lie above the null ({fraction(null, 3)}): {ends}."


def _against(cohorts: Cohorts, label: str, width: int) -> list[Line]:
    refused = cohorts.refused(label)
    raw = f"observed {signed(cohorts.difference(label, 'observed'), 3)}"
    changes = [
        f"κ {signed(cohorts.difference(label, 'kappa'), 3)}",
        f"observed not comparable ({'; '.join(refused)})" if refused else raw,
        f"EV {signed(cohorts.difference(label, 'explained_variance'), 3)}",
    ]
    assert cohorts.comparison is not None, "asked for one of its cohorts"
    names = [
        cohorts.comparison.cell(one, cohorts.metric, cohorts.subset)[0].get("null_name")
        for one in (cohorts.pinned, label)
    ]
    nulls = "" if names[0] == names[1] else f"; the nulls differ: {names[0]} and {names[1]}"
    said = f"Against {cohorts.pinned}: {', '.join(changes)}{nulls}."
    joint = joint_sentence(cohorts.comparison, cohorts.pinned, label)
    return paragraph(said, width, "accent") + (paragraph(joint, width, "") if joint else [])


def ladder(cell: dict[str, Any], width: int) -> list[Line]:
    """Return the nulls, each with its value, κ against it, and whether it may be used."""
    names = max([3, *(len(str(null["name"])) for null in cell["nulls"])])
    lines: list[Line] = [[(f"{'null':<{names + 4}}value       κ  may be used", "faint")]]
    for null in cell["nulls"]:
        name = str(null["name"])
        chosen = name == cell.get("null_name")
        tone: Tone = "strong" if chosen else "" if null["admissible"] else "faint"
        figures = f"{'▸' if chosen else ' '} {name:<{names}} {fraction(null['value'], 3):>6}"
        figures += f"  {fraction(null.get('kappa'), 2):>6}  "
        usable = "yes" if null["admissible"] else "no"
        why = str(null.get("reason") or "")
        if not why and width >= 60:
            why = explain_null(name).partition(": ")[2]
        said = f"{usable}{': ' + why if why else ''}"
        room = max(12, width - len(figures))
        first, *rest = wrap(said, room) or [""]
        lines.append([(figures, tone), (first, tone if chosen else "faint")])
        lines += [[(" " * len(figures) + more, "faint")] for more in rest]
    return lines


def warning_lines(found: Comparison, label: str, width: int) -> list[Line]:
    """Return the warnings on a cohort, then what is missing from the study."""
    lines: list[Line] = []
    for text in found.cohorts[label].get("warnings") or ():
        lines += paragraph(f"! {text}", width, "warn", hang=2)
    for one in found.summary.get("failed") or ():
        said = f"✗ {one['title']} is missing: {one['reason']}"
        lines += paragraph(said, width, "bad", hang=2)
    for gate in failed_gates(found.summary):
        said = f"✗ gate {gate['name']} {gate['title']}: {gate['reason']}"
        lines += paragraph(said, width, "bad", hang=2)
    return lines or [[("no warnings", "faint")]]


def described(cohorts: Cohorts, label: str) -> str:
    """Return the verdict on the selected cohort, and the counts of the others, in a sentence or two."""
    found = cohorts.comparison
    if found is None:
        return "No study with a report is shown."
    verdicts = [found.verdict(one, cohorts.metric, cohorts.subset) for one in found.cohorts]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    start = f"{found.study}: {plural(len(verdicts), 'cohort')} ({counts})"
    at = f"at {metric_title(cohorts.metric)} of {cohorts.subset} features."
    if label not in found.cohorts:
        return f"{start} {at}"
    heat = found.heat(label, cohorts.metric, cohorts.subset)
    said = found.sentence(label, cohorts.metric, cohorts.subset)
    return f"{start} {at} {label}: {said} {_pairs(heat)}"


def row_text(cohorts: Cohorts, label: str) -> str:
    """Return a cohort with its agreement in one line, as one would quote it."""
    found = cohorts.comparison
    if found is None or label not in found.cohorts:
        return ""
    cell, _ = found.cell(label, cohorts.metric, cohorts.subset)
    verdict = found.verdict(label, cohorts.metric, cohorts.subset)
    kappa = kappa_text(cell) if interval(cell) else fraction(cell.get("kappa"))
    return f"{found.study}/{label}: {verdict}, κ {kappa} against {cell.get('null_name') or MISSING}"
