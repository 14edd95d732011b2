"""Activations recorded in files: read piece by piece, checked, and never unpickled.

Shapes: N inputs, B those of a piece, T tokens of a sequence, D width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from engine.errors import InputError
from engine.study.recording import Recording, Shard, content_digest, find_recording
from engine.study.sizes import PIECE
from engine.study.subject import External

LEAST_SEQUENCES = 20
"""Sequences from which their tokens are held out together; of fewer the held-out part would be a lottery."""
MANY = 0.01
"""Share of inputs, repeated or all zero, from which a reader is warned."""


@dataclass(frozen=True)
class Piece:
    """Some inputs of one file."""

    x_BD: Tensor
    """float32."""
    sequence_B: Tensor
    """Which sequence of all files each input belongs to; where there are none, the input itself."""


def open_recording(subject: External) -> Recording:
    """Return what lies in the files that a plan was made for.

    Raises:
        InputError: a file is gone or cannot be read.
    """
    try:
        return find_recording(subject)
    except InputError as error:
        raise InputError(error.where, f"{error.what} (since the plan)", error.want) from None


def check_content(subject: External, recording: Recording) -> None:
    """Hold files against the content that a plan was made for.

    Raises:
        InputError: they have changed since, or one is gone.
    """
    if content_digest(recording) != subject.sha256:
        raise InputError(
            "subject.path",
            f"{subject.path} has changed since the study was planned",
            "files that stay as they are; the same command plans the study anew",
        )


def read_pieces(subject: External, recording: Recording) -> Iterator[Piece]:
    """Yield the inputs that are kept, in their order, about `PIECE` bytes at a time.

    Raises:
        InputError: a number is not finite, or too large for float32; file, row and column are named.
    """
    kept_N = _kept_rows(subject, recording)
    before, sequences = 0, 0
    for shard in recording.shards:
        T = shard.shape[1] if len(shard.shape) == 3 else 1
        take = _reader(shard)
        step = max(1, PIECE // (8 * T * recording.width))
        for start in range(0, shard.shape[0], step):
            stop = min(start + step, shard.shape[0])
            rows = _within(kept_N, before + start * T, before + stop * T)
            if not len(rows):
                continue
            raw_BD = take(start, stop).reshape(-1, recording.width)[rows]
            at_B = start * T + rows
            yield Piece(_float32(raw_BD, shard.path, at_B), sequences + at_B // T)
        before += shard.rows
        sequences += shard.shape[0]


def _kept_rows(subject: External, recording: Recording) -> NDArray[np.int64] | None:
    """Return which inputs of all files are kept, sorted; None: all."""
    if recording.samples == recording.rows:
        return None
    generator = np.random.Generator(np.random.PCG64(subject.sample_seed))
    drawn = generator.choice(recording.rows, recording.samples, replace=False, shuffle=False)
    return np.sort(drawn.astype(np.int64))


def _within(kept_N: NDArray[np.int64] | None, start: int, stop: int) -> Tensor:
    """Return the inputs from `start` to `stop` that are kept, counted from `start`."""
    if kept_N is None:
        return torch.arange(stop - start)
    low, high = np.searchsorted(kept_N, [start, stop])
    return torch.from_numpy(kept_N[low:high] - start)


def _reader(shard: Shard) -> Callable[[int, int], Tensor]:
    """Return what reads entries of the first axis of a file, which is mapped, not loaded."""
    if shard.tensor:
        opened: Any = safe_open(shard.path, framework="pt")
        mapped = opened.get_slice(shard.tensor)
        return lambda start, stop: mapped[start:stop]
    array = np.lib.format.open_memmap(shard.path, mode="r")

    def read(start: int, stop: int) -> Tensor:
        # A copy in the machine's byte order: torch knows no other.
        native = array[start:stop].astype(array.dtype.newbyteorder("="), order="C")
        return torch.from_numpy(native)

    return read


def _float32(raw_BD: Tensor, file: Path, at_B: Tensor) -> Tensor:
    x_BD = raw_BD.float()
    if bool(torch.isfinite(x_BD).all()):
        return x_BD
    b, column = (int(place) for place in (~torch.isfinite(x_BD)).nonzero()[0])
    value = float(raw_BD[b, column])
    place = f"{file.name}: row {int(at_B[b])}, column {column} (both from 0) is {value:g}"
    if np.isfinite(value):
        raise InputError("subject.path", place, "numbers that float32 holds, up to 3.4e38")
    overflow = "; float16 overflows at 65,504: record in bfloat16 or float32"
    hint = overflow if raw_BD.dtype == torch.float16 else ""
    raise InputError("subject.path", place, f"finite numbers{hint}")


@dataclass(frozen=True)
class Facts:
    """What the inputs of a recording are like."""

    samples: int
    constant_columns: int
    """Columns that are the same for all inputs."""
    zero_rows: int
    """Inputs that are zero throughout, as padding is."""
    repeated: float
    """Share of inputs that equal one before, bit by bit."""


def examine(pieces: Iterator[Piece]) -> Facts:
    """Read all pieces once and return what they are like; 8 bytes an input are held.

    Raises:
        InputError: all inputs are the same.
    """
    hashes, zero, low_D, high_D = list[NDArray[np.uint64]](), 0, None, None
    for piece in pieces:
        x_BD = piece.x_BD
        least_D, most_D = x_BD.amin(0), x_BD.amax(0)
        low_D = least_D if low_D is None else torch.minimum(low_D, least_D)
        high_D = most_D if high_D is None else torch.maximum(high_D, most_D)
        zero += int((x_BD == 0).all(1).sum())
        hashes.append(_row_hashes(x_BD))
    if low_D is None or high_D is None:
        raise InputError("subject.path", "holds no inputs", "at least some")
    every = np.concatenate(hashes)
    constant = int((low_D == high_D).sum())
    if constant == len(low_D):
        what = "are zero throughout" if zero == len(every) else "are the same row"
        raise InputError("subject.path", f"all {len(every):,} inputs {what}", "inputs that differ")
    return Facts(len(every), constant, zero, 1 - len(np.unique(every)) / len(every))


def _row_hashes(x_BD: Tensor) -> NDArray[np.uint64]:
    """Return 64 bits for each row; different rows share them with probability 2⁻⁶⁴ or so."""
    words_BD = (x_BD + 0.0).numpy().view(np.uint32)  # −0 is 0
    generator = np.random.Generator(np.random.PCG64(0))
    odd_D = generator.integers(0, 2**63, words_BD.shape[1], dtype=np.uint64) * 2 + 1
    mixed_BD = words_BD * odd_D
    # Mixed before they are added: low bits of float16 are zero, and a sum of products keeps that.
    mixed_BD ^= mixed_BD >> np.uint64(29)
    mixed_BD *= odd_D
    total_B: NDArray[np.uint64] = mixed_BD.sum(1, dtype=np.uint64)
    return total_B


def warnings_of(facts: Facts, width: int) -> list[str]:
    """Return what a reader must know of the inputs before believing what is measured on them."""
    found = []
    if facts.repeated >= MANY:
        found.append(
            f"{facts.repeated:.0%} of the recorded inputs equal an earlier one: inputs held out of the "
            "training are partly inputs that were trained on, so quality is flattered"
        )
    if facts.zero_rows >= MANY * facts.samples:
        found.append(
            f"{facts.zero_rows:,} of {facts.samples:,} recorded inputs are zero throughout, as padding is"
        )
    if facts.constant_columns:
        found.append(
            f"{facts.constant_columns:,} of {width:,} columns of the recorded activations are the same for "
            "all inputs"
        )
    if facts.samples < width:
        found.append(
            f"{facts.samples:,} recorded inputs span at most as many of the {width:,} dimensions: their "
            "covariance, behind N1 and N3, is not that of the model's activations"
        )
    return found


def write_activations(file: Path, subject: External, recording: Recording) -> None:
    """Write the inputs that are kept as `activations` [N, D], float32, and `groups` [N], int64, of one
    safetensors file; a piece at a time, so that they need not fit into memory."""
    N, D = recording.samples, recording.width
    data, groups = 4 * N * D, 8 * N
    header = {
        "activations": {"dtype": "F32", "shape": [N, D], "data_offsets": [0, data]},
        "groups": {"dtype": "I64", "shape": [N], "data_offsets": [data, data + groups]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # what follows is aligned
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        _write_rows(out, subject, recording)


def _write_rows(out: BinaryIO, subject: External, recording: Recording) -> None:
    groups = []
    for piece in read_pieces(subject, recording):
        out.write(piece.x_BD.contiguous().numpy().tobytes())
        groups.append(piece.sequence_B)
    group_N = torch.cat(groups)
    if len(torch.unique(group_N)) < LEAST_SEQUENCES:
        group_N = torch.arange(len(group_N))
    out.write(group_N.long().numpy().tobytes())
