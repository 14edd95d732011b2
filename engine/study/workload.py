"""Workloads of `husai-engine bench`: what is trained while the clock runs."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import InputError
from engine.study.sae import BatchTopK, Gated, JumpReLU, Matryoshka, ReLU, Sae, TopK


@dataclass(frozen=True)
class Workload:
    """One cohort of a given size."""

    sae: Sae
    seeds: int = 5
    d_in: int = 128
    """Width of the activations; a file of activations has its own."""
    batch_size: int = 256
    steps: int = 1_000
    rows: int = 16_384
    """Activations, the held-out part included."""


WORKLOADS: dict[str, Workload] = {
    "topk-1024": Workload(TopK(d_sae=1024, k=32)),
    "topk-1": Workload(TopK(d_sae=1024, k=32), seeds=1),
    "batch-topk-1024": Workload(BatchTopK(d_sae=1024, k=32)),
    "matryoshka-1024": Workload(Matryoshka(d_sae=1024, k=32)),
    "relu-1024": Workload(ReLU(d_sae=1024, l1=1.0)),
    "jumprelu-1024": Workload(JumpReLU(d_sae=1024, target_l0=32)),
    "gated-1024": Workload(Gated(d_sae=1024, l1=1.0)),
    "smoke": Workload(TopK(d_sae=32, k=4), 2, d_in=16, batch_size=32, steps=20, rows=512),
}
"""One for each architecture at the size of `topk-vs-relu`, its cost for one seed, and a tiny one."""


def find_workload(name: str) -> Workload:
    """Return a workload; raise InputError, with the names, if there is none of this name."""
    if name not in WORKLOADS:
        raise InputError(
            f"--workload {name}", "no such workload", f"one of {', '.join(sorted(WORKLOADS))}"
        )
    return WORKLOADS[name]
