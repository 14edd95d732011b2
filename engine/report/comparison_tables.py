"""A comparison of given SAEs for the terminal: every number beside its null."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.report.layouts import ACCENT, CAUTION, flat_table
from engine.report.wording import Record, fraction, interval, kappa_digits, metric_title, plural

PAIRS_SHOWN = 10


def comparison_table(found: Record) -> RenderableType:
    """Return the SAEs, all metrics with their nulls, the pairs, and what not to conclude."""
    subset = found["subset"]
    count = plural(len(found["saes"]), "SAE")
    heading = Text.assemble(
        (count, f"bold {ACCENT}"), f"  {found['sign']} cosines, {subset} latents"
    )
    cells = {name: by_subset[subset] for name, by_subset in found["metrics"].items()}
    first = next(iter(cells.values()))
    notes = [Text(note, style=CAUTION) for note in remarks(found, first)]
    parts: list[RenderableType] = [
        heading,
        Text(),
        _saes(found["saes"]),
        Text(),
        _metrics(cells),
        Text(),
        _ladder(first),
    ]
    return Group(*parts, Text(), _pairs(found["pairs"]), Text(), *notes)


def remarks(found: Record, headline: Record) -> list[str]:
    """Return the notes of a comparison, and why its headline has no verdict or no interval."""
    said = list(found["notes"])
    if headline["reason"]:
        said.append(f"verdict {headline['verdict']}: {headline['reason']}")
    return said


def _saes(saes: list[Record]) -> Table:
    table = flat_table(["", "SAE", "settings", ">live", "twin"], 2)
    for number, sae in enumerate(saes, 1):
        live = "–" if sae["live"] is None else f"{sae['live']:,}"
        cells = [str(number), sae["name"], sae["title"], live, "yes" if sae["twin"] else "no"]
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    return table


def _metrics(cells: dict[str, Record]) -> Table:
    table = flat_table(["metric", ">seen", ">null", ">κ", "95 %", "verdict"], 2)
    for name, cell in cells.items():
        bounds = "–" if cell["ci_low"] is None else interval(cell)
        null = f"{fraction(cell['null'], 3)} {cell['null_name'] or '–'}"
        row = [_title(name), fraction(cell["observed"], 3), null]
        row += [fraction(cell["kappa"], kappa_digits(cell)), bounds, cell["verdict"]]
        table.add_row(*(Text(value) for value in row))
    return table


def _title(metric: str) -> str:
    """Return a metric's name, short enough for a row of 80 columns: `strictly shared ≥ .7`."""
    title = metric_title(metric).replace(" fraction", "")
    return title.replace(" (cos ", " ").rstrip(")") if " (cos " in title else title


def _ladder(cell: Record) -> Table:
    table = flat_table(["null", ">mean-max cosine", ">κ", ""], 2)
    table.columns[-1].no_wrap = False
    for null in cell["nulls"]:
        used = null["reason"] if null["admissible"] else f"set aside: {null['reason']}"
        row = [null["name"], fraction(null["value"], 3), fraction(null["kappa"], 3), used]
        table.add_row(*(Text(value) for value in row))
    return table


def _pairs(pairs: list[Record]) -> RenderableType:
    table = flat_table(
        ["pair", ">mean-max", ">N0", ">κ over N0", ">matched", ">shared .7", ">strict .7"], 2
    )
    names = list(dict.fromkeys(name for pair in pairs for name in (pair["a"], pair["b"])))
    for pair in pairs[:PAIRS_SHOWN]:
        seen = pair["observed"]
        shown = [seen[name] for name in ("matched_mcc", "shared_fraction@0.7")]
        shown.append(seen["strict_shared_fraction@0.7"])
        row = [f"{names.index(pair['a']) + 1} × {names.index(pair['b']) + 1}"]
        row += [fraction(seen["mean_max_cos"], 3), fraction(pair["null"], 3)]
        row += [fraction(pair["kappa"], 3), *(fraction(value, 3) for value in shown)]
        table.add_row(*(Text(value) for value in row))
    if len(pairs) <= PAIRS_SHOWN:
        return table
    more = len(pairs) - PAIRS_SHOWN
    return Group(table, Text(f"{plural(more, 'more pair')}: --json has them", style="dim"))
