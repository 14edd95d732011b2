"""Planted data: what it promises, and the oracle pairs."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.errors import CorruptArtifact
from engine.study.subject import Planted
from engine.subjects import planted
from engine.subjects.planted import make_planted

SMALL = Planted(d_in=16, features=24, l0=3, samples=2000)


def test_sparse_data_is_what_its_truth_says() -> None:
    data = make_planted(SMALL)
    assert data.activations.shape == (2000, 16)
    assert torch.allclose(data.features.norm(dim=-1), torch.ones(24), atol=1e-6)
    active = data.coefficients != 0
    assert (active.sum(1) == 3).all()
    assert data.l0() == 3.0
    sizes = data.coefficients[active]
    assert sizes.min() >= 0.5
    assert sizes.mean().item() == pytest.approx(0.5 + (2 / torch.pi) ** 0.5, abs=0.03)
    noise = data.activations - data.coefficients @ data.features
    assert noise.std().item() == pytest.approx(0.02, rel=0.05)
    share = active.float().mean(0)
    assert share.min() > 0.09  # l0 / features = .125, sd .0074
    assert share.max() < 0.16


def test_data_is_a_function_of_its_seed() -> None:
    one, same = make_planted(SMALL), make_planted(SMALL)
    other = make_planted(SMALL.model_copy(update={"data_seed": 1}))
    assert one.digests() == same.digests()
    assert not set(one.digests().values()) & set(other.digests().values())


def test_orthonormal_features() -> None:
    data = make_planted(Planted(d_in=16, features=10, l0=3, samples=100, orthonormal=True))
    assert torch.allclose(data.features @ data.features.T, torch.eye(10), atol=1e-5)


def variant(**options: object) -> planted.PlantedData:
    return make_planted(SMALL.model_copy(update=options))


def test_signed_zipf_and_offset() -> None:
    signed = variant(signed=True).coefficients
    assert (signed < 0).sum() / (signed != 0).sum() == pytest.approx(0.5, abs=0.03)
    often = (variant(zipf=1.0).coefficients != 0).float().mean(0)
    assert often[0] > 2 * often[5] > 3 * often[20]
    moved = variant(mean_offset=7.0)
    assert moved.offset.norm().item() == pytest.approx(7.0, rel=1e-5)
    assert torch.allclose(moved.activations - variant().activations, moved.offset, atol=1e-5)


def test_correlation_and_hierarchy() -> None:
    plain, tied = (variant(correlation=c).coefficients != 0 for c in (0.0, 0.8))

    def partner(active: Tensor) -> float:
        return float((active[:, ::2] & active[:, 1::2]).sum() / active[:, ::2].sum())

    assert partner(plain) < 0.2
    assert partner(tied) > 0.7
    family = variant(hierarchy=True).coefficients != 0
    assert not (family[:, 1::2] & ~family[:, ::2]).any()
    assert variant(hierarchy=True).l0() > 3


def test_fourier_planes() -> None:
    config = Planted(generator="fourier", d_in=12, features=4, samples=3000, gate=0.3, noise=0.0)
    data = make_planted(config)
    assert torch.allclose(data.features @ data.features.T, torch.eye(8), atol=1e-5)
    radius = (data.activations @ data.features.T).view(3000, 4, 2).norm(dim=-1)
    on = radius > 0.5
    assert torch.allclose(radius[on], torch.ones(()), atol=1e-4)
    assert radius[~on].max() < 1e-4
    assert on.float().mean().item() == pytest.approx(0.3, abs=0.02)
    clock = make_planted(config.model_copy(update={"gate": 1.0}))
    assert clock.l0() == 8.0


def test_gaussian_control_has_the_moments_and_no_coefficients() -> None:
    config = SMALL.model_copy(update={"samples": 20_000, "mean_offset": 2.0})
    sparse = make_planted(config)
    gaussian = make_planted(config.model_copy(update={"generator": "gaussian"}))
    assert torch.equal(gaussian.features, sparse.features)
    assert not gaussian.coefficients.any()
    assert torch.allclose(gaussian.activations.mean(0), sparse.activations.mean(0), atol=0.03)
    ours, theirs = gaussian.activations.T.cov(), sparse.activations.T.cov()
    assert (ours - theirs).norm() < 0.05 * theirs.norm()


def test_saved_truth_comes_back_and_damage_is_found(tmp_path: Path) -> None:
    data = make_planted(SMALL.model_copy(update={"signed": True}))
    planted.save_planted(tmp_path, data)
    loaded = planted.load_planted(tmp_path)
    assert loaded.config == data.config
    for name in ("activations", "features", "coefficients", "offset"):
        assert torch.equal(getattr(loaded, name), getattr(data, name)), name
    truth = json.loads((tmp_path / "truth.json").read_text())
    truth["sha256"]["features"] = "0" * 64
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    with pytest.raises(CorruptArtifact, match="planted features differ"):
        planted.load_planted(tmp_path)


def unit(n: int, d: int) -> Tensor:
    return torch.nn.functional.normalize(
        torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    )


def test_oracle_pairs() -> None:
    rows = unit(200, 64)
    shuffled = planted.permuted(rows, seed=0)
    assert not torch.equal(shuffled, rows)
    assert torch.equal(shuffled.sort(0).values, rows.sort(0).values)
    assert ((planted.flipped(rows, 0, 0.25) * rows).sum(1) < 0).sum() == 50
    assert torch.equal(planted.flipped(rows, 0), -rows)
    assert torch.equal(planted.duplicated(rows, 3)[[0, 1, 2, 3]], rows[[0, 0, 0, 1]])
    one, two = planted.subset(rows, 1, 0.6), planted.subset(rows, 2, 0.6)
    shared = {tuple(row) for row in one.tolist()} & {tuple(row) for row in two.tolist()}
    assert len(one) == 120
    assert len(shared) / 200 == pytest.approx(0.36, abs=0.08)


def test_oracle_noise_has_the_stated_cosines() -> None:
    """σ = .5: .894 to the truth, .800 between two runs (science.md §8)."""
    rows = unit(2000, 64)
    one, two = planted.noised(rows, 1, 0.5), planted.noised(rows, 2, 0.5)
    assert torch.allclose((one * rows).sum(1), torch.full((2000,), 0.8944), atol=1e-3)
    assert (one * two).sum(1).mean().item() == pytest.approx(0.8, abs=0.005)
