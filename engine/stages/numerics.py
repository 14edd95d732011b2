"""How torch computes in a worker: threads, determinism, full float32 products."""

from __future__ import annotations

import torch


def configure(threads: int, deterministic: bool) -> None:
    """Pin threads, determinism and precision.

    TF32 is set off for every backend by name: cuDNN's own default is on, whatever the global switch.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    # Nothing here reads memory before it is written; filling it first costs a tenth of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
