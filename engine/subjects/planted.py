"""Synthetic activations whose features are known (science.md §6), and pairs with a known answer.

Shapes: N samples, M true features (two per plane for `fourier`), D width.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from engine.disk.atomic import read_json, write_json
from engine.errors import CorruptArtifact
from engine.study.subject import Planted
from engine.subjects.surrogate import surrogate
from engine.training import stream


@dataclass(frozen=True)
class PlantedData:
    """Activations and the truth behind them; the truth is saved, never generated again."""

    config: Planted
    """How the data was made."""
    activations: Tensor
    """float32."""
    features: Tensor
    """Unit rows; for `fourier`, rows 2k and 2k+1 span plane k; for `gaussian`, those of the
    sparse data whose moments it has."""
    coefficients: Tensor
    """What each feature contributed; all zero for `gaussian`."""
    offset: Tensor
    """The constant added to every sample."""

    def digests(self) -> dict[str, str]:
        """Return the sha256 of activations, features and coefficients as float32 bytes."""
        named = {
            "activations": self.activations,
            "features": self.features,
            "coefficients": self.coefficients,
        }
        return {
            name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
            for name, tensor in named.items()
        }

    def l0(self) -> float:
        """Return the mean number of features that contribute to a sample."""
        return float((self.coefficients != 0).sum(1).float().mean())


def make_planted(config: Planted) -> PlantedData:
    """Return the data of a configuration; equal configurations give equal bytes under one torch."""
    if config.generator == "fourier":
        return _make_fourier(config)
    data = _make_sparse(config)
    if config.generator == "sparse":
        return data
    gaussian_ND = surrogate(data.activations, config.data_seed, "planted gaussian")
    nothing_NM = torch.zeros_like(data.coefficients)
    return PlantedData(config, gaussian_ND, data.features, nothing_NM, data.offset)


def _make_sparse(config: Planted) -> PlantedData:
    features_MD = _directions(config, config.features, config.orthonormal)
    generator = stream("planted coefficients", config.data_seed)
    active_NM = _active(config, generator)
    size_NM = 0.5 + torch.randn(active_NM.shape, generator=generator).abs()
    if config.signed:
        size_NM *= torch.randint(0, 2, active_NM.shape, generator=generator) * 2 - 1
    return _assemble(config, features_MD, size_NM.where(active_NM, 0.0))


def _make_fourier(config: Planted) -> PlantedData:
    features_MD = _directions(config, 2 * config.features, orthonormal=True)
    generator = stream("planted coefficients", config.data_seed)
    shape = (config.samples, config.features)
    phase = torch.rand(shape, generator=generator) * (2 * torch.pi)
    on = torch.rand(shape, generator=generator) < config.gate
    circle = torch.stack([phase.cos(), phase.sin()], dim=-1).where(on.unsqueeze(-1), 0.0)
    return _assemble(config, features_MD, circle.view(config.samples, -1))


def _assemble(config: Planted, features_MD: Tensor, coefficients_NM: Tensor) -> PlantedData:
    direction_D = torch.randn(config.d_in, generator=stream("planted offset", config.data_seed))
    offset_D = normalize(direction_D, dim=0) * config.mean_offset
    noise_ND = torch.randn(
        config.samples, config.d_in, generator=stream("planted noise", config.data_seed)
    )
    activations_ND = coefficients_NM @ features_MD + offset_D + config.noise * noise_ND
    return PlantedData(config, activations_ND, features_MD, coefficients_NM, offset_D)


def _directions(config: Planted, count: int, orthonormal: bool) -> Tensor:
    generator = stream("planted features", config.data_seed)
    random_MD = torch.randn(count, config.d_in, generator=generator)
    if not orthonormal:
        return normalize(random_MD, dim=-1)
    rows_MD: Tensor = torch.linalg.qr(random_MD.double().T).Q.T.float().contiguous()
    gram = rows_MD @ rows_MD.T
    # The original project called random directions orthonormal; here it is checked.
    assert torch.allclose(gram, torch.eye(count), atol=1e-5), (
        "QR gave rows that are not orthonormal"
    )
    return rows_MD


def _active(config: Planted, generator: torch.Generator) -> Tensor:
    """Return which features are on, bool [N, M]: l0 of them, then partners and parents beside."""
    N, M = config.samples, config.features
    rank_M = torch.arange(1, M + 1, dtype=torch.float32)
    # The l0 largest of log p + Gumbel noise are a draw without replacement with probabilities p.
    uniform_NM = torch.rand(N, M, generator=generator).clamp_(1e-20, 1 - 1e-7)
    score_NM = -config.zipf * rank_M.log() - (-uniform_NM.log()).log()
    chosen = score_NM.topk(config.l0, dim=1).indices
    active_NM = torch.zeros(N, M, dtype=torch.bool).scatter_(1, chosen, True)
    pairs = M - M % 2
    even, odd = active_NM[:, 0:pairs:2].clone(), active_NM[:, 1:pairs:2].clone()
    if config.correlation:
        together = torch.rand(N, pairs // 2, generator=generator) < config.correlation
        active_NM[:, 0:pairs:2] |= odd & together
        active_NM[:, 1:pairs:2] |= even & together
    if config.hierarchy:
        active_NM[:, 0:pairs:2] |= active_NM[:, 1:pairs:2]
    return active_NM


def save_planted(folder: Path, data: PlantedData) -> None:
    """Write activations, `truth.safetensors` and `truth.json` (settings, sha256 of all)."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"activations": data.activations}, folder / "activations.safetensors")
    truth = {
        "features": data.features,
        "coefficients": data.coefficients[data.coefficients != 0],
        "active": (data.coefficients != 0).nonzero().to(torch.int32),
        "offset": data.offset,
    }
    save_file({k: v.contiguous() for k, v in truth.items()}, folder / "truth.safetensors")
    settings = {
        "planted": data.config.model_dump(mode="json"),
        "l0": data.l0(),
        "sha256": data.digests(),
    }
    write_json(folder / "truth.json", settings)


def load_planted(folder: Path) -> PlantedData:
    """Read what `save_planted` wrote.

    Raises:
        CorruptArtifact: content differs from the recorded sha256.
    """
    settings = read_json(folder / "truth.json")
    truth = load_file(folder / "truth.safetensors")
    activations_ND = load_file(folder / "activations.safetensors")["activations"]
    coefficients_NM = torch.zeros(len(activations_ND), len(truth["features"]))
    rows, columns = truth["active"].long().unbind(1)
    coefficients_NM[rows, columns] = truth["coefficients"]
    config = Planted.model_validate(settings["planted"])
    data = PlantedData(config, activations_ND, truth["features"], coefficients_NM, truth["offset"])
    for name, digest in data.digests().items():
        if digest != settings["sha256"][name]:
            raise CorruptArtifact(f"{folder}: planted {name} differ from their recorded sha256")
    return data


def permuted(features_MD: Tensor, seed: int) -> Tensor:
    """Return the same rows in another order: every matching metric scores 1."""
    order = torch.randperm(len(features_MD), generator=stream("oracle permutation", seed))
    return features_MD[order]


def flipped(features_MD: Tensor, seed: int, share: float = 1.0) -> Tensor:
    """Return the rows with this share of them negated: 1 under |cos|, lower under signed cosine."""
    count = round(share * len(features_MD))
    out_MD = features_MD.clone()
    out_MD[torch.randperm(len(out_MD), generator=stream("oracle sign", seed))[:count]] *= -1
    return out_MD


def noised(features_MD: Tensor, seed: int, sigma: float) -> Tensor:
    """Return rows turned towards random directions: cos to the truth is 1/√(1+σ²), between two
    seeds 1/(1+σ²) on average (the directions overlap by chance, ~1/√D)."""
    directions_MD = torch.randn(features_MD.shape, generator=stream("oracle noise", seed))
    rows = normalize(features_MD, dim=-1)
    across = directions_MD - (directions_MD * rows).sum(-1, keepdim=True) * rows
    return normalize(rows + sigma * normalize(across, dim=-1), dim=-1)


def duplicated(features_MD: Tensor, times: int) -> Tensor:
    """Return every row `times` times: mean-max stays 1, one-to-one matching does not."""
    return features_MD.repeat_interleave(times, dim=0)


def subset(features_MD: Tensor, seed: int, share: float) -> Tensor:
    """Return a random share q of the rows: two seeds share q² of all features in expectation."""
    count = round(share * len(features_MD))
    order = torch.randperm(len(features_MD), generator=stream("oracle subset", seed))
    return features_MD[order[:count]]
