"""Seeds whose loss or weights stopped being finite: set back to their last good state and held there.

Shapes: S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.disk.curves import Flag
from engine.saes.weights import Weights

NEVER = -1
PREFIX = "good."
"""Of the last good states in a checkpoint."""


class Freeze:
    """Remembers the last measured state of each seed and which seeds were set back to it.

    A loss that is not finite judges weights that an earlier step has already spoiled, so those of that
    moment are of no use; keeping the state of every row of the curves costs nothing beside the steps.
    """

    def __init__(self, weights: Weights, seeds: tuple[int, ...]) -> None:
        self.seeds = seeds
        self._good = {name: t.detach().clone() for name, t in weights.named().items()}
        self._good_step = [0] * len(seeds)
        # First step whose loss, or weights before it, were of no use; on the device: noting does not wait.
        self._bad_S = torch.full(
            (len(seeds),), NEVER, dtype=torch.int64, device=weights.W_dec.device
        )
        self._frozen: dict[int, int] = {}
        self._told: set[int] = set()

    def note(self, loss_S: Tensor, step: int) -> None:
        """Note whose loss is not finite at a step; nothing waits for the device."""
        bad_S = ~torch.isfinite(loss_S) & (self._bad_S == NEVER)
        self._bad_S = self._bad_S.masked_fill(bad_S, step)

    @torch.no_grad()
    def settle(self, optimizer: torch.optim.Optimizer) -> None:
        """Count seeds as frozen that were noted since, and forget their moments; `hold` sets them back."""
        new = [
            place
            for place, step in enumerate(self._bad_S.tolist())
            if step != NEVER and place not in self._frozen
        ]
        for place in new:
            self._frozen[place] = int(self._bad_S[place])
            for state in optimizer.state.values():
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name][place] = 0.0

    @torch.no_grad()
    def silence(self, parameters: Mapping[str, Tensor]) -> None:
        """Zero the gradients of frozen seeds, so that their moments stay finite."""
        for place in self._frozen:
            for parameter in parameters.values():
                if parameter.grad is not None:
                    parameter.grad[place] = 0.0

    @torch.no_grad()
    def hold(self, weights: Weights) -> None:
        """Give frozen seeds their last good weights."""
        for place in self._frozen:
            for name, tensor in weights.named().items():
                tensor[place] = self._good[name][place]

    @torch.no_grad()
    def keep(self, weights: Weights, done: int) -> None:
        """Remember the state of the sound seeds after `done` steps; called when they were measured."""
        for place in range(len(self.seeds)):
            if place not in self._frozen:
                self._good_step[place] = done
                for name, tensor in weights.named().items():
                    self._good[name][place] = tensor[place]

    def none(self) -> bool:
        """Return whether no seed is frozen."""
        return not self._frozen

    def all(self) -> bool:
        """Return whether every seed is frozen."""
        return len(self._frozen) == len(self.seeds)

    def sound(self) -> Tensor:
        """Return which seeds are not frozen, bool [S]."""
        places = torch.tensor([place not in self._frozen for place in range(len(self.seeds))])
        return places.to(self._bad_S.device)

    def diverged(self) -> dict[int, dict[str, int]]:
        """Return, by frozen seed, the step that it diverged at and the step of the state it is held at."""
        return {
            self.seeds[place]: {"step": step, "held_at": self._good_step[place]}
            for place, step in self._frozen.items()
        }

    def tell(self) -> list[Flag]:
        """Return a flag for each seed frozen since this was asked."""
        new = [place for place in self._frozen if place not in self._told]
        self._told.update(new)
        return [
            Flag(
                "diverged",
                f"seed {self.seeds[place]}: loss or weights are not finite at step {self._frozen[place]}; "
                f"held as it was at step {self._good_step[place]}",
                self.seeds[place],
            )
            for place in new
        ]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what decides the future."""
        tensors = {PREFIX + name: tensor for name, tensor in self._good.items()}
        return {**tensors, "bad": self._bad_S}, {
            "good_step": list(self._good_step),
            "told": sorted(self._told),
        }

    def restore(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        for name, tensor in self._good.items():
            tensor.copy_(tensors[PREFIX + name])
        self._bad_S = tensors["bad"].to(self._bad_S.device)
        self._good_step = [int(step) for step in scalars["good_step"]]
        self._told = {int(place) for place in scalars["told"]}
        # A checkpoint is written after `settle`, so every bad seed in it is a frozen one.
        self._frozen = {p: s for p, s in enumerate(self._bad_S.tolist()) if s != NEVER}


@torch.no_grad()
def intact(weights: Weights, pinned: int) -> Tensor:
    """Return whose weights are of use, bool [S]: of finite norm, no decoder row but the first `pinned` zero.

    Weights whose norm overflows are finite by luck, and nothing that compares them is; a decoder row that
    overflowed was divided by an infinite norm, which leaves zeros.
    """
    intact_S = (weights.W_dec[:, pinned:] != 0).any(2).all(1)
    for tensor in weights.named().values():
        intact_S &= torch.isfinite(tensor.reshape(len(intact_S), -1).square().sum(1))
    return intact_S
