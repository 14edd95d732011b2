"""SAEs as other libraries keep them: one mapping for each format, read in both directions. Loads no torch.

Ours (`sae.json`, `sae.safetensors`, see `formats`) act on raw activations x, in every architecture as
z = act((x − b_dec) W_enc + b_enc) and x̂ = z W_dec + b_dec, with decoder rows of norm 1: nothing is left to
normalise or to fold. The formats here have the same form, so that weights are moved and renamed, no digit of
them changes. Our settings and the seed go along; what is read back is the same SAE.

Shapes: D width (d_in), F latents (d_sae). Arrays are ours: W_enc [D, F], W_dec [F, D], the rest [F], [D], [].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from engine.disk.atomic import read_object, write_json
from engine.errors import CorruptArtifact, InputError

Array = NDArray[Any]
Arrays = dict[str, Array]
Record = dict[str, Any]

OURS = "husai"
"""Key under which our settings stand in the settings of another library."""
SAE_LENS_VERSION = "6.54.12"
"""The version whose format is written; what is below 6 or unnamed is read as the older one."""
COUNTS, COUNTS_FILE = frozenset({"fires"}), "fires.safetensors"
"""Arrays that are no weights, and the file that holds them beside the weights of another library."""


@dataclass(frozen=True)
class OneSae:
    """One SAE of ours as it lies on disk."""

    settings: Record
    """`sae.json`."""
    arrays: Arrays
    """`sae.safetensors`."""

    @property
    def architecture(self) -> str:
        """Return what kind it is."""
        return str(self.settings["sae"]["architecture"])

    @property
    def weights(self) -> Arrays:
        """Return its arrays without counts."""
        return {name: array for name, array in self.arrays.items() if name not in COUNTS}


@dataclass(frozen=True)
class Format:
    """How a library keeps one SAE in a folder."""

    name: str
    settings_file: str
    weights_file: str
    about: str
    """What it is and who reads it, for people."""
    holds: Mapping[str, str]
    """Architecture of ours → what it is called there."""
    settings: Callable[[OneSae, Mapping[str, str]], Record]
    """What the settings file says, with what is known of where the SAE belongs."""
    out: Callable[[OneSae], Arrays]
    """The arrays as they lie there."""
    back: Callable[[Record, Arrays, Record], Arrays]
    """Our arrays from theirs; takes their settings and ours."""


def read_ours(folder: Path) -> OneSae:
    """Read `sae.json` and `sae.safetensors`.

    Raises:
        CorruptArtifact: a file is missing or unreadable.
    """
    return OneSae(read_object(folder / "sae.json"), _load(folder / "sae.safetensors"))


def check_format(name: str) -> Format:
    """Return the format of that name.

    Raises:
        InputError: there is none.
    """
    if name == "dictionary_learning":
        what = "its ae.pt is a pickle, which runs code when it is loaded: none is written"
        raise InputError(f"--format {name}", what, "sae_lens or safetensors")
    if name not in FORMATS:
        raise InputError(f"--format {name}", "no such format", f"one of {', '.join(FORMATS)}")
    return FORMATS[name]


def check_held(one: OneSae, format: Format) -> None:
    """Raise InputError if a format cannot express an SAE, naming one that can."""
    kind = one.architecture
    if kind not in format.holds:
        able = ", ".join(other.name for other in FORMATS.values() if kind in other.holds)
        knows = ", ".join(format.holds)
        raise InputError(f"--format {format.name}", f"holds {knows}, not {kind}", f"one of {able}")
    if format is not SAFETENSORS and kind in BATCH and float(one.arrays["threshold"]) < 0:
        what = (
            f"{kind} without a threshold: it has seen no batch, and {format.name} knows no batches"
        )
        raise InputError(f"--format {format.name}", what, SAFETENSORS.name)


def write_folder(folder: Path, one: OneSae, format: Format, known: Mapping[str, str]) -> None:
    """Write one SAE into a new folder.

    Args:
        folder: made here.
        one: what is written.
        format: as what.
        known: `hook_name` and the like, for the settings of a library that has a place for them.

    Raises:
        InputError: the format cannot express it.
    """
    check_held(one, format)
    folder.mkdir(parents=True)
    arrays = {name: np.asarray(array, order="C") for name, array in format.out(one).items()}
    save_file(arrays, folder / format.weights_file)
    write_json(folder / format.settings_file, format.settings(one, known))
    if counts := {name: one.arrays[name] for name in COUNTS & set(one.arrays) - set(arrays)}:
        save_file(counts, folder / COUNTS_FILE)


def find_format(folder: Path) -> Format | None:
    """Return the format of a folder that another library reads; None where there is nothing of that kind."""
    for format in (SAE_LENS, SPARSIFY):
        if all((folder / name).is_file() for name in (format.settings_file, format.weights_file)):
            return format
    return None


def read_folder(folder: Path, format: Format) -> OneSae:
    """Read what `write_folder` wrote.

    Raises:
        InputError: it was written by others, so that its training and its seed are not known.
        CorruptArtifact: a file is missing, unreadable, or not what its settings say.
    """
    file = folder / format.settings_file
    theirs, arrays = read_object(file), _load(folder / format.weights_file)
    metadata = theirs.get("metadata") if format is SAE_LENS else theirs
    ours = metadata.get(OURS) if isinstance(metadata, dict) else None
    if not isinstance(ours, dict):
        what = f"{format.name} without the settings of husai: its training and seed are not known"
        raise InputError(str(folder), what, "a folder that `husai-engine export` wrote")
    counts = _load(folder / COUNTS_FILE) if (folder / COUNTS_FILE).is_file() else {}
    try:
        return OneSae(ours, format.back(theirs, arrays, ours) | counts)
    except (KeyError, TypeError, IndexError) as error:
        raise CorruptArtifact(f"{file}: does not fit its weights ({error!r})") from None


def _load(file: Path) -> Arrays:
    if not file.is_file():
        raise CorruptArtifact(f"{file}: missing")
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise CorruptArtifact(f"{file}: not safetensors ({error})") from None


def _float32(arrays: Arrays, names: Mapping[str, str]) -> Arrays:
    """Return some arrays under other names, as float32."""
    return {ours: arrays[theirs].astype(np.float32) for ours, theirs in names.items()}


# Plain safetensors: ours as they are.


def _plain_settings(one: OneSae, known: Mapping[str, str]) -> Record:
    return {**one.settings, **known}


def _plain_out(one: OneSae) -> Arrays:
    return one.arrays


def _plain_back(theirs: Record, arrays: Arrays, ours: Record) -> Arrays:
    del theirs, ours
    return arrays


# SAELens: the same layout. Of BatchTopK and Matryoshka its inference is JumpReLU with one threshold.

BATCH = frozenset({"batch_topk", "matryoshka"})
RENAMED = {"gated": {"b_enc": "b_gate"}}
"""Architecture → our name → the name of SAELens."""
AS_IT_IS = {
    "apply_b_dec_to_input": True,
    "normalize_activations": "none",
    "reshape_activations": "none",
}
"""Settings of SAELens under which it does what ours do."""


def _sae_lens_settings(one: OneSae, known: Mapping[str, str]) -> Record:
    sae = one.settings["sae"]
    topk = {"k": sae.get("k"), "rescale_acts_by_decoder_norm": False}
    return {
        "architecture": SAE_LENS.holds[one.architecture],
        "d_in": one.settings["d_in"],
        "d_sae": sae["d_sae"],
        "dtype": "float32",
        "device": "cpu",
        **AS_IT_IS,
        **(topk if one.architecture == "topk" else {}),
        "metadata": {"sae_lens_version": SAE_LENS_VERSION, **known, OURS: one.settings},
    }


def _sae_lens_out(one: OneSae) -> Arrays:
    renamed = RENAMED.get(one.architecture, {})
    arrays = {renamed.get(name, name): array for name, array in one.weights.items()}
    if one.architecture in BATCH:
        arrays["threshold"] = np.full_like(arrays["b_enc"], float(arrays["threshold"]))
    return arrays


def _sae_lens_back(theirs: Record, arrays: Arrays, ours: Record) -> Arrays:
    kind = ours["sae"]["architecture"]
    for name, value in {**AS_IT_IS, "architecture": SAE_LENS.holds[kind]}.items():
        if theirs[name] != value:
            raise CorruptArtifact(
                f"{SAE_LENS.settings_file}: {name} is {theirs[name]!r}, not {value!r}"
            )
    back = {there: here for here, there in RENAMED.get(kind, {}).items()}
    found = _float32(arrays, {back.get(name, name): name for name in arrays})
    if kind in BATCH:
        threshold_F = found["threshold"]
        if not (threshold_F == threshold_F[0]).all():
            raise CorruptArtifact(
                f"{SAE_LENS.weights_file}: thresholds differ, those of {kind} are one"
            )
        found["threshold"] = threshold_F[:1].reshape(())
    return found


# sparsify: TopK alone, the encoder as a linear layer.

SPARSIFY_NAMES = {"b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}


def _sparsify_settings(one: OneSae, known: Mapping[str, str]) -> Record:
    sae, d_in = one.settings["sae"], one.settings["d_in"]
    return {
        "activation": "topk",
        "expansion_factor": max(1, round(sae["d_sae"] / d_in)),
        "normalize_decoder": True,
        "num_latents": sae["d_sae"],
        "k": sae["k"],
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": d_in,
        **known,
        OURS: one.settings,
    }


def _sparsify_out(one: OneSae) -> Arrays:
    arrays = {theirs: one.arrays[ours] for ours, theirs in SPARSIFY_NAMES.items()}
    return {"encoder.weight": one.arrays["W_enc"].T, **arrays}


def _sparsify_back(theirs: Record, arrays: Arrays, ours: Record) -> Arrays:
    for name, value in {"activation": "topk", "transcode": False, "skip_connection": False}.items():
        if theirs[name] != value:
            raise CorruptArtifact(
                f"{SPARSIFY.settings_file}: {name} is {theirs[name]!r}, not {value!r}"
            )
    del ours
    W_enc = arrays["encoder.weight"].astype(np.float32).T
    return {"W_enc": W_enc, **_float32(arrays, SPARSIFY_NAMES)}


KINDS = ("relu", "topk", "batch_topk", "matryoshka", "jumprelu", "gated")
SAE_LENS = Format(
    "sae_lens",
    "cfg.json",
    "sae_weights.safetensors",
    "a folder for SAELens, SAE.load_from_disk(folder)",
    {
        "relu": "standard",
        "topk": "topk",
        "batch_topk": "jumprelu",
        "matryoshka": "jumprelu",
        "jumprelu": "jumprelu",
        "gated": "gated",
    },
    _sae_lens_settings,
    _sae_lens_out,
    _sae_lens_back,
)
SPARSIFY = Format(
    "sparsify",
    "cfg.json",
    "sae.safetensors",
    "a folder for sparsify of EleutherAI, SparseCoder.load_from_disk(folder)",
    {"topk": "topk"},
    _sparsify_settings,
    _sparsify_out,
    _sparsify_back,
)
SAFETENSORS = Format(
    "safetensors",
    "sae.json",
    "sae.safetensors",
    "as HUSAI itself keeps them: W_enc [d_in, d_sae], b_enc, W_dec, b_dec",
    {kind: kind for kind in KINDS},
    _plain_settings,
    _plain_out,
    _plain_back,
)
FORMATS = {format.name: format for format in (SAE_LENS, SPARSIFY, SAFETENSORS)}
"""Formats that can be written, by the name that a person gives."""
