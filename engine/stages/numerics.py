"""How torch computes in a worker: threads, determinism, full float32 products."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

import torch

CUDA_OPERATIONS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn")
CPU_OPERATIONS = ("mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
"""Settings of their own in torch 2.9 and later; a global one does not undo a setting of one of these."""


def add_options(parser: ArgumentParser) -> None:
    """Take what a placement's flags say of device, threads and precision (`Placement.numerics_options`)."""
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--tf32", action="store_true")


def configure(threads: int, deterministic: bool, tf32: bool = False) -> None:
    """Pin threads, determinism and the precision of float32 products, by name for every backend.

    Args:
        threads: threads of this process.
        deterministic: whether only deterministic kernels are allowed.
        tf32: whether products and convolutions on CUDA may round their factors to TF32's 10 bits. cuDNN's
            own default does, whatever the global switch. The CPU never does.
    """
    torch.set_num_threads(threads)
    # As `use_deterministic_algorithms`, which also loads the settings of torch's compiler: a second, every job.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # Nothing here reads memory before it is written; filling it first costs a tenth of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    set_precision(torch.backends, tf32)


def set_precision(backends: Any, tf32: bool) -> None:
    """Set the precision of float32 products of every backend that `torch.backends` has.

    The switches of torch before 2.9 come first: later versions keep both in step only in that order, and
    refuse to tell either once they differ.
    """
    backends.cuda.matmul.allow_tf32 = tf32
    backends.cudnn.allow_tf32 = tf32
    for name in (*CUDA_OPERATIONS, *CPU_OPERATIONS):
        operation = _operation(backends, name)
        if hasattr(operation, "fp32_precision"):
            operation.fp32_precision = "tf32" if tf32 and name in CUDA_OPERATIONS else "ieee"


def precisions(backends: Any) -> dict[str, str]:
    """Return the precision of float32 products in force, by backend and operation, as torch tells it."""
    told = {
        name: str(operation.fp32_precision)
        for name in (*CUDA_OPERATIONS, *CPU_OPERATIONS)
        if hasattr(operation := _operation(backends, name), "fp32_precision")
    }
    if told:
        return told
    older = {"cuda.matmul": backends.cuda.matmul.allow_tf32, "cudnn": backends.cudnn.allow_tf32}
    return {name: "tf32" if allowed else "ieee" for name, allowed in older.items()}


def _operation(backends: Any, name: str) -> Any:
    """Return a backend's settings of an operation, None in a torch that has none."""
    backend, operation = name.split(".")
    return getattr(getattr(backends, backend, None), operation, None)


def in_force(device: str) -> dict[str, Any]:
    """Return what decides digits in this process, as torch tells it now; plain JSON values.

    Args:
        device: the worker's device; what its driver tells is added.
    """
    found: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "float32_precision": precisions(torch.backends),
    }
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "compute_capability": f"{major}.{minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "reduced_precision_sums": {
                "bfloat16": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
                "float16": torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
            },
            "CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
            "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }
    if device == "mps":
        found["mps_fallback"] = os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1"
    return found
