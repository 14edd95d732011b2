"""The section on geometry: every measure beside what chance or plain counting gives, and two figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from engine.report.canvas import (
    BoundedFormatter,
    Drawing,
    new_figure,
    percentages,
    power_of_ten,
    rule,
)
from engine.report.colours import FAINT, PALETTE
from engine.report.markup import Cell, figure, folded, paragraph, table
from engine.report.sweeps import crowded
from engine.report.wording import (
    MISSING,
    Record,
    cohort_label,
    fraction,
    percent,
    quantity,
)

Row = list[str | Cell]
Show = Callable[[float | None], str]

UNEVEN = 0.05
"""p below which the phases in a plane count as uneven."""
ENOUGH = 10
"""Atoms from which Rayleigh's approximation of p holds."""
CAPTIONS = {
    "cosines": "Cosines between the live features of one dictionary, mean over seeds; share of pairs in bins "
    "of .02. Dashed: directions at random in as many dimensions (N0).",
    "densities": "Share of features by the share of inputs on which they fire, mean over seeds, in bins of a "
    "quarter of a decade.",
}
RANKS = {
    "entropy_rank": "entropy rank, of variances",
    "entropy_rank_singular": "entropy rank, of singular values",
    "participation_ratio": "participation ratio",
    "stable_rank": "stable rank",
}


def geometry_section(summary: Record, figures: Mapping[str, str]) -> str:
    """Return tables and figures of the geometry; nothing for a summary from before it was measured."""
    told = [cohort for cohort in summary["cohorts"] if cohort.get("geometry")]
    if not told:
        return ""
    html = "".join(
        figure(figures[name], name, caption, caption)
        for name, caption in CAPTIONS.items()
        if name in figures
    )
    for cohort in told:
        label, tables = cohort_label(summary, cohort), _tables(cohort)
        if crowded(summary):
            html += folded(label, tables)
        else:
            html += f"<h3>{escape(label)}</h3>\n{tables}"
    note = (
        "Mean ± standard deviation over seeds, of live features. These numbers describe dictionaries; they do "
        "not say whether seeds agree. What differs from chance here may still differ from seed to seed."
    )
    return html + paragraph(note, "note")


def _tables(cohort: Record) -> str:
    geometry = cohort["geometry"]
    rows = [
        *_directions(geometry["directions"]),
        *_dimensions(geometry["dimensionality"]),
        *_symmetries(cohort),
        *_sparsity(geometry["sparsity"]),
    ]
    columns = ("", ">observed", ">beside", "what stands beside it")
    notes = [_sampling(geometry), geometry["symmetry"].get("reason", "")]
    notes += [
        geometry["symmetry"].get("phases_reason", ""),
        geometry["directions"].get("reason", ""),
    ]
    said = " ".join(f"{text[0].upper()}{text[1:]}." for text in notes if text)
    return table(columns, rows) + paragraph(said, "note")


def _sampling(geometry: Record) -> str:
    sparsity, shifts = geometry["sparsity"], geometry["symmetry"].get("shifts")
    pairs = sparsity["coactivation"]
    said = f"codes of {sparsity['inputs']:,} inputs; co-activation on {pairs['sampled_inputs']:,} of them"
    if shifts:
        said += (
            f"; shifts of {max(shifts['sampled']):,} features of each seed, evenly spaced by index"
        )
    return said


def _row(name: str, value: Record | None, beside: float | None, what: str, show: Show) -> Row:
    return [Cell(name, "w"), Cell(_spread(value, show), "chosen"), show(beside), what]


def _spread(value: Record | None, show: Show) -> str:
    if value is None or value.get("mean") is None:
        return MISSING
    sd = value.get("sd")
    return show(value["mean"]) if sd is None else f"{show(value['mean'])} ± {show(sd)}"


def _bounded(value: float | None) -> str:
    return fraction(value, 3)


def _dimension_count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.1f}"


def _pair_count(value: float | None) -> str:
    return "< 10⁻⁶" if value is not None and 0 < value < 1e-6 else quantity(value)


def _directions(found: Record) -> list[Row]:
    if "reason" in found:
        return []
    welch = f"random directions; no fewer than {_bounded(found['welch'])} is possible (Welch)"
    near = "random directions"
    return [
        _row("mean resultant ‖mean d̂‖", found["resultant"], found["resultant_null"], near, _bounded),
        _row("mutual coherence, max |cos|", found["coherence"], found["coherence_null"], welch, _bounded),
        _row("antipodal pairs, cos ≤ −.9", found["antipodal"], found["close_null"], near, _pair_count),
        _row("duplicates, cos ≥ .9", found["duplicates"], found["close_null"], near, _pair_count),
    ]  # fmt: skip


def _dimensions(found: Record) -> list[Row]:
    if "reason" in found:
        return []
    rows = [
        _row(
            f"{title}, of decoders",
            found["decoders"][name],
            found["null"][name],
            f"random directions; the activations have {_dimension_count(found['activations'][name])}",
            _dimension_count,
        )
        for name, title in RANKS.items()
    ]
    per_feature = found["per_feature"], found["per_feature_null"]
    return [
        *rows,
        _row("dimensions per feature, median", *per_feature, "random directions", _bounded),
    ]


def _symmetries(cohort: Record) -> list[Row]:
    found = cohort["geometry"]["symmetry"]
    rows: list[Row] = []
    if "swap" in found:
        noise = "white noise"
        rows.append(
            _row(
                "swap, median corr f(a,b), f(b,a)",
                found["swap"],
                found["swap_null"],
                noise,
                _bounded,
            )
        )
        maps = (cohort.get("ground_truth") or {}).get("features") or {}
        if total := (maps.get("eta2") or {}).get("a+b"):
            rows.append(
                _row("sum-invariance, median η² of a+b", total, maps["eta2_null"], noise, _bounded)
            )
    if shifts := found.get("shifts"):
        null, same = shifts["null"], "maps of the same power spectra with phases at random"
        lying = _bounded(shifts["best_unshifted"]["mean"])
        best = f"{same}; {lying} without a shift"
        rows += [
            _row("best copy under a shift, mean corr", shifts["best"], null["best"], best, _bounded),
            _row("features with a shifted copy ≥ .9", shifts["share"], null["share"], same, percent),
            _row("largest orbit of shifted copies", shifts["largest"], null["largest"], same, quantity),
        ]  # fmt: skip
    return [*rows, *_phases(found["phases"])]


def _phases(planes: Sequence[Record]) -> list[Row]:
    """Return how many atoms lie in the planes at all, and in how many planes their phases are uneven."""
    if not planes:
        return []
    told = [pair for plane in planes for pair in zip(plane["n"], plane["p"], strict=True)]
    tests = [p for n, p in told if n >= ENOUGH]
    uneven = Cell(
        f"{sum(p < UNEVEN for p in tests)} of {len(tests)}" if tests else MISSING, "chosen"
    )
    expected = quantity(UNEVEN * len(tests)) if tests else MISSING
    said = f"at p < .05, were phases uniform; a test is a plane of a seed with {ENOUGH} such atoms or more"
    atoms = Cell(quantity(sum(n for n, _ in told) / max(1, len(told))), "chosen")
    chance = quantity(sum(plane["n_null"] for plane in planes) / len(planes))
    within = "random directions: a twentieth has as much energy in a plane"
    return [
        [Cell("atoms with a phase in a true plane, mean", "w"), atoms, chance, within],
        [Cell("planes with uneven phases (Rayleigh)", "w"), uneven, expected, said],
    ]


def _sparsity(found: Record) -> list[Row]:
    l0, pairs, density = found["l0"], found["coactivation"], found["density"]
    equal = "as many equal values"
    alone = "latents of the same densities that fire independently"
    turned = "the same firings, turned along the inputs one by one"
    return [
        _row("L0, standard deviation over inputs", l0["sd"], l0["sd_independent"], alone, quantity),
        _row("Hoyer sparsity of codes", found["hoyer"], found["hoyer_equal"]["mean"], equal, _bounded),
        _row("Gini index of codes", found["gini"], found["gini_equal"]["mean"], equal, _bounded),
        _row("Gini index of densities", density["gini"], 0.0, "all features firing equally often", _bounded),
        _row("largest co-activation φ", pairs["largest"], pairs["largest_null"], turned, _bounded),
    ]  # fmt: skip


def draw_geometry(summary: Record) -> list[Drawing]:
    """Draw cosines and densities of all cohorts; nothing without numbers, or where they would be a crowd."""
    told = [cohort for cohort in summary["cohorts"] if cohort.get("geometry")]
    if not told or crowded(summary):
        return []
    drawn = (_draw_cosines(summary, told), _draw_densities(summary, told))
    return [drawing for drawing in drawn if drawing is not None]


def _draw_cosines(summary: Record, cohorts: Sequence[Record]) -> Drawing | None:
    shown = [c for c in cohorts if "histogram" in c["geometry"]["directions"]]
    rows: list[tuple[object, ...]] = []
    canvas = new_figure(6.4, 3.2)
    axes = canvas.subplots()
    nulls: list[list[float]] = []
    for number, cohort in enumerate(shown):
        found = cohort["geometry"]["directions"]["histogram"]
        edges, observed, null = found["edges"], found["observed"], found["null"]
        label, colour = cohort_label(summary, cohort), PALETTE[number % len(PALETTE)]
        axes.stairs(
            _positive(observed), edges, baseline=None, color=colour, linewidth=1.6, label=label
        )
        if null not in nulls:
            nulls.append(null)
            named = "" if len(nulls) > 1 else "random (N0)"
            axes.stairs(
                _positive(null),
                edges,
                baseline=None,
                color=FAINT,
                linewidth=1.2,
                linestyle="--",
                label=named,
            )
        rows += [
            (cohort["title"], cohort["hook"], low, high, share, chance)
            for low, high, share, chance in zip(edges, edges[1:], observed, null, strict=False)
        ]
    least = min((share for row in rows if (share := _number(row[4])) > 0), default=0.0)
    if least == 0:
        return None
    axes.set(xlabel="cosine of two features", ylabel="share of pairs", yscale="log", xlim=(-1, 1))
    axes.set_ylim(least / 2, 1)
    axes.yaxis.set_major_formatter(power_of_ten)
    axes.xaxis.set_major_formatter(BoundedFormatter())
    axes.minorticks_off()
    rule(axes)
    canvas.legend(loc="outside upper left", ncols=2)
    columns = ("cohort", "hook", "cosine_from", "cosine_to", "share", "share_random")
    return Drawing("cosines", canvas, columns, rows)


def _draw_densities(summary: Record, cohorts: Sequence[Record]) -> Drawing | None:
    rows: list[tuple[object, ...]] = []
    canvas = new_figure(6.4, 3.0)
    axes = canvas.subplots()
    for number, cohort in enumerate(cohorts):
        found = cohort["geometry"]["sparsity"]["density"]
        edges, observed, never = found["edges"], found["observed"], found["never"]["mean"]
        label = f"{cohort_label(summary, cohort)} (never fires: {percent(never, 1)})"
        axes.stairs(
            observed, edges, color=PALETTE[number % len(PALETTE)], linewidth=1.6, label=label
        )
        bins = zip((0.0, *edges[1:-1]), edges[1:], observed, strict=True)
        rows.append((cohort["title"], cohort["hook"], 0.0, 0.0, never))
        rows += [(cohort["title"], cohort["hook"], low, high, share) for low, high, share in bins]
    axes.set(xlabel="share of inputs on which a feature fires", ylabel="share of features")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(power_of_ten)
    axes.yaxis.set_major_formatter(percentages())
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    rule(axes)
    canvas.legend(loc="outside upper left", ncols=1)
    columns = ("cohort", "hook", "density_from", "density_to", "share")
    return Drawing("densities", canvas, columns, rows)


def _positive(shares: Sequence[float]) -> list[float]:
    """Shares for a logarithmic axis, where nothing cannot be drawn."""
    return [share if share > 0 else float("nan") for share in shares]


def _number(value: object) -> float:
    return value if isinstance(value, float) else 0.0
