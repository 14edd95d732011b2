"""The geometry of a cohort whose every number can be counted on paper."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from engine.metrics.ground_truth import Plane
from engine.saes.formats import TrainedSaes
from engine.saes.weights import Weights
from engine.stages.geometry import NO_MAPS, NO_PLANES, measure_geometry, survey_of
from engine.study.sae import Sae
from engine.study.subject import Modular, Planted

P = 11
WIDTH = 2 * P
SEEDS = (3, 5)
SUBJECT = Modular().model_copy(update={"modulus": P})


def one_hot() -> Tensor:
    """Activations [P², 2P]: which a it is, then which b."""
    a, b = torch.arange(P * P) // P, torch.arange(P * P) % P
    return torch.cat([torch.eye(P)[a], torch.eye(P)[b]], dim=1)


COVARIANCE = torch.cov(one_hot().double().T, correction=0)


def trained() -> TrainedSaes:
    """SAEs of two seeds with a feature for each a and for each b."""
    config: Sae = TypeAdapter[Sae](Sae).validate_python(
        {"architecture": "relu", "d_sae": WIDTH, "l1": 0.001}
    )
    rows = torch.eye(WIDTH).repeat(2, 1, 1)
    weights = Weights(rows, torch.zeros(2, WIDTH), rows, torch.zeros(2, WIDTH))
    fires = torch.full((2, WIDTH), P, dtype=torch.int64)
    return TrainedSaes(config, SEEDS, weights, 1.0, fires, P * P)


def encode(_: int, x_ND: Tensor) -> Tensor:
    return x_ND.relu()


LIVE = torch.ones(2, WIDTH, dtype=torch.bool)


def test_a_feature_for_each_argument() -> None:
    survey = survey_of(SUBJECT, LIVE)
    found = measure_geometry(survey, encode, one_hot(), COVARIANCE, trained(), ())
    told = found.summary
    assert told["n_live"]["per_seed"] == [WIDTH] * 2
    # Orthonormal rows: the mean has length 1/√n, and every dimension is filled.
    assert told["directions"]["resultant"]["mean"] == pytest.approx(WIDTH**-0.5)
    assert told["directions"]["coherence"]["mean"] == 0
    assert told["directions"]["welch"] == 0
    for value in told["dimensionality"]["decoders"].values():
        assert value["mean"] == pytest.approx(WIDTH)
    assert told["dimensionality"]["per_feature"]["mean"] == pytest.approx(1)
    # One-hot codes of a and of b have P - 1 dimensions each, all alike.
    for value in told["dimensionality"]["activations"].values():
        assert value == pytest.approx(2 * (P - 1), rel=1e-4)
    # Swapped, 1[a = i] is 1[b = i], which is independent of it.
    assert told["symmetry"]["swap"]["mean"] == pytest.approx(0, abs=1e-6)
    assert told["symmetry"]["swap_null"] == pytest.approx(1 / 12)
    shifts = told["symmetry"]["shifts"]
    assert shifts["sampled"] == [WIDTH] * 2
    assert shifts["share"]["mean"] == 1
    assert shifts["orbits"]["mean"] == 2, "those of a, and those of b"
    assert shifts["largest"]["mean"] == P
    assert shifts["share_unshifted"]["mean"] == 0
    assert shifts["null"]["share"] == 0
    assert told["symmetry"]["phases_reason"] == NO_PLANES
    sparsity = told["sparsity"]
    assert sparsity["inputs"] == P * P
    assert sparsity["l0"]["mean"]["mean"] == 2
    assert sparsity["l0"]["sd"]["mean"] == 0
    assert sparsity["l0"]["sd_independent"] == pytest.approx((WIDTH * 10 / 121) ** 0.5)
    assert sparsity["density"]["gini"]["mean"] == pytest.approx(0, abs=1e-9)
    assert sum(sparsity["density"]["observed"]) == pytest.approx(1)
    assert sparsity["hoyer"]["mean"] == pytest.approx(sparsity["hoyer_equal"]["mean"])
    pairs = sparsity["coactivation"]
    assert pairs["features"] == [WIDTH] * 2
    assert pairs["largest"]["mean"] == pytest.approx(0, abs=1e-6), "a = i and b = j are independent"
    assert pairs["strongest"][0][0]["cosine"] == 0
    json.dumps(told, allow_nan=False)


def test_columns_have_a_value_for_each_feature() -> None:
    found = measure_geometry(survey_of(SUBJECT, LIVE), encode, one_hot(), COVARIANCE, trained(), ())
    assert len(found.features) == len(SEEDS)
    for columns in found.features:
        assert set(columns) == {"coherence", "dimensionality", "swap_symmetry"}
        assert columns["dimensionality"].tolist() == pytest.approx([1.0] * WIDTH)
        assert columns["coherence"].tolist() == pytest.approx([0.0] * WIDTH)


def test_latents_that_were_seen_are_not_computed_again() -> None:
    survey = survey_of(SUBJECT, LIVE)
    for s in range(2):
        survey.see(s, one_hot())

    def refuse(s: int, x_ND: Tensor) -> Tensor:
        raise AssertionError(f"latents of seed {s} were there")

    seen = measure_geometry(survey, refuse, one_hot(), COVARIANCE, trained(), ())
    fresh = measure_geometry(survey_of(SUBJECT, LIVE), encode, one_hot(), COVARIANCE, trained(), ())
    assert seen.summary == fresh.summary


def test_without_a_grid_maps_cannot_be_measured_and_it_says_so() -> None:
    found = measure_geometry(
        survey_of(Planted(), LIVE), encode, one_hot(), COVARIANCE, trained(), ()
    )
    symmetry = found.summary["symmetry"]
    assert symmetry["reason"] == NO_MAPS
    assert "swap" not in symmetry
    assert set(found.features[0]) == {"coherence", "dimensionality"}


def test_many_inputs_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.stages.geometry.CODE_VALUES", 40 * WIDTH)
    monkeypatch.setattr("engine.stages.geometry.SAMPLED_INPUTS", 30)
    found = measure_geometry(
        survey_of(Planted(), LIVE), encode, one_hot(), COVARIANCE, trained(), ()
    )
    assert found.summary["sparsity"]["inputs"] == 40
    assert found.summary["sparsity"]["coactivation"]["sampled_inputs"] == 30
    again = measure_geometry(
        survey_of(Planted(), LIVE), encode, one_hot(), COVARIANCE, trained(), ()
    )
    assert again.summary == found.summary


def test_many_features_are_sampled_and_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.stages.geometry.SAMPLED_FEATURES", 2)
    monkeypatch.setattr("engine.stages.geometry.SAMPLED_MAPS", 3)
    told = measure_geometry(
        survey_of(SUBJECT, LIVE), encode, one_hot(), COVARIANCE, trained(), ()
    ).summary
    assert told["symmetry"]["shifts"]["sampled"] == [3, 3]
    pair = told["sparsity"]["coactivation"]["strongest"][0]
    assert [one["pair"] for one in pair] == [[0, WIDTH - 1]]


def test_phases_are_told_for_every_plane() -> None:
    basis = torch.eye(WIDTH, dtype=torch.float64)[:, :2]
    plane = Plane("a", 1, 0.5, basis, exists=True)
    found = measure_geometry(
        survey_of(SUBJECT, LIVE), encode, one_hot(), COVARIANCE, trained(), (plane,)
    )
    symmetry = found.summary["symmetry"]
    assert symmetry["phases_reason"] == ""
    (told,) = symmetry["phases"]
    assert (told["family"], told["k"], told["n"]) == ("a", 1, [2, 2])
    assert told["n_null"] == pytest.approx(0.05 * WIDTH)
    # Two phases at a right angle: R̄ = √½, p = exp(-2·½).
    assert told["resultant"]["mean"] == pytest.approx(0.5**0.5)
    assert told["p"][0] == pytest.approx(0.36788, abs=1e-5)


def test_a_cohort_without_live_features_is_told_without_numbers() -> None:
    dead = torch.zeros_like(LIVE)
    saes = replace(trained(), fires=torch.zeros(2, WIDTH, dtype=torch.int64))

    def silent(_: int, x_ND: Tensor) -> Tensor:
        return torch.zeros(len(x_ND), WIDTH)

    plane = Plane("a", 1, 0.5, torch.eye(WIDTH, dtype=torch.float64)[:, :2], exists=True)
    told = measure_geometry(
        survey_of(SUBJECT, dead), silent, one_hot(), COVARIANCE, saes, (plane,)
    ).summary
    assert told["directions"] == {"reason": "no feature is live"}
    assert told["dimensionality"]["reason"] == "no feature is live"
    assert told["symmetry"]["swap"]["mean"] is None
    assert told["symmetry"]["shifts"] is None
    assert told["sparsity"]["density"]["never"]["mean"] == 1
    assert told["sparsity"]["coactivation"]["largest_null"] is None
    json.dumps(told, allow_nan=False)
