"""What a plan sees of files of activations: shapes, types, content; and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from engine.errors import InputError
from engine.study.plan import Job, Plan, make_plan
from engine.study.profile import Placement, place, read_profile
from engine.study.recording import content_digest, find_recording
from engine.study.spec import check_study, locate, read_study, write_yaml
from engine.study.subject import External
from engine.study.supply import looked_at
from tests.stages.conftest import MACHINE

ROWS = np.arange(120 * 3, dtype=np.float32).reshape(120, 3)


def external(path: Path, **changes: Any) -> External:
    return External.model_validate({"kind": "external", "path": str(path), **changes})


def saved(path: Path, array: Any = ROWS) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_an_array_is_known_by_its_header(tmp_path: Path, dtype: str) -> None:
    found = find_recording(external(saved(tmp_path / "a.npy", ROWS.astype(dtype))))
    assert (found.rows, found.samples, found.width) == (120, 120, 3)
    assert found.dtypes == (f"float{8 * int(dtype[-1])}",)
    assert not found.by_sequence


def test_tokens_of_sequences_are_inputs(tmp_path: Path) -> None:
    found = find_recording(external(saved(tmp_path / "a.npy", ROWS.reshape(30, 4, 3))))
    assert (found.rows, found.width, found.by_sequence) == (120, 3, True)


def test_the_only_matrix_of_a_file_needs_no_name(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    tensors = {"x": torch.ones(120, 3, dtype=torch.bfloat16), "mean": torch.ones(3)}
    save_tensors(tensors, file)
    (shard,) = find_recording(external(file)).shards
    assert (shard.tensor, shard.shape, shard.dtype) == ("x", (120, 3), "bfloat16")


def test_a_named_tensor_is_taken_though_others_fit(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"x": ROWS, "y": ROWS[:, :2].copy()}, file)
    assert find_recording(external(file, tensor="y")).width == 2
    with pytest.raises(InputError, match=r"subject.tensor: a.safetensors holds 2 that fit: one of"):
        find_recording(external(file))
    with pytest.raises(InputError, match=r"'z' is not in a.safetensors: one of x"):
        find_recording(external(file, tensor="z"))


def test_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = [f"b-{number:02}.npy" for number in range(12, 0, -1)]
    for name in (*names, "a.npy", ".hidden.npy"):
        saved(tmp_path / name)
    (tmp_path / "notes.json").write_text("{}")
    found = find_recording(external(tmp_path))
    assert [shard.path.name for shard in found.shards] == ["a.npy", *reversed(names)]
    assert found.rows == 13 * 120


def test_only_as_many_inputs_as_wanted_are_kept(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.npy")
    assert find_recording(external(file, max_rows=100)).samples == 100
    assert find_recording(external(file, max_rows=1000)).samples == 120


def test_the_digest_is_what_sha256sum_says(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a.npy"), saved(tmp_path / "b.npy", -ROWS)
    sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (a, b)]
    assert content_digest(find_recording(external(a))) == sums[0]
    listed = f"{sums[0]}  a.npy\n{sums[1]}  b.npy\n"
    expected = hashlib.sha256(listed.encode()).hexdigest()
    assert content_digest(find_recording(external(tmp_path))) == expected


def test_a_change_that_keeps_size_and_second_is_seen(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.npy")
    before, stamp = content_digest(find_recording(external(file))), file.stat().st_mtime_ns
    saved(file, ROWS + 1)
    os.utime(file, ns=(stamp, stamp))
    assert content_digest(find_recording(external(file))) != before


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("exploded",)


def widths(folder: Path) -> Path:
    saved(folder / "a.npy")
    saved(folder / "b.npy", ROWS[:, :2])
    return folder


def cut(folder: Path) -> Path:
    file = saved(folder / "a.npy")
    file.write_bytes(file.read_bytes()[:-4])
    return file


def cut_tensors(folder: Path) -> Path:
    file = folder / "a.safetensors"
    save_file({"x": ROWS}, file)
    file.write_bytes(file.read_bytes()[:-4])
    return file


def whole(folder: Path) -> Path:
    save_file({"x": ROWS.astype(np.int32)}, folder / "a.safetensors")
    return folder / "a.safetensors"


def vector(folder: Path) -> Path:
    save_file({"mean": ROWS[0]}, folder / "a.safetensors")
    return folder / "a.safetensors"


def refusals() -> dict[str, tuple[Callable[[Path], Path], str]]:
    def raw(name: str, content: bytes) -> Callable[[Path], Path]:
        def write(folder: Path) -> Path:
            (folder / name).write_bytes(content)
            return folder / name

        return write

    def array(value: Any) -> Callable[[Path], Path]:
        return lambda folder: saved(folder / "a.npy", value)

    def folder_of(*names: str) -> Callable[[Path], Path]:
        def write(folder: Path) -> Path:
            for name in names:
                if name.endswith(".npy"):
                    saved(folder / name)
                else:
                    save_file({"x": ROWS}, folder / name)
            return folder

        return write

    bomb = pickle.dumps(Bomb())
    return {
        "missing": (lambda folder: folder / "a.npy", "no such file or folder"),
        "pickle": (raw("a.pt", bomb), "is a pickle, which may run code .* then save_file"),
        "pickled objects": (array(np.array([Bomb()])), "pickled Python objects, .*never loaded"),
        "pickle by name of npy": (raw("a.npy", bomb), "is no .npy file"),
        "empty": (raw("a.npy", b""), "is no .npy file, or cut off"),
        "cut off": (cut, "is no .npy file, or cut off"),
        "cut off safetensors": (cut_tensors, "cannot be read, it may be cut off"),
        "a name too long": (lambda folder: folder / ("a" * 300), "File name too long"),
        "zip": (raw("a.npz", b"PK"), "none of the formats that are read: .npy or .safetensors"),
        "integers": (
            array(ROWS.astype(np.int64)),
            "a.npy holds int64: float16, float32 or float64",
        ),
        "integers in safetensors": (whole, "x in a.safetensors holds I32: one of float16"),
        "vector": (array(ROWS[:, 0]), r"has shape \[120\]: floats \[inputs, width\]"),
        "vector in safetensors": (vector, r"holds mean \[3\]: a tensor of floats"),
        "four axes": (array(ROWS.reshape(2, 2, 30, 3)), r"has shape \[2, 2, 30, 3\]"),
        "one column": (array(ROWS[:, :1]), r"has shape \[120, 1\].* a width of at least 2"),
        "few rows": (array(ROWS[:99]), "holds 99 inputs: at least 100"),
        "empty folder": (folder_of(), "holds no activations: files"),
        "both formats": (folder_of("a.npy", "b.safetensors"), "holds both"),
        "two widths": (widths, r"b.npy has shape \[120, 2\], a.npy \[120, 3\]: files of one width"),
    }


@pytest.mark.parametrize("case", refusals())
def test_what_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "files"
    folder.mkdir()
    make, said = refusals()[case]
    with pytest.raises(InputError, match=said) as caught:
        find_recording(external(make(folder)))
    assert caught.value.where == "subject.path"
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists(), "something was unpickled"


def test_an_array_has_no_tensor_of_a_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"subject.tensor: a.npy holds one array"):
        find_recording(external(saved(tmp_path / "a.npy"), tensor="x"))


# A study on such files.


@pytest.fixture
def placement() -> Placement:
    return place(read_profile("cpu"), MACHINE)


def study_of(path: object, **subject: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "subject": {"kind": "external", "path": str(path), **subject},
        "hooks": ["my-model/layer.3"],
        "saes": [{"architecture": "topk", "d_sae": 6, "k": 2}],
        "seeds": [1, 2],
        "training": {"epochs": 2, "batch_size": 20, "warmup_steps": 2},
        "analysis": {"surrogate": False},
    }


def planned(placement: Placement, data: dict[str, Any]) -> Plan:
    return make_plan(check_study(data, "x"), placement)


def job(plan: Plan, kind: str) -> Job:
    return next(one for one in plan.jobs if one.kind == kind)


def test_the_key_is_that_of_the_content_wherever_it_lies(
    tmp_path: Path, placement: Placement
) -> None:
    first = planned(placement, study_of(saved(tmp_path / "a.npy")))
    moved = planned(placement, study_of(saved(tmp_path / "b.npy")))
    changed = planned(placement, study_of(saved(tmp_path / "a.npy", ROWS + 1)))
    for kind in ("subject", "activations", "cohort", "analysis"):
        assert job(first, kind).key == job(moved, kind).key
        assert job(first, kind).key != job(changed, kind).key
    assert job(moved, "subject").policy["path"] == str(tmp_path / "b.npy")
    assert job(moved, "activations").policy["path"] == str(tmp_path / "b.npy")


def test_the_draw_of_rows_is_part_of_the_key(tmp_path: Path, placement: Placement) -> None:
    file = saved(tmp_path / "a.npy")
    keys = {
        job(planned(placement, study_of(file, **changes)), "subject").key
        for changes in ({}, {"max_rows": 100}, {"max_rows": 100, "sample_seed": 1})
    }
    assert len(keys) == 3


def test_a_study_may_name_the_content_it_is_for(tmp_path: Path, placement: Placement) -> None:
    file = saved(tmp_path / "a.npy")
    pinned = study_of(file, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    assert job(planned(placement, pinned), "subject").key
    saved(file, ROWS + 1)
    with pytest.raises(InputError, match=r"mine: subject.sha256: .* the study names"):
        planned(placement, pinned)


def test_a_plan_knows_steps_and_sizes_from_the_files(tmp_path: Path, placement: Placement) -> None:
    wide = np.zeros((5000, 64), np.float16)
    small, large = (
        planned(placement, study_of(saved(tmp_path / name, array)))
        for name, array in (("a.npy", ROWS), ("b.npy", wide))
    )
    assert job(small, "cohort").steps == 11  # 2 epochs × 108 / 20
    assert job(large, "activations").disk_bytes - job(small, "activations").disk_bytes == 4 * (
        5000 * 64 - 360
    )
    assert job(large, "cohort").memory_bytes > job(small, "cohort").memory_bytes
    assert looked_at(large.study, d_sae=64) == 5000
    assert looked_at(large.study, d_sae=2**20) == 4096, "as many as an analysis looks at"


def test_a_file_that_is_not_there_is_an_error_of_the_plan(
    tmp_path: Path, placement: Placement
) -> None:
    with pytest.raises(InputError, match=r"mine: subject.path: .*a.npy: no such file or folder"):
        planned(placement, study_of(tmp_path / "a.npy"))


def test_a_path_begins_at_the_study_file_and_on_the_command_line_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies").mkdir()
    file = tmp_path / "studies" / "mine.yaml"
    file.write_text(json.dumps(study_of("a.npy")))
    monkeypatch.chdir(tmp_path)

    def path(*overrides: str) -> str:
        subject = read_study("studies/mine.yaml", overrides).subject
        assert isinstance(subject, External)
        return subject.path

    assert path() == str(tmp_path / "studies" / "a.npy")
    assert path("subject.path=b.npy") == str(tmp_path / "b.npy")
    home = str(Path.home() / "c.npy")
    assert path("subject.path=~/c.npy") == home
    assert path("subject.path=~nobody-of-this-name/c.npy") == "~nobody-of-this-name/c.npy"
    again = file.with_name("again.yaml")
    again.write_text(write_yaml(read_study(str(file))))
    assert read_study(str(again)) == read_study(str(file))


def test_searched_paths_begin_there_too(tmp_path: Path, placement: Placement) -> None:
    saved(tmp_path / "a.npy")
    saved(tmp_path / "b.npy", -ROWS)
    data = study_of("a.npy") | {"search": {"over": {"subject.path": ["a.npy", "b.npy"]}}}
    data["search"]["kind"] = "grid"
    plan = planned(placement, locate(data, tmp_path))
    policies = [one.policy["path"] for one in plan.jobs if one.kind == "subject"]
    assert policies == [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hooks": ["a", "b"]}, "hooks: files hold the activations of one hook: one name"),
        ({"hooks": ["two words"]}, "hooks: got 'two words': a name of letters"),
        ({"subject": {"kind": "external"}}, "subject.path: is missing"),
        ({"subject": {"kind": "external", "path": ""}}, "subject.path: got ''"),
        ({"subject": {"kind": "external", "path": "a", "max_rows": 99}}, "subject.max_rows"),
        ({"subject": {"kind": "external", "path": "a", "sha256": "x"}}, "subject.sha256"),
        ({"subject": {"kind": "external", "path": "a", "d_in": 3}}, "d_in: unknown key"),
    ],
)
def test_a_study_that_cannot_be_meant_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_study({**study_of("a.npy"), **changes}, "x")
