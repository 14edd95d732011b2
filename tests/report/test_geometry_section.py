"""The section on geometry: every number with what stands beside it."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest

from engine.report.canvas import house_style, to_csv
from engine.report.geometry_section import draw_geometry, geometry_section
from tests.report.conftest import spread

Record = dict[str, Any]


def geometry(**symmetry: Any) -> Record:
    ranks = ("entropy_rank", "entropy_rank_singular", "participation_ratio", "stable_rank")
    edges = [-1.0, -0.5, 0.0, 0.5, 1.0]
    return {
        "n_live": spread(900.0, 3.0, 5),
        "directions": {
            "resultant": spread(0.041, 0.002, 5),
            "coherence": spread(0.613, 0.01, 5),
            "antipodal": spread(7.0, 1.0, 5),
            "duplicates": spread(0.0, 0.0, 5),
            "resultant_null": 0.033,
            "coherence_null": 0.411,
            "welch": 0.0823,
            "close_null": 1e-40,
            "histogram": {
                "edges": edges,
                "observed": [0.0, 0.4, 0.55, 0.05],
                "null": [0.001, 0.499, 0.499, 0.001],
            },
        },
        "dimensionality": {
            "activations": dict.fromkeys(ranks, 8.2),
            "decoders": {name: spread(101.4, 0.4, 5) for name in ranks},
            "null": dict.fromkeys(ranks, 117.2),
            "per_feature": spread(0.114, 0.002, 5),
            "per_feature_null": 0.147,
        },
        "symmetry": {"phases": [], "phases_reason": "", "reason": "", **symmetry},
        "sparsity": {
            "inputs": 12769,
            "density": {
                "edges": [1e-4, 1e-2, 1.0],
                "observed": [0.3, 0.6],
                "never": spread(0.1, 0.0, 5),
                "gini": spread(0.82, 0.0, 5),
            },
            "l0": {"sd": spread(0.0, 0.0, 5), "sd_independent": 5.1},
            "hoyer": spread(0.867, 0.001, 5),
            "hoyer_equal": spread(0.85, 0.0, 5),
            "gini": spread(0.976, 0.0, 5),
            "gini_equal": spread(0.969, 0.0, 5),
            "coactivation": {
                "sampled_inputs": 2048,
                "largest": spread(0.754, 0.08, 5),
                "largest_null": 0.378,
            },
        },
    }


SHIFTS = {
    "sampled": [64, 60],
    "best": spread(0.34, 0.02, 5),
    "best_unshifted": spread(0.165, 0.02, 5),
    "share": spread(0.25, 0.02, 5),
    "largest": spread(9.0, 1.0, 5),
    "null": {"best": 0.208, "share": 0.0, "largest": 1.0},
}
PHASES = [
    {"family": "a+b", "k": 7, "n": [40, 30], "n_null": 45.0, "p": [0.01, 0.6]},
    {"family": "a+b", "k": 9, "n": [2, 0], "n_null": 45.0, "p": [0.001, None]},
]


def rows(html: str) -> dict[str, list[str]]:
    """Return the cells of the first table's rows by their heads."""
    body = re.findall(r"<tr>(.*?)</tr>", html.split("</table>")[0], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body]
    return {row[0]: row[1:] for row in cells}


@pytest.fixture
def told(summary: Record) -> Record:
    full = geometry(swap=spread(0.997, 0.001, 5), swap_null=0.0088, shifts=SHIFTS, phases=PHASES)
    summary["cohorts"][0]["geometry"] = full
    summary["cohorts"][0]["ground_truth"]["features"] = {
        "eta2": {"a+b": spread(0.08, 0.004, 5)},
        "eta2_null": 0.0088,
    }
    return summary


def test_every_number_has_its_null_beside_it(told: Record) -> None:
    found = rows(geometry_section(told, {}))
    assert found["mutual coherence, max |cos|"][:2] == [".613 ± .010", ".411"]
    assert ".082" in found["mutual coherence, max |cos|"][2]
    assert found["antipodal pairs, cos ≤ −.9"][:2] == ["7 ± 1", "&lt; 10⁻⁶"]
    assert found["participation ratio, of decoders"][:2] == ["101.4 ± 0.4", "117.2"]
    assert "8.2" in found["participation ratio, of decoders"][2]
    assert found["dimensions per feature, median"][:2] == [".114 ± .002", ".147"]
    assert found["swap, median corr f(a,b), f(b,a)"][:2] == [".997 ± .001", ".009"]
    assert found["sum-invariance, median η² of a+b"][:2] == [".080 ± .004", ".009"]
    assert found["best copy under a shift, mean corr"][:2] == [".340 ± .020", ".208"]
    assert found["features with a shifted copy ≥ .9"][:2] == ["25 % ± 2 %", "0 %"]
    assert found["L0, standard deviation over inputs"][:2] == ["0 ± 0", "5.1"]
    assert found["largest co-activation φ"][:2] == [".754 ± .080", ".378"]
    assert all(len(cells) == 3 and all(cells[1:]) for cells in list(found.values())[1:])


def test_phases_of_few_atoms_are_not_tested(told: Record) -> None:
    found = rows(geometry_section(told, {}))
    assert found["planes with uneven phases (Rayleigh)"][:2] == ["1 of 2", ".1"]
    assert found["atoms with a phase in a true plane, mean"][:2] == ["18.0", "45.0"]


def test_what_cannot_be_measured_says_why(summary: Record) -> None:
    reason = "activation maps exist for the modular subject alone"
    summary["cohorts"][0]["geometry"] = geometry(reason=reason, phases_reason="no plane is known")
    html = geometry_section(summary, {})
    assert "Activation maps exist for the modular subject alone." in html
    assert "No plane is known." in html
    assert "swap" not in html
    dead = summary["cohorts"][0]["geometry"]
    dead["directions"] = dead["dimensionality"] = {"reason": "no feature is live"}
    html = geometry_section(summary, {})
    assert "No feature is live." in html
    assert "coherence" not in html


def test_samples_are_told(told: Record) -> None:
    html = geometry_section(told, {})
    assert "12,769 inputs" in html
    assert "2,048" in html
    assert "shifts of 64 features" in html


def test_a_summary_without_geometry_has_no_section(summary: Record) -> None:
    assert geometry_section(summary, {}) == ""
    assert draw_geometry(summary) == []


def test_figures_and_the_numbers_behind_them(told: Record) -> None:
    with house_style():
        cosines, densities = draw_geometry(told)
    assert [cosines.name, densities.name] == ["cosines", "densities"]
    table = list(csv.DictReader(io.StringIO(to_csv(cosines))))
    assert [float(row["share"]) for row in table] == [0.0, 0.4, 0.55, 0.05]
    assert [float(row["share_random"]) for row in table] == [0.001, 0.499, 0.499, 0.001]
    table = list(csv.DictReader(io.StringIO(to_csv(densities))))
    assert sum(float(row["share"]) for row in table) == pytest.approx(1), "with what never fires"
    assert (table[1]["density_from"], table[1]["density_to"]) == ("0.0", "0.01")


def test_figures_stand_in_the_section(told: Record) -> None:
    html = geometry_section(told, {"cosines": "<svg viewBox='0 0 1 1'></svg>"})
    assert html.count("<figure") == 1
    assert "N0" in html


def test_a_crowd_is_folded(told: Record) -> None:
    told["cohorts"] = told["cohorts"] * 6
    assert draw_geometry(told) == []
    assert geometry_section(told, {}).count("<details>") == 6
