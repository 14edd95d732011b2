"""Gates: what must hold of a modular-arithmetic model before SAEs are trained on it.

    G0 leakage    the answer is computed, not read off a token     leakage_gate
    G1 grokked    memorised first, generalised later, and stayed   grokking_gate
    G2 fourier    few frequencies explain the logits               fourier_gate
    G3 losses     those frequencies carry the answers              losses_gate

Definitions: science.md §4. The numbers are conventions: a clock passes; memorised, random and
leaking models fail.

Shapes: N examples, T positions, V vocabulary, D width, P numbers (the modulus).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from engine.errors import GateFailed, InputError
from engine.metrics import fourier

Evidence: TypeAlias = float | int | bool | str | tuple[float, ...] | tuple[int, ...] | None

ACCURACY = 0.99
"""Accuracy from which a split counts as learnt."""
ALARM_ACCURACY = 0.9
"""Test accuracy that must not come before the training set is learnt."""
ALARM_FRACTION = 0.02
"""... nor within this share of the budget: the original system "grokked" at epoch 2."""
DELAY = 2.0
"""Generalisation must come at least this many times later than memorisation."""
SUSTAINED = 0.05
"""Final share of the steps in which both accuracies must hold."""
LEAST_PAIRS = 100
"""Test pairs below which an accuracy of .99 says too little."""
LEAK_FACTOR = 2.0
"""A probe may reach this many times the commonest answer's share (1/p when balanced)."""
LOGIT_TOLERANCE = 1e-4
"""Largest change of a logit, relative to the largest logit, that is still float32 noise."""
RESTRICTED_SHARE = 0.1
"""Restricted test loss, as a share of ln p; a memorised or random model stays near or above 1."""
EXCLUDED_SHARE = 0.5
"""Excluded train loss, as a share of ln p. A clock loses everything (1.0); half allows for the 5 %
of variance in minor frequencies; a model that still knows its training pairs by heart keeps ~0."""

_PERTURBED = 512
_RIDGE = 1e-6


@dataclass(frozen=True)
class Gate:
    """One check: whether it passed, what was measured, and if it failed: seen and wanted."""

    name: str
    title: str
    passed: bool
    evidence: Mapping[str, Evidence]
    reason: str = ""


@dataclass(frozen=True)
class GateReport:
    """The gates of one subject, in order."""

    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether there are gates and none failed."""
        return bool(self.gates) and not self.failures

    @property
    def failures(self) -> tuple[Gate, ...]:
        """The gates that did not pass."""
        return tuple(gate for gate in self.gates if not gate.passed)

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dump`; numbers that are not finite become null."""
        return {
            "passed": self.passed,
            "gates": [
                {
                    "name": gate.name,
                    "title": gate.title,
                    "passed": gate.passed,
                    "evidence": {key: _plain(value) for key, value in gate.evidence.items()},
                    "reason": gate.reason,
                }
                for gate in self.gates
            ],
        }

    def require(self) -> None:
        """Raise `GateFailed` with every reason, unless all gates passed."""
        if not self.passed:
            reasons = "; ".join(
                f"{gate.name} {gate.title}: {gate.reason}" for gate in self.failures
            )
            raise GateFailed(reasons or "no gate was checked")


@dataclass(frozen=True)
class Evaluation:
    """Accuracies of both splits after `step` optimiser steps."""

    step: int
    train_accuracy: float
    test_accuracy: float


@dataclass(frozen=True)
class Interval:
    """A crossing lies after `low` (the evaluation before) and at or before `high`; inf = never."""

    low: float
    high: float


@dataclass
class _Verdict:
    """Collects what was measured and every "seen, wanted" that speaks against passing."""

    evidence: dict[str, Evidence] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def want(self, holds: bool, seen: str, wanted: str) -> None:
        if not holds:
            self.faults.append(f"{seen}, wanted {wanted}")

    def gate(self, name: str, title: str) -> Gate:
        return Gate(name, title, not self.faults, self.evidence, "; ".join(self.faults))


def leakage_gate(
    tokens_NT: Tensor,
    read_pos: int,
    labels_N: Tensor,
    logits_fn: Callable[[Tensor], Tensor],
    W_E_VD: Tensor,
    *,
    p: int,
    history: Sequence[Evaluation] = (),
    budget: int = 0,
    seed: int = 0,
) -> Gate:
    """G0: nothing at or before the read position gives the answer away, and nothing after does.

    `logits_fn` maps tokens [M, T] to the logits at `read_pos` [M, ≥p]. `W_E_VD` is the token
    embedding. Checked: the read token is constant; other later tokens change no logit; neither
    a linear probe on the read token's embedding nor a table of any single visible token predicts
    held-out answers; test accuracy was not high before the training set was learnt nor within
    2 % of the `budget` steps (only with a `history`). Best given the full p² grid of examples.
    """
    pos = _checked_examples(tokens_NT, read_pos, labels_N, W_E_VD, p)
    generator = torch.Generator().manual_seed(seed)
    tokens, labels = tokens_NT.detach().cpu(), labels_N.detach().cpu().long()
    verdict = _Verdict()
    distinct = len(set(tokens[:, pos].tolist()))
    change, largest = _later_token_effect(tokens_NT, pos, logits_fn, W_E_VD.shape[0], generator)
    fit, held = torch.randperm(len(labels), generator=generator).tensor_split(2)
    probe = _probe_accuracy(W_E_VD.detach().cpu()[tokens[:, pos]], labels, fit, held, p)
    tables = [_table_accuracy(tokens[:, t], labels, fit, held, p) for t in range(pos + 1)]
    allowed = LEAK_FACTOR * float(labels.bincount(minlength=p).max()) / len(labels)
    verdict.evidence |= {
        "read_position": pos,
        "read_tokens": distinct,
        "later_positions": tokens.shape[1] - pos - 1,
        "later_token_logit_change": change,
        "probe_accuracy": probe,
        "visible_token_accuracy": max(tables),
        "accuracy_allowed": allowed,
    }
    verdict.want(distinct == 1, f"{distinct} different tokens at the read position", "one")
    bound = LOGIT_TOLERANCE * max(1.0, largest)
    verdict.want(
        change <= bound,
        f"later tokens change logits by {change:.3g}",
        f"at most {bound:.2g}: the model sees past the read position",
    )
    verdict.want(
        probe <= allowed,
        f"the read token's embedding predicts {probe:.1%} of held-out answers",
        f"at most {allowed:.1%}",
    )
    verdict.want(
        max(tables) <= allowed,
        f"the token at position {tables.index(max(tables))} alone predicts {max(tables):.1%}",
        f"at most {allowed:.1%}",
    )
    _alarm(verdict, history, budget)
    return verdict.gate("G0", "leakage")


def grokking_gate(history: Sequence[Evaluation], train_pairs: Tensor, test_pairs: Tensor) -> Gate:
    """G1: train ≥ .99 at t1, test ≥ .99 at t2 ≥ 2·t1, both held over the last 5 % of the steps.

    The pairs are indices a·p+b, [M] each, and must not overlap; at least 100 must be test pairs.
    Crossings are intervals (evaluation before, crossing]; the delay must hold wherever in them
    the crossings were.
    """
    _checked_history(history)
    if not history:
        raise InputError("history", "no evaluation", "rows of step, train and test accuracy")
    verdict = _Verdict()
    shared = int(torch.isin(train_pairs.cpu(), test_pairs.cpu()).sum())
    verdict.want(shared == 0, f"{shared} training pairs are test pairs too", "disjoint splits")
    verdict.want(len(test_pairs) >= LEAST_PAIRS, f"{len(test_pairs)} test pairs", f"{LEAST_PAIRS}")
    t1 = first_crossing(history, "train_accuracy", ACCURACY)
    t2 = first_crossing(history, "test_accuracy", ACCURACY)
    start = (1.0 - SUSTAINED) * history[-1].step
    earliest = DELAY * max(1.0, t1.high)
    final = [row for row in history if row.step >= start]
    lowest = min(min(row.train_accuracy, row.test_accuracy) for row in final)
    verdict.evidence |= {
        "t_train": (t1.low, t1.high),
        "t_test": (t2.low, t2.high),
        "delay": DELAY * t2.high / earliest if math.isfinite(t2.high) else math.inf,
        "final_evaluations": len(final),
        "final_lowest_accuracy": lowest,
        "shared_pairs": shared,
    }
    for split, t in (("train", t1), ("test", t2)):
        best = max(getattr(row, f"{split}_accuracy") for row in history)
        verdict.want(t.high < math.inf, f"{split} accuracy never above {best:.3f}", f"{ACCURACY}")
    if max(t1.high, t2.high) < math.inf:
        verdict.want(
            t2.low >= earliest,
            f"test learnt in steps {t2.low:g} to {t2.high:g}, train by {t1.high:g}",
            f"test after step {earliest:g}",
        )
        verdict.want(
            t2.high <= start and lowest >= ACCURACY,
            f"accuracy {lowest:.3f} in the last {SUSTAINED:.0%} of steps (crossed at {t2.high:g})",
            f"{ACCURACY} throughout steps {start:g} to {history[-1].step}",
        )
    return verdict.gate("G1", "grokked")


def fourier_gate(L_PPP: Tensor, W_E_PD: Tensor, task: fourier.Task = "add") -> Gate:
    """G2: few frequencies (`fourier.most_keys`) explain 95 % of the logits' variance [p, p, p].

    The Gini index of the embedding's frequency powers is reported, not judged: its null is
    .049 for Gaussian embeddings of width 128 at p = 113.
    """
    keys = fourier.key_frequencies(L_PPP, task=task)
    most = fourier.most_keys(L_PPP.shape[0])
    chosen = keys.ks[:most]
    explained = fourier.fve(L_PPP, chosen, task)
    alpha = fourier.frequency_coefficients(L_PPP, task)
    verdict = _Verdict()
    verdict.evidence |= {
        "key_frequencies": chosen,
        "key_count": len(keys.ks) if keys.reached else None,
        "alpha": tuple(float(alpha[k - 1]) for k in chosen),
        "fve": explained,
        "fve_all": fourier.fve(L_PPP, range(1, len(alpha) + 1), task),
        "embedding_gini": fourier.gini(fourier.embedding_spectrum(W_E_PD, task)),
    }
    verdict.want(
        keys.reached and len(keys.ks) <= most,
        f"the {len(chosen)} strongest frequencies explain {explained:.3f} of the logits",
        f"at least {fourier.FVE_THRESHOLD} with at most {most}",
    )
    return verdict.gate("G2", "fourier")


def losses_gate(
    L_PPP: Tensor,
    train_PP: Tensor,
    ks: Sequence[int] | None = None,
    task: fourier.Task = "add",
) -> Gate:
    """G3: the key frequencies alone answer the test pairs; without them the train pairs are lost.

    Restricted test loss ≤ 0.1·ln p and excluded train loss ≥ 0.5·ln p, in nats. `ks` defaults to
    the strongest key frequencies, at most `fourier.most_keys`. `train_PP` is a boolean mask.
    """
    if ks is None:
        ks = fourier.key_frequencies(L_PPP, task=task).ks[: fourier.most_keys(L_PPP.shape[0])]
    uniform = math.log(L_PPP.shape[0])
    restricted = fourier.restricted_loss(L_PPP, ks, ~train_PP, task)
    excluded = fourier.excluded_loss(L_PPP, ks, train_PP, task)
    verdict = _Verdict()
    verdict.evidence |= {
        "key_frequencies": tuple(ks),
        "restricted_test_loss": restricted,
        "excluded_train_loss": excluded,
        "uniform_loss": uniform,
    }
    verdict.want(
        restricted <= RESTRICTED_SHARE * uniform,
        f"restricted test loss {restricted:.3g}",
        f"at most {RESTRICTED_SHARE * uniform:.3g} ({RESTRICTED_SHARE:g} ln p)",
    )
    verdict.want(
        excluded >= EXCLUDED_SHARE * uniform,
        f"excluded train loss {excluded:.3g}",
        f"at least {EXCLUDED_SHARE * uniform:.3g} ({EXCLUDED_SHARE:g} ln p)",
    )
    return verdict.gate("G3", "losses")


def first_crossing(history: Sequence[Evaluation], column: str, level: float) -> Interval:
    """Where `column` first reached `level`: (evaluation before, crossing], or (last, inf]."""
    before = 0.0
    for row in history:
        if getattr(row, column) >= level:
            return Interval(before, float(row.step))
        before = float(row.step)
    return Interval(before, math.inf)


def _alarm(verdict: _Verdict, history: Sequence[Evaluation], budget: int) -> None:
    """G0 (iv): generalisation that comes too early is copying."""
    _checked_history(history)
    verdict.evidence["history_checked"] = bool(history)
    if not history:
        return
    if budget < history[-1].step:
        raise InputError("budget", f"{budget} steps", f"at least the {history[-1].step} trained")
    train = first_crossing(history, "train_accuracy", ACCURACY).high
    test = first_crossing(history, "test_accuracy", ALARM_ACCURACY).high
    verdict.evidence |= {"test_alarm_step": test, "train_learnt_step": train}
    seen = f"test accuracy {ALARM_ACCURACY} at step {test:g}"
    learnt = f"not before train reaches {ACCURACY} (step {train:g})"
    verdict.want(not test < train, seen, learnt)
    verdict.want(
        test > ALARM_FRACTION * budget, seen, f"later than step {ALARM_FRACTION * budget:g}"
    )


def _later_token_effect(
    tokens_NT: Tensor,
    pos: int,
    logits_fn: Callable[[Tensor], Tensor],
    vocabulary: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Largest change of a logit when all later tokens change, and the largest logit."""
    chosen = torch.randperm(len(tokens_NT), generator=generator)[:_PERTURBED]
    before = tokens_NT.detach().cpu()[chosen]
    after = before.clone()
    later = before[:, pos + 1 :]
    shift = torch.randint(1, vocabulary, later.shape, generator=generator)
    after[:, pos + 1 :] = (later + shift) % vocabulary
    with torch.no_grad():
        logits, other = (logits_fn(rows.to(tokens_NT.device)) for rows in (before, after))
    return float((logits - other).abs().max()), float(logits.abs().max())


def _probe_accuracy(x_ND: Tensor, labels_N: Tensor, fit: Tensor, held: Tensor, p: int) -> float:
    """Held-out accuracy of a ridge regression onto one-hot answers."""
    x = torch.cat([x_ND.double(), torch.ones(len(x_ND), 1, dtype=torch.float64)], dim=1)
    wanted = torch.nn.functional.one_hot(labels_N[fit], p).double()
    gram = x[fit].T @ x[fit]
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    weights = torch.linalg.solve(gram + ridge, x[fit].T @ wanted)
    return float(((x[held] @ weights).argmax(1) == labels_N[held]).double().mean())


def _table_accuracy(token_N: Tensor, labels_N: Tensor, fit: Tensor, held: Tensor, p: int) -> float:
    """Held-out accuracy of answering with the commonest answer seen with each token."""
    counts = torch.zeros(int(token_N.max()) + 1, p, dtype=torch.long)
    counts.index_put_((token_N[fit], labels_N[fit]), torch.ones_like(fit), accumulate=True)
    return float((counts.argmax(1)[token_N[held]] == labels_N[held]).double().mean())


def _checked_examples(
    tokens_NT: Tensor, read_pos: int, labels_N: Tensor, W_E_VD: Tensor, p: int
) -> int:
    """The read position counted from the front; `InputError` for shapes that do not fit."""
    fourier.require_prime(p, "p")
    if tokens_NT.ndim != 2 or tuple(labels_N.shape) != (len(tokens_NT),) or len(labels_N) < 2 * p:
        seen = f"{tuple(tokens_NT.shape)} and {tuple(labels_N.shape)}"
        raise InputError("tokens, labels", seen, f"[N, T] and [N] with N at least {2 * p}")
    if not -tokens_NT.shape[1] <= read_pos < tokens_NT.shape[1]:
        raise InputError("read_pos", f"{read_pos}", f"a position among {tokens_NT.shape[1]}")
    if int(labels_N.min()) < 0 or int(labels_N.max()) >= p:
        raise InputError("labels", f"up to {int(labels_N.max())}", f"answers in 0..{p - 1}")
    if W_E_VD.ndim != 2 or int(tokens_NT.max()) >= len(W_E_VD) or int(tokens_NT.min()) < 0:
        seen = f"{tuple(W_E_VD.shape)} for tokens up to {int(tokens_NT.max())}"
        raise InputError("W_E", seen, "one row per token of the vocabulary")
    return read_pos % tokens_NT.shape[1]


def _checked_history(history: Sequence[Evaluation]) -> None:
    steps = [row.step for row in history]
    if any(later <= earlier for earlier, later in zip([-1, *steps], steps, strict=False)):
        raise InputError("history", "steps that do not rise", "one row per evaluation, in order")


def _plain(value: Evidence) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
