"""Files of recorded activations as a plan sees them: what lies in them, and their content. No row is loaded."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.errors import InputError
from engine.study.subject import External

LEAST_ROWS = 100
"""Inputs below which a covariance, a held-out part and firing rates say nothing; as of planted data."""
FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
FORMATS = (".npy", ".safetensors")
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")
SETTLED_SECONDS = 3.0
"""Age of a file from which an equal size and time of change mean equal content: clocks of files are coarse."""
BLOCK = 1 << 22

_PATH = "subject.path"
_SHAPES = "[inputs, width] or [sequences, tokens, width]"
_SAVE = "save_file({'activations': x.contiguous()}, 'x.safetensors') of safetensors.torch"


@dataclass(frozen=True)
class Shard:
    """One file."""

    path: Path
    shape: tuple[int, ...]
    """As it is stored: [N, D] or [N, T, D]."""
    dtype: str
    """`float16`, `bfloat16`, `float32` or `float64`."""
    tensor: str = ""
    """Its name in a `.safetensors` file."""

    @property
    def rows(self) -> int:
        """How many inputs it holds: all but the last axis."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class Recording:
    """All files of a subject, in the order in which they are read."""

    shards: tuple[Shard, ...]
    samples: int
    """Inputs that are kept of all that are there."""
    folder: bool
    """Whether the study names a folder."""

    @property
    def width(self) -> int:
        """Length of an activation."""
        return self.shards[0].shape[-1]

    @cached_property
    def rows(self) -> int:
        """How many inputs lie in the files."""
        return sum(shard.rows for shard in self.shards)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The types of their numbers, each once."""
        return tuple(sorted({shard.dtype for shard in self.shards}))

    @property
    def by_sequence(self) -> bool:
        """Whether the inputs are tokens of sequences."""
        return len(self.shards[0].shape) == 3


Stamp = tuple[tuple[str, int, int, int], ...]
_FOUND: dict[tuple[External, Stamp], Recording] = {}
_DIGESTS: dict[tuple[str, int, int, int], str] = {}


def find_recording(subject: External) -> Recording:
    """Return what lies in the files of a subject, by their headers.

    Raises:
        InputError: there is no such file, one is not what can be read, or they do not belong together.
    """
    try:
        files = _files(Path(subject.path))
    except OSError as error:
        raise _unreadable(Path(subject.path), error) from None
    key = subject, tuple(_stamp(file) for file in files)
    if key not in _FOUND or not all(_settled(stamp) for stamp in key[1]):
        _FOUND[key] = _open(subject, files)
    return _FOUND[key]


def _open(subject: External, files: Sequence[Path]) -> Recording:
    shards = tuple(_shard(file, subject.tensor) for file in files)
    first = shards[0]
    for shard in shards[1:]:
        if len(shard.shape) != len(first.shape) or shard.shape[-1] != first.shape[-1]:
            raise InputError(
                _PATH,
                f"{shard.path.name} has shape {list(shard.shape)}, {first.path.name} {list(first.shape)}",
                "files of one width and one number of axes",
            )
    rows = sum(shard.rows for shard in shards)
    if rows < LEAST_ROWS:
        raise InputError(
            _PATH, f"{subject.path} holds {rows} inputs", f"at least {LEAST_ROWS}, better thousands"
        )
    return Recording(shards, min(rows, subject.max_rows or rows), Path(subject.path).is_dir())


def content_digest(recording: Recording) -> str:
    """Return the sha256 of a file; of a folder, that of the lines that `sha256sum` prints of its files.

    Every byte is read, about a second for each gigabyte; an unchanged file is read once per process.
    """
    if not recording.folder:
        return _digest(recording.shards[0].path)
    lines = (f"{_digest(shard.path)}  {shard.path.name}\n" for shard in recording.shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest(file: Path) -> str:
    stamp = _stamp(file)
    if stamp not in _DIGESTS or not _settled(stamp):
        total = hashlib.sha256()
        try:
            with file.open("rb") as data:
                while block := data.read(BLOCK):
                    total.update(block)
        except OSError as error:
            raise _unreadable(file, error) from None
        _DIGESTS[stamp] = total.hexdigest()
    return _DIGESTS[stamp]


def _stamp(file: Path) -> tuple[str, int, int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from None
    return str(file), found.st_ino, found.st_size, found.st_mtime_ns


def _settled(stamp: tuple[str, int, int, int]) -> bool:
    return time.time() - stamp[3] / 1e9 > SETTLED_SECONDS


def _unreadable(file: Path, error: OSError) -> InputError:
    return InputError(_PATH, f"{file}: {error.strerror or 'cannot be read'}", "a readable file")


def _files(path: Path) -> list[Path]:
    """Return the files that a path stands for, in the order in which they are read."""
    if not path.exists():
        raise InputError(
            _PATH, f"{path}: no such file or folder", "one; relative to the study file"
        )
    if not path.is_dir():
        _check_format(path)
        return [path]
    inside = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    files = [file for file in inside if file.suffix in FORMATS]
    if not files:
        pickled = next((file for file in inside if file.suffix in PICKLES), None)
        if pickled is not None:
            _check_format(pickled)
        raise InputError(
            _PATH, f"{path} holds no activations", "files *.npy or *.safetensors in it"
        )
    if len({file.suffix for file in files}) > 1:
        raise InputError(_PATH, f"{path} holds both .npy and .safetensors", "files of one format")
    return files


def _check_format(file: Path) -> None:
    if file.suffix in PICKLES:
        raise InputError(
            _PATH,
            f"{file} is a pickle, which may run code when it is loaded and is never loaded here",
            f"load it where you trust it, then {_SAVE}",
        )
    if file.suffix not in FORMATS:
        raise InputError(
            _PATH, f"{file} has none of the formats that are read", " or ".join(FORMATS)
        )
    if not file.is_file():
        raise InputError(_PATH, f"{file} is no file", "a file or a folder of files")


def _shard(file: Path, tensor: str | None) -> Shard:
    try:
        shard = _safetensors(file, tensor) if file.suffix == ".safetensors" else _npy(file, tensor)
    except OSError as error:
        raise _unreadable(file, error) from None
    if len(shard.shape) not in (2, 3):
        raise InputError(_PATH, f"{file.name} has shape {list(shard.shape)}", f"floats {_SHAPES}")
    if shard.shape[-1] < 2 or not shard.rows:
        raise InputError(
            _PATH, f"{file.name} has shape {list(shard.shape)}", f"{_SHAPES}, a width of at least 2"
        )
    return shard


def _npy(file: Path, tensor: str | None) -> Shard:
    import numpy as np  # here, because most commands read no recording

    if tensor is not None:
        raise InputError(
            "subject.tensor", f"{file.name} holds one array, without a name", "no tensor for .npy"
        )
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except ValueError as error:
        said = str(error).splitlines()[0]
        if "Python objects" in said:
            raise InputError(
                _PATH,
                f"{file} holds pickled Python objects, which are never loaded",
                "np.save of an array of floats",
            ) from None
        raise InputError(
            _PATH, f"{file} is no .npy file, or cut off: {said}", "np.save of an array of floats"
        ) from None
    name = array.dtype.newbyteorder("=").name
    if name not in ("float16", "float32", "float64"):
        hint = "; bfloat16 needs .safetensors" if array.dtype.kind == "V" else ""
        raise InputError(_PATH, f"{file.name} holds {name}", f"float16, float32 or float64{hint}")
    return Shard(file, tuple(array.shape), name)


def _safetensors(file: Path, tensor: str | None) -> Shard:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            found = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  it is no mapping
            shapes = {name: tuple(one.get_shape()) for name, one in found.items()}
            dtypes = {name: str(one.get_dtype()) for name, one in found.items()}
    except SafetensorError as error:
        raise InputError(
            _PATH, f"{file} cannot be read, it may be cut off: {error}", "a whole .safetensors file"
        ) from None
    name = _choose(file, shapes, tensor)
    if dtypes[name] not in FLOATS:
        raise InputError(
            _PATH,
            f"{name} in {file.name} holds {dtypes[name]}",
            f"one of {', '.join(FLOATS.values())}",
        )
    return Shard(file, shapes[name], FLOATS[dtypes[name]], name)


def _choose(file: Path, shapes: dict[str, tuple[int, ...]], tensor: str | None) -> str:
    """Return the tensor that is named, or the only one that can be meant."""
    known = ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items())[:8])
    if tensor is not None:
        if tensor not in shapes:
            raise InputError(
                "subject.tensor", f"{tensor!r} is not in {file.name}", f"one of {known or 'none'}"
            )
        return tensor
    for axes in (2, 3):
        fitting = [name for name, shape in shapes.items() if len(shape) == axes]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise InputError(
                "subject.tensor", f"{file.name} holds {len(fitting)} that fit", f"one of {known}"
            )
    raise InputError(
        _PATH, f"{file.name} holds {known or 'no tensor'}", f"a tensor of floats {_SHAPES}"
    )
