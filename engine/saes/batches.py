"""The stream of batches of a cohort: split, normalisation, order.

Shapes: S seeds, N activations, B inputs of a batch, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from engine.errors import InputError
from engine.study.recipe import SaeTraining
from engine.training import BatchOrder, stream

CHUNK = 1024
ON_DEVICE = 0.25
"""Share of an accelerator's free memory that activations may take; larger ones stay where they are."""


class Batches:
    """Activations, centred and scaled, as training batches and as the held-out part.

    `mean` and `scale` are measured on the training part: x ↦ (x − mean)·scale has mean 0 and mean
    squared norm `spread`, which is d_in with `normalize`. The activations stay as they are, so they
    may be larger than memory (a mapped file) and of any float type.
    """

    def __init__(
        self,
        activations_ND: Tensor,
        training: SaeTraining,
        *,
        seeds: Sequence[int],
        vary_order: bool,
        device: torch.device,
        groups_N: Tensor | None = None,
    ) -> None:
        """Split and measure; activations of one group are held out together.

        Raises:
            InputError: not a matrix, too few rows, not finite, or all rows equal.
        """
        if activations_ND.ndim != 2 or not activations_ND.is_floating_point():
            shape = list(activations_ND.shape)
            raise InputError(
                "activations", f"{shape} {activations_ND.dtype}", "floats [inputs, width]"
            )
        self.activations_ND, self.device = activations_ND, device
        if device.type == "cuda" and activations_ND.nbytes < ON_DEVICE * _free_memory(device):
            self.activations_ND = activations_ND.to(device)
        self.inputs, self.width = activations_ND.shape
        self.held_out, self.train = _split(self.inputs, training, groups_N)
        if len(self.train) < 2:
            raise InputError(
                "activations", f"{self.inputs} rows", "at least 2 beside the held-out part"
            )
        self.mean_D, spread = self._measure()
        self.scale = math.sqrt(self.width / spread) if training.normalize else 1.0
        self.spread = spread * self.scale**2
        self.batch_size = min(training.batch_size, len(self.train))
        self.steps = math.ceil(training.epochs * len(self.train) / self.batch_size)
        self._orders = _orders(len(self.train), training, seeds if vary_order else ())
        self._seeds = len(seeds)

    def _measure(self) -> tuple[Tensor, float]:
        total_D = torch.zeros(self.width, dtype=torch.float64)
        for rows in torch.split(self.train, CHUNK):
            total_D += self.activations_ND[rows].cpu().double().sum(0)
        mean_D = total_D / len(self.train)
        squares = 0.0
        for rows in torch.split(self.train, CHUNK):
            squares += float((self.activations_ND[rows].cpu().double() - mean_D).square().sum())
        spread = squares / len(self.train)
        if not math.isfinite(spread):
            raise InputError("activations", "a value is not finite", "finite numbers")
        if spread <= 1e-12 * float(mean_D.square().sum()):
            raise InputError("activations", "all rows are equal", "activations that vary")
        return mean_D.float().to(self.device), spread

    def take(self, rows: Tensor) -> Tensor:
        """Return these activations [..., D], centred and scaled, float32, on the device."""
        picked = self.activations_ND[rows.view(-1).to(self.activations_ND.device)]
        centred = picked.to(self.device, torch.float32) - self.mean_D
        return centred.mul_(self.scale).view(*rows.shape, self.width)

    def batch(self, step: int) -> Tensor:
        """Return the batch of a step, [S, B, D]; one array seen S times if seeds share it."""
        if len(self._orders) == 1:
            shared_BD = self.take(self.train[self._orders[0].batch(step)])
            return shared_BD.expand(self._seeds, -1, -1)
        return self.take(torch.stack([self.train[order.batch(step)] for order in self._orders]))

    def chunks(self, rows: Tensor) -> Iterator[Tensor]:
        """Yield these activations in order, [S, ≤1024, D] each, centred and scaled."""
        for part in torch.split(rows, CHUNK):
            yield self.take(part).expand(self._seeds, -1, -1)


def _free_memory(device: torch.device) -> int:
    free: int = torch.cuda.mem_get_info(device)[0]
    return free


def _split(n: int, training: SaeTraining, groups_N: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the held-out rows and the others, int64, both shuffled.

    Rows of one group never part: a model that computes a+b gives (a, b) and (b, a) all but the same
    activations, and a mirror in the training part would make the held-out part a test of memory.
    """
    groups_N = (
        torch.arange(n) if groups_N is None else torch.unique(groups_N, return_inverse=True)[1]
    )
    generator = stream("held-out split", training.split_seed)
    place_N = torch.randperm(int(groups_N.max()) + 1, generator=generator)[groups_N]
    order_N = torch.randperm(n, generator=generator)
    order_N = order_N[torch.argsort(place_N[order_N], stable=True)]
    held = min(max(1, round(n * training.held_out)), n - 1)
    while held < n and place_N[order_N[held]] == place_N[order_N[held - 1]]:
        held += 1
    return order_N[:held], order_N[held:]


def _orders(n: int, training: SaeTraining, seeds: Sequence[int]) -> list[BatchOrder]:
    shared = training.data_order_seed
    if not seeds:
        return [BatchOrder(n, training.batch_size, shared)]
    own = [int(torch.randint(2**31 - 1, (), generator=stream("order", shared, s))) for s in seeds]
    return [BatchOrder(n, training.batch_size, seed) for seed in own]
