"""One process, one measurement: `python -m engine.bench --workload NAME`.

Threads must be set before torch is imported, so the command line starts this as a process of its own and
reads the last line of its output: one JSON object.

Shapes: S seeds, B inputs of a batch, D width, F latents; N activations.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.errors import HusaiError, InputError
from engine.saes.cohort import Cohort
from engine.saes.selection import largest
from engine.stages import allocator, numerics
from engine.study.recipe import SaeTraining
from engine.study.sae import BatchTopK, Matryoshka, Sae, TopK
from engine.study.workload import Workload, find_workload
from engine.training import stream

WARMUP_STEPS = 10
"""Not timed: memory is allocated, threads are started, kernels are chosen."""
BLOCKS = 20
"""Blocks that the steps are timed in; the median of blocks survives a neighbour on the same cores."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Milliseconds per call, over blocks of calls."""

    median: float
    minimum: float


def main(arguments: list[str] | None = None) -> int:
    """Measure one workload, print one JSON object as the last line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench", description=main.__doc__)
    parser.add_argument("--workload", default="topk-1024")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--activations", type=Path, help="safetensors file with `activations`")
    numerics.add_options(parser)
    options = parser.parse_args(arguments)
    allocator.keep_freed()
    numerics.configure(options.threads, options.deterministic, options.tf32)
    try:
        workload = find_workload(options.workload)
        result: dict[str, object] = measure(
            workload,
            steps=options.steps or workload.steps,
            seeds=options.seeds or workload.seeds,
            device=options.device,
            file=options.activations,
        )
    except HusaiError as error:
        print(json.dumps({"error": str(error), "exit_code": error.exit_code}))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    print(json.dumps({"workload": options.workload, **result}, allow_nan=False))
    return 0


def measure(
    workload: Workload, *, steps: int, seeds: int, device: str, file: Path | None
) -> dict[str, object]:
    """Train a workload's cohort and return its cost beside that of its unavoidable parts.

    Raises:
        InputError: the file of activations cannot be used.
        Diverged: a loss was not finite.
    """
    x_ND = gaussian(workload.rows, workload.d_in) if file is None else read(file)
    cohort = _cohort(workload, seeds, steps, x_ND, device)
    S, B, D = cohort.batches.batch(0).shape
    works = floor_works(workload.sae, S, B, D, device)
    size = max(1, steps // BLOCKS)
    step = _Steps(cohort)
    # The parts are timed between the blocks of steps, under the load that these met.
    timings = time_in_turns(
        {"step": step, **works}, blocks=math.ceil(steps / size), size=size, device=device
    )
    median = timings["step"].median
    floor = {name: timings[name].median / S for name in works}
    total = sum(floor.values())
    return {
        "architecture": workload.sae.architecture,
        "device": device,
        "threads": torch.get_num_threads(),
        "numerics": numerics.in_force(device),
        "data": f"{file}" if file else f"{len(x_ND):,} Gaussian inputs, variances falling as 1/i",
        "seeds": S,
        "batch_size": B,
        "d_in": D,
        "d_sae": workload.sae.d_sae,
        "steps": step.done,
        "milliseconds": {"median": median / S, "minimum": timings["step"].minimum / S},
        "sae_tokens_per_second": 1e3 * S * B / median,
        "explained_variance": cohort.quality().explained_variance,
        "floor": {**floor, "total": total},
        "share_of_floor": total * S / median,
    }


def gaussian(rows: int, width: int) -> Tensor:
    """Return Gaussian data [N, D], equal at every call, direction i with variance 1/i."""
    x_ND = torch.randn(rows, width, generator=stream("bench data", 0))
    return x_ND / torch.arange(1, width + 1).sqrt()


def read(file: Path) -> Tensor:
    """Return the tensor `activations` of a safetensors file.

    Raises:
        InputError: there is no such file, or no such tensor in it.
    """
    try:
        with safe_open(file, framework="pt") as tensors:
            found: Tensor = tensors.get_tensor("activations")
    except (OSError, SafetensorError) as error:
        what = " ".join(str(error).split())
        raise InputError(
            f"--activations {file}", what, "a safetensors file with `activations`"
        ) from None
    return found


def _cohort(workload: Workload, seeds: int, steps: int, x_ND: Tensor, device: str) -> Cohort:
    training = SaeTraining(batch_size=workload.batch_size)
    # As many passes as it takes: schedules of penalties read the length of the training.
    kept = max(1, math.floor(len(x_ND) * (1 - training.held_out)))
    passes = math.ceil((steps + WARMUP_STEPS) * min(workload.batch_size, kept) / kept)
    training = training.model_copy(update={"epochs": passes})
    return Cohort(workload.sae, training, range(seeds), x_ND, device=device)


class _Steps:
    """The steps of a cohort, one after the other."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort, self.done = cohort, 0

    def __call__(self) -> None:
        self._cohort.step(self.done)
        self.done += 1


def floor_works(sae: Sae, seeds: int, batch: int, d_in: int, device: str) -> dict[str, Work]:
    """Return what no training step of S SAEs can do without, as calls on data of the same shapes.

    `encoder`: the encoder's product. `top_k`: finding the largest pre-activations, where the architecture
    does so. `optimizer`: Adam over the weights.
    """
    S, B, D, F = seeds, batch, d_in, sae.d_sae
    numbers = stream("bench floor", 0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=numbers).to(device)

    x_SBD, b_SF, W_SFD = normal(S, B, D), normal(S, F), normal(S, F, D)
    works: dict[str, Work] = {"encoder": lambda: torch.baddbmm(b_SF.unsqueeze(1), x_SBD, W_SFD.mT)}
    if isinstance(sae, TopK):
        rows_RF = normal(S * B, F)
        works["top_k"] = lambda: largest(rows_RF, sae.k)
    elif isinstance(sae, (BatchTopK, Matryoshka)):
        batches_SN = normal(S, B * F)
        works["top_k"] = lambda: largest(batches_SN, sae.k * B)
    weights = [normal(S, F, D), normal(S, F), normal(S, F, D), normal(S, D)]
    for tensor in weights:
        tensor.requires_grad_().grad = normal(*tensor.shape)
    works["optimizer"] = torch.optim.Adam(weights, lr=3e-4, fused=True).step
    return works


def time_in_turns(
    works: dict[str, Work], *, blocks: int, size: int, device: str
) -> dict[str, Timing]:
    """Time several works by turns, each in blocks of `size` calls, after a warm-up."""
    for work in works.values():
        for _ in range(WARMUP_STEPS):
            work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(blocks):
        for name, work in works.items():
            found[name].append(time_block(work, size, device))
    return {name: Timing(statistics.median(ms), min(ms)) for name, ms in found.items()}


def time_block(work: Work, calls: int, device: str) -> float:
    """Return the milliseconds per call over one block; what the device still does is waited for."""
    wait_for(device)
    started = time.perf_counter()
    for _ in range(calls):
        work()
    wait_for(device)
    return 1e3 * (time.perf_counter() - started) / calls


def wait_for(device: str) -> None:
    """Wait until a device has done what it was given; calls return before that on CUDA and MPS."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


if __name__ == "__main__":
    sys.exit(main())
