"""A cohort: SAEs of one setting and several seeds, trained at once on one stream of batches.

Shapes: S seeds, N activations, B inputs of a batch, D width, F latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.disk.curves import Value
from engine.errors import Diverged
from engine.saes.architectures import Pass, initial_weights, make_architecture
from engine.saes.batches import CHUNK, Batches
from engine.saes.dead import DeadTracker, auxk_loss
from engine.saes.quality import Quality, count_fires, measure_quality
from engine.study.sae import Sae, SaeTraining, TopK
from engine.training import Scalars, learning_rate, optimizer_tensors, restore_optimizer


class Cohort:
    """What `engine.training.train` drives for SAEs: all seeds step together, each as if alone.

    Seeds share nothing but the batches: their losses are summed, so the gradient of one does not
    see the others, and Adam is elementwise.
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
    ) -> None:
        """Prepare the data and the initial weights.

        Args:
            config: architecture and size.
            training: optimisation, split, normalisation.
            seeds: one SAE for each.
            activations_ND: what the SAEs reconstruct, any float type, raw units.
            vary: what a seed decides: `init`, `order`, or both.
            device: torch device of the weights and batches.
            sparse: use the sparse kernels; None where the device has them.
            groups_N: activations of one group are held out together.

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
        init_seeds = self.seeds if "init" in vary else (training.init_seed,) * len(self.seeds)
        weights = initial_weights(init_seeds, config.d_sae, self.batches.width)
        for name, tensor in weights.named().items():
            setattr(weights, name, tensor.to(self.batches.device).requires_grad_())
        self.saes = make_architecture(config, weights, sparse)
        self.optimizer = torch.optim.Adam(
            self.saes.parameters(), lr=training.lr, betas=training.betas, fused=True
        )
        self.auxk = (
            config.dead.auxk or max(1, self.batches.width // 2) if isinstance(config, TopK) else 0
        )
        self.coefficient = config.dead.coefficient if isinstance(config, TopK) else 0.0
        after = config.dead.after_tokens if isinstance(config, TopK) else config.dead_after_tokens
        self.dead = DeadTracker(len(self.seeds), config.d_sae, after, self.batches.device)
        nan_S = torch.full((len(self.seeds),), torch.nan, device=self.batches.device)
        self._train_loss_S, self._aux_S = nan_S, torch.zeros_like(nan_S)
        self._diverged_S = torch.full_like(nan_S, -1, dtype=torch.int64)

    @property
    def steps(self) -> int:
        """Steps of the whole training: `epochs` passes over the training part."""
        return self.batches.steps

    def step(self, index: int) -> None:
        """Do one optimizer step for every seed."""
        x_SBD = self.batches.batch(index)
        done = self.saes.forward(x_SBD, index)
        error_S = (x_SBD - done.reconstruction).square().sum((1, 2)) / x_SBD.shape[1]
        loss_S = error_S + done.penalty
        aux_S = self._auxk(x_SBD, done)
        self.optimizer.zero_grad()
        # The coefficient is meant for errors in units of the data's variance; `loss` is not.
        weight = self.coefficient * self.batches.spread
        torch.autograd.backward((loss_S + weight * aux_S).sum())
        self._descend(index)
        self.dead.update(done.mass, x_SBD.shape[1])
        self._train_loss_S, self._aux_S = loss_S.detach(), aux_S.detach()
        bad_S = ~torch.isfinite(self._train_loss_S + self._aux_S) & (self._diverged_S < 0)
        self._diverged_S = torch.where(bad_S, index, self._diverged_S)

    def _auxk(self, x_SBD: Tensor, done: Pass) -> Tensor:
        if not self.coefficient or not self.dead.possible():
            return done.penalty.new_zeros(len(self.seeds))
        return auxk_loss(
            x_SBD,
            done.reconstruction,
            done.pre,
            self.saes.weights,
            self.dead.dead(),
            self.auxk,
            self.saes.sparse,
        )

    def _descend(self, index: int) -> None:
        training = self.training
        self.optimizer.param_groups[0]["lr"] = learning_rate(
            index,
            steps=self.steps,
            peak=training.lr,
            warmup=training.warmup_steps,
            schedule=training.schedule,
        )
        self.saes.before_step()
        self.optimizer.step()
        self.saes.after_step()

    def measure(self, done: int) -> Mapping[str, Value]:
        """Return the curves' values, one per seed.

        `loss`, `explained_variance` and `l0` are of up to 1,024 held-out inputs (`loss` is the
        objective without AuxK and warm-up), `train_loss` and `aux_loss` of the last batch,
        `dead_fraction` of the training inputs: the share of latents silent for `after_tokens`.

        Raises:
            Diverged: the loss of a seed was not finite at some step; seed and step are named.
        """
        del done  # the values are of this moment
        self._check_finite()
        quality = measure_quality(self.saes, self.batches.chunks(self.batches.held_out[:CHUNK]))
        return {
            "loss": self._objective(quality),
            "explained_variance": quality.explained_variance,
            "l0": quality.l0,
            "dead_fraction": self.dead.dead().float().mean(1).tolist(),
            "train_loss": self._train_loss_S.tolist(),
            "aux_loss": self._aux_S.tolist(),
        }

    def _objective(self, quality: Quality) -> list[float]:
        l1 = 0.0 if isinstance(self.config, TopK) else self.config.l1
        return [e + l1 * n for e, n in zip(quality.squared_error, quality.l1, strict=True)]

    def _check_finite(self) -> None:
        for seed, step in zip(self.seeds, self._diverged_S.tolist(), strict=True):
            if step >= 0:
                raise Diverged(f"seed {seed}: the loss is not finite at step {step}")

    def finished(self, done: int) -> bool:
        """Return False: a cohort uses its whole budget."""
        del done
        return False

    def state(self) -> tuple[dict[str, Tensor], Scalars]:
        """Return weights, moments, counters and last losses; a diverged cohort is never saved.

        Raises:
            Diverged: the loss of a seed was not finite.
        """
        self._check_finite()
        tensors = {
            **self.saes.weights.named(),
            **optimizer_tensors(self.optimizer),
            "since_fired": self.dead.since_SF,
            "train_loss": self._train_loss_S,
            "aux_loss": self._aux_S,
        }
        return tensors, {"seeds": list(self.seeds), "seen": self.dead.seen}

    def restore(self, tensors: Mapping[str, Tensor], scalars: Scalars) -> None:
        """Take back what `state` returned."""
        device = self.batches.device
        with torch.no_grad():
            for name, parameter in self.saes.weights.named().items():
                parameter.copy_(tensors[name])
        restore_optimizer(self.optimizer, tensors)
        self.dead.since_SF.copy_(tensors["since_fired"])
        self.dead.seen = int(scalars["seen"])
        self._train_loss_S = tensors["train_loss"].to(device)
        self._aux_S = tensors["aux_loss"].to(device)

    def quality(self) -> Quality:
        """Return the final figures of each seed on the whole held-out part.

        Raises:
            Diverged: the loss of a seed was not finite.
        """
        self._check_finite()
        return measure_quality(self.saes, self.batches.chunks(self.batches.held_out))

    def fires(self) -> tuple[Tensor, int]:
        """Return on how many of all activations each latent fires, int64 [S, F], of how many."""
        return count_fires(self.saes, self.batches.chunks(torch.arange(self.batches.inputs)))
