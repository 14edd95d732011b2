"""Steps recorded as CUDA graphs: on an accelerator small SAEs wait for the host, not for arithmetic.

A recorded step is replayed for every later batch whose work is the same: same constants of the schedules,
same parts of the objective. What changes from step to step (batch, learning rate) is read from memory that
stays where it is. Steps that are not yet recorded, and steps that ask the host something, run as usual.
Schedules do not come back to constants that they left, so only the newest kind of step is kept: a graph
holds the memory of a whole step.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

WARM = 3
"""Steps of one kind that run as usual before one is recorded, as torch asks for."""


@dataclass(frozen=True)
class Outcome:
    """What a training step leaves behind, per seed."""

    total: Tensor
    """Everything that was minimised [S], detached."""
    loss: Tensor
    """Error and penalty [S]."""
    revival: Tensor
    """What brings dead latents back [S]."""
    mass: Tensor
    """Sum of each latent's activation over the batch [S, F]."""


Work = Callable[[], Outcome]


class Recorder(Protocol):
    """Turns work on fixed memory into something that can be replayed."""

    def warm(self, work: Work) -> Outcome:
        """Do the work in a way that prepares for recording."""

    def record(self, work: Work) -> Work:
        """Return the work, recorded; recording does nothing by itself."""


class CudaRecorder:
    """Records with `torch.cuda.graph`."""

    def warm(self, work: Work) -> Outcome:
        """Do the work on a stream of its own, where gradients and workspaces are set up."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outcome = work()
        torch.cuda.current_stream().wait_stream(stream)
        return outcome

    def record(self, work: Work) -> Work:
        """Capture the kernels of the work; the tensors of its outcome are written by each replay."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            outcome = work()

        def replay() -> Outcome:
            graph.replay()
            return outcome

        return replay


class StepGraphs:
    """The recorded step of one cohort, of the kind that is done now."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._kind: Hashable = None
        self._seen = 0
        self._recorded: tuple[Tensor, Work] | None = None

    def run(self, kind: Hashable, x_SBD: Tensor, step: Callable[[Tensor], Outcome]) -> Outcome:
        """Do one step on a batch.

        Args:
            kind: equal for steps that do the same work.
            x_SBD: the batch; seeds that share one may be one array seen S times.
            step: the work on a batch; it must not ask the device for a value.
        """
        seeds, shared = len(x_SBD), x_SBD.stride(0) == 0
        batch = x_SBD[:1] if shared else x_SBD
        if kind != self._kind:
            self._kind, self._seen, self._recorded = kind, 0, None
        if self._recorded is None:
            self._seen += 1
            if self._seen <= WARM:
                return self._recorder.warm(lambda: step(x_SBD))
            fixed = batch.clone()
            self._recorded = (
                fixed,
                self._recorder.record(lambda: step(fixed.expand(seeds, -1, -1))),
            )
        memory, work = self._recorded
        memory.copy_(batch)
        return work()
