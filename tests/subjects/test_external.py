"""Reading files of activations: the numbers that come out, what is held together, what is refused."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import InputError
from engine.study.recording import find_recording
from engine.study.subject import External
from engine.subjects import external as subject
from engine.subjects.external import (
    Facts,
    check_content,
    examine,
    open_recording,
    read_pieces,
    warnings_of,
    write_activations,
)

# Halves and quarters: every type holds them exactly.
ROWS = torch.arange(120 * 4, dtype=torch.float32).view(120, 4) / 4 - 20


def external(path: Path, **changes: Any) -> External:
    return External.model_validate({"kind": "external", "path": str(path), **changes})


def read(config: External) -> tuple[Tensor, list[int]]:
    pieces = list(read_pieces(config, find_recording(config)))
    every = torch.cat([piece.sequence_B for piece in pieces])
    return torch.cat([piece.x_BD for piece in pieces]), every.tolist()


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "PIECE", 8 * 4 * 7)  # seven inputs


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.usefixtures("small_pieces")
def test_an_array_comes_out_as_it_is(tmp_path: Path, dtype: str, order: Any) -> None:
    np.save(tmp_path / "a.npy", np.array(ROWS.numpy(), dtype, order=order))
    x_ND, sequences = read(external(tmp_path / "a.npy"))
    assert x_ND.dtype == torch.float32
    assert torch.equal(x_ND, ROWS)
    assert sequences == list(range(120))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.usefixtures("small_pieces")
def test_a_tensor_comes_out_as_it_is(tmp_path: Path, dtype: torch.dtype) -> None:
    file = tmp_path / "a.safetensors"
    rows_ND = ROWS.to(dtype)  # bfloat16 keeps 8 bits of each
    save_file({"x": rows_ND, "mean": torch.ones(4)}, file)
    assert torch.equal(read(external(file))[0], rows_ND.float())


@pytest.mark.usefixtures("small_pieces")
def test_files_and_sequences_are_counted_through(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS[:60].view(20, 3, 4).numpy())
    np.save(tmp_path / "b.npy", ROWS[60:].view(30, 2, 4).numpy())
    x_ND, sequences = read(external(tmp_path))
    assert torch.equal(x_ND, ROWS)
    expected = [s for s in range(20) for _ in range(3)] + [20 + s for s in range(30) for _ in "ab"]
    assert sequences == expected


@pytest.mark.usefixtures("small_pieces")
def test_a_draw_keeps_the_order_and_repeats_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS[:50].numpy())
    np.save(tmp_path / "b.npy", ROWS[50:].numpy())
    x_ND, rows = read(external(tmp_path, max_rows=100))
    assert len(set(rows)) == 100
    assert rows == sorted(rows)
    assert torch.equal(x_ND, ROWS[rows])
    assert read(external(tmp_path, max_rows=100))[1] == rows
    assert read(external(tmp_path, max_rows=100, sample_seed=1))[1] != rows


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (np.nan, "f4", "a.npy: row 33, column 2 (both from 0) is nan: finite numbers"),
        (np.inf, "f2", "is inf: finite numbers; float16 overflows at 65,504"),
        (-np.inf, "f8", "is -inf: finite numbers"),
        (1e300, "f8", "is 1e+300: numbers that float32 holds"),
    ],
)
@pytest.mark.usefixtures("small_pieces")
def test_a_number_that_is_not_finite_is_named(
    tmp_path: Path, value: float, dtype: str, said: str
) -> None:
    array = ROWS.numpy().astype(dtype)
    array[33, 2] = value
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=re.escape(said)):
        read(external(tmp_path / "a.npy"))


@pytest.mark.usefixtures("small_pieces")
def test_what_the_inputs_are_like_by_hand(tmp_path: Path) -> None:
    array = ROWS.clone()
    array[:, 1] = 3.0  # a constant column
    array[100:110] = array[:10]  # ten inputs equal one before
    np.save(tmp_path / "a.npy", array.numpy())
    config = external(tmp_path / "a.npy")
    facts = examine(read_pieces(config, find_recording(config)))
    assert facts == Facts(120, 1, 0, pytest.approx(10 / 120))


def test_zero_rows_are_counted_and_minus_zero_is_zero(tmp_path: Path) -> None:
    array = ROWS.clone()
    array[[3, 5, 110]] = torch.tensor([0.0, -0.0, 0.0, 0.0])
    array[5] = 0.0
    np.save(tmp_path / "a.npy", array.numpy())
    config = external(tmp_path / "a.npy")
    facts = examine(read_pieces(config, find_recording(config)))
    assert facts.zero_rows == 3
    assert facts.repeated == pytest.approx(2 / 120)


def test_rows_that_differ_in_one_number_or_in_their_order_are_not_equal(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    many = torch.randint(0, 8, (20_000, 6), generator=generator).to(torch.float16)
    np.save(tmp_path / "a.npy", many.numpy())
    config = external(tmp_path / "a.npy")
    facts = examine(read_pieces(config, find_recording(config)))
    expected = 1 - len({tuple(row) for row in many.tolist()}) / len(many)
    assert facts.repeated == pytest.approx(expected, abs=1e-12)


def test_hashes_use_all_their_bits_though_the_numbers_do_not() -> None:
    """Powers of two have 23 zero bits at their end, and a sum of products would keep them."""
    rows = 2.0 ** torch.arange(-60, 60)[:, None].expand(-1, 3)
    ends = {int(value) % 2**16 for value in subject._row_hashes(rows.contiguous())}
    assert len(ends) > 100


@pytest.mark.parametrize(
    ("fill", "said"), [(0.0, "are zero throughout"), (2.0, "are the same row")]
)
def test_inputs_that_are_all_the_same_are_refused(tmp_path: Path, fill: float, said: str) -> None:
    np.save(tmp_path / "a.npy", np.full((200, 3), fill, np.float32))
    config = external(tmp_path / "a.npy")
    with pytest.raises(InputError, match=f"all 200 inputs {said}"):
        examine(read_pieces(config, find_recording(config)))


def test_warnings_say_what_is_odd_and_nothing_else() -> None:
    assert warnings_of(Facts(1000, 0, 9, 0.009), 64) == []
    odd = warnings_of(Facts(50, 2, 5, 0.1), 64)
    assert [text.split()[0] for text in odd] == ["10%", "5", "2", "50"]


@pytest.mark.usefixtures("small_pieces")
def test_what_is_written_is_a_safetensors_file_of_rows_and_groups(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.view(40, 3, 4).numpy())
    config = external(tmp_path / "a.npy")
    write_activations(tmp_path / "out.safetensors", config, find_recording(config))
    found = load_file(tmp_path / "out.safetensors")
    assert torch.equal(found["activations"], ROWS)
    assert found["groups"].tolist() == [n // 3 for n in range(120)]


def test_of_few_sequences_inputs_are_held_out_one_by_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.view(4, 30, 4).numpy())
    config = external(tmp_path / "a.npy")
    write_activations(tmp_path / "out.safetensors", config, find_recording(config))
    assert load_file(tmp_path / "out.safetensors")["groups"].tolist() == list(range(120))


def test_content_that_is_not_that_of_the_plan_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, ROWS.numpy())
    planned = external(file, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    check_content(planned, open_recording(planned))
    np.save(file, ROWS.numpy() + 1)
    with pytest.raises(InputError, match="has changed since the study was planned"):
        check_content(planned, open_recording(planned))
    file.unlink()
    with pytest.raises(InputError, match=r"no such file or folder \(since the plan\)"):
        open_recording(planned)
