"""Trained SAEs on disk, in raw units: a cohort as one file, a single SAE as another.

Training runs on centred, scaled activations x' = (x − mean)·c. Rows of norm 1 stay rows of
norm 1 if latents are measured in raw units, z = z'/c: then W_enc and W_dec are as trained,
b_enc = b_enc'/c and b_dec = mean + b_dec'/c; thresholds and b_mag are divided by c like b_enc, r_mag
is as trained. A loaded SAE needs no normalisation.

Shapes: S seeds, D width (d_in), F latents (d_sae), B inputs. In files W_enc is [.., D, F] and W_dec
[.., F, D], as in SAELens; `exchange` has the layouts of other libraries.
"""

from __future__ import annotations

import json
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
from engine.saes.architecture import Architecture
from engine.saes.architectures import make_architecture
from engine.saes.cohort import Cohort
from engine.saes.weights import Weights, extra_shapes
from engine.study.sae import Sae

COHORT, START, SINGLE = "cohort", "start", "sae"
SCHEMA = 1
UNITLESS = frozenset({"W_enc", "W_dec", "r_mag"})
"""Weights that are the same in raw and in normalised units."""
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

    def select(self, *seeds: int) -> TrainedSaes:
        """Return the SAEs of these seeds.

        Raises:
            InputError: a seed is not there.
        """
        for seed in seeds:
            if seed not in self.seeds:
                raise InputError("seed", f"{seed} is not there", f"one of {list(self.seeds)}")
        places = [self.seeds.index(seed) for seed in seeds]
        fires = None if self.fires is None else self.fires[places]
        weights = self.weights.pick(places)
        return TrainedSaes(self.config, seeds, weights, self.scale, fires, self.inputs)


def join(parts: Sequence[TrainedSaes]) -> TrainedSaes:
    """Return the SAEs of several cohorts of one setting as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    named = [part.weights.named() for part in parts]
    weights = Weights.of({name: torch.cat([n[name] for n in named]) for name in named[0]})
    fires = [part.fires for part in parts if part.fires is not None]
    return TrainedSaes(
        first.config,
        tuple(seed for part in parts for seed in part.seeds),
        weights,
        first.scale,
        torch.cat(fires) if len(fires) == len(parts) else None,
        first.inputs,
    )


def to_raw(cohort: Cohort, *, count: bool = True) -> TrainedSaes:
    """Return a cohort's SAEs in raw units, on the CPU; `count` adds firings over all inputs."""
    weights = _raw_weights(cohort, cohort.saes.weights)
    fires_SF, inputs = cohort.fires() if count else (None, 0)
    return TrainedSaes(cohort.config, cohort.seeds, weights, cohort.batches.scale, fires_SF, inputs)


def start_of(cohort: Cohort) -> TrainedSaes:
    """Return a cohort's SAEs as they were before their first step, in raw units, on the CPU."""
    weights = _raw_weights(cohort, cohort.start)
    return TrainedSaes(cohort.config, cohort.seeds, weights, cohort.batches.scale)


@torch.no_grad()
def _raw_weights(cohort: Cohort, weights: Weights) -> Weights:
    scale, mean_D = cohort.batches.scale, cohort.batches.mean_D.cpu()
    named = {}
    for name, tensor in weights.named().items():
        copy = tensor.detach().cpu().clone()
        named[name] = copy if name in UNITLESS else copy / scale
    named["b_dec"] += mean_D
    return Weights.of(named)


def save_cohort(folder: Path, saes: TrainedSaes, name: str = COHORT) -> None:
    """Write `cohort.safetensors` (all seeds stacked) and `cohort.json` into a folder; with START as name,
    the files of the SAEs before training."""
    _write(folder, name, saes, _tensors(saes))


def save_sae(folder: Path, saes: TrainedSaes) -> None:
    """Write the one SAE as `sae.safetensors` (no seed axis) and `sae.json` into a folder.

    Raises:
        InputError: there are several seeds; `select` one.
    """
    if len(saes.seeds) != 1:
        raise InputError("seed", f"{len(saes.seeds)} SAEs in one file", "the SAE of one seed")
    _write(folder, SINGLE, saes, {name: tensor[0] for name, tensor in _tensors(saes).items()})


def load_cohort(folder: Path, name: str = COHORT) -> TrainedSaes:
    """Read what `save_cohort` wrote.

    Raises:
        CorruptArtifact: a file is missing, unreadable, or its shapes do not fit its configuration.
    """
    return _read(folder, name)


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
        tensors = load_file(tensors_file)
    except (SafetensorError, OSError) as error:
        raise CorruptArtifact(f"{tensors_file}: not safetensors ({error})") from None
    return assemble(settings_file, settings, tensors_file, tensors, single=name == SINGLE)


def assemble(
    settings_file: Path, settings: Any, tensors_file: Path, tensors: dict[str, Tensor], single: bool
) -> TrainedSaes:
    """Return SAEs from what two files say, after a check of every shape.

    Args:
        settings_file: named in errors.
        settings: what it says.
        tensors_file: named in errors.
        tensors: what it holds, as in files.
        single: whether there is no seed axis.

    Raises:
        CorruptArtifact: they are not those of SAEs, or do not fit each other.
    """
    try:
        config = _SAE.validate_json(json.dumps(settings["sae"]))  # strict, but lists are tuples
        d_in, seeds = int(settings["d_in"]), tuple(int(seed) for seed in settings["seeds"])
        scale, inputs = float(settings["scale"]), int(settings["inputs"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise CorruptArtifact(f"{settings_file}: not the settings of SAEs ({reason})") from None
    _check_shapes(tensors_file, tensors, _shapes(() if single else (len(seeds),), d_in, config))
    if single:
        tensors = {key: tensor.unsqueeze(0) for key, tensor in tensors.items()}
    fires = tensors.pop("fires", None)
    tensors["W_enc"] = tensors["W_enc"].mT.contiguous()
    return TrainedSaes(config, seeds, Weights.of(tensors), scale, fires, inputs)


def _shapes(stack: Sequence[int], d_in: int, config: Sae) -> dict[str, tuple[int, ...]]:
    d_sae = config.d_sae
    return {
        **{name: (*stack, *shape) for name, shape in extra_shapes(config).items()},
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
