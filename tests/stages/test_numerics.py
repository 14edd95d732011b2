from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from engine.stages import numerics

EVERY = (*numerics.CUDA_OPERATIONS, *numerics.CPU_OPERATIONS)

_ASK = """
import json, sys, torch
from engine.stages import numerics
torch.backends.fp32_precision = "tf32"  # a library that wants it everywhere
torch.set_float32_matmul_precision("medium")
numerics.configure(1, True, tf32={tf32})
legacy = [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]
compiler = "torch._inductor" in sys.modules
print(json.dumps([numerics.in_force("cpu"), legacy, torch.get_float32_matmul_precision(), compiler]))
"""


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9")
@pytest.mark.parametrize("tf32", [False, True])
def test_each_backend_has_its_precision_whatever_was_asked_globally(tf32: bool) -> None:
    """In a process of its own: the switches are the process's."""
    command = [sys.executable, "-c", _ASK.format(tf32=tf32)]
    told, older, matmul, compiler = json.loads(subprocess.check_output(command, text=True))
    on_cuda = "tf32" if tf32 else "ieee"
    assert told["float32_precision"] == {
        **dict.fromkeys(numerics.CUDA_OPERATIONS, on_cuda),
        **dict.fromkeys(numerics.CPU_OPERATIONS, "ieee"),
    }
    assert told["threads"] == 1
    assert told["deterministic"] is True
    assert older == [tf32, tf32], "torch tells neither once the older switches differ"
    assert matmul == ("high" if tf32 else "highest")
    assert not compiler, "its settings take a second to load, for every job"


@pytest.mark.parametrize("wanted", [True, False])
def test_kernels_are_deterministic_where_they_must_be(wanted: bool) -> None:
    """Anything else is an error, not a warning."""
    ask = f"from engine.stages import numerics; numerics.configure(1, {wanted}); import torch"
    command = f"{ask}; print(torch.get_deterministic_debug_mode())"
    said = subprocess.check_output([sys.executable, "-c", command], text=True)
    assert said.strip() == ("2" if wanted else "0"), "2 is an error, 0 is nothing"


class Older(SimpleNamespace):
    """`torch.backends` before 2.9: two switches, and no settings of operations."""

    def __init__(self) -> None:
        cuda = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=True))
        super().__init__(
            cuda=cuda, cudnn=SimpleNamespace(allow_tf32=True), mkldnn=SimpleNamespace()
        )


@pytest.mark.parametrize(("tf32", "told"), [(False, "ieee"), (True, "tf32")])
def test_an_older_torch_has_two_switches(tf32: bool, told: str) -> None:
    backends = Older()
    numerics.set_precision(backends, tf32)
    assert numerics.precisions(backends) == {"cuda.matmul": told, "cudnn": told}
    assert not hasattr(backends.cuda.matmul, "fp32_precision")


def test_what_torch_tells_is_told_not_what_was_asked() -> None:
    backends = Older()
    backends.cudnn.conv = SimpleNamespace(fp32_precision="tf32")
    assert numerics.precisions(backends) == {"cudnn.conv": "tf32"}


def test_a_gpu_is_named_with_what_its_libraries_may_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H100")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    told = json.loads(json.dumps(numerics.in_force("cuda")))
    assert (told["gpu"], told["compute_capability"]) == ("H100", "9.0")
    assert told["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert told["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    assert set(told["reduced_precision_sums"]) == {"bfloat16", "float16"}


@pytest.mark.parametrize(("value", "told"), [("1", True), ("0", False), (None, False)])
def test_the_fallback_of_metal_is_told(
    monkeypatch: pytest.MonkeyPatch, value: str | None, told: bool
) -> None:
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)
    if value is not None:
        monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", value)
    assert numerics.in_force("mps")["mps_fallback"] is told
    assert "mps_fallback" not in numerics.in_force("cpu")
