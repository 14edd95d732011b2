"""What the SAEs' reconstructions and single features do to the subject's answers, at the read position alone.

Three interventions on each seed, every one beside a control: the reconstruction spliced in; single features
taken out of it; all features of one key frequency taken out of it. Features are compared with the run into
which the SAE is spliced, so that the error of the reconstruction is no effect of theirs.

Shapes: N = p² pairs, M sampled pairs, D width, F latents, K key frequencies, C answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.metrics.causal import (
    ablation_matrix,
    behaviour,
    explained,
    logit_change,
    loss_recovered,
    make_waves,
    margins,
    matched_norm,
    strengths,
)
from engine.metrics.ground_truth import Spectrum, random_directions
from engine.metrics.sparsity import firings
from engine.metrics.uncertainty import spread
from engine.subjects.arithmetic import Problem
from engine.subjects.downstream import Downstream

SAMPLED_PAIRS = 2048
"""Pairs on which groups are ablated: a seeded draw, or all where there are fewer."""
FEATURES = 4
"""Single features ablated of each kind and seed."""
INPUTS = 128
"""Inputs on which a single feature is ablated: evenly spaced among those on which it fires."""
DRAWS = 2
"""Random directions of each kind beside every feature."""
KINDS = ("stable", "active", "random")
CONTROLS = ("random", "random_covariance")
MEASURES = ("logits", "margin")
AGAINST = "the run with the SAE spliced in"


@dataclass(frozen=True)
class SeedEffects:
    """What the interventions on one seed did."""

    splice: dict[str, float]
    single: dict[str, dict[str, dict[str, float]]]
    """Kind of feature → what was taken out → measure."""
    sizes: list[int]
    """Features in the group of each key frequency."""
    spliced: Tensor
    """alpha of the spliced run on the sampled pairs, [K]."""
    matrix: Tensor
    """S[k, l], and likewise of random groups, [K, K]; NaN where a group is empty."""
    control: Tensor


class Interventions:
    """A subject ready to be intervened on at one hook."""

    def __init__(
        self,
        problem: Problem,
        downstream: Downstream,
        x_ND: Tensor,
        spectrum: Spectrum,
        held_out: Tensor,
        keys: Sequence[int],
        task: Any,
    ) -> None:
        """Measure the subject itself, and with the mean activation in place of every one; `spectrum` is that
        of the activations."""
        self.downstream, self.x_ND = downstream, x_ND
        self.keys, self._answers_N, self._held_out = list(keys), problem.answers_N, held_out
        p = problem.modulus
        self._waves = make_waves(torch.arange(len(x_ND)), p, keys, task)
        order = torch.randperm(len(x_ND), generator=torch.Generator().manual_seed(0))
        self.sample_M = order[:SAMPLED_PAIRS].sort().values
        self._sampled_waves = make_waves(self.sample_M, p, keys, task)
        self.clean_NC = downstream.logits(x_ND)
        mean_NC = downstream.logits(x_ND.mean(0, keepdim=True).expand_as(x_ND))
        self._ends = tuple(behaviour(*self._held(one)).loss for one in (self.clean_NC, mean_NC))
        self.clean, self.mean = self.describe(self.clean_NC), self.describe(mean_NC)
        pool = len(KINDS) * FEATURES * DRAWS
        self._directions = {
            "random": random_directions(pool, x_ND.shape[1], 0).float(),
            "random_covariance": random_directions(pool, x_ND.shape[1], 0, spectrum).float(),
        }

    def describe(self, logits_NC: Tensor) -> dict[str, float]:
        """Return loss, loss recovered, accuracy and margin on held-out pairs, and FVE on all."""
        found = behaviour(*self._held(logits_NC))
        clean, mean = self._ends
        return {
            "loss": found.loss,
            "loss_recovered": loss_recovered(clean, mean, found.loss),
            "accuracy": found.accuracy,
            "margin": found.margin,
            "fve": explained(logits_NC, self._waves),
        }

    def splice(self, reconstruction_ND: Tensor) -> dict[str, float]:
        """Return what is left of the answers behind a reconstruction of all activations."""
        return self.describe(self.downstream.logits(reconstruction_ND))

    def _held(self, logits_NC: Tensor) -> tuple[Tensor, Tensor]:
        return logits_NC[self._held_out], self._answers_N[self._held_out]

    def measure(
        self,
        z_NF: Tensor,
        W_dec_FD: Tensor,
        b_dec_D: Tensor,
        live_F: Tensor,
        stable_F: Tensor,
        group_F: Tensor,
        seed: int,
    ) -> SeedEffects:
        """Splice one seed, and ablate its features.

        Args:
            z_NF: latents of all pairs.
            W_dec_FD: what each writes.
            b_dec_D: what is written anyway.
            live_F: which are counted.
            stable_F: how stable each is; the largest are the kind `stable`.
            group_F: index of the key frequency to which a feature belongs, or -1.
            seed: draws the random features and groups.
        """
        x_ND = torch.addmm(b_dec_D, z_NF, W_dec_FD)
        spliced_NC = self.downstream.logits(x_ND)
        generator = torch.Generator().manual_seed(seed)
        chosen = _choose(z_NF, live_F, stable_F, generator)
        rows = [_firing(z_NF[:, f]) for group in chosen.values() for f in group]
        places = iter(zip(rows, range(len(rows)), strict=True))
        single = {
            kind: _average(
                [self._single(z_NF, W_dec_FD, x_ND, spliced_NC, f, *next(places)) for f in group]
            )
            for kind, group in chosen.items()
        }
        sampled_MC = spliced_NC[self.sample_M]
        members = [((group_F == k) & live_F).nonzero()[:, 0] for k in range(len(self.keys))]
        spliced_K = strengths(sampled_MC, self._sampled_waves)
        z_MF, x_MD = z_NF[self.sample_M], x_ND[self.sample_M]
        ablated, control = self._groups(z_MF, W_dec_FD, x_MD, live_F, members, generator)
        return SeedEffects(
            splice=self.describe(spliced_NC),
            single=single,
            sizes=[len(group) for group in members],
            spliced=spliced_K,
            matrix=ablation_matrix(ablated, spliced_K),
            control=ablation_matrix(control, spliced_K),
        )

    def _single(
        self,
        z_NF: Tensor,
        W_dec_FD: Tensor,
        x_ND: Tensor,
        spliced_NC: Tensor,
        feature: int,
        rows_M: Tensor,
        place: int,
    ) -> dict[str, dict[str, float]]:
        """Return what taking a feature out changes where it fires, and as much of random directions."""
        written_D = W_dec_FD[feature]
        mine = slice(place * DRAWS, (place + 1) * DRAWS)
        removed = {"feature": [written_D]}
        for name, directions in self._directions.items():
            units = torch.nn.functional.normalize(directions[mine], dim=1)
            removed[name] = list(units * written_D.norm())
        strength_M1 = z_NF[rows_M, feature][:, None]
        every = [vector for vectors in removed.values() for vector in vectors]
        changed = torch.cat([x_ND[rows_M] - strength_M1 * vector for vector in every])
        parts = self.downstream.logits(changed, rows_M.repeat(len(every))).split(len(rows_M))
        before, answers = spliced_NC[rows_M], self._answers_N[rows_M]
        margin = margins(before, answers).mean()
        found = [
            {
                "logits": logit_change(after, before),
                "margin": float(margins(after, answers).mean() - margin),
            }
            for after in parts
        ]
        effects, start = {}, 0
        for name, vectors in removed.items():
            effects[name] = _mean_of(found[start : start + len(vectors)])
            start += len(vectors)
        return effects

    def _groups(
        self,
        z_MF: Tensor,
        W_dec_FD: Tensor,
        x_MD: Tensor,
        live_F: Tensor,
        members: Sequence[Tensor],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Return alpha after the ablation of each group, and of as many random live features with
        the same norm at every input, [K, K] each."""
        live = live_F.nonzero()[:, 0]
        nothing = torch.full((len(self.keys),), torch.nan, dtype=torch.float64)
        ablated, control = [], []
        for group in members:
            if not len(group):
                ablated.append(nothing)
                control.append(nothing)
                continue
            removed_MD = z_MF.index_select(1, group) @ W_dec_FD[group]
            drawn = live[torch.randperm(len(live), generator=generator)[: len(group)]]
            random_MD = matched_norm(z_MF.index_select(1, drawn) @ W_dec_FD[drawn], removed_MD)
            for found, away_MD in ((ablated, removed_MD), (control, random_MD)):
                after_MC = self.downstream.logits(x_MD - away_MD, self.sample_M)
                found.append(strengths(after_MC, self._sampled_waves))
        return torch.stack(ablated), torch.stack(control)


def summarise(
    model: Interventions, untrained: dict[str, float], effects: Sequence[SeedEffects]
) -> dict[str, Any]:
    """Return `causal`, `ablation` and `frequency_ablation` of the summary."""
    return {
        "causal": {
            **{name: spread([one.splice[name] for one in effects]) for name in model.clean},
            "baselines": {
                "clean": _plain(model.clean),
                "untrained": _plain(untrained),
                "mean": _plain(model.mean),
            },
            "held_out": len(model._held_out),
            "pairs": len(model.x_ND),
        },
        "ablation": {
            "against": AGAINST,
            "features_per_seed": FEATURES,
            "inputs_per_feature": INPUTS,
            "kinds": {kind: _kind_summary(effects, kind) for kind in KINDS},
        },
        "frequency_ablation": _frequency_summary(model, effects),
    }


def _kind_summary(effects: Sequence[SeedEffects], kind: str) -> dict[str, Any]:
    return {
        name: {m: spread([one.single[kind][name][m] for one in effects]) for m in MEASURES}
        for name in ("feature", *CONTROLS)
    }


def _frequency_summary(model: Interventions, effects: Sequence[SeedEffects]) -> dict[str, Any]:
    sizes = [spread([float(one.sizes[k]) for one in effects]) for k in range(len(model.keys))]
    found: dict[str, Any] = {
        "keys": model.keys,
        "against": AGAINST,
        "pairs": len(model.sample_M),
        "group_sizes": sizes,
        "spliced": [spread(column) for column in _columns([one.spliced for one in effects])],
    }
    for name, matrices in (
        ("matrix", [one.matrix for one in effects]),
        ("control", [one.control for one in effects]),
    ):
        cells = [_columns(rows) for rows in zip(*matrices, strict=True)]
        found[name] = [[spread(cell)["mean"] for cell in row] for row in cells]
        found[f"{name}_sd"] = [[spread(cell)["sd"] for cell in row] for row in cells]
        found[f"{name}_diagonal"] = spread([_nanmean(m.diagonal()) for m in matrices])
        found[f"{name}_off_diagonal"] = spread([_nanmean(_off_diagonal(m)) for m in matrices])
    if not any(sum(one.sizes) for one in effects):
        found["missing"] = "no live feature lies in a plane that exists at this hook"
    return found


def _choose(
    z_NF: Tensor, live_F: Tensor, stable_F: Tensor, generator: torch.Generator
) -> dict[str, list[int]]:
    """Return the live features of each kind: the most stable, the most often active, and random ones."""
    fires_F = firings(z_NF)
    live = (live_F & (fires_F > 0)).nonzero()[:, 0]
    order = torch.randperm(len(live), generator=generator)
    stable = stable_F[live].nan_to_num(-math.inf).argsort(descending=True, stable=True)
    active = fires_F[live].argsort(descending=True, stable=True)
    orders = dict(zip(KINDS, (stable, active, order), strict=True))
    return {kind: live[places[:FEATURES]].tolist() for kind, places in orders.items()}


def _firing(z_N: Tensor) -> Tensor:
    rows = (z_N > 0).nonzero()[:, 0]
    return rows[torch.linspace(0, len(rows) - 1, min(INPUTS, len(rows))).round().long()]


def _average(effects: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the mean over features of each effect; NaN without features."""
    return {
        name: _mean_of([one[name] for one in effects])
        if effects
        else dict.fromkeys(MEASURES, math.nan)
        for name in ("feature", *CONTROLS)
    }


def _mean_of(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: math.fsum(one[name] for one in found) / len(found) for name in MEASURES}


def _columns(rows: Sequence[Tensor]) -> list[list[float]]:
    columns: list[list[float]] = torch.stack(list(rows)).T.tolist()
    return columns


def _off_diagonal(matrix_KK: Tensor) -> Tensor:
    return matrix_KK[~torch.eye(len(matrix_KK), dtype=torch.bool)]


def _nanmean(values: Tensor) -> float:
    return float(values.nanmean()) if len(values) else math.nan


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {name: v if math.isfinite(v) else None for name, v in values.items()}
