"""The section on other measures of similarity: each beside what chance gives, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from engine.report.evidence import Row
from engine.report.markup import NO_BREAK, Cell, bullets, folded, paragraph, table
from engine.report.sweeps import crowded
from engine.report.wording import (
    MISSING,
    Record,
    cohort_label,
    fraction,
    percent,
    plural,
)

LEGEND = (
    "N0: random directions. N0r: random directions within the r dimensions in which the activations vary (r is "
    "their effective rank). N3: the same SAEs retrained on Gaussian data of the same mean and covariance; for "
    "codes, on such data. Struck out: not admissible. Intervals leave out one seed at a time. None of these "
    "measures carries a verdict."
)
CANNOT = (
    "Best cosine, one direction: many features may share one partner, so it does not count features; the value "
    "grows with the number of features in the column seed.",
    "Overlap of leading subspaces and principal angles: they see the space, not the features in it. Any SAE "
    "that follows the largest variance of the activations overlaps, however its features differ.",
    "CKA: how alike the codes arrange the inputs. Rotated features score the same, a few features of large "
    "variance decide it, and reconstructions that are good are alike by that alone.",
    "Consensus clusters: the threshold is a convention; a feature that is split in one seed counts as alone "
    "there, and in few dimensions chance forms clusters, too.",
    "Distances: the same matched pairs on other scales, so agreement between them is no further evidence. The "
    "correlation of latents depends on the inputs, that of decoder rows on the coordinates.",
    "Encoder–decoder alignment: of one SAE alone; nothing about other seeds.",
)
"""What each measure leaves open, in the order of the table."""
BANDS = {"all": "all seeds", "most": "most seeds", "some": "some seeds", "alone": "one seed alone"}
FEWEST_SEEDS = {"most": 3, "some": 4}
"""Seeds from which a band can hold a cluster."""
COLUMNS = ("measure", ">mean", "95 % CI", ">N0", ">N0r", ">N3", "other references")
NAMED = ("N0", "N0r", "N3")
"""Nulls with a column of their own."""
LADDER = ("N1", "N2", "N4", "N6")
"""Nulls that stand beside the same figures in the table of every metric and null."""
DISTANCES = {
    "cosine": "cosine",
    "angular": "angular",
    "correlation": "correlation of latents",
    "decoder_correlation": "correlation of rows ⚠",
    "l2": "L2",
    "l1": "L1 ⚠",
    "linf": "L∞ ⚠",
}


def similarity_section(summary: Record) -> str:
    """Return the other measures of every cohort that has them; nothing if none has."""
    html = ""
    for cohort in summary["cohorts"]:
        if not cohort.get("similarity"):
            continue
        title, told = cohort_label(summary, cohort), _of_cohort(cohort)
        html += folded(title, told) if crowded(summary) else f"<h3>{escape(title)}</h3>\n{told}"
    if not html:
        return ""
    return f"{html}{paragraph(LEGEND, 'note')}<h3>What these measures cannot tell</h3>\n{bullets(CANNOT)}"


def _of_cohort(cohort: Record) -> str:
    found = cohort["similarity"]
    counts = ", ".join(f"{n:,}" for n in found["n_per_seed"])
    about = (
        f"{str(found['subset']).capitalize()} features ({counts} by seed), {found['sign']} cosines"
    )
    sampled = found["cka"]
    if sampled.get("inputs"):
        about += f"; codes of {sampled['inputs']:,} inputs drawn from {sampled['of']:,} for CKA"
    pearson = found["distances"]["correlation"]
    if pearson.get("inputs"):
        about += f", of {pearson['inputs']:,} for correlations"
    rank = next((cell["effective_rank"] for cell in found["subspace"]), None)
    about += "" if rank is None else f"; r = {rank}"
    tables = {
        "Best cosine in one direction (MMCS), and of encoder and decoder": _direction_rows,
        "Leading subspaces of the decoders, and debiased CKA of codes": _space_rows,
        "Distances of matched features": _distance_rows,
    }
    html = paragraph(f"{about}.", "note")
    for title, rows in tables.items():
        html += f"<h4>{title}</h4>\n{_table(list(rows(found)))}"
    html += _warnings(found["distances"]) + _reasons(found)
    return html + _consensus(found["consensus"], len(cohort["seeds"])) + _directed(cohort)


def _table(rows: list[Row]) -> str:
    """Return the rows without the columns in which none of them has anything."""
    blank = (MISSING, "")
    filled = [
        number
        for number in range(len(COLUMNS))
        if any(
            (cell.text if isinstance(cell, Cell) else cell) not in blank
            for cell in (row[number] for row in rows)
        )
    ]
    return table([COLUMNS[n] for n in filled], [[row[n] for n in filled] for row in rows])


def _space_rows(found: Record) -> Iterator[Row]:
    for cell in found["subspace"]:
        pca = f"with the PCA of the activations {_mean(cell['with_pca'])}"
        yield _row(f"overlap, k{NO_BREAK}={NO_BREAK}{cell['k']}", cell, pca)
    angles = found["principal_angles"]
    if angles["k"]:
        ends = {"smallest": angles["angles"][0], "largest": angles["angles"][-1]}
        for name, cell in list(ends.items())[-min(2, angles["k"]) :]:
            yield _row(f"{name} angle, k{NO_BREAK}={NO_BREAK}{angles['k']}", cell, degrees=True)
    for name in ("codes", "reconstructions"):
        cell = found["cka"][name]
        inputs = f"with the inputs {_mean(cell['with_inputs'])}" if cell.get("with_inputs") else ""
        yield _row(f"CKA of {name}", cell, inputs)


def _distance_rows(found: Record) -> Iterator[Row]:
    for name, title in DISTANCES.items():
        cell = found["distances"][name]
        lost = cell.get("unmeasured")
        more = f"{percent(lost, 1)} of the pairs do not vary" if lost else ""
        yield _row(title, cell, more)


def _direction_rows(found: Record) -> Iterator[Row]:
    for subset in ("live", "all"):
        yield _row(f"MMCS, {subset} features", found["mmcs"][subset])
    aligned = found["enc_dec_alignment"]
    both = {"observed": aligned["mean"], "ci_low": None, "ci_high": None, "nulls": aligned["nulls"]}
    yield _row("encoder–decoder alignment", both, f"sd {fraction(aligned['sd'], 3)}")


def _row(name: str, cell: Record, more: str = "", *, degrees: bool = False) -> Row:
    nulls = {str(null["name"]): null for null in cell["nulls"]}
    others = [
        f"{_title(null)} {_number(null['value'], degrees)}"
        for name, null in nulls.items()
        if name not in NAMED and null["value"] is not None and not name.startswith(LADDER)
    ]
    bounds = MISSING
    if cell["ci_low"] is not None:
        low, high = (_number(cell[end], degrees) for end in ("ci_low", "ci_high"))
        bounds = f"[{low}, {high}]"
    return [
        Cell(name, "w"),
        Cell(_number(cell["observed"], degrees), "chosen"),
        Cell(bounds, "w"),
        *(_null_cell(nulls.get(null), degrees) for null in NAMED),
        Cell(", ".join([*others, *([more] if more else [])]), "w"),
    ]


def _warnings(distances: Record) -> str:
    """Return each warning once, with the distances that it is of."""
    named: dict[str, list[str]] = {}
    for name, cell in distances.items():
        if cell["warning"]:
            named.setdefault(str(cell["warning"]), []).append(DISTANCES[name].removesuffix(" ⚠"))
    told = (f"⚠ {' and '.join(names)}: {why}." for why, names in named.items())
    return "".join(paragraph(text, "note") for text in told)


def _title(null: Record) -> str:
    struck = "" if null["admissible"] else " (not admissible)"
    return f"{null['name']}{struck}"


def _null_cell(null: Record | None, degrees: bool) -> Cell:
    if null is None or null["value"] is None:
        return Cell(MISSING)
    return Cell(_number(null["value"], degrees), "" if null["admissible"] else "out")


def _number(value: float | None, degrees: bool) -> str:
    if value is not None and degrees:
        return f"{value:.1f}°"
    return fraction(value, 3)


def _mean(values: Record) -> str:
    return fraction(values["mean"], 3)


def _reasons(found: Record) -> str:
    """Return why something is missing, each reason once."""
    cells = [found["mmcs"]["live"], found["mmcs"]["all"], *found["subspace"]]
    cells += [found["cka"][name] for name in ("codes", "reconstructions")]
    cells += [*found["distances"].values(), found["principal_angles"]]
    reasons = [str(cell["reason"]) for cell in cells if cell["reason"]]
    lacking = {str(n["reason"]) for n in found["enc_dec_alignment"]["nulls"] if n["value"] is None}
    missing = [str(found["consensus"]["null"]["reason"])] if lacking else []
    reasons += [
        f"{null['name']} is not admissible: {null['reason']}"
        for cell in cells[2:]
        for null in cell.get("nulls") or ()
        if not null["admissible"] and null["value"] is not None and null["reason"]
    ]
    told = dict.fromkeys([*reasons, *(f"N3 is missing: {why}" for why in missing if why)])
    return "".join(paragraph(f"{why[0].upper()}{why[1:]}.", "note") for why in told)


def _consensus(found: Record, n_seeds: int) -> str:
    """Return how many features are in clusters of all, most, some seeds, or in none, beside the twins'."""
    theirs = found["null"]["counts"]
    rows: list[Row] = []
    for band, title in BANDS.items():
        if n_seeds < FEWEST_SEEDS.get(band, 0):
            continue
        rows.append(
            [
                f"{title} ({n_seeds})" if band == "all" else title,
                _count(found, band),
                percent(found["features"][band], 1),
                _count(theirs, band),
                percent(theirs["features"][band], 1) if theirs else MISSING,
            ]
        )
    columns = (
        "in a cluster of",
        ">clusters",
        ">of the features",
        ">N3: clusters",
        ">N3: of the features",
    )
    note = f"Clusters: {found['definition']}."
    mean = found["mean_cosine"]
    if mean is not None:
        note += f" Mean cosine within clusters {fraction(mean, 3)}."
    note += f" Their directions and members are in {found['artifact']} of the analysis."
    return f"<h4>Consensus over seeds</h4>\n{table(columns, rows)}{paragraph(note, 'note')}"


def _count(counts: Record | None, band: str) -> str:
    if counts is None or band == "alone":
        return MISSING
    return f"{counts['clusters'][band]:,}"


def _directed(cohort: Record) -> str:
    """Return, folded, the best cosine of each seed's features in each other seed, and the order of seeds."""
    found, seeds = cohort["similarity"], cohort["seeds"]
    cell, order = found["mmcs"][found["subset"]], found["seed_order"]
    html = ""
    if cell["pairs"]:
        rows: list[Row] = [
            [str(seed), *(fraction(value, 3) for value in row)]
            for seed, row in zip(seeds, cell["pairs"], strict=True)
        ]
        said = (
            "Row: whose features; column: in which seed their best cosine is looked for. Both directions "
            f"differ by at most {fraction(cell['largest_asymmetry'], 3)}; {_nulls_in_words(cell['nulls'])}."
        )
        html += table(("seed", *(f">{seed}" for seed in seeds)), rows) + paragraph(said, "note")
    if order["order"]:
        exact = "no order is shorter" if order["exact"] else "found by greedy search and 2-opt"
        named = ", ".join(str(seed) for seed in order["order"])
        html += paragraph(
            f"{order['purpose'].capitalize()}: {named} ({exact}; 1 − similarity of neighbours adds up to "
            f"{fraction(order['length'], 3)}). The overlap figure uses it; nothing may be concluded from it.",
            "note",
        )
    return folded(f"Best cosines one direction at a time, {plural(len(seeds), 'seed')}", html)


def _nulls_in_words(nulls: Sequence[Record]) -> str:
    known = [f"{n['name']} {fraction(n['value'], 3)}" for n in nulls if n["value"] is not None]
    return f"chance gives {', '.join(known)}" if known else "no null is known"
