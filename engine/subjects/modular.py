"""Training the transformer until it groks, as a task of the resumable loop.

The loss is the cross-entropy in float64 at the read position: in float32 the gradients of a
memorised set vanish by rounding, long before the network groks. What a measurement says about
structure, and when grokking counts as confirmed, is told by two callables, so that this module
knows no metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.disk.curves import Flag, Value
from engine.errors import Diverged
from engine.study.subject import Modular
from engine.subjects.arithmetic import Problem, make_problem
from engine.subjects.reader import Reader
from engine.subjects.transformer import Bridge, embedding, make_transformer, network, weights
from engine.training import (
    BatchOrder,
    Scalars,
    learning_rate,
    optimizer_tensors,
    restore_optimizer,
)

Row = dict[str, float]
"""One measurement: `step`, `train_loss`, `train_accuracy`, … and what `progress` returned."""

Progress = Callable[[Tensor, Tensor], Mapping[str, float]]
"""Given the logits of all pairs [p, p, p] and the embedding of the numbers [p, D], float32, returns
named values for the curves; names that a row already has are ignored."""

Confirmed = Callable[[Sequence[Row]], bool]
"""Given all rows so far, the newest last, returns whether grokking is confirmed by them."""


class Grokking:
    """A transformer, its optimizer and its history; `engine.training.train` drives it."""

    def __init__(
        self,
        config: Modular,
        *,
        progress: Progress | None = None,
        confirmed: Confirmed | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """Start from fresh weights.

        Args:
            config: problem, transformer and training.
            progress: further values for each row, such as the Fourier structure.
            confirmed: asked after each measurement; without it training never ends early.
            device: where to compute.

        Raises:
            InputError: the split leaves no training or no test pair.
        """
        self.config, self._progress, self._confirmed = config, progress, confirmed
        self.problem: Problem = make_problem(config)
        self.device = torch.device(device)
        self.model: Bridge = make_transformer(config, device)
        self._reader = Reader(
            network(self.model), self.problem.tokens_NT.to(device), self.problem.read_index
        )
        self._answers_N = self.problem.answers_N.to(device)
        settings = config.training
        self._optimizer = torch.optim.AdamW(
            [weight for weight in weights(self.model).values() if weight.requires_grad],
            lr=settings.lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._order = BatchOrder(
            len(self.problem.split.train), settings.batch_size, settings.data_order_seed
        )
        self._rows: list[Row] = []
        self._confirmed_since: int | None = None

    @property
    def rows(self) -> Sequence[Row]:
        """All measurements so far, the oldest first, those before a resumption included."""
        return self._rows

    @property
    def confirmed_since(self) -> int | None:
        """The step from which on every measurement confirmed grokking; None if the last did not."""
        return self._confirmed_since

    def step(self, index: int) -> None:
        """Do one step of AdamW on one batch of training pairs.

        Raises:
            Diverged: the loss is not finite; the weights are left as they were.
        """
        settings = self.config.training
        rate = learning_rate(
            index,
            steps=settings.steps,
            peak=settings.lr,
            warmup=settings.warmup_steps,
            schedule=settings.schedule,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        rows_B = self.problem.split.train[self._order.batch(index)].to(self._answers_N.device)
        loss = F.cross_entropy(self._reader.logits(rows_B).double(), self._answers_N[rows_B])
        require_finite(loss.item(), index)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()

    def grid(self) -> Tensor:
        """Return the logits of every pair, [p, p, p] by (a, b, answer), detached."""
        p = self.problem.modulus
        with torch.no_grad():
            return self._reader.all_logits().reshape(p, p, p)

    def measure(self, done: int) -> Row:
        """Return loss and accuracy of each part of the split, and what `progress` adds.

        Losses are in nats. Parts without a pair have no entry.

        Raises:
            Diverged: the loss of the training pairs is not finite.
        """
        grid_PPP = self.grid()
        logits_NC = grid_PPP.flatten(0, 1)
        losses_N = F.cross_entropy(logits_NC.double(), self._answers_N, reduction="none").cpu()
        right_N = (logits_NC.argmax(1) == self._answers_N).double().cpu()
        split = self.problem.split
        values: Row = {}
        for name, rows in (
            ("train", split.train),
            ("validation", split.validation),
            ("test", split.test),
        ):
            if len(rows):
                values[f"{name}_loss"] = float(losses_N[rows].mean())
                values[f"{name}_accuracy"] = float(right_N[rows].mean())
        require_finite(values["train_loss"], done)
        if self._progress is not None:
            found = self._progress(grid_PPP, embedding(self.model, self.problem.modulus))
            values = {**found, **values}
        # A run that was stopped before its first step is measured there again.
        self._rows = [row for row in self._rows if row["step"] < done]
        self._rows.append({"step": float(done), **values})
        return values

    def flags(self, done: int, values: Mapping[str, Value]) -> Sequence[Flag]:
        """Return nothing: what may be wrong with a subject, its gates say."""
        del done, values
        return ()

    def finished(self, done: int) -> bool:
        """Return whether every measurement of the last `settle` steps confirmed grokking.

        Never true unless it is confirmed now.
        """
        stopping = self.config.training.early_stopping
        if not stopping.enabled or self._confirmed is None or not self._confirmed(self._rows):
            self._confirmed_since = None
            return False
        if self._confirmed_since is None:
            self._confirmed_since = done
        return done - self._confirmed_since >= stopping.settle

    def state(self) -> tuple[dict[str, Tensor], Scalars]:
        """Return weights, moments and history; the batches and rates follow from the step."""
        tensors: dict[str, Tensor] = {
            f"weights.{name}": weight for name, weight in weights(self.model).items()
        }
        tensors |= optimizer_tensors(self._optimizer)
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        # As a tensor, because JSON has no NaN and the values must return bit by bit.
        table = [[row.get(name, math.nan) for name in columns] for row in self._rows]
        history_RC = torch.tensor(table, dtype=torch.float64).reshape(len(table), len(columns))
        scalars = {"columns": columns, "confirmed_since": self._confirmed_since}
        return {**tensors, "history": history_RC}, scalars

    def restore(self, tensors: Mapping[str, Tensor], scalars: Scalars) -> None:
        """Take back what `state` returned."""
        with torch.no_grad():
            for name, weight in weights(self.model).items():
                weight.copy_(tensors[f"weights.{name}"])
        restore_optimizer(self._optimizer, tensors)
        columns = scalars["columns"]
        self._rows = [dict(zip(columns, row, strict=True)) for row in tensors["history"].tolist()]
        self._confirmed_since = scalars["confirmed_since"]


def require_finite(loss: float, step: int) -> None:
    """Raise Diverged naming the step if a loss is not finite."""
    if not math.isfinite(loss):
        raise Diverged(f"the loss of the transformer is {loss} at step {step}: lower training.lr")
