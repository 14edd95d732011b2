"""Explained variance and counts, by hand."""

import pytest
import torch

from engine.saes.dense import ReLUSaes
from engine.saes.quality import count_fires, explained_variance, measure_quality
from engine.saes.weights import Weights
from engine.study.sae import ReLU


def test_mean_predictor_scores_zero() -> None:
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) + 3
    assert explained_variance(x, x.mean(0).expand_as(x)) == pytest.approx(0.0, abs=1e-9)
    assert explained_variance(x, x) == 1.0


def test_uncentred_trap() -> None:
    """On N(10, 1) the mean predictor scores .990 if ‖x‖² is the reference; here it scores 0."""
    x = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(0)) + 10
    mean = x.mean(0).expand_as(x)
    uncentred = 1 - float((x - mean).square().sum() / x.square().sum())
    assert uncentred == pytest.approx(0.990, abs=0.001)
    assert explained_variance(x, mean) == pytest.approx(0.0, abs=1e-6)


def test_by_hand() -> None:
    """x = 0, 2, 4 (mean 2, spread 8), x̂ = 0, 2, 3: error 1."""
    x, reconstruction = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[0.0], [2.0], [3.0]])
    assert explained_variance(x, reconstruction) == pytest.approx(1 - 1 / 8)


def one_latent_of_three() -> ReLUSaes:
    """Latent 0 copies e1, latent 1 copies −e1, latent 2 never fires."""
    rows = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]])
    weights = Weights(rows, torch.tensor([[0.0, 0.0, -99.0]]), rows.clone(), torch.zeros(1, 2))
    return ReLUSaes(ReLU(d_sae=3, l1=0.1), weights)


def test_quality_by_hand_over_chunks() -> None:
    x = torch.tensor([[3.0, 1.0], [-1.0, 1.0], [0.0, -2.0], [2.0, 0.0]])  # mean (1, 0), spread 16
    quality = measure_quality(one_latent_of_three(), [x[None, :3], x[None, 3:]])
    assert quality.explained_variance == pytest.approx([1 - 6 / 16])
    assert quality.squared_error == pytest.approx([6 / 4])
    assert quality.l0 == pytest.approx([3 / 4])
    assert quality.l1 == pytest.approx([6 / 4])
    assert quality.dead_fraction == pytest.approx([1 / 3])
    assert quality.n_live == [2]
    fires, inputs = count_fires(one_latent_of_three(), [x[None, :3], x[None, 3:]])
    assert fires.tolist() == [[2, 1, 0]]
    assert inputs == 4


def test_quality_agrees_with_the_definition() -> None:
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(1)) + torch.tensor([0.5, -2.0])
    sae = one_latent_of_three()
    want = explained_variance(x, sae.decode(sae.encode(x[None]))[0])
    got = measure_quality(sae, [x[None, :25], x[None, 25:]]).explained_variance
    assert got == pytest.approx([want], abs=1e-6)
