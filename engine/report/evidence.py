"""The tables of the page: results, the ladder of nulls, quality, ground truth, gates, time."""

from __future__ import annotations

from html import escape

from engine.report.contrasts import groups, kappa_change, side
from engine.report.markup import Cell, folded, paragraph, table
from engine.report.sweeps import crowded, identity, searched
from engine.report.wording import (
    MISSING,
    SOURCES,
    Record,
    cohort_label,
    duration,
    explain_null,
    fraction,
    headline,
    interval,
    kappa_digits,
    metric_title,
    percent,
    plural,
    quantity,
    short_null,
    size,
    spread,
    truth_measures,
)

Row = list[str | Cell]
STRICT = (
    "Strictly shared: decoders and encoders both choose the pair. Its nulls take the encoders for tied to the "
    "decoders, which is the most that any encoders could give: they are upper bounds, so κ below 0 is to be "
    "expected here and does not say that seeds avoid each other's features."
)
QUALITIES = ("explained_variance", "l0", "dead_fraction", "loss_recovered")


def result_table(summary: Record) -> str:
    """Return the table that carries the verdicts."""
    rows: list[Row] = []
    named = [("cohort", "")]
    for cohort in summary["cohorts"]:
        cell = headline(cohort)
        named = _identity(summary, cohort)
        rows.append(
            [
                *_names(named),
                _mean(cohort, "explained_variance"),
                _mean(cohort, "l0"),
                _mean(cohort, "dead_fraction"),
                fraction(cell["observed"], 3),
                fraction(cell["null"], 3),
                short_null(cell["null_name"]),
                fraction(cell["kappa"], kappa_digits(cell)),
                Cell(interval(cell) or MISSING, "w"),
                Cell(str(cohort["verdict"]), "chosen"),
            ]
        )
    columns = (
        *(name for name, _ in named),
        ">EV",
        ">L0",
        ">dead",
        ">observed",
        ">null",
        "against",
        ">κ",
        "95 % CI",
        "verdict",
    )
    bases = dict.fromkeys(
        (c["headline"]["metric"], c["headline"]["subset"]) for c in summary["cohorts"]
    )
    said = " or ".join(f"{metric_title(metric)} of {subset} features" for metric, subset in bases)
    note = f"Observed: {said}, mean over pairs of seeds. κ = (observed − null) / (1 − null)."
    nulls = dict.fromkeys(headline(cohort)["null_name"] for cohort in summary["cohorts"])
    explained = " ".join(f"{explain_null(name)}." for name in nulls if name)
    return table(columns, rows) + paragraph(f"{note} {explained}", "note")


def _identity(summary: Record, cohort: Record) -> list[tuple[str, str]]:
    """Return the columns that name a cohort: its label, or in a sweep the searched values."""
    if searched(summary):
        return identity(summary, cohort)
    return [("cohort", cohort_label(summary, cohort))]


def _names(named: list[tuple[str, str]]) -> list[Cell]:
    """Return the cells that name a cohort: titles may wrap, searched values do not."""
    first, *values = (value for _, value in named)
    return [Cell(first, "name"), *(Cell(value, "w") for value in values)]


def ladder_section(summary: Record, cohort: Record) -> str:
    """Return, for one cohort, every null of the headline and then every metric against every null."""
    cell, where = headline(cohort), cohort["headline"]
    rows: list[Row] = []
    for null in cell["nulls"]:
        chosen = "chosen" if null["name"] == cell["null_name"] else ""
        draws = null["draws"]
        rows.append(
            [
                Cell(str(null["name"]), f"w {chosen}".strip()),
                Cell(fraction(null["value"], 3), chosen),
                fraction(null["sd"], 4),
                MISSING if draws is None else f"{draws:,}",
                Cell(fraction(null["kappa"]), chosen),
                _admissible(null),
            ]
        )
    columns = ("null", ">value", ">sd", ">draws", ">κ against it", "admissible")
    title = cohort_label(summary, cohort)
    basis = f"{metric_title(where['metric'])} of {where['subset']} features"
    counts = ", ".join(f"{n:,}" for n in cell["n_per_seed"])
    note = f"{basis}: observed {fraction(cell['observed'], 3)} ({counts} features by seed)."
    said = f"{note[0].upper()}{note[1:]} Bold is the null that κ is taken against."
    html = paragraph(said, "note") + table(columns, rows) + _matrix(cohort) + _step_zero(cohort)
    # Many of them would bury what follows.
    return folded(title, html) if crowded(summary) else f"<h3>{escape(title)}</h3>\n{html}"


def _matrix(cohort: Record) -> str:
    """Return every metric with every null's value: the chosen one bold, inadmissible ones struck out."""
    cells = [
        (metric, subset, cell)
        for metric, subsets in cohort["stability"].items()
        for subset, cell in subsets.items()
        if cell is not None
    ]
    names = list(dict.fromkeys(str(null["name"]) for *_, cell in cells for null in cell["nulls"]))
    rows: list[Row] = []
    for metric, subset, cell in cells:
        values = {str(null["name"]): null for null in cell["nulls"]}
        nulls = [_null_cell(values.get(name), cell) for name in names]
        bounds = Cell(interval(cell) or MISSING, "w")
        verdict = str(cell["verdict"]) + (f": {cell['reason']}" if cell["reason"] else "")
        start = [Cell(metric_title(metric), "w"), subset, fraction(cell["observed"], 3)]
        rows.append([*start, *nulls, fraction(cell["kappa"], kappa_digits(cell)), bounds, verdict])
    heads = [f">{short_null(name)}" for name in names]
    columns = ("metric", "features", ">observed", *heads, ">κ", "95 % CI", "verdict")
    strict = any(metric.startswith("strict") for metric, *_ in cells)
    bound = paragraph(STRICT, "note") if strict else ""
    return table(columns, rows) + bound + _elsewhere(cohort)


def _elsewhere(cohort: Record) -> str:
    """Return why nulls of the headline have no value on other features; nothing if they have."""
    measured = {null["name"] for null in headline(cohort)["nulls"] if null["value"] is not None}
    found: dict[tuple[str, str], list[str]] = {}
    for subset, cell in cohort["stability"][cohort["headline"]["metric"]].items():
        for null in (cell or {}).get("nulls", ()):
            if null["value"] is None and null["name"] in measured:
                found.setdefault((subset, null["reason"]), []).append(str(null["name"]))
    said = [f"Of {on} features, {', '.join(names)}: {why}." for (on, why), names in found.items()]
    return paragraph(" ".join(said), "note") if said else ""


def _null_cell(null: Record | None, cell: Record) -> Cell:
    if null is None:
        return Cell(MISSING)
    chosen = "chosen" if null["name"] == cell["null_name"] else ""
    return Cell(fraction(null["value"], 3), chosen if null["admissible"] else "out")


def _admissible(null: Record) -> Cell:
    reason = f": {null['reason']}" if null["reason"] else ""
    # N4 is beside the others by design: nothing is wrong with it.
    if str(null["name"]).startswith("N4"):
        return Cell(f"no{reason}")
    return Cell(f"yes{reason}") if null["admissible"] else Cell(f"no{reason}", "no")


def _step_zero(cohort: Record) -> str:
    check = cohort.get("step_zero")
    if not check:
        return ""
    numbers = (
        f"similarity {fraction(check['observed'], 4)}, expected {fraction(check['expected'], 4)}"
    )
    said = "as independent seeds must" if check["ok"] else "NOT as independent seeds must"
    return paragraph(
        f"Before training, the seeds agree {said}: {numbers}.", "note" if check["ok"] else "no"
    )


def quality_table(summary: Record) -> str:
    """Return mean and spread over seeds of everything that says how good the SAEs are."""
    rows: list[Row] = []
    named = [("cohort", "")]
    for cohort in summary["cohorts"]:
        values = [_with_sd(cohort, name) for name in QUALITIES]
        size_of = f"{cohort['d_in']:,} → {cohort['d_sae']:,}"
        named = _identity(summary, cohort)
        rows.append(
            [
                *_names(named),
                Cell(size_of, "w"),
                f"{cohort['steps']:,}",
                *values,
            ]
        )
    columns = (
        *(name for name, _ in named),
        "size",
        ">steps",
        ">EV",
        ">L0",
        ">dead",
        ">loss recovered",
    )
    note = "Mean ± standard deviation over seeds, on activations held out of training."
    return table(columns, rows) + paragraph(note, "note")


def training_flags(summary: Record) -> str:
    """Return the red flags that were raised while the SAEs trained; folded, and nothing if there were none."""
    rows: list[Row] = [
        [
            Cell(cohort_label(summary, cohort), "name"),
            f"{flag['step']:,}",
            str(flag["message"]),
            "holds" if flag.get("holds") else "had passed",
        ]
        for cohort in summary["cohorts"]
        for flag in cohort.get("flags") or ()
    ]
    if not rows:
        return ""
    title = f"{plural(len(rows), 'red flag')} while training"
    return folded(title, table(("cohort", ">raised at step", "flag", "at the end"), rows))


def _with_sd(cohort: Record, name: str) -> str:
    value = cohort["quality"].get(name)
    if value is None or value["mean"] is None:
        return MISSING
    if name not in ("l0", "dead_fraction"):
        return spread(value, 4)
    mean, sd = _mean(cohort, name), value["sd"]
    if sd is None:
        return mean
    if name == "l0":
        return f"{mean} ± {quantity(sd)}"
    return f"{100 * value['mean']:.1f} ± {100 * sd:.1f} %"


def _mean(cohort: Record, name: str) -> str:
    mean = (cohort["quality"].get(name) or {}).get("mean")
    if name == "l0":
        return quantity(mean)
    return percent(mean) if name == "dead_fraction" else fraction(mean, 3)


def truth_table(summary: Record) -> str:
    """Return agreement with the true features, of SAEs and of what no SAE would give."""
    rows: list[Row] = []
    for cohort in summary["cohorts"]:
        for measure in truth_measures(cohort):
            baselines = cohort["ground_truth"].get("baselines") or {}
            others = [fraction((baselines.get(name) or {}).get(measure)) for name in SOURCES]
            label = Cell(cohort_label(summary, cohort), "name")
            sae = Cell(spread(cohort["ground_truth"][measure]), "chosen")
            named = "matched cosine" if measure == "gt_mcc" else measure
            rows.append([label, Cell(named, "w"), sae, *others])
    columns = ("cohort", "measure", ">SAE", *(f">{name}" for name in SOURCES.values()))
    note = "Recall: share of true features that were found. Precision: share of live latents that are one."
    return table(columns, rows) + paragraph(note, "note")


def planes_table(summary: Record) -> str:
    """Return the share of every plane at each hook; the truth is the model's, so once a hook."""
    html = ""
    seen: set[str] = set()
    for cohort in summary["cohorts"]:
        planes = (cohort.get("ground_truth") or {}).get("planes")
        if not planes or cohort["hook"] in seen:
            continue
        seen.add(cohort["hook"])
        families = list(dict.fromkeys(str(plane["family"]) for plane in planes))
        values = {(str(plane["family"]), plane["k"]): plane for plane in planes}
        rows: list[Row] = [
            [f"k = {k}", *(_plane_cell(values.get((family, k))) for family in families)]
            for k in dict.fromkeys(plane["k"] for plane in planes)
        ]
        html += f"<h3>True planes at {escape(str(cohort['hook']))}</h3>\n"
        html += table(("frequency", *(f">{family}" for family in families)), rows)
    note = "Share of the activations' variance. Struck out: too small to count as a feature."
    return html + paragraph(note, "note") if html else ""


def _plane_cell(plane: Record | None) -> Cell:
    if plane is None:
        return Cell(MISSING)
    return Cell(percent(plane["share"], 1), "" if plane["exists"] else "out")


def timings_table(timings: Record) -> str:
    """Return time and memory of every job."""
    rows: list[Row] = [
        [
            str(job["name"]),
            str(job["kind"]),
            duration(job["seconds"]),
            size(job["peak_memory_bytes"]),
        ]
        for job in timings["jobs"]
    ]
    html = paragraph(
        f"All jobs together {duration(timings['total_seconds'])}; some ran side by side."
    )
    return html + table(("job", "kind", ">time", ">peak memory"), rows) if rows else html


def contrasts_table(summary: Record) -> str:
    """Return what each stability objective changed, plain → objective; nothing if there is none."""
    html = ""
    for title, contrasts in groups(summary):
        rows: list[Row] = []
        for one in contrasts:
            pairs = zip(side(one, "baseline"), side(one, "variant"), strict=True)
            values = [Cell(f"{before} → {after}", "w") for (_, before), (_, after) in pairs]
            rows.append([Cell(one["objective"], "w"), *values, Cell(kappa_change(one), "chosen")])
        columns = ("objective", "EV", "cos", "null", "κ [95 % CI]", ">κ changes by")
        html += paragraph(f"{title} →", "note") + table(columns, rows)
    if not html:
        return ""
    note = (
        "From the plain SAEs to those with the objective, all else equal. An objective that raises cos may "
        "raise the null as well: only what κ gains is agreement that the data bring."
    )
    return f"<h3>What stability objectives do</h3>\n{html}" + paragraph(note, "note")
