"""The choice of the gallery, its maps, and the features of the twin, on dictionaries worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from engine.disk.rundir import GALLERY
from engine.metrics.stability import measure_stability
from engine.saes.formats import TrainedSaes
from engine.saes.weights import Weights
from engine.stages.gallery import Gallery, choose, twin_features
from engine.stages.truth import latents
from engine.study.sae import ReLU


def saes(decoders: list[list[list[float]]], fires: list[list[int]], inputs: int) -> TrainedSaes:
    """SAEs without biases whose encoders are their decoders."""
    W_SFD = torch.tensor(decoders)
    S, F, D = W_SFD.shape
    weights = Weights(
        W_enc=W_SFD.clone(), b_enc=torch.zeros(S, F), W_dec=W_SFD, b_dec=torch.zeros(S, D)
    )
    config = ReLU.model_validate({"architecture": "relu", "d_sae": F, "l1": 0.1})
    return TrainedSaes(config, tuple(range(5, 5 + S)), weights, 1.0, torch.tensor(fires), inputs)


R = math.sqrt(0.5)
THREE = [[[1.0, 0], [0, 1]], [[1.0, 0], [R, R]], [[R, R], [0, 1]]]


def test_the_order_is_stability_then_cosine_then_index() -> None:
    stability = np.array([1, 0.5, 0.5, 0.5, 0, 0, 0, np.nan, 1, 0.25])
    median = np.array([0.8, 0.6, 0.9, 0.6, 0.1, 0.3, 0.1, np.nan, 0.99, 0.4])
    live = np.ones(10, dtype=bool)
    live[8] = False
    most, least = choose(stability, median, live)
    assert most == [0, 2, 1, 3]
    assert least == [4, 6, 5, 9]


def test_few_features_are_shown_once() -> None:
    most, least = choose(np.array([0.0, 1.0]), np.array([0.2, 0.9]), np.ones(2, dtype=bool))
    assert (most, least) == ([1, 0], [])


def test_the_pairs_and_matches_of_the_twin_are_those_of_its_live_features() -> None:
    """Best cosines of seed 5: feature 0 has 1 and R, feature 1 has R and 1. Latent 1 of seed 7 is dead."""
    twin = saes(THREE, [[50, 50], [50, 50], [50, 1]], 100)
    found = twin_features(twin, "signed")
    pairs = found.pairs
    expected = [(1 + R) / 2, (1 + R) / 2, (1 + R) / 2, (R + 1) / 2, (1 + R) / 2]
    assert found.match == pytest.approx(expected)
    assert found.density == pytest.approx([0.5] * 5)
    assert pairs["all"][0][1] == pytest.approx((1 + R) / 2)
    # Live: seed 7 has (R, R) alone. From 6: max(R, 1) = R, 1; back: 1.
    assert pairs["live"][1][2] == pytest.approx(((R + 1) / 2 + 1) / 2)
    assert pairs["live"][2][1] == pairs["live"][1][2]
    assert pairs["live"][0][0] is None


def test_a_twin_without_live_features_has_no_pairs_of_them() -> None:
    twin = saes(THREE, [[0, 0], [50, 50], [50, 50]], 100)
    found = twin_features(twin, "signed")
    pairs = found.pairs
    assert pairs["live"][0] == [None] * 3
    assert pairs["all"][0][1] is not None
    assert len(found.match) == 4


def test_maps_are_the_activations_over_the_grid(tmp_path: Path) -> None:
    """On a grid of 2 × 2 with x = (a, b), feature (1, 0) fires with a and (0, 1) with b: a down, b across."""
    cohort = saes(THREE, [[50, 50]] * 3, 100)
    live = torch.ones(3, 2, dtype=torch.bool)
    stability = measure_stability(
        cohort.weights.W_dec, live, activation_covariance_DD=None, initial_SFD=None
    )
    x_ND = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    gallery = Gallery(cohort, live, stability, 2)
    for s in (2, 0, 1):
        gallery.see(s, latents(cohort, s, x_ND))
    found = gallery.write(tmp_path, {}, None)
    arrays = load_file(tmp_path / GALLERY)
    by_feature = {one["feature"]: number for number, one in enumerate(found["gallery"])}
    assert arrays["maps"][by_feature[0]].tolist() == [[0, 0], [255, 255]]
    assert arrays["maps"][by_feature[1]].tolist() == [[0, 255], [0, 255]]
    one = found["gallery"][by_feature[0]]
    assert (one["seed"], one["partner"]["seed"], one["partner"]["feature"]) == (5, 6, 0)
    assert one["best_cosines"] == {"6": pytest.approx(1.0), "7": pytest.approx(R)}
    assert one["density"] == 0.5
    assert one["responds_to"] is None
    assert "surrogate_pairs" not in found


def test_without_a_grid_there_are_no_maps(tmp_path: Path) -> None:
    cohort = saes(THREE, [[50, 50]] * 3, 100)
    live = torch.ones(3, 2, dtype=torch.bool)
    stability = measure_stability(
        cohort.weights.W_dec, live, activation_covariance_DD=None, initial_SFD=None
    )
    gallery = Gallery(cohort, live, stability, None)
    gallery.see(0, torch.zeros(3, 2))
    found = gallery.write(tmp_path, {}, twin_features(cohort, "signed"))
    assert set(load_file(tmp_path / GALLERY)) == {
        "surrogate_match", "surrogate_stability", "surrogate_density",
    }  # fmt: skip
    assert found["surrogate_pairs"]["metric"] == "mean_max_cos"
