"""What every column of `features.parquet` means: for the file itself, the report and the app. Loads no torch.

One row of the file is one feature of one seed; O are the other seeds of its cohort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.report.markup import Cell, paragraph, table

TEXT, TRUTH, INTEGER, SMALL, REAL = "string", "bool", "int64", "int32", "double"


@dataclass(frozen=True)
class Column:
    """One column of the file."""

    name: str
    type: str
    """As Arrow names it."""
    unit: str
    """What its values count or how they are bounded; empty for a name."""
    meaning: str
    source: str
    """The formula's or convention's origin; empty where the column is what it says."""


def _eta2(argument: str) -> str:
    return f"share of the activation map's variance between the values of {argument}; NaN for a constant map"


COLUMNS = (
    Column("cohort", TEXT, "", "title of the cohort", ""),
    Column("hook", TEXT, "", "where the activations were read", "TransformerLens hook names"),
    Column("seed", INTEGER, "", "seed of the SAE", ""),
    Column("feature", SMALL, "index from 0", "latent of that SAE", ""),
    Column(
        "density",
        REAL,
        "share, 0 to 1",
        "inputs on which the feature fires, of all activations",
        "",
    ),
    Column(
        "live",
        TRUTH,
        "",
        "fires on at least 10 inputs and on a ten-thousandth of all",
        "convention",
    ),
    Column(
        "enc_dec_alignment",
        REAL,
        "cosine, −1 to 1",
        "encoder row against decoder row; NaN for a zero row",
        "",
    ),
    Column(
        "stability",
        REAL,
        "share, 0 to 1",
        "other seeds in which the feature has a mutual nearest neighbour with cosine ≥ .7; "
        "NaN for a zero row",
        "Paulo & Belrose 2501.16615",
    ),
    Column(
        "best_cosine",
        "list<element: float>",
        "cosine, −1 to 1",
        "largest cosine with a decoder row of each other seed [O], in the order of the seeds; dead rows of the "
        "other seed count as partners, too: see `live` of the partner",
        "",
    ),
    Column(
        "partner",
        "list<element: int32>",
        "index from 0",
        "the feature of each other seed that has it [O]; −1 for none",
        "",
    ),
    Column(
        "runner_up",
        "list<element: float>",
        "cosine, −1 to 1",
        "second largest cosine in each other seed [O]",
        "",
    ),
    Column(
        "median_best_cosine",
        REAL,
        "cosine, −1 to 1",
        "median of best_cosine over the other seeds, whose dead rows count as partners, too",
        "",
    ),
    Column(
        "p_isotropic",
        REAL,
        "probability",
        "that most of the other seeds have so near a feature by chance, for isotropic directions "
        "in the width of the hook",
        "partial conjunction, Benjamini & Heller 2008",
    ),
    Column(
        "p_effective",
        REAL,
        "probability",
        "the same for isotropic directions in as many dimensions as the activations fill",
        "partial conjunction, Benjamini & Heller 2008",
    ),
    Column(
        "p_surrogate",
        REAL,
        "probability",
        "how often a live feature of the twins trained on surrogate data (N3) has as large a "
        "median best cosine, (1 + #)/(1 + B)",
        "Phipson & Smyth 2010",
    ),
    Column(
        "q_isotropic",
        REAL,
        "false discovery rate",
        "p_isotropic over the live features of the cohort; NaN for the others",
        "Benjamini & Hochberg 1995",
    ),
    Column(
        "q_effective",
        REAL,
        "false discovery rate",
        "p_effective over the live features of the cohort; NaN for the others",
        "Benjamini & Hochberg 1995",
    ),
    Column(
        "q_surrogate",
        REAL,
        "false discovery rate",
        "p_surrogate over the live features of the cohort; NaN for the others",
        "Benjamini & Hochberg 1995",
    ),
    Column(
        "consensus",
        INTEGER,
        "index from 0",
        "cluster of features of several seeds that all are each other's nearest with cosine ≥ .7; −1 for "
        "none",
        "convention",
    ),
    Column(
        "consensus_size",
        INTEGER,
        "features",
        "in that cluster; 1 for a feature that is alone, 0 for one that took no part",
        "convention",
    ),
    Column(
        "coherence",
        REAL,
        "|cosine|, 0 to 1",
        "largest |cos| with another decoder row of the same SAE, dead ones included",
        "mutual coherence, Welch 1974",
    ),
    Column(
        "dimensionality",
        REAL,
        "dimensions, 0 to 1",
        "‖w_i‖²/Σ_j(ŵ_i·w_j)²: the share of a dimension that the feature has to itself, dead "
        "rows included",
        "Elhage et al. 2022",
    ),
    Column(
        "swap_symmetry",
        REAL,
        "correlation, −1 to 1",
        "corr(f(a,b), f(b,a)) over all pairs; 1/(p+1) for white noise; NaN for a constant map",
        "",
    ),
    Column(
        "plane_frequency",
        INTEGER,
        "frequency k",
        "of the true plane that holds most of the decoder row; 0 without a plane",
        "",
    ),
    Column(
        "plane_family",
        INTEGER,
        "0 a, 1 b, 2 a+b, 3 a−b",
        "argument of that plane; −1 without a plane",
        "",
    ),
    Column(
        "plane_energy",
        REAL,
        "share, 0 to 1",
        "of the decoder row's squared length in that plane; 2/d for a random direction in one"
        " plane",
        "",
    ),
    Column(
        "selectivity",
        REAL,
        "share, 0 to 1",
        "of the activation map's variance in the block of one frequency; .841 for an ideal "
        "ReLU(cos)",
        "Nanda et al. 2301.05217",
    ),
    Column(
        "rectified_selectivity",
        REAL,
        "ratio",
        "selectivity over that of an ideal ReLU(cos − b) that fires as often: 1 for a perfect feature",
        "convention",
    ),
    Column("frequency", INTEGER, "frequency k", "the one of selectivity; 0 for a constant map", ""),
    Column(
        "frequency_family",
        REAL,
        "share, 0 to 1",
        "the same for the blocks of k, 2k and 3k together",
        "",
    ),
    Column(
        "localisation",
        INTEGER,
        "answers",
        "on which the mean activation exceeds a tenth of its largest",
        "convention",
    ),
    Column(
        "truth_cosine",
        REAL,
        "cosine, −1 to 1",
        "largest cosine with a planted feature; only for planted directions",
        "",
    ),
    Column("eta2_a", REAL, "share, 0 to 1", _eta2("a"), ""),
    Column("eta2_b", REAL, "share, 0 to 1", _eta2("b"), ""),
    Column("eta2_sum", REAL, "share, 0 to 1", _eta2("a+b"), ""),
    Column("eta2_difference", REAL, "share, 0 to 1", _eta2("a−b"), ""),
)
"""In the order of the file; a study has those that can be measured on its subject."""

_BY_NAME = {column.name: column for column in COLUMNS}


def describe(features: Any) -> Any:
    """Return a table of features whose fields carry unit, meaning and source as metadata.

    A column that nobody described is left as it is: a report must not fail for it, a test does.
    """
    import pyarrow as pa  # here, because importing it starts a thread (see engine.nursery)

    schema = pa.schema([_described(field) for field in features.schema])
    return pa.Table.from_arrays(features.columns, schema=schema)


def _described(field: Any) -> Any:
    column = _BY_NAME.get(field.name)
    if column is None:
        return field
    told = {"unit": column.unit, "meaning": column.meaning, "source": column.source}
    return field.with_metadata({name: text for name, text in told.items() if text})


def columns_table() -> str:
    """Return the table of all columns for the page."""
    rows: list[list[str | Cell]] = [
        [Cell(c.name, "w"), Cell(c.type, "w"), c.unit, c.meaning, c.source] for c in COLUMNS
    ]
    note = (
        "features.parquet has one row for each feature of each seed. Units, meanings and sources are in the "
        "metadata of its fields as well. Columns that need a true plane or an activation map are there for "
        "the modular subject."
    )
    return paragraph(note, "note") + table(("column", "type", "unit", "meaning", "source"), rows)
