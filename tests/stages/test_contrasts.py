"""Differences between cohorts: told where they mean something, refused with both numbers where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.disk.rundir import RunDirectory
from engine.metrics.similarity import mean_max_cos
from engine.report.contrasts import finding_text
from engine.saes.formats import TrainedSaes, save_cohort
from engine.saes.weights import Weights
from engine.stages.contrasts import adjust, compare_cohorts, contrast
from engine.stages.curves import curve_contrasts
from engine.stages.dictionaries import crossed
from engine.study.sae import TopK

Entry = Callable[..., dict[str, Any]]
NOWHERE = RunDirectory(Path("/nowhere"))


def test_a_difference_has_its_joint_interval(entry: Entry) -> None:
    # κ = (.36 − .2)/.8 = .2 and (.6 − .2)/.8 = .5. The pairs of both vary alike, so nothing is unsure.
    same = contrast(entry("topk a", 0.36), entry("relu b", 0.6), "")
    assert same["refusals"] == []
    assert same["kappa"]["difference"] == pytest.approx(0.3)
    # Deleting seed s changes the mean of κ by ∓ wobble/.8 · ... in one side alone: the jackknife sees it.
    found = contrast(entry("topk a", 0.36, wobble=0.0), entry("relu b", 0.6), "")
    # Pair (s, t) has (s + t − 4)/100; without seed s its mean is (2 · (10 − s)/4 − 4)/100 = (2 − s)/200.
    # SE² = 4/5 · Σ(θ₋ₛ)² = 4/5 · (10 / 200²) / .8², t₄ = 2.776.
    se = (0.8 * 10 / 200**2) ** 0.5 / 0.8
    assert found["se"] == pytest.approx(se)
    assert found["interval"] == pytest.approx([0.3 - 2.776 * se, 0.3 + 2.776 * se], abs=1e-4)
    assert found["bootstrap"]["low"] < 0.3 < found["bootstrap"]["high"]
    assert found["seeds"] == [1, 2, 3, 4, 5]
    # Equal n, d and sign: what was observed may be compared, too.
    assert found["observed"]["difference"] == pytest.approx(0.24)


def test_a_difference_without_width_has_no_interval(entry: Entry) -> None:
    one = contrast(entry("topk a", 0.36, wobble=0.0), entry("relu b", 0.6, wobble=0.0), "")
    adjust([one])
    assert one["interval"] is None
    assert "no width" in one["marks"][0]
    assert one["finding"] == "open"


def test_a_difference_that_the_nulls_make_is_not_found(entry: Entry) -> None:
    # Against N3 (.2) both ways: κ .5 and .525. The second is judged against N6 = .5: κ .24.
    plain, phased = entry("topk a", 0.6, wobble=0.001), entry("relu b", 0.62)
    cell = phased["stability"]["mean_max_cos"]["live"]
    cell |= {"null_name": "N6", "null": 0.5, "kappa": 0.24, "null_pairs": table(0.5)}
    cell["nulls"] = [*cell["nulls"], {"name": "N6", "value": 0.5, "admissible": True}]
    one = contrast(plain, phased, "")
    adjust([one])
    assert one["interval"][1] < 0
    assert one["kappa"]["difference_n3"] == pytest.approx(0.025)
    assert one["finding"] == "open"
    assert finding_text(one) == "open: with N3 on both sides its sign is another"
    assert "κ of relu b is taken against N6" in one["marks"]
    assert "with N3 on both sides Δκ is +.025" in one["marks"]
    same = contrast(entry("topk a", 0.6), entry("relu b", 0.62), "")
    assert same["kappa"]["difference_n3"] is None


def table(value: float) -> list[list[float | None]]:
    return [[None if s == t else value for t in range(5)] for s in range(5)]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "L0": ({"l0": 34.0}, "L0 32.0 against 34.0"),
    "EV": ({"ev": 0.85}, "explained variance .900 against .850"),
    "live": ({"n_live": 94}, "live latents 100 against 94.0"),
    "hook": ({"hook": "resid_post"}, "different hooks: mlp_out against resid_post"),
    "subject": ({"point": {"subject.modulus": 59}}, "different subjects"),
    "sign": ({"sign": "|cos|"}, "another sign convention: cos against |cos|"),
    "no seed": ({"seeds": [6, 7, 8, 9, 10]}, "no seed is shared"),
    "two seeds": ({"seeds": [1, 2, 8, 9, 10]}, "2 seeds are shared; a joint interval needs 3"),
    "no N3": ({"twins": False}, "relu b has no N3"),
    "undertrained": ({"kept": 0.8}, "relu b is undertrained"),
    "did not train": ({"warnings": ["a seed explains 0.01: it did not train"]}, "did not train"),
    "unfair": ({"warnings": ["the surrogate: N3 is no fair null here"]}, "no fair null"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_be_compared_is_refused_with_its_reason(entry: Entry, case: str) -> None:
    changes, said = REFUSED[case]
    one = contrast(entry("topk a", 0.36), entry("relu b", 0.6, **changes), "")
    adjust([one])
    assert len(one["refusals"]) == 1
    assert said in one["refusals"][0]
    assert one["kappa"]["difference"] is None
    assert one["observed"]["difference"] is None
    assert one["interval"] is None
    # Both sides' figures stay.
    assert (one["kappa"]["baseline"], one["kappa"]["variant"]) == pytest.approx((0.2, 0.5))
    assert one["finding"] == "refused"


def test_within_five_percent_is_matched(entry: Entry) -> None:
    close = entry("relu b", 0.6, l0=33.0, ev=0.87, n_live=96)
    one = contrast(entry("topk a", 0.36), close, "")
    assert one["refusals"] == []
    # Other numbers of features: similarities as such cannot be compared, κ can.
    assert one["observed"]["difference"] is None
    assert one["kappa"]["difference"] == pytest.approx(0.3)


def test_what_was_not_measured_says_why(entry: Entry) -> None:
    silent = entry("relu b", 0.6)
    for cell in silent["stability"]["mean_max_cos"].values():
        cell.update(kappa=None, reason="no admissible null")
    one = contrast(entry("topk a", 0.36), silent, "")
    assert "κ of relu b was not measured: no admissible null" in one["refusals"]


def test_marks_tell_of_gates_nulls_and_fewer_seeds(entry: Entry) -> None:
    fixed = entry("relu b", 0.6, seeds=[2, 3, 4, 5, 9])
    cell = fixed["stability"]["mean_max_cos"]["live"]
    cell.update(null_name="N2", null=0.25, null_pairs=None)
    one = contrast(entry("topk a", 0.36), fixed, "G2")
    assert one["refusals"] == []
    assert one["seeds"] == [2, 3, 4, 5]
    said = " ".join(one["marks"])
    assert "gates failed (G2)" in said
    assert "over the 4 shared seeds of 5" in said
    assert "κ of relu b is taken against N2, which is held fixed" in said


def test_holm_counts_the_contrasts_that_are_told(entry: Entry) -> None:
    told = [
        contrast(entry("topk a", 0.36, wobble=0.0), entry("relu b", x), "") for x in (0.6, 0.361)
    ]
    refused = contrast(entry("topk a", 0.36), entry("relu b", 0.6, l0=99.0), "")
    adjust([*told, refused])
    sure, unsure = told
    assert sure["holm_jackknife"] == pytest.approx(2 * sure["p_jackknife"])
    assert unsure["holm_jackknife"] == pytest.approx(unsure["p_jackknife"])
    assert [one["finding"] for one in (*told, refused)] == ["higher", "open", "refused"]
    assert refused["holm_jackknife"] is None


def test_what_holm_takes_away_is_open(entry: Entry) -> None:
    told = [contrast(entry("topk a", 0.36, wobble=0.0), entry("relu b", 0.6), "") for _ in range(2)]
    for one in told:
        one["p_jackknife"] = 0.03
    adjust(told)
    assert [one["holm_jackknife"] for one in told] == pytest.approx([0.06, 0.06])
    assert [one["finding"] for one in told] == ["open", "open"]
    assert told[0]["interval"][0] > 0


def saved(folder: Path, name: str, decoder_SFD: torch.Tensor, fires_SF: torch.Tensor) -> str:
    """Write a cohort of the seeds 1, 2 and 3 as its job would, and return the name of its folder."""
    run = RunDirectory(folder / name)
    run.create({"config": {}, "policy": {}, "inputs": {}})
    seeds, features, width = decoder_SFD.shape
    weights = Weights(
        decoder_SFD.clone(), torch.zeros(seeds, features), decoder_SFD, torch.zeros(seeds, width)
    )
    run.artifacts.mkdir()
    config = TopK(d_sae=features, k=2)
    save_cohort(run.artifacts, TrainedSaes(config, (1, 2, 3), weights, 1.0, fires_SF, 1000))
    return name


def analysed(folder: Path, number: int, entry: Entry) -> tuple[dict[str, Any], RunDirectory]:
    """Write a cohort with its twin and analysis, and return its entry, with the tables that it really has."""
    generator = torch.Generator().manual_seed(number)
    inputs, tables, kept = {}, [], []
    for role in ("cohort", "surrogate"):
        rows = torch.randn(3, 6, 4, generator=generator)
        decoder_SFD = torch.nn.functional.normalize(rows, dim=2)
        fires_SF = torch.full((3, 6), 500)
        fires_SF[:, 0] = 0  # a dead latent, which takes no part
        inputs[role] = saved(folder, f"{role}-{number}", decoder_SFD, fires_SF)
        live = decoder_SFD[:, 1:]
        kept.append(live)
        tables.append(
            [
                [None if s == t else mean_max_cos(live[s], live[t]) for t in range(3)]
                for s in range(3)
            ]
        )
    analysis = RunDirectory(folder / f"analysis-{number}")
    analysis.create({"config": {}, "policy": {}, "inputs": inputs})
    made = entry(("topk a", "relu b")[number], 0.4, seeds=[1, 2, 3], d_sae=6)
    made["stability"]["mean_max_cos"]["live"].update(pairs=tables[0], null_pairs=tables[1])
    made["live"] = kept
    return made, analysis


def test_twins_that_were_raised_are_raised_across_as_well(tmp_path: Path, entry: Entry) -> None:
    (first, run_a), (second, run_b) = (analysed(tmp_path, number, entry) for number in (0, 1))
    plain = crossed((first, second), (run_a, run_b), "live", [1, 2, 3], "signed")[1]
    for cohort in (first, second):
        cell = cohort["stability"]["mean_max_cos"]["live"]
        cell["null_pairs"] = [
            [None if x is None else 1 - 0.9 * (1 - x) for x in row] for row in cell["null_pairs"]
        ]
    raised = crossed((first, second), (run_a, run_b), "live", [1, 2, 3], "signed")[1]
    off = ~torch.eye(3, dtype=torch.bool).numpy()
    assert raised[..., off] == pytest.approx(1 - 0.9 * (1 - plain[..., off]))


def test_labels_are_swapped_with_what_the_dictionaries_share_across(
    tmp_path: Path, entry: Entry
) -> None:
    (first, run_a), (second, run_b) = (analysed(tmp_path, number, entry) for number in (0, 1))
    observed, null = crossed((first, second), (run_a, run_b), "live", [1, 2, 3], "signed")
    for place, table in enumerate((observed, null)):
        a, b = first["live"][place], second["live"][place]
        assert table[0, 1, 0, 2] == pytest.approx(mean_max_cos(a[0], b[2]))
        assert table[1, 0, 2, 0] == pytest.approx(mean_max_cos(a[0], b[2]))
        assert table[0, 0, 0, 2] == pytest.approx(mean_max_cos(a[0], a[2]))
    (one,), left = compare_cohorts([first, second], [run_a, run_b], "signed", "")
    assert (one["kind"], left) == ("cohorts", 0)
    assert one["relabellings"] == 7
    assert one["p_smallest"] == 0.25
    assert one["p"] in (0.25, 0.5, 0.75, 1.0)
    assert one["holm"] == one["p"]


def test_large_dictionaries_are_not_compared_across(entry: Entry) -> None:
    big = {"d_sae": 40_000}
    cohorts = [entry("topk a", 0.36, **big), entry("relu b", 0.6, **big)]
    (one,), _ = compare_cohorts(cohorts, [NOWHERE, NOWHERE], "signed", "")
    assert one["p"] is None
    assert "too large" in one["p_reason"]


def test_objectives_come_first_and_sweeps_are_no_contrasts(entry: Entry) -> None:
    plain = entry("topk plain", 0.36, settings={"dead": {"method": "auxk"}}, kept=0.9)
    with_loss = entry(
        "topk loss", 0.6, settings={"dead": {"method": "auxk"}, "stability": {"consistency": 0.1}}
    )
    ghost = entry("topk ghost", 0.5, settings={"dead": {"method": "ghost"}}, kept=0.9)
    wide = entry("topk wide", 0.5, settings={"dead": {"method": "auxk"}}, d_sae=512, kept=0.9)
    cohorts = [ghost, plain, with_loss, wide]
    found, _ = compare_cohorts(cohorts, [NOWHERE] * 4, "signed", "")
    pairs = [(one["kind"], one["baseline"], one["variant"]) for one in found]
    assert pairs == [
        ("objective", "topk plain", "topk loss"),
        ("cohorts", "topk ghost", "topk plain"),
        ("cohorts", "topk ghost", "topk loss"),
        ("cohorts", "topk ghost", "topk wide"),
        ("cohorts", "topk loss", "topk wide"),
    ], "plain and wide differ in one number alone"


def test_points_of_a_search_are_compared_at_equal_numbers_alone(entry: Entry) -> None:
    cohorts = [
        entry(f"{name} {epochs}", 0.4, point={"training.epochs": epochs}, kept=0.9)
        for epochs in (1, 2)
        for name in ("topk", "relu")
    ]
    found, _ = compare_cohorts(cohorts, [NOWHERE] * 4, "signed", "")
    pairs = [(one["baseline"], one["variant"]) for one in found]
    assert pairs == [("topk 1", "relu 1"), ("topk 2", "relu 2")]


def sweep(entry: Entry) -> list[dict[str, Any]]:
    """TopK at L0 16 and 64 with κ .1 and .3; ReLU at 8 and 32 with κ .4 and .6."""
    return [
        entry("topk s", 0.28, l0=16.0, settings={"k": 16}, wobble=0.0),
        entry("topk d", 0.44, l0=64.0, settings={"k": 64}, wobble=0.0),
        entry("relu s", 0.52, l0=8.0, settings={"l1": 0.3}, ev=0.9),
        entry("relu d", 0.68, l0=32.0, settings={"l1": 0.1}, ev=0.7),
    ]


def test_architectures_are_compared_along_their_sparsity(entry: Entry) -> None:
    at_l0, at_ev = curve_contrasts(sweep(entry), "")
    # Both reach 16 to 32; half-way in logarithms TopK has κ .15, ReLU .4 + .2 · .75 = .55.
    assert at_l0["at"] == pytest.approx({"value": 22.627, "low": 16, "high": 32}, abs=1e-3)
    assert at_l0["kappa"]["baseline"] == pytest.approx(0.15)
    assert at_l0["kappa"]["variant"] == pytest.approx(0.55)
    assert at_l0["kappa"]["difference"] == pytest.approx(0.4)
    low, high = at_l0["interval"]
    assert low < 0.4 < high
    assert at_l0["baseline"] == "topk 128 (k 16, 64)"
    assert at_l0["p"] is None
    # There ReLU explains .9 − .2 · .75 = .75, which is told.
    assert at_l0["explained_variance"]["variant"] == pytest.approx(0.75)
    assert "not matched there: explained variance .900 against .750" in at_l0["marks"]
    assert at_ev["refusals"] == [], "TopK has .9 at both settings, ReLU reaches it"
    assert at_ev["at"]["value"] == pytest.approx(0.9)


def test_curves_whose_nulls_differ_are_told_with_n3_everywhere_as_well(entry: Entry) -> None:
    cohorts = sweep(entry)
    assert curve_contrasts(cohorts, "")[0]["kappa"]["difference_n3"] is None
    for cohort in cohorts[2:]:  # against N6 of .6, κ of ReLU is −.2 and .2
        for cell in cohort["stability"]["mean_max_cos"].values():
            cell["nulls"].append({"name": "N6", "value": 0.6, "admissible": True})
            cell.update(null_name="N6", null=0.6, null_pairs=None)
            cell["kappa"] = (cell["observed"] - 0.6) / 0.4
    at_l0, _ = curve_contrasts(cohorts, "")
    assert at_l0["kappa"]["difference"] == pytest.approx(-0.2 + 0.4 * 0.75 - 0.15)
    assert at_l0["kappa"]["difference_n3"] == pytest.approx(0.4)
    assert "with N3 at every setting Δκ is +.40" in " ".join(at_l0["marks"])
    adjust([at_l0])
    assert at_l0["finding"] == "open", "its sign is that of the nulls"


def test_curves_without_overlap_are_refused_with_both_ranges(entry: Entry) -> None:
    cohorts = sweep(entry)
    for cohort, l0 in zip(cohorts[2:], (100.0, 200.0), strict=True):
        cohort["quality"]["l0"] = {"mean": l0, "per_seed": [l0] * 5}
    refused = curve_contrasts(cohorts, "")[0]
    assert refused["refusals"] == [
        "the ranges of L0 do not overlap: 16.0 to 64.0 against 100 to 200"
    ]
    assert refused["kappa"]["difference"] is None
    shown = [[point["kappa"] for point in side] for side in refused["points"]]
    assert shown == [pytest.approx([0.1, 0.3]), pytest.approx([0.4, 0.6])]


def test_unfit_settings_are_left_out_of_a_curve_and_named(entry: Entry) -> None:
    cohorts = sweep(entry)
    cohorts.append(entry("relu x", 0.9, l0=24.0, settings={"l1": 0.2}, kept=0.9))
    told = curve_contrasts(cohorts, "")[0]
    assert told["kappa"]["variant"] == pytest.approx(0.55)
    assert any(mark.startswith("left out: relu x is undertrained") for mark in told["marks"])
    for cohort in cohorts[2:]:
        cohort["quality"]["cosine_with_start"]["mean"] = 0.9
    refused = curve_contrasts(cohorts, "")[0]
    assert refused["refusals"][0] == "no setting of one side can be compared"
    assert len(refused["refusals"]) == 4


def test_pairs_along_curves_are_contrasts_only_where_they_match(entry: Entry) -> None:
    cohorts = sweep(entry)
    cohorts.append(entry("relu m", 0.6, l0=63.0, settings={"l1": 0.05}, d_sae=128, wobble=0.0))
    big = [{**cohort, "d_in": 10**9} for cohort in cohorts]  # no swaps, hence no dictionaries
    found, _ = compare_cohorts(big, [NOWHERE] * 5, "signed", "")
    pairs = [(one["baseline"], one["variant"]) for one in found if one["kind"] == "cohorts"]
    assert pairs == [("topk d", "relu m")]
    assert [one["matched_on"] for one in found if one["kind"] == "curve"] == [
        "l0",
        "explained_variance",
    ]
