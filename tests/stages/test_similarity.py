"""The other measures of similarity of one cohort: on planted data, and where something is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.disk.rundir import CONSENSUS
from engine.metrics.agreement import SubsetName
from engine.metrics.similarity import Sign
from engine.metrics.stability import measure_stability
from engine.saes.formats import TrainedSaes
from engine.saes.weights import Weights
from engine.stages.cells import make_cell, make_null, ring
from engine.stages.pairs import Side, walk
from engine.stages.similarity import Similarity, measure_similarity
from engine.study.sae import TopK
from engine.study.spec import read_study
from engine.subjects.surrogate import moments

Execute = Callable[[dict[str, Any]], Any]
N, D, F = 600, 6, 48


def stacked(decoders_SFD: Tensor, k: int = 3) -> TrainedSaes:
    """SAEs with tied rows and no biases, which fire as they must."""
    decoders_SFD = torch.nn.functional.normalize(decoders_SFD, dim=2)
    seeds, features, d = decoders_SFD.shape
    weights = Weights.of(
        {
            "W_enc": decoders_SFD.clone(),
            "W_dec": decoders_SFD,
            "b_enc": torch.zeros(seeds, features),
            "b_dec": torch.zeros(seeds, d),
        }
    )
    fires = torch.full((seeds, features), N, dtype=torch.int64)
    config = TopK(d_sae=features, k=k)
    return TrainedSaes(config, tuple(range(10, 10 + seeds)), weights, 1.0, fires, N)


def measured(
    saes: TrainedSaes, twin: TrainedSaes | None = None, inputs: Tensor | None = None, **options: Any
) -> Similarity:
    generator = torch.Generator().manual_seed(5)
    x_ND = torch.randn(N, saes.weights.W_dec.shape[2], generator=generator)
    x_ND = x_ND if inputs is None else inputs
    live_SF = options.pop("live", torch.ones(saes.weights.W_dec.shape[:2], dtype=torch.bool))
    twin_live_SF = torch.ones(twin.weights.W_dec.shape[:2], dtype=torch.bool) if twin else None
    stability = measure_stability(
        saes.weights.W_dec,
        live_SF,
        activation_covariance_DD=moments(x_ND)[1],
        initial_SFD=None,
        surrogate_SFD=twin.weights.W_dec if twin else None,
        surrogate_live_SF=twin_live_SF,
        dependence=options.get("dependence", ""),
    )
    start = stacked(torch.randn(saes.weights.W_dec.shape, generator=generator))
    headline: tuple[str, SubsetName] = ("mean_max_cos", "live")
    return measure_similarity(
        x_ND,
        moments(x_ND)[1],
        saes,
        live_SF,
        start,
        twin,
        twin_live_SF,
        stability,
        headline,
        **options,
    )


def drawn(seeds: int, seed: int = 0) -> Tensor:
    return torch.randn(seeds, F, D, generator=torch.Generator().manual_seed(seed))


def nulls(cell: dict[str, Any]) -> dict[str, Any]:
    return {null["name"]: null["value"] for null in cell["nulls"]}


def test_the_same_dictionary_in_every_seed_is_at_the_top_of_every_scale() -> None:
    one = drawn(1)[0]
    order = [torch.randperm(F, generator=torch.Generator().manual_seed(s)) for s in range(4)]
    found = measured(stacked(torch.stack([one[places] for places in order])), stacked(drawn(4, 9)))
    said = found.summary
    json.dumps(said, allow_nan=False)
    assert said["mmcs"]["live"]["observed"] == pytest.approx(1)
    assert [c["observed"] for c in said["subspace"]] == pytest.approx([1] * len(said["subspace"]))
    assert {c["k"] for c in said["subspace"]} <= {1, 2, 4, 5, 6}
    assert said["cka"]["codes"]["observed"] == pytest.approx(1)
    for name, cell in said["distances"].items():
        assert cell["observed"] == pytest.approx(0, abs=1e-5), name
        assert nulls(cell)["N3"] > 0.05, name
    assert said["consensus"]["features"]["all"] == 1
    assert said["consensus"]["clusters"] == {
        "all": F, "most": 0, "some": 0, "total": F, "by_size": {"2": 0, "3": 0, "4": F},
    }  # fmt: skip
    assert said["consensus"]["null"]["counts"]["features"]["all"] < 0.5
    places = found.consensus.members[0]
    rows = torch.stack([one[order[s]][f] for s, f in enumerate(places)])
    assert (rows == rows[0]).all(), "a cluster is one feature"


def test_each_direction_of_the_best_cosine_is_kept() -> None:
    # Seed 1 has e1 twice: from there all is found in seed 0, half of seed 0 is not found there.
    decoders = torch.tensor([[[1.0, 0], [0, 1]], [[1, 0], [1, 0]], [[1, 0], [0, 1]]])
    cell = measured(stacked(decoders.repeat(1, 50, 1))).summary["mmcs"]["live"]
    assert cell["pairs"][0][1] == pytest.approx(0.5)
    assert cell["pairs"][1][0] == pytest.approx(1)
    assert cell["largest_asymmetry"] == pytest.approx(0.5)
    assert cell["observed"] == pytest.approx((0.75 + 1 + 0.75) / 3)


def test_seeds_are_ordered_by_label_and_by_likeness() -> None:
    # Angles of one feature: seed 10 at 0°, 11 at 40°, 12 at 20°; they stand in line as 10, 12, 11.
    angles = torch.deg2rad(torch.tensor([0.0, 40, 20]))
    decoders = torch.stack([angles.cos(), angles.sin()], 1).unsqueeze(1)
    order = measured(stacked(decoders.repeat(1, 100, 1))).summary["seed_order"]
    assert order["order"] == [10, 12, 11]
    assert order["length"] == pytest.approx(2 * (1 - math.cos(math.radians(20))), abs=1e-6)
    assert order["purpose"] == "order of seeds for reading only"


def test_without_twins_it_says_so() -> None:
    said = measured(stacked(drawn(3))).summary
    for cell in (said["cka"]["codes"], said["distances"]["cosine"], *said["subspace"]):
        null = next(n for n in cell["nulls"] if n["name"] == "N3")
        assert null == {
            "name": "N3",
            "value": None,
            "admissible": False,
            "reason": "no surrogate was given",
        }
    assert said["consensus"]["null"] == {
        "name": "N3", "counts": None, "reason": "no surrogate was given",
    }  # fmt: skip


@pytest.mark.parametrize("sign", ["signed", "abs"])
def test_how_seeds_match_is_taken_over_as_if_it_were_found_anew(sign: Sign) -> None:
    """Places count the features that take part, here and there: a dead one and one of zeros do not."""
    saes = stacked(drawn(3))
    decoders_SFD = saes.weights.W_dec
    decoders_SFD[1, 4] = 0.0
    kept_SF = torch.ones(3, F, dtype=torch.bool)
    kept_SF[0, 7], kept_SF[1, 4] = False, False
    measure = partial(measure_stability, activation_covariance_DD=None, initial_SFD=None)
    known = measure(decoders_SFD, kept_SF, sign=sign).matches["live"]
    pairs = list(known)
    one, other = (walk(Side(saes, kept_SF), sign, pairs, given) for given in (known, None))
    assert np.array_equal(one.mmcs_SS, other.mmcs_SS, equal_nan=True)
    for pair in pairs:
        for mine, theirs in zip(one.links[pair], other.links[pair], strict=True):
            assert np.array_equal(mine, theirs)
        for mine, theirs in zip(one.matched[pair], other.matched[pair], strict=True):
            assert torch.equal(mine, theirs)
    assert any(len(link.first) for link in one.links.values())


def test_two_seeds_have_values_but_no_interval() -> None:
    said = measured(stacked(drawn(2)), stacked(drawn(2, 4))).summary
    cell = said["distances"]["angular"]
    assert cell["observed"] is not None
    assert cell["ci_low"] is None
    assert "2 seeds give no interval" in cell["reason"]
    assert said["seed_order"]["order"] == [10, 11]


def test_features_that_are_not_live_take_no_part() -> None:
    live = torch.ones(3, F, dtype=torch.bool)
    live[:, 5:] = False
    found = measured(stacked(drawn(3)), live=live)
    assert found.summary["n_per_seed"] == [5, 5, 5]
    assert found.summary["subset"] == "live"
    assert (found.consensus.size[:, 5:] == 0).all()
    live[1] = False
    found = measured(stacked(drawn(3)), live=live)
    assert (found.summary["subset"], found.summary["n_per_seed"]) == ("all", [F] * 3)
    assert found.summary["mmcs"]["live"]["observed"] is None
    assert "no live feature" in found.summary["mmcs"]["live"]["reason"]


def test_members_of_clusters_are_numbers_among_all_features() -> None:
    live = torch.ones(2, F, dtype=torch.bool)
    live[0, :7], live[1, :9] = False, False
    found = measured(stacked(drawn(1).repeat(2, 1, 1)), live=live)
    assert sorted(found.consensus.members.tolist()) == [[f, f] for f in range(9, F)]


def test_dependent_seeds_have_no_random_directions_for_a_null() -> None:
    said = measured(stacked(drawn(3)), dependence="they share their start").summary
    for cell in (said["distances"]["l2"], said["subspace"][0]):
        null = cell["nulls"][0]
        assert (null["name"], null["admissible"], null["reason"]) == (
            "N0", False, "they share their start",
        )  # fmt: skip


def test_too_many_latents_for_a_sample_of_codes_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.stages.codes.MOST_VALUES", 3 * F * 200)
    said = measured(stacked(drawn(3))).summary
    for cell in (said["cka"]["codes"], said["distances"]["correlation"]):
        assert cell["observed"] is None
        assert "leave room for 200 of 600 inputs" in cell["reason"]
    assert said["distances"]["correlation"]["definition"]


def test_a_cell_is_the_jackknife_of_both_directions() -> None:
    # Deleting a seed leaves one pair: .3, .6, .9; SE² = 2/3·.18 (as in test_uncertainty).
    pairs = np.array([[np.nan, 1.0, 0.5], [0.8, np.nan, 0.2], [0.7, 0.4, np.nan]])
    cell = make_cell(pairs, [make_null("N0", math.nan)])
    assert cell["observed"] == pytest.approx(0.6)
    assert cell["ci_low"] == pytest.approx(0.6 - 4.302653 * math.sqrt(0.12), abs=1e-5)
    assert cell["pairs"][0] == [None, 1.0, 0.5]
    assert not cell["nulls"][0]["admissible"]
    assert ring(2) == [(0, 1)]
    assert ring(4) == [(0, 1), (1, 2), (2, 3), (0, 3)]


def test_a_study_has_them_in_summary_table_and_artifact(execute: Execute, tmp_path: Path) -> None:
    data = read_study("planted").model_dump(mode="json")
    data["subject"] |= {"samples": 6000}
    data |= {"seeds": [1, 2, 3]}
    _, outcome = execute(data)
    assert not outcome.failed
    report = tmp_path / "planted" / "report"
    said = json.loads((report / "summary.json").read_text())["cohorts"][0]["similarity"]
    assert set(said) >= {
        "mmcs", "subspace", "principal_angles", "cka", "distances", "consensus", "seed_order",
        "enc_dec_alignment",
    }  # fmt: skip
    assert said["cka"]["codes"]["observed"] > nulls(said["cka"]["codes"])["N3"]
    assert said["distances"]["cosine"]["observed"] < nulls(said["distances"]["cosine"])["N3"]
    twins = said["consensus"]["null"]["counts"]
    assert said["consensus"]["features"]["all"] > twins["features"]["all"]
    table = pq.read_table(report / "features.parquet")
    sizes = table["consensus_size"].to_numpy()
    clusters = table["consensus"].to_numpy()
    assert ((clusters >= 0) == (sizes >= 2)).all()
    written = load_file(next(tmp_path.glob(f"jobs/analysis-*/artifacts/{CONSENSUS}")))
    assert written["sizes"].tolist() == [
        int((clusters == c).sum()) for c in range(len(written["sizes"]))
    ]
    assert written["directions"].norm(dim=1) == pytest.approx(torch.ones(len(written["sizes"])))
    page = (report / "report.html").read_text()
    assert "Other measures of similarity" in page
