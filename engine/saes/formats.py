"""Trained SAEs on disk, in raw units: a cohort as one file, a single SAE as another.

Training runs on centred, scaled activations x' = (x − mean)·c. Rows of norm 1 stay rows of
norm 1 if latents are measured in raw units, z = z'/c: then W_enc and W_dec are as trained,
b_enc = b_enc'/c and b_dec = mean + b_dec'/c. A loaded SAE needs no normalisation.

Shapes: S seeds, D width (d_in), F latents (d_sae), B inputs. In files W_enc is [.., D, F] and W_dec
[.., F, D], as in SAELens; other libraries' layouts join here as further writers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.disk.atomic import read_json, write_json
from engine.errors import CorruptArtifact, InputError
from engine.saes.architectures import Architecture, Weights, make_architecture
from engine.saes.cohort import Cohort
from engine.study.sae import Sae

COHORT, SINGLE = "cohort", "sae"
SCHEMA = 1
_SAE: TypeAdapter[Sae] = TypeAdapter(Sae)


@dataclass(frozen=True)
class TrainedSaes:
    """SAEs of one setting and one or more seeds, acting on raw activations."""

    config: Sae
    """Architecture and size, as trained."""
    seeds: tuple[int, ...]
    """Seed of each."""
    weights: Weights
    """Stacked, raw units; W_enc as rows [S, F, D]."""
    scale: float
    """Factor c of the training's normalisation; an L1 weight acts as l1/c in raw units."""
    fires: Tensor | None = None
    """On how many activations of the subject each latent fires, int64."""
    inputs: int = 0
    """How many activations were counted."""

    def architecture(self) -> Architecture:
        """Return the SAEs ready to encode and decode stacked inputs [S, B, D]."""
        return make_architecture(self.config, self.weights)

    def encode(self, x_BD: Tensor) -> Tensor:
        """Return the latents [S, B, F] of raw activations [B, D]."""
        return self.architecture().encode(x_BD.expand(len(self.seeds), -1, -1))

    def decode(self, z_SBF: Tensor) -> Tensor:
        """Return the reconstructions [S, B, D] in raw units."""
        return self.architecture().decode(z_SBF)

    def select(self, seed: int) -> TrainedSaes:
        """Return the SAE of one seed (S = 1).

        Raises:
            InputError: the seed is not there.
        """
        if seed not in self.seeds:
            raise InputError("seed", f"{seed} is not there", f"one of {list(self.seeds)}")
        at = self.seeds.index(seed)
        one = {name: tensor[at : at + 1] for name, tensor in self.weights.named().items()}
        fires = None if self.fires is None else self.fires[at : at + 1]
        return TrainedSaes(self.config, (seed,), Weights(**one), self.scale, fires, self.inputs)


@torch.no_grad()
def to_raw(cohort: Cohort, *, count: bool = True) -> TrainedSaes:
    """Return a cohort's SAEs in raw units, on the CPU; `count` adds firings over all inputs."""
    named = {name: t.detach().cpu().clone() for name, t in cohort.saes.weights.named().items()}
    scale = cohort.batches.scale
    named["b_enc"] /= scale
    named["b_dec"] = cohort.batches.mean_D.cpu() + named["b_dec"] / scale
    fires_SF, inputs = cohort.fires() if count else (None, 0)
    return TrainedSaes(cohort.config, cohort.seeds, Weights(**named), scale, fires_SF, inputs)


def save_cohort(folder: Path, saes: TrainedSaes) -> None:
    """Write `cohort.safetensors` (all seeds stacked) and `cohort.json` into a folder."""
    _write(folder, COHORT, saes, _tensors(saes))


def save_sae(folder: Path, saes: TrainedSaes) -> None:
    """Write the one SAE as `sae.safetensors` (no seed axis) and `sae.json` into a folder.

    Raises:
        InputError: there are several seeds; `select` one.
    """
    if len(saes.seeds) != 1:
        raise InputError("seed", f"{len(saes.seeds)} SAEs in one file", "the SAE of one seed")
    _write(folder, SINGLE, saes, {name: tensor[0] for name, tensor in _tensors(saes).items()})


def load_cohort(folder: Path) -> TrainedSaes:
    """Read what `save_cohort` wrote.

    Raises:
        CorruptArtifact: a file is missing, unreadable, or its shapes do not fit its configuration.
    """
    return _read(folder, COHORT)


def load_sae(folder: Path) -> TrainedSaes:
    """Read what `save_sae` wrote (S = 1).

    Raises:
        CorruptArtifact: a file is missing, unreadable, or its shapes do not fit its configuration.
    """
    return _read(folder, SINGLE)


def _tensors(saes: TrainedSaes) -> dict[str, Tensor]:
    tensors = saes.weights.named()
    tensors["W_enc"] = tensors["W_enc"].mT
    if saes.fires is not None:
        tensors["fires"] = saes.fires
    return tensors


def _write(folder: Path, name: str, saes: TrainedSaes, tensors: Mapping[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / f"{name}.safetensors")
    settings = {
        "schema": SCHEMA,
        "sae": saes.config.model_dump(mode="json"),
        "d_in": saes.weights.W_dec.shape[-1],
        "seeds": list(saes.seeds),
        "scale": saes.scale,
        "inputs": saes.inputs,
    }
    write_json(folder / f"{name}.json", settings)


def _read(folder: Path, name: str) -> TrainedSaes:
    settings_file, tensors_file = folder / f"{name}.json", folder / f"{name}.safetensors"
    for file in (settings_file, tensors_file):
        if not file.is_file():
            raise CorruptArtifact(f"{file}: missing")
    settings = read_json(settings_file)
    try:
        config = _SAE.validate_python(settings["sae"])
        d_in, seeds = int(settings["d_in"]), tuple(int(seed) for seed in settings["seeds"])
        scale, inputs = float(settings["scale"]), int(settings["inputs"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise CorruptArtifact(f"{settings_file}: not the settings of SAEs ({reason})") from None
    try:
        tensors = load_file(tensors_file)
    except (SafetensorError, OSError) as error:
        raise CorruptArtifact(f"{tensors_file}: not safetensors ({error})") from None
    stack = (len(seeds),) if name == COHORT else ()
    _check_shapes(tensors_file, tensors, _shapes(stack, d_in, config.d_sae))
    if name == SINGLE:
        tensors = {key: tensor.unsqueeze(0) for key, tensor in tensors.items()}
    fires = tensors.pop("fires", None)
    tensors["W_enc"] = tensors["W_enc"].mT.contiguous()
    return TrainedSaes(config, seeds, Weights(**tensors), scale, fires, inputs)


def _shapes(stack: Sequence[int], d_in: int, d_sae: int) -> dict[str, tuple[int, ...]]:
    return {
        "W_enc": (*stack, d_in, d_sae),
        "b_enc": (*stack, d_sae),
        "W_dec": (*stack, d_sae, d_in),
        "b_dec": (*stack, d_in),
        "fires": (*stack, d_sae),
    }


def _check_shapes(file: Path, tensors: Mapping[str, Tensor], want: Mapping[str, Any]) -> None:
    for name in sorted(set(want) - set(tensors) - {"fires"}):
        raise CorruptArtifact(f"{file}: {name} is missing")
    for name, tensor in tensors.items():
        if name not in want:
            raise CorruptArtifact(f"{file}: {name} does not belong to these SAEs")
        if tuple(tensor.shape) != want[name]:
            raise CorruptArtifact(f"{file}: {name} is {list(tensor.shape)}, not {list(want[name])}")
        dtype = torch.int64 if name == "fires" else torch.float32
        if tensor.dtype != dtype:
            raise CorruptArtifact(f"{file}: {name} is {tensor.dtype}, not {dtype}")
