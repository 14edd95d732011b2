from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from engine.report.contrasts import contrasts, groups, objective_of
from engine.report.page import render_page
from engine.report.tables import summary_tables

Record = dict[str, Any]
HEADING = "What stability objectives do"
OFF = {"consistency": 0.0, "orthogonality": 0.0, "pinned": 0.0, "shared_init": False, "start": 0.0}
SETTINGS = {"architecture": "topk", "d_sae": 1024, "k": 32, "dead": {"method": "auxk"}}


@pytest.fixture
def make(make_cohort: Callable[..., Record]) -> Callable[..., Record]:
    """Return a maker of cohorts that differ in an objective, and in what else is asked for."""

    def make_one(
        title: str,
        observed: float,
        kappa: float,
        *,
        hook: str = "blocks.0.hook_resid_post",
        point: Record | None = None,
        settings: Record | None = None,
        **objective: Any,
    ) -> Record:
        made: Record = make_cohort(
            f"topk 1024 k32 {title}", observed, kappa, "weak", [1, 2, 3], hook
        )
        made["settings"] = {
            **SETTINGS,
            **(settings or {}),
            "stability": {**OFF, **objective},
        }
        return {**made, "point": point or {}}

    return make_one


@pytest.fixture
def study(summary: Record, make: Callable[..., Record]) -> Record:
    """Plain SAEs, the same with a consistency loss from the start, and with one from half-way on."""
    found = copy.deepcopy(summary)
    found["cohorts"] = [
        make("early", 0.75, 0.5, consistency=0.1),
        make("plain", 0.55, 0.1),
        make("late", 0.64, 0.2, consistency=0.1, start=0.5),
    ]
    found["contrasts"] = contrasts(found["cohorts"])
    return found


def text_of(summary: Record, width: int = 80) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False)
    for part in summary_tables(summary):
        console.print(part)
    return file.getvalue()


def test_each_objective_is_set_beside_the_plain_cohort(study: Record) -> None:
    early, late = study["contrasts"]
    assert [one["variant"] for one in (early, late)] == [
        "topk 1024 k32 early",
        "topk 1024 k32 late",
    ]
    assert {one["baseline"] for one in (early, late)} == {"topk 1024 k32 plain"}
    assert (early["objective"], late["objective"]) == (
        "consistency 0.1",
        "consistency 0.1 from 50 %",
    )
    assert (early["metric"], early["subset"]) == ("mean_max_cos", "live")
    # κ .1 → .5 and cos .55 → .75; null = (cos − κ) / (1 − κ): .5 → .5.
    assert early["observed"] == pytest.approx(
        {"baseline": 0.55, "variant": 0.75, "difference": 0.2}
    )
    assert [early["null"][n] for n in ("baseline", "variant", "difference")] == pytest.approx(
        [0.5, 0.5, 0]
    )
    kappa = early["kappa"]
    assert [kappa[n] for n in ("baseline", "variant", "difference")] == pytest.approx(
        [0.1, 0.5, 0.4]
    )
    assert kappa["baseline_interval"] == pytest.approx([0.08, 0.12])
    assert kappa["variant_interval"] == pytest.approx([0.48, 0.52])
    assert early["explained_variance"] == pytest.approx(
        {"baseline": 0.9962, "variant": 0.9962, "difference": 0.0}
    )


def test_raw_similarities_of_other_numbers_of_features_are_not_subtracted(
    make: Callable[..., Record],
) -> None:
    plain, early = make("plain", 0.55, 0.1), make("early", 0.75, 0.5, consistency=0.1)
    early["stability"]["mean_max_cos"]["live"]["n_per_seed"] = [500, 500, 500]
    (one,) = contrasts([plain, early])
    assert one["observed"] == {"baseline": 0.55, "variant": 0.75, "difference": None}
    assert "features per seed are 1,017 and 500" in one["observed_reason"]
    assert one["kappa"]["difference"] == pytest.approx(0.4)
    early["stability"]["mean_max_cos"]["live"]["n_per_seed"] = [1000, 1000, 1000]
    early["stability"]["mean_max_cos"]["live"]["definition"] = "the same of |cos|"
    (one,) = contrasts([plain, early])
    assert one["observed"]["difference"] is None
    assert "definitions differ" in one["observed_reason"]
    (same,) = contrasts([plain, make("late", 0.75, 0.5, consistency=0.1)])
    assert same["observed_reason"] == ""
    assert same["observed"]["difference"] == pytest.approx(0.2)


OTHER = {
    "another k": {"settings": {"k": 16}},
    "another treatment of dead latents": {"settings": {"dead": {"method": "ghost"}}},
    "another hook": {"hook": "blocks.0.hook_mlp_out"},
    "another point": {"point": {"training.lr": 0.001}},
}


@pytest.mark.parametrize("case", sorted(OTHER))
def test_what_differs_in_more_than_the_objective_is_no_contrast(
    make: Callable[..., Record], case: str
) -> None:
    variant = make("other", 0.75, 0.5, pinned=0.1, **OTHER[case])
    assert contrasts([make("plain", 0.55, 0.1), variant]) == []
    assert len(contrasts([make("plain", 0.55, 0.1, **OTHER[case]), variant])) == 1


def test_a_searched_weight_is_a_contrast_to_its_zero(make: Callable[..., Record]) -> None:
    path = "saes.0.stability.consistency"
    cohorts = [
        make(f"{weight}", 0.5 + weight, 0.1, consistency=weight, point={path: weight})
        for weight in (0.0, 0.1, 0.2)
    ]
    assert [one["objective"] for one in contrasts(cohorts)] == [
        "consistency 0.1",
        "consistency 0.2",
    ]


def test_two_objectives_without_a_plain_cohort_are_no_contrast(make: Callable[..., Record]) -> None:
    assert contrasts([make("a", 0.5, 0.1, pinned=0.1), make("b", 0.5, 0.1, pinned=0.2)]) == []


def test_cohorts_of_unknown_settings_are_left_out(summary: Record) -> None:
    assert contrasts(summary["cohorts"]) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ""),
        ({"orthogonality": 0.01, "start": 0.25}, "orthogonality 0.01 from 25 %"),
        ({"pinned": 0.1}, "10 % pinned"),
        ({"shared_init": True, "consistency": 2.0}, "consistency 2, shared start"),
    ],
)
def test_objectives_have_names(make: Callable[..., Record], options: Record, said: str) -> None:
    assert objective_of(make("x", 0.5, 0.1, **options)) == said


def test_all_features_are_compared_where_one_side_has_no_live_ones(
    make: Callable[..., Record],
) -> None:
    plain, variant = make("plain", 0.55, 0.1), make("bad", 0.6, 0.2, orthogonality=9.0)
    variant["stability"]["mean_max_cos"]["live"]["observed"] = None
    (one,) = contrasts([plain, variant])
    assert one["subset"] == "all"
    assert one["observed"]["variant"] == variant["stability"]["mean_max_cos"]["all"]["observed"]


def test_without_an_interval_or_a_kappa_nothing_is_invented(make: Callable[..., Record]) -> None:
    variant = make("x", 0.6, 0.2, pinned=0.1)
    variant["stability"]["mean_max_cos"]["live"].update(
        null=None, null_name=None, kappa=None, ci_low=None, ci_high=None
    )
    (one,) = contrasts([make("plain", 0.55, 0.1), variant])
    assert one["kappa"]["difference"] is None
    assert one["kappa"]["variant_interval"] == [None, None]


def test_the_terminal_shows_objectives_below_the_plain_saes(study: Record) -> None:
    lines = [" ".join(line.split()) for line in text_of(study).splitlines()]
    start = lines.index(HEADING)
    assert lines[start + 1 : start + 6] == [
        "topk 1024 k32 plain",
        "objective EV cos null κ [95 % CI] Δκ",
        "plain .996 .550 .500 N3 .10 [.08, .12]",
        "consistency 0.1 .996 .750 .500 N3 .50 [.48, .52] +.40",
        "consistency 0.1 from 50 % .996 .640 .550 N3 .20 [.18, .22] +.10",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits(study: Record, make: Callable[..., Record], width: int) -> None:
    study["cohorts"].append(
        make("worst", -0.487, -0.004, orthogonality=0.0125, pinned=0.25, start=0.75)
    )
    study["contrasts"] = contrasts(study["cohorts"])
    text = text_of(study, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "orthogonality 0.0125 from 75 %" in " ".join(text.split())


def test_the_page_shows_plain_and_objective_side_by_side(study: Record) -> None:
    page = render_page(study, {})
    assert HEADING in page
    assert ".10 [.08, .12] → .50 [.48, .52]" in page
    assert ".500 N3 → .550 N3" in page
    assert ">+.40<" in page


def test_without_contrasts_neither_speaks_of_objectives(summary: Record) -> None:
    assert HEADING not in text_of(summary)
    assert HEADING not in render_page(summary, {})


def test_several_plain_cohorts_have_a_table_each(make: Callable[..., Record]) -> None:
    hooks = ("blocks.0.hook_mlp_out", "blocks.0.hook_resid_post")
    found = contrasts(
        [
            make(name, 0.5, 0.1, hook=hook, pinned=pinned)
            for name, pinned in (("plain", 0.0), ("pinned", 0.1))
            for hook in hooks
        ]
    )
    assert [title for title, _ in groups({"contrasts": found})] == [
        f"topk 1024 k32 plain · {hook}" for hook in hooks
    ]
