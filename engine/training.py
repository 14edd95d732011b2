"""The resumable loop: schedule, order of batches, checkpoints, curves.

A run that is killed and resumed ends with bitwise the same weights as one that was not: everything
that decides a step is either a function of its index (learning rate, batch, noise) or stored in the
checkpoint (weights, optimizer moments, counters). No global random state is read.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.disk.atomic import read_json, write_json
from engine.disk.curves import CurveWriter, Flag, Value
from engine.disk.rundir import RunDirectory
from engine.errors import Interrupted

Scalars = dict[str, Any]
SECONDS = "seconds"
"""Beside a task's plain values in a checkpoint: how long it has been trained."""


class Trainable(Protocol):
    """What the loop drives: something that steps, can be measured, saved and restored."""

    def step(self, index: int) -> None:
        """Do optimizer step `index`, counted from 0."""

    def measure(self, done: int) -> Mapping[str, Value]:
        """Return the values for the curves after `done` steps; must not change the future."""

    def flags(self, done: int, values: Mapping[str, Value]) -> Sequence[Flag]:
        """Return the red flags that these measured values raise; asked once after each measurement."""

    def finished(self, done: int) -> bool:
        """Return whether training may end here; asked after each measurement."""

    def state(self) -> tuple[dict[str, Tensor], Scalars]:
        """Return every tensor and every plain value that decides the future."""

    def restore(self, tensors: Mapping[str, Tensor], scalars: Scalars) -> None:
        """Take back what `state` returned."""


def train(
    task: Trainable,
    run: RunDirectory,
    *,
    steps: int,
    measure_every: int,
    checkpoint: Callable[[int], bool],
    stop: Callable[[], bool],
    labels: Sequence[str] = (),
) -> int:
    """Train from the newest sound checkpoint, or from the start, and return the steps done.

    Args:
        task: what is trained.
        run: where checkpoints and curves go.
        steps: budget; `task.finished` may end it sooner.
        measure_every: steps between rows of the curves (the first and last step always have one).
        checkpoint: whether to save after so many steps (see `checkpoint_rule`).
        stop: asked before each step; true means: save and leave.
        labels: names of the entries of list values, for TensorBoard.

    Raises:
        Interrupted: `stop` was true; a checkpoint of this moment is on disk.
    """
    done, spent = _resume(task, run)
    started = time.monotonic() - spent
    curves = CurveWriter(run.curves_file, keep_through=done if done else -1)
    mirror = TensorBoardMirror(run, labels, purge_after=done)
    try:
        if done == 0:
            _record(task, 0, started, curves, mirror)
        while done < steps:
            if stop():
                save_checkpoint(task, run, done, time.monotonic() - started)
                raise Interrupted(f"stopped at step {done} of {steps}; saved")
            task.step(done)
            done += 1
            measured = done % measure_every == 0 or done == steps
            if measured:
                _record(task, done, started, curves, mirror)
            if measured and task.finished(done):
                break
            if done < steps and checkpoint(done):
                save_checkpoint(task, run, done, time.monotonic() - started)
    finally:
        curves.close()
        mirror.close()
    return done


def _record(
    task: Trainable, done: int, started: float, curves: CurveWriter, mirror: TensorBoardMirror
) -> None:
    values = task.measure(done)
    flags = task.flags(done, values)
    for flag in flags:
        print(f"step {done}: {flag.message}", flush=True)
    curves.write(done, values, flags, seconds=time.monotonic() - started)
    mirror.write(done, values, flags)


def checkpoint_rule(every: int | None, warmup: int) -> Callable[[int], bool]:
    """Return whether to save after so many steps: every `every`, or, for None, every 1,000 during the
    warm-up and every 5,000 after it."""

    def due(done: int) -> bool:
        return done % (every or (1_000 if done <= warmup else 5_000)) == 0

    return due


def save_checkpoint(task: Trainable, run: RunDirectory, done: int, seconds: float) -> None:
    """Publish a checkpoint of this moment: tensors as safetensors, plain values as JSON, and how long the
    training has taken so far, which decides nothing."""
    tensors, scalars = task.state()
    folder = run.begin_checkpoint(done)
    save_file(
        {k: v.detach().contiguous().cpu() for k, v in tensors.items()}, folder / "state.safetensors"
    )
    write_json(folder / "state.json", {**scalars, SECONDS: round(seconds, 3)})
    run.publish_checkpoint(done)


def _resume(task: Trainable, run: RunDirectory) -> tuple[int, float]:
    """Restore the newest sound checkpoint; return its step and the seconds that it took, zeros without one."""
    found = run.newest_checkpoint()
    if found is None:
        return 0, 0.0
    done, folder = found
    scalars = read_json(folder / "state.json")
    seconds = float(scalars.pop(SECONDS, 0.0))
    task.restore(load_file(folder / "state.safetensors"), scalars)
    print(f"resumed at step {done}", flush=True)
    return done, seconds


def learning_rate(step: int, *, steps: int, peak: float, warmup: int, schedule: str) -> float:
    """Return the learning rate of step `step` (from 0).

    Linear warm-up over `warmup` steps, then `constant`, `cosine` or `linear` to zero at `steps`, or
    `step`: a tenth at 60 % and a hundredth at 85 % of the budget.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    if schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    if schedule == "linear":
        return peak * max(0.0, 1.0 - progress)
    if schedule == "step":
        share = step / steps
        return peak * (1.0 if share < 0.6 else 0.1 if share < 0.85 else 0.01)
    return peak


def stream(purpose: str, *seeds: int) -> torch.Generator:
    """Return a CPU generator for one purpose and its seeds.

    Equal seeds of two purposes are unrelated: without this, random features of planted data and the
    random decoder of an SAE of the same seed would be the same numbers. Seeds are hashed because torch's
    CPU generator reads only the low 32 bits of its own.
    """
    digest = hashlib.sha256(f"{purpose} {' '.join(map(str, seeds))}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class BatchOrder:
    """An endless stream of shuffled passes over n items, cut into batches.

    The batch of a step is a function of (seed, step) alone, so nothing needs to be saved. A batch may
    span two passes; no item is skipped.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, min(batch_size, n), seed
        self._passes: dict[int, Tensor] = {}

    def batch(self, step: int) -> Tensor:
        """Return the item numbers of step `step`, int64 [batch_size]."""
        start = step * self.batch_size
        end = start + self.batch_size
        first, last = start // self.n, (end - 1) // self.n
        for old in [number for number in self._passes if number < first]:
            del self._passes[old]
        parts = [
            self._pass(number)[max(start - number * self.n, 0) : end - number * self.n]
            for number in range(first, last + 1)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _pass(self, number: int) -> Tensor:
        if number not in self._passes:
            generator = stream("batch order", self.seed, number)
            self._passes[number] = torch.randperm(self.n, generator=generator)
        return self._passes[number]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state tensors of a torch optimizer under flat names `optimizer.<n>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{number}.{name}": torch.as_tensor(value)
        for number, entry in state.items()
        for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned; other names in `tensors` are ignored."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


class TensorBoardMirror:
    """Writes the curves as TensorBoard events as well; it never disturbs the training.

    The curves file is the truth. A full disk makes the event writer fail for good, in its own thread
    and in later calls: the mirror then says so once and goes quiet.
    """

    def __init__(self, run: RunDirectory, labels: Sequence[str], purge_after: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._labels = list(labels)
        self._writer: SummaryWriter | None = None
        try:
            # What an attempt before wrote after the checkpoint, or before the first one, is taken back.
            purge = purge_after + 1 if purge_after else 0
            self._writer = SummaryWriter(str(run.tensorboard), purge_step=purge, flush_secs=10)
        except OSError as error:
            print(f"TensorBoard log cannot be opened, going on without: {error}", flush=True)

    def write(self, step: int, values: Mapping[str, Value], flags: Sequence[Flag] = ()) -> None:
        """Write one row; list values become one tag per label, red flags texts."""
        if self._writer is None:
            return
        try:
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    self._writer.add_scalar(name, value, step)
                    continue
                for number, item in enumerate(value):
                    label = self._labels[number] if number < len(self._labels) else str(number)
                    self._writer.add_scalar(f"{name}/{label}", item, step)
            for flag in flags:
                self._writer.add_text(f"red flags/{flag.name}", flag.message, step)
        except OSError as error:
            self._writer = None
            print(f"TensorBoard log failed, going on without: {error}", flush=True)

    def close(self) -> None:
        """Flush and close; failures are no longer of interest."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                print(f"TensorBoard log was not closed: {error}", flush=True)
