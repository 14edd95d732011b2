"""Stage `subject`: make what SAEs are trained on, and check that it is what it is taken for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.errors import JobFailed
from engine.metrics import fourier
from engine.metrics.gates import (
    ACCURACY,
    DELAY,
    EXCLUDED_SHARE,
    RESTRICTED_SHARE,
    Evaluation,
    Gate,
    GateReport,
    first_crossing,
    fourier_gate,
    grokking_gate,
    leakage_gate,
    losses_gate,
)
from engine.stages.artifacts import WEIGHTS
from engine.stages.context import Context, Result
from engine.stages.external import check_files
from engine.study.subject import Modular, Planted
from engine.subjects.arithmetic import Problem
from engine.subjects.modular import Grokking
from engine.subjects.planted import make_planted, save_planted
from engine.subjects.reader import read_hooks
from engine.subjects.transformer import (
    Bridge,
    activations,
    bridge_logits,
    embedding,
    network,
    save_weights,
    token_embedding,
)
from engine.training import checkpoint_rule, train


def run(context: Context) -> Result:
    """Train the transformer of a `modular` subject, make the data of a `planted` one, or check the files of an
    `external` one.

    Raises:
        GateFailed: the answer can be read off the tokens (G0); nothing was trained. With `gates: warn`
            training goes on and the failure stays in the result.
    """
    if context.config["kind"] == "planted":
        return _plant(context)
    if context.config["kind"] == "external":
        return check_files(context)
    return _grok(context)


def _plant(context: Context) -> Result:
    config = Planted.model_validate(context.config, strict=False)
    data = make_planted(config)
    save_planted(context.run.begin_artifacts(), data)
    return {
        "kind": "planted",
        "generator": config.generator,
        "samples": config.samples,
        "d_in": config.d_in,
        "features": len(data.features),
        "l0": data.l0(),
        "digests": data.digests(),
    }


def _grok(context: Context) -> Result:
    config = Modular.model_validate(context.config, strict=False)
    p, device = config.modulus, context.device
    structure = Structure(config, device)
    task = Grokking(
        config, progress=structure.measure, confirmed=structure.confirmed, device=device
    )
    structure.train_PP = train_mask(task.problem)
    before = check_leakage(config, task.problem, task.model)
    if context.policy.get("gates") == "enforce":
        GateReport((before,)).require()
    training = config.training
    steps = train(
        task,
        context.run,
        steps=training.steps,
        measure_every=training.measure_every,
        checkpoint=checkpoint_rule(training.checkpoint_every, warmup=0),
        stop=context.stop,
    )
    check_reader(config, task)
    report = check(config, task, budget=training.steps)
    save_weights(task.model, context.run.begin_artifacts() / WEIGHTS)
    grid_PPP, W_E_PD = task.grid().cpu(), embedding(task.model, p).cpu()
    keys = fourier.key_frequencies(grid_PPP, task=config.task)
    most = fourier.most_keys(p)
    last = task.rows[-1]
    return {
        "kind": "modular",
        "modulus": p,
        "task": config.task,
        "tokens": config.tokens,
        "position": config.position,
        "layers": config.transformer.layers,
        "steps": steps,
        "gates": report.to_json(),
        **{name: value for name, value in last.items() if name.endswith(("_accuracy", "_loss"))},
        "key_frequencies": list(keys.ks[:most]),
        "fve": fourier.fve(grid_PPP, keys.ks[:most], config.task),
        "embedding_gini": last["embedding_gini"],
        "grokked": _crossings(evaluations(task.rows)),
        "spectrum": _spectrum(grid_PPP, W_E_PD, config, keys.ks[:most]),
    }


SAMPLED_PAIRS = 256
READER_TOLERANCE = 1e-4
"""Largest difference, relative to the largest activation, that is still float32 noise."""


class Structure:
    """Measures Fourier structure for the curves and tells when the gates hold."""

    def __init__(self, config: Modular, device: str) -> None:
        self._config, self._device = config, device
        self.train_PP: Tensor | None = None

    def measure(self, grid_PPP: Tensor, W_E_PD: Tensor) -> Mapping[str, float]:
        """Return restricted and excluded loss, key frequencies, Gini (`engine.metrics.fourier.progress`)."""
        assert self.train_PP is not None, "the split is set before training starts"
        answers = grid_PPP[..., : self._config.modulus].cpu()
        return fourier.progress(answers, W_E_PD.cpu(), self.train_PP, task=self._config.task)

    def confirmed(self, rows: Sequence[Mapping[str, float]]) -> bool:
        """Return whether what G1, G2 and G3 ask for holds in the newest row."""
        history, last = evaluations(rows), rows[-1]
        t1 = first_crossing(history, "train_accuracy", ACCURACY).high
        t2 = first_crossing(history, "test_accuracy", ACCURACY)
        uniform = math.log(self._config.modulus)
        return (
            t2.low >= DELAY * t1
            and math.isfinite(t2.high)
            and min(last["train_accuracy"], last["test_accuracy"]) >= ACCURACY
            and 1 <= last["key_count"] <= fourier.most_keys(self._config.modulus)
            and last["restricted_test_loss"] <= RESTRICTED_SHARE * uniform
            and last["excluded_loss"] >= EXCLUDED_SHARE * uniform
        )


def train_mask(problem: Problem) -> Tensor:
    """Return which pairs are trained on, bool [p, p]."""
    mask_N = torch.zeros(problem.modulus**2, dtype=torch.bool)
    mask_N[problem.split.train] = True
    return mask_N.view(problem.modulus, problem.modulus)


def evaluations(rows: Sequence[Mapping[str, float]]) -> list[Evaluation]:
    """Return the accuracies of a training's rows."""
    return [Evaluation(int(r["step"]), r["train_accuracy"], r["test_accuracy"]) for r in rows]


def check_leakage(
    config: Modular,
    problem: Problem,
    model: Bridge,
    history: Sequence[Evaluation] = (),
    budget: int = 0,
) -> Gate:
    """Return gate G0; without a history it says what can be said before training."""
    at = problem.read_index
    return leakage_gate(
        problem.tokens_NT,
        at,
        problem.answers_N,
        lambda tokens_NT: bridge_logits(model, tokens_NT, at),
        token_embedding(model),
        p=config.modulus,
        history=history,
        budget=budget,
    )


def check_reader(config: Modular, task: Grokking) -> None:
    """Compare what activations and splices are read with (`subjects.reader`) with TransformerLens' own hooks,
    on some pairs and the trained weights.

    Raises:
        JobFailed: they differ by more than float32 noise; nothing built on them could be trusted.
    """
    rows = torch.linspace(0, config.modulus**2 - 1, SAMPLED_PAIRS).long()
    tokens_NT, at = task.problem.tokens_NT[rows].to(task.device), task.problem.read_index
    hooks = list(config.hooks())
    expected = activations(task.model, tokens_NT, hooks, at)
    for hook, found in read_hooks(network(task.model), tokens_NT, hooks, at).items():
        difference = float((found - expected[hook]).abs().max())
        if difference > READER_TOLERANCE * float(expected[hook].abs().max()):
            raise JobFailed(
                f"activations at {hook} differ from TransformerLens' by {difference:.3g}: a bug"
            )


def check(config: Modular, task: Grokking, budget: int) -> GateReport:
    """Return gates G0 to G3 of a trained transformer, on its final weights."""
    history, split = evaluations(task.rows), task.problem.split
    grid_PPP = task.grid()[..., : config.modulus].cpu()
    W_E_PD = embedding(task.model, config.modulus).cpu()
    return GateReport(
        (
            check_leakage(config, task.problem, task.model, history, budget),
            grokking_gate(history, split.train, split.test),
            fourier_gate(grid_PPP, W_E_PD, config.task),
            losses_gate(grid_PPP, train_mask(task.problem), task=config.task),
        )
    )


def _crossings(history: Sequence[Evaluation]) -> dict[str, list[int | None]]:
    """Return between which evaluations train and test accuracy reached .99; null is never."""
    found: dict[str, list[int | None]] = {}
    for name in ("train", "test"):
        interval = first_crossing(history, f"{name}_accuracy", ACCURACY)
        reached = int(interval.high) if math.isfinite(interval.high) else None
        found[name] = [int(interval.low), reached]
    return found


def _spectrum(
    grid_PPP: Tensor, W_E_PD: Tensor, config: Modular, keys: Sequence[int]
) -> dict[str, Any]:
    """Return the share of each frequency in the logits' variance and in the embedding's power."""
    count = len(fourier.frequency_coefficients(grid_PPP, config.task))
    power = fourier.embedding_spectrum(W_E_PD, config.task)
    return {
        "frequencies": list(range(1, count + 1)),
        "logits": [fourier.fve(grid_PPP, [k], config.task) for k in range(1, count + 1)],
        "embedding": (power / power.sum()).tolist(),
        "keys": list(keys),
    }
