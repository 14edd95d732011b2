"""Our side: a cohort is given weights and does one step.

Only what every cohort has is used: `step`, `measure`, `saes.weights`, `saes.encode`, `saes.decode`.
"""

from __future__ import annotations

import pytest
import torch
from sides import B, Named, Side, make_activations
from torch import Tensor

from engine.saes.cohort import Cohort
from engine.study.recipe import SaeTraining
from engine.study.sae import Sae

READY = {"topk", "batch_topk", "matryoshka", "relu", "jumprelu", "gated"}
"""Architectures that cohorts can train; the tests of the others are skipped."""
RENAMED = {"b_gate": "b_enc"}
"""Our names of weights that are called otherwise here: the gates of Gated use the encoder's bias."""
SPARSE = pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
"""Both ways of the architectures with a given number of latents."""


def needs(architecture: str) -> pytest.MarkDecorator:
    """Return the mark of a test of ours that waits for an architecture."""
    return pytest.mark.skipif(architecture not in READY, reason=f"no cohort of {architecture} yet")


class OurStep:
    """One cohort, its batch, and what its step leaves behind."""

    def __init__(self, config: Sae, weights: Named, sparse: bool | None = None) -> None:
        training = SaeTraining(batch_size=B, lr=1e-12, warmup_steps=0)
        # Two seeds of the same weights: whatever leaks from one to the other would show.
        self.cohort = Cohort(config, training, [0, 1], make_activations(), sparse=sparse)
        self.spread: float = self.cohort.batches.spread
        self.go_to(0)
        with torch.no_grad():
            for name, tensor in weights.items():
                self._parameter(name).copy_(tensor)

    def go_to(self, index: int) -> None:
        """Make `index` the next step: schedules read it, and it has a batch of its own."""
        self.index = index
        self.x_BD: Tensor = self.cohort.batches.batch(index)[0].clone()

    def _parameter(self, name: str) -> Tensor:
        found: Tensor = self.cohort.saes.weights.named()[RENAMED.get(name, name)]
        return found

    def let_die(self, dead_F: Tensor) -> None:
        """Make latents count as dead before the step."""
        tracker = self.cohort.dead
        tracker.seen = tracker.after
        tracker.since_SF.copy_(dead_F * tracker.after)

    def take(self, *names: str) -> Side:
        """Do the step and return everything; `names` are the weights whose gradients are wanted."""
        x_SBD, saes = self.x_BD.expand(2, -1, -1), self.cohort.saes
        z_SBF = saes.encode(x_SBD)
        side = Side(latents=z_SBF[0], reconstruction=saes.decode(z_SBF)[0])
        # Values of one seed, gradients and losses of the other.
        done = saes.forward(x_SBD, self.index)
        side.error, side.penalty = done.error[0].detach(), done.penalty[0].detach()
        side.mass, side.trained = done.mass[0].clone(), done.reconstruction[0].detach().clone()
        self.cohort.step(self.index)
        row = self.cohort.measure(self.index + 1)
        side.loss, side.aux = (torch.tensor(row[name][1]) for name in ("train_loss", "aux_loss"))
        if self.cohort.config.architecture in ("batch_topk", "matryoshka"):
            side.threshold = self._parameter("threshold")[1].clone()
        wanted = names or ("W_enc", "b_enc", "W_dec", "b_dec")
        grads = {name: self._parameter(name).grad for name in wanted}
        side.gradients = {name: grad[1] for name, grad in grads.items() if grad is not None}
        return side
