"""What a stage is given: its run directory, its settings, its inputs, and a way to be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from engine.disk.rundir import RunDirectory


@dataclass(frozen=True)
class Context:
    """One job as its stage sees it."""

    run: RunDirectory
    """Where it writes."""
    config: dict[str, Any]
    """Settings that decide the result."""
    policy: dict[str, Any]
    """Settings that decide whether to go on."""
    inputs: dict[str, RunDirectory]
    """Role → run directory of a finished job."""
    device: torch.device
    """Where tensors live."""
    stop: Callable[[], bool]
    """True once a signal asked the work to stop."""


Result = dict[str, Any]
Stage = Callable[[Context], Result]


def configure_torch(threads: int, deterministic: bool) -> None:
    """Pin threads, determinism and full float32 products; TF32 is set off for every backend by name,
    because the global switch leaves cuDNN's own default on."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=False)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
