from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.doctor.examination import PROBE
from engine.doctor.libraries import locale, openmp, torch


def pools(*prefixes: str) -> dict[str, Any]:
    found = [
        {"user_api": "openmp", "internal_api": "openmp", "prefix": prefix, "filepath": f"/{number}"}
        for number, prefix in enumerate(prefixes)
    ]
    blas = {"user_api": "blas", "internal_api": "openblas", "prefix": "libopenblas", "filepath": ""}
    return {"pools": [*found, blas]}


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KMP_DUPLICATE_LIB_OK", raising=False)


@pytest.mark.parametrize(
    ("prefixes", "system", "state", "what"),
    [
        (["libomp", "libomp"], "Linux", "warning", "2 OpenMP runtimes are loaded at once: /0, /1"),
        (["libomp", "libiomp"], "Linux", "warning", "2 OpenMP runtimes"),
        (["libomp", "libiomp"], "Darwin", "error", "2 OpenMP runtimes"),
        (["libgomp", "libgomp"], "Linux", "note", "2 copies of GNU's libgomp are loaded, which is benign"),
        (["libgomp", "libomp"], "Linux", "ok", "loaded: libgomp, libomp"),
        ([], "Linux", "ok", "loaded: none"),
    ],
)  # fmt: skip
def test_two_runtimes_clash_unless_they_are_gnus(
    prefixes: list[str], system: str, state: str, what: str
) -> None:
    found = next(openmp(pools(*prefixes), system))
    assert found.state == state
    assert what in found.what
    assert bool(found.remedy) == (state in ("warning", "error"))


RUNTIME = Path(importlib.util.find_spec("torch").origin).parent / "lib" / "libgomp.so.1"  # type: ignore[union-attr, arg-type]
OTHERS = [
    *Path("/usr/lib").glob("llvm-*/lib/libomp.so.5"),
    *Path(sys.prefix, "lib").glob("libiomp5.so"),
]
"""Runtimes of LLVM and Intel that this machine may have."""


def loading(*libraries: Path) -> dict[str, Any]:
    """Return what a process reports that has loaded libraries beside torch's own."""
    load = f"import ctypes\nfor one in {[str(one) for one in libraries]}: ctypes.CDLL(one)\n"
    found: dict[str, Any] = json.loads(
        subprocess.check_output([sys.executable, "-c", f"import torch\n{load}{PROBE}"], text=True)
    )
    return found


def copy(folder: Path, name: str) -> Path:
    """Return a copy of torch's runtime: under another name it is a runtime of its own, with its own threads."""
    return Path(shutil.copyfile(RUNTIME, folder / name))


@pytest.mark.skipif(not RUNTIME.exists(), reason="torch brings no libgomp here")
def test_two_real_copies_of_gnus_runtime_in_one_process_are_noted(tmp_path: Path) -> None:
    loaded = loading(copy(tmp_path, "libgomp-6a29c32d.so.1.0.0"))
    there = [pool for pool in loaded["pools"] if pool["user_api"] == "openmp"]
    assert [pool["prefix"] for pool in there] == ["libgomp", "libgomp"]
    assert len({pool["filepath"] for pool in there}) == 2
    (found,) = openmp(loaded, "Linux")
    assert (found.state, found.remedy) == ("note", "")


@pytest.mark.skipif(not RUNTIME.exists(), reason="torch brings no libgomp here")
def test_two_real_runtimes_under_the_names_of_llvm_and_intel_clash(tmp_path: Path) -> None:
    """By their names: what they are made of is GNU's, as no other is at hand everywhere."""
    loaded = loading(copy(tmp_path, "libomp.so.5"), copy(tmp_path, "libiomp5.so"))
    (found,) = openmp(loaded, "Linux")
    assert found.state == "warning"
    assert str(tmp_path / "libomp.so.5") in found.what
    assert str(tmp_path / "libiomp5.so") in found.what
    assert "without conda" in found.remedy


@pytest.mark.skipif(not OTHERS, reason="no runtime of LLVM or Intel on this machine")
def test_one_real_runtime_of_llvm_beside_torchs_is_no_clash() -> None:
    (found,) = openmp(loading(OTHERS[0]), "Linux")
    assert found.state == "ok"
    assert "libgomp" in found.what


def test_kmp_in_the_shell_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "TRUE")
    (found,) = [one for one in openmp(pools("libgomp"), "Linux") if "KMP" in one.what]
    assert found.state == "warning"
    assert "unset" in found.remedy


@pytest.mark.parametrize(
    ("build", "loaded", "state", "what"),
    [
        (None, "No module named torch", "error", "not installed"),
        (("2.13.0", "13.0"), "bad magic", "error", "2.13.0, CUDA 13.0; importing it fails: bad"),
        (("2.13.0+cpu", None), {}, "ok", "2.13.0+cpu, CPU build"),
    ],
)
def test_torch_is_told_with_its_build(build: Any, loaded: Any, state: str, what: str) -> None:
    (found,) = torch(build, loaded)
    assert found.state == state
    assert what in found.what
    assert bool(found.remedy) == (state == "error")


@pytest.mark.parametrize(
    ("environment", "encoding", "error", "state", "what"),
    [
        ({"LANG": "C.UTF-8"}, "UTF-8", "", "ok", "C.UTF-8, text in UTF-8"),
        ({}, "utf8", "", "ok", "none set, text in UTF-8"),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, "ANSI_X3.4-1968", "", "warning", "C, text in ascii"),
        ({"LC_CTYPE": "xx_YY.UTF-8"}, "UTF-8", "unsupported", "warning", "xx_YY.UTF-8 is not installed"),
    ],
)  # fmt: skip
def test_text_that_is_not_utf8_is_a_warning(
    environment: dict[str, str], encoding: str, error: str, state: str, what: str
) -> None:
    found = locale(environment, {"encoding": encoding, "locale_error": error})
    assert found.state == state
    assert what in found.what
    assert ("C.UTF-8" in found.remedy) == (state == "warning")


def test_a_locale_that_was_not_examined_is_said_to_be_so() -> None:
    assert locale({}, "bad magic").state == "note"


def test_a_locale_that_a_machine_lacks_is_found_by_the_real_probe() -> None:
    asked = {"LC_ALL": "xx_YY.UTF-8", "PATH": "/usr/bin"}
    said = subprocess.check_output([sys.executable, "-P", "-c", PROBE], text=True, env=asked)
    assert locale(asked, json.loads(said)).state == "warning"
