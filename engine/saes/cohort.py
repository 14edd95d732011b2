"""A cohort: SAEs of one setting and several seeds, trained at once on one stream of batches.

Shapes: S seeds, N activations, B inputs of a batch, D width, F latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engine.disk.curves import Flag, Value
from engine.saes.architecture import Architecture, Pass
from engine.saes.architectures import make_architecture
from engine.saes.batches import CHUNK, Batches
from engine.saes.dead import DeadTracker, Revival, auxk_loss, ghost_loss
from engine.saes.freeze import Freeze, intact
from engine.saes.graphs import CudaRecorder, Outcome, Recorder, StepGraphs
from engine.saes.objectives import stability_loss
from engine.saes.quality import Quality, count_fires, measure_quality
from engine.saes.resampling import resample
from engine.saes.watch import Watch
from engine.saes.weights import initial_weights, pinned_rows
from engine.study.recipe import SaeTraining
from engine.study.sae import Sae
from engine.training import Scalars, learning_rate, optimizer_tensors, restore_optimizer

RESAMPLINGS = 0.1
"""Share of the training between two resamplings where the study does not say."""

Agreement = Callable[[Tensor, Tensor], list[float]]
"""Takes decoder rows [S, F, D] and which are alive [S, F]; returns how far each seed agrees with others."""


class Cohort:
    """What `engine.training.train` drives for SAEs: all seeds step together, each as if alone.

    Unless a stability objective couples them, seeds share nothing but the batches: their losses are summed,
    so the gradient of one does not see the others, and Adam is elementwise. A seed whose loss or weights are
    not finite is set back to its last measured state and stays there; the others do not notice.
    """

    def __init__(
        self,
        config: Sae,
        training: SaeTraining,
        seeds: Sequence[int],
        activations_ND: Tensor,
        *,
        vary: Sequence[str] = ("init",),
        device: str = "cpu",
        sparse: bool | None = None,
        groups_N: Tensor | None = None,
        agreement: Agreement | None = None,
        precision: str = "float32",
        recorder: Recorder | None = None,
    ) -> None:
        """Prepare the data and the initial weights.

        Args:
            config: architecture, size, treatment of dead latents, stability objectives.
            training: optimisation, split, normalisation.
            seeds: one SAE for each.
            activations_ND: what the SAEs reconstruct, any float type, raw units.
            vary: what a seed decides: `init`, `order`, or both.
            device: torch device of the weights and batches.
            sparse: use the sparse kernels; None where they are the faster way.
            groups_N: activations of one group are held out together.
            agreement: how the live stability curve is measured; None leaves it out.
            precision: `bfloat16` runs the products of the training in it, on float32 weights.
            recorder: how steps are recorded to be replayed; None records on CUDA, and there alone.

        Raises:
            InputError: the activations cannot be trained on.
        """
        self.config, self.training, self.seeds = config, training, tuple(seeds)
        self.batches = Batches(
            activations_ND,
            training,
            seeds=self.seeds,
            vary_order="order" in vary,
            device=torch.device(device),
            groups_N=groups_N,
        )
        if recorder is None and self.batches.device.type == "cuda":
            recorder = CudaRecorder()
        self.graphs = None if recorder is None else StepGraphs(recorder)
        init_seeds = self.seeds if "init" in vary else (training.init_seed,) * len(self.seeds)
        self.start = initial_weights(config, training, init_seeds, self.batches)
        half = precision == "bfloat16"
        # Sparse kernels have no half precision, and a recorded step must not ask for values.
        self.saes = self._make_saes(False if half or recorder is not None else sparse)
        self.saes.half = half
        self.optimizer = self._make_optimizer(recorded=recorder is not None)
        self.dead = DeadTracker(
            len(self.seeds), config.d_sae, config.dead.after_tokens, self.batches.device
        )
        self.freeze = Freeze(self.saes.weights, self.seeds)
        self.watch = Watch(config, self.seeds, self.steps)
        self.agreement = agreement
        nan_S = torch.full((len(self.seeds),), torch.nan, device=self.batches.device)
        self._train_loss_S, self._aux_S = nan_S, torch.zeros_like(nan_S)

    def _make_saes(self, sparse: bool | None) -> Architecture:
        device = self.batches.device
        weights = self.start.map(lambda tensor: tensor.clone().to(device))
        saes = make_architecture(self.config, weights, sparse, self.steps)
        saes.pinned_PD = pinned_rows(self.config, self.training, self.batches).to(device)
        return saes

    def _make_optimizer(self, recorded: bool) -> torch.optim.Adam:
        training = self.training
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in self.saes.parameters().items():
            factor = self.saes.lr_factors.get(name, 1.0)
            groups.setdefault(factor, []).append(parameter.requires_grad_())
        device = self.batches.device
        rate: float | Tensor = torch.tensor(training.lr, device=device) if recorded else training.lr
        return torch.optim.Adam(
            [
                {
                    "params": group,
                    "factor": factor,
                    "lr": rate.clone() if isinstance(rate, Tensor) else rate,
                }
                for factor, group in groups.items()
            ],
            betas=training.betas,
            fused=True,
            capturable=device.type == "cuda" and recorded,
        )

    @property
    def _asks(self) -> bool:
        """Whether steps ask the device for values: an accelerator's host would wait, a recording fails."""
        return self.graphs is None and self.batches.device.type == "cpu"

    @property
    def steps(self) -> int:
        """Steps of the whole training: `epochs` passes over the training part."""
        return self.batches.steps

    def step(self, index: int) -> None:
        """Do one optimizer step for every seed that is not frozen."""
        if self.freeze.all():
            return
        x_SBD = self.batches.batch(index)
        self._set_rate(index)
        if self.graphs is not None and self.freeze.none() and not self._joined(index):
            kind = (self.saes.constants_at(index), self.dead.possible())
            outcome = self.graphs.run(kind, x_SBD, lambda x: self._work(x, index))
        else:
            outcome = self._work(x_SBD, index)
        self.freeze.note(outcome.total, index)
        self.dead.update(outcome.mass, x_SBD.shape[1])
        self._resample(index)
        self._train_loss_S, self._aux_S = outcome.loss, outcome.revival

    def _work(self, x_SBD: Tensor, index: int) -> Outcome:
        """Move the weights once."""
        done = self.saes.forward(x_SBD, index)
        loss_S = done.error + done.penalty
        revival = self._revival(x_SBD, done)
        total_S = loss_S + revival.weight * revival.loss
        # Only seeds that a loss joins can harm each other; the others are settled when they are measured.
        if self._asks or self._joined(index):
            self.freeze.note(total_S.detach(), index)
            self.freeze.settle(self.optimizer)
        objective_S = total_S
        if self._joined(index):
            objective_S = total_S + self.batches.spread * stability_loss(
                self.config.stability,
                self.saes.weights.W_dec,
                ~self.dead.dead(),
                self.freeze.sound(),
                index,
            )
        self.optimizer.zero_grad()
        torch.autograd.backward(objective_S.sum())
        if revival.add_gradients is not None:
            revival.add_gradients(revival.weight)
        self._descend(index)
        return Outcome(total_S.detach(), loss_S.detach(), revival.loss.detach(), done.mass)

    def _joined(self, index: int) -> bool:
        options = self.config.stability
        wanted = options.consistency > 0 or options.orthogonality > 0
        return wanted and index >= options.start * self.steps

    def _revival(self, x_SBD: Tensor, done: Pass) -> Revival:
        """Return what brings dead latents back."""
        dead, weights = self.config.dead, self.saes.weights
        if not self.dead.possible():
            return Revival(done.penalty.new_zeros(len(self.seeds)))
        if dead.method == "ghost":
            dead_SF = self.dead.dead()
            loss_S = ghost_loss(
                x_SBD, done.reconstruction, weights, dead_SF, done.error, self._asks
            )
            return Revival(loss_S, 1.0)
        if dead.method != "auxk" or not dead.coefficient:
            return Revival(done.penalty.new_zeros(len(self.seeds)))
        found = auxk_loss(
            x_SBD,
            done.reconstruction,
            done.pre,
            weights,
            self.dead.dead(),
            dead.auxk or max(1, self.batches.width // 2),
            self.saes.sparse,
            self._asks,
        )
        # The coefficient is meant for errors in units of the data's variance; the loss is not.
        return replace(found, weight=dead.coefficient * self.batches.spread)

    def _set_rate(self, index: int) -> None:
        training = self.training
        rate = learning_rate(
            index,
            steps=self.steps,
            peak=training.lr,
            warmup=training.warmup_steps,
            schedule=training.schedule,
        )
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * group["factor"])  # a recorded step reads it there
            else:
                group["lr"] = rate * group["factor"]

    def _descend(self, index: int) -> None:
        self.freeze.silence(self.saes.parameters())
        self.saes.before_step()
        if self.training.clip_norm is not None:
            clip_gradients(self.saes.parameters(), self.training.clip_norm)
        self.optimizer.step()
        self.saes.after_step(index)
        self.freeze.hold(self.saes.weights)

    def _resample(self, index: int) -> None:
        dead, done = self.config.dead, index + 1
        every = dead.every or max(1, round(RESAMPLINGS * self.steps))
        if dead.method != "resample" or done % every or done > dead.until * self.steps:
            return
        self._settle()
        dead_SF = self.dead.dead() & self.freeze.sound().unsqueeze(1)
        resample(self.saes, self.start, self.optimizer, self.batches, dead_SF, self.seeds, index)
        self.dead.revive(dead_SF)

    def measure(self, done: int) -> Mapping[str, Value]:
        """Return the curves' values, one per seed; NaN for a frozen one.

        `loss`, `explained_variance` and `l0` are of up to 1,024 held-out inputs (`loss` is squared error and
        penalty at full strength), `train_loss` and `aux_loss` (what brings dead latents back) of the last
        batch, `dead_fraction` of the training inputs: the share of latents silent for `after_tokens`.
        `mean_max_cos`, every `stability_every` steps, is how far a seed agrees with the others.
        """
        self._settle()
        quality = measure_quality(self.saes, self.batches.chunks(self.batches.held_out[:CHUNK]))
        loss = self._held_out_loss(quality)
        self._judge(loss, done)
        values: dict[str, list[float]] = {
            "loss": loss,
            "explained_variance": quality.explained_variance,
            "l0": quality.l0,
            "dead_fraction": self.dead.dead().float().mean(1).tolist(),
            "train_loss": self._train_loss_S.tolist(),
            "aux_loss": self._aux_S.tolist(),
        }
        if self.agreement is not None and self._agreement_due(done):
            values["mean_max_cos"] = self._agree(self.agreement)
        sound = self.freeze.sound().tolist()
        self.freeze.keep(self.saes.weights, done)
        return {
            name: [v if ok else math.nan for v, ok in zip(row, sound, strict=True)]
            for name, row in values.items()
        }

    def _settle(self) -> None:
        self.freeze.settle(self.optimizer)
        self.freeze.hold(self.saes.weights)

    def _judge(self, loss: list[float], step: int) -> None:
        """Freeze seeds that the last step spoiled; the loss of the next one would tell too late."""
        loss_S = torch.tensor(loss, device=self.batches.device)
        intact_S = intact(self.saes.weights, len(self.saes.pinned_PD))
        self.freeze.note(loss_S.where(intact_S, torch.nan), step)
        self._settle()

    def _agreement_due(self, done: int) -> bool:
        every, between = self.training.stability_every, self.training.measure_every
        if not every:
            return False
        return done in (0, self.steps) or done // every > (done - between) // every

    def _agree(self, agreement: Agreement) -> list[float]:
        places = self.freeze.sound().nonzero().view(-1)
        found = [math.nan] * len(self.seeds)
        if len(places) > 1:
            rows_SFD = self.saes.weights.W_dec.detach()[places]
            for place, value in zip(
                places.tolist(), agreement(rows_SFD, ~self.dead.dead()[places]), strict=True
            ):
                found[place] = value
        return found

    def flags(self, done: int, values: Mapping[str, Value]) -> list[Flag]:
        """Return the red flags that these values raise for the first time, and seeds frozen since."""
        return [*self.freeze.tell(), *self.watch.look(done, values)]

    def _held_out_loss(self, quality: Quality) -> list[float]:
        return [
            error + self.saes.held_out_penalty(l0, l1)
            for error, l0, l1 in zip(quality.squared_error, quality.l0, quality.l1, strict=True)
        ]

    def finished(self, done: int) -> bool:
        """Return False: a cohort uses its whole budget."""
        del done
        return False

    def state(self) -> tuple[dict[str, Tensor], Scalars]:
        """Return weights, moments, counters, last losses and last good states."""
        self._settle()
        frozen_tensors, frozen_scalars = self.freeze.state()
        tensors = {
            **self.saes.weights.named(),
            **self.saes.schedule_state(),
            **optimizer_tensors(self.optimizer),
            **frozen_tensors,
            "since_fired": self.dead.since_SF,
            "train_loss": self._train_loss_S,
            "aux_loss": self._aux_S,
        }
        scalars = {"seeds": list(self.seeds), "seen": self.dead.seen, "watch": self.watch.state()}
        return tensors, {**scalars, **frozen_scalars}

    def restore(self, tensors: Mapping[str, Tensor], scalars: Scalars) -> None:
        """Take back what `state` returned."""
        device = self.batches.device
        with torch.no_grad():
            kept = {**self.saes.weights.named(), **self.saes.schedule_state()}
            for name, tensor in kept.items():
                tensor.copy_(tensors[name])
        restore_optimizer(self.optimizer, tensors)
        self.freeze.restore(tensors, scalars)
        self.watch.restore(scalars["watch"])
        self.dead.since_SF.copy_(tensors["since_fired"])
        self.dead.seen = int(scalars["seen"])
        self._train_loss_S = tensors["train_loss"].to(device)
        self._aux_S = tensors["aux_loss"].to(device)

    def quality(self) -> Quality:
        """Return the final figures of each seed on the whole held-out part; a seed that they show to have
        diverged is frozen."""
        self._settle()
        quality = measure_quality(self.saes, self.batches.chunks(self.batches.held_out))
        self._judge(self._held_out_loss(quality), self.steps)
        return quality

    def fires(self) -> tuple[Tensor, int]:
        """Return on how many of all activations each latent fires, int64 [S, F], of how many."""
        return count_fires(self.saes, self.batches.chunks(torch.arange(self.batches.inputs)))


@torch.no_grad()
def clip_gradients(parameters: Mapping[str, Tensor], limit: float) -> None:
    """Scale the gradients of each seed so that their common norm is at most `limit`, in place."""
    grads = [p.grad for p in parameters.values() if p.grad is not None]
    norms_S = torch.stack([torch.linalg.vector_norm(grad.flatten(1), dim=1) for grad in grads])
    factor_S = (limit / torch.linalg.vector_norm(norms_S, dim=0).clamp_min(1e-12)).clamp_max(1.0)
    for grad in grads:
        grad.mul_(factor_S.view(-1, *[1] * (grad.ndim - 1)))
