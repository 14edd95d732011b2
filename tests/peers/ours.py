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

READY = {"topk", "relu"}
"""Architectures that cohorts can train; the tests of the others are skipped."""
EXTRA = {"b_gate": "b_enc"}
"""Our names of weights that only some architectures have, by the names used here: threshold (one for each
latent of JumpReLU, one for all of BatchTopK and Matryoshka), b_gate, b_mag and r_mag of Gated."""


def needs(architecture: str) -> pytest.MarkDecorator:
    """Return the mark of a test of ours that waits for an architecture."""
    return pytest.mark.skipif(architecture not in READY, reason=f"no cohort of {architecture} yet")


class OurStep:
    """One cohort, its batch, and what its step leaves behind."""

    def __init__(self, config: Sae, weights: Named, sparse: bool | None = None) -> None:
        training = SaeTraining(batch_size=B, lr=1e-12, warmup_steps=0)
        # Two seeds of the same weights: whatever leaks from one to the other would show.
        self.cohort = Cohort(config, training, [0, 1], make_activations(), sparse=sparse)
        self.x_BD: Tensor = self.cohort.batches.batch(0)[0].clone()
        self.spread: float = self.cohort.batches.spread
        with torch.no_grad():
            for name, tensor in weights.items():
                self._parameter(name).copy_(tensor)

    def _parameter(self, name: str) -> Tensor:
        held, ours = self.cohort.saes.weights, EXTRA.get(name, name)
        found: Tensor = (
            held.extra[ours]
            if hasattr(held, "extra") and ours in held.extra
            else getattr(held, ours)
        )
        return found

    def let_die(self, dead_F: Tensor) -> None:
        """Make latents count as dead before the step."""
        tracker = self.cohort.dead
        tracker.seen = tracker.after
        tracker.since_SF.copy_(dead_F * tracker.after)

    def take(self, *names: str) -> Side:
        """Do the step and return everything; `names` are the weights whose gradients are wanted."""
        x_SBD = self.x_BD.expand(2, -1, -1)
        z_SBF = self.cohort.saes.encode(x_SBD)
        side = Side(latents=z_SBF[0], reconstruction=self.cohort.saes.decode(z_SBF)[0])
        self.cohort.step(0)
        row = self.cohort.measure(1)
        side.loss, side.aux = (torch.tensor(row[name][1]) for name in ("train_loss", "aux_loss"))
        wanted = names or ("W_enc", "b_enc", "W_dec", "b_dec")
        grads = {name: self._parameter(name).grad for name in wanted}
        side.gradients = {name: grad[1] for name, grad in grads.items() if grad is not None}
        return side
