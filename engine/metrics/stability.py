"""How far the seeds of one cohort agree beyond chance: the entry of the analysis stage.

Shapes: S = seeds, F = features of a dictionary, D = input dimension, A, B = non-zero features of
two seeds. Dictionaries are rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError
from engine.metrics.agreement import Agreement, FeatureAgreement, Stability, SubsetName, define
from engine.metrics.ladder import Setting, make_ladder, pair_table, surrogate_null
from engine.metrics.matching import Match, Nearest, check_tau, metric_names, runner_up
from engine.metrics.nulls import (
    Null,
    StepZero,
    check_draws,
    effective_rank,
    headline,
    kappa,
    max_cos_p,
    step_zero,
)
from engine.metrics.parallel import side_by_side, together
from engine.metrics.rungs import ELSEWHERE, Beside, Rung, make_rungs, unmeasured_rungs
from engine.metrics.similarity import Sign, check_sign, unit_cosines, unit_rows
from engine.metrics.twin_counts import as_many
from engine.metrics.uncertainty import MIN_SEEDS, jackknife, pair_mean, verdict

Floats = NDArray[np.float64]
Matches = dict[tuple[int, int], Match]

# A feature counts as found again from this cosine on (Paulo & Belrose 2501.16615).
FOUND_AGAIN = 0.7

DEGENERATE = 1e-9
DEPENDENT = "the seeds depend on each other: through their start, pinned rows, or a loss that makes them agree"
"""Why directions at random are no null, where nobody said more."""
RAISED = ": raised to what they would score if they were as many"
NO_SURROGATE = "without N3, what SAEs fit to noise would pass as weakly stable"


@dataclass(frozen=True)
class _Subset:
    """The features of each seed that take part, and the same of the surrogate."""

    name: SubsetName
    decoders: list[Tensor]
    encoders: list[Tensor] | None
    surrogate: list[Tensor] | None
    reason: str
    """Why nothing can be measured; empty if it can."""
    surrogate_reason: str
    """Why there is no N3, or a remark on it."""
    masks_SF: Tensor
    """Which features of each seed they are."""


def measure_stability(
    decoders_SFD: Tensor,
    live_SF: Tensor | None,
    *,
    activation_covariance_DD: Tensor | None,
    initial_SFD: Tensor | None,
    surrogate_SFD: Tensor | None = None,
    surrogate_live_SF: Tensor | None = None,
    sign: Sign = "signed",
    draws: int = 20,
    tau: tuple[float, ...] = (0.5, 0.7, 0.9),
    encoders_SFD: Tensor | None = None,
    independent: bool = True,
    dependence: str = "",
    beside: Beside | None = None,
) -> Stability:
    """Agreement of a cohort's seeds: observed, the null ladder, kappa, its interval, a verdict.

    Every metric is measured on `all` and on `live` features. Without a firing record, or when a
    seed has no live feature, the live values are NaN and say why. Two seeds give values but no
    interval, so their verdict is "undetermined". Nulls whose data is missing (covariance,
    surrogate) are listed as inadmissible with the reason. Without an admissible N3 there is no
    verdict: on data with nothing to find, N0 to N2 let SAEs pass as weakly stable. Seeds that are
    not `independent` (one start or start data for all, pinned rows, a loss that draws them together) are
    judged against N3 alone; `dependence` is why, for people, and says by itself that they are not. With
    `beside`, the ladder has N4 and N6 as well: on live features, or on all where the live ones cannot be
    measured; the other subset lists them with the reason.

    Raises InputError for fewer than two seeds, shapes that do not fit each other, values that are
    not finite, a seed whose decoder is all zero, or fewer than 20 draws.
    """
    check_sign(sign)
    check_draws(draws)
    for threshold in tau:
        check_tau(threshold)
    given = {"initial_SFD": initial_SFD, "surrogate_SFD": surrogate_SFD}
    given |= {"encoders_SFD": encoders_SFD}
    flags = {"live_SF": live_SF, "surrogate_live_SF": surrogate_live_SF}
    _check_shapes(decoders_SFD, given, flags, activation_covariance_DD)
    reason = dependence or ("" if independent else DEPENDENT)
    setting = Setting(activation_covariance_DD, sign, draws, tau, reason)
    every = _subset("all", decoders_SFD, None, encoders_SFD, surrogate_SFD, None)
    live = _subset("live", decoders_SFD, live_SF, encoders_SFD, surrogate_SFD, surrogate_live_SF)
    features_of = partial(_features, decoders_SFD, activation_covariance_DD, sign)
    start_of = partial(_start, initial_SFD, sign)
    (agreements, matches), (features, start) = together(
        partial(_both, every, live, setting, beside), partial(together, features_of, start_of)
    )
    return Stability(
        n_seeds=len(decoders_SFD),
        sign=sign,
        d_in=decoders_SFD.shape[2],
        draws=draws,
        agreements=tuple(agreements),
        step_zero=start,
        features=features,
        matches=matches,
    )


def _check_shapes(
    decoders_SFD: Tensor,
    given: dict[str, Tensor | None],
    flags: dict[str, Tensor | None],
    covariance_DD: Tensor | None,
) -> None:
    if decoders_SFD.ndim != 3 or 0 in decoders_SFD.shape:
        shape = list(decoders_SFD.shape)
        raise InputError("decoders_SFD", f"has shape {shape}", "[seeds, features, d_in]")
    if len(decoders_SFD) < 2:
        raise InputError("seeds", "1 seed has nothing to agree with", "at least 2 (better 5)")
    shape_SFD = decoders_SFD.shape
    for name, tensor in {"decoders_SFD": decoders_SFD, **given}.items():
        if tensor is None:
            continue
        if tensor.shape != shape_SFD:
            raise InputError(name, f"has shape {list(tensor.shape)}", f"{list(shape_SFD)}")
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(name, "holds a value that is not finite", "finite weights")
    for name, flag in flags.items():
        if flag is not None and (flag.shape != shape_SFD[:2] or flag.dtype != torch.bool):
            what = f"is {flag.dtype} of shape {list(flag.shape)}"
            raise InputError(name, what, f"bool of shape {list(shape_SFD[:2])}")
    d = shape_SFD[2]
    if covariance_DD is not None and covariance_DD.shape != (d, d):
        what = f"has shape {list(covariance_DD.shape)}"
        raise InputError("activation_covariance_DD", what, f"[{d}, {d}], that of the hook")
    for number, decoder_FD in enumerate(decoders_SFD):
        if not bool((decoder_FD != 0).any()):
            raise InputError(
                f"decoders_SFD[{number}]", "every row of this seed is zero", "trained SAEs"
            )


def _masks(decoders_SFD: Tensor, live_SF: Tensor | None) -> Tensor:
    """Which features take part [S, F]: those that are not zero, and fire if that is asked."""
    kept_SF = (decoders_SFD != 0).any(2)
    return kept_SF if live_SF is None else kept_SF & live_SF.to(kept_SF.device)


def _subset(
    name: SubsetName,
    decoders_SFD: Tensor,
    live_SF: Tensor | None,
    encoders_SFD: Tensor | None,
    surrogate_SFD: Tensor | None,
    surrogate_live_SF: Tensor | None,
) -> _Subset:
    masks_SF = _masks(decoders_SFD, live_SF)
    reason, surrogate_reason = "", ""
    dead = int((~masks_SF.any(1)).sum())
    if name == "live" and live_SF is None:
        reason = "no firing record was given"
    elif dead:
        reason = f"no live feature in {dead} of {len(masks_SF)} seeds"
    surrogate: list[Tensor] | None = None
    if surrogate_SFD is None:
        surrogate_reason = "no surrogate was given"
    elif name == "live" and surrogate_live_SF is None:
        surrogate_reason = "no firing record of the surrogate was given"
    elif not bool((fake_SF := _masks(surrogate_SFD, surrogate_live_SF)).any(1).all()):
        surrogate_reason = "a surrogate seed has no feature in this subset"
    else:
        surrogate = [d_FD[keep] for d_FD, keep in zip(surrogate_SFD, fake_SF, strict=True)]
        sizes = [int(m.sum(1).float().mean().round()) for m in (masks_SF, fake_SF)]
        if sizes[0] != sizes[1]:
            surrogate_reason = f"{sizes[1]} features per surrogate seed against {sizes[0]}"
            surrogate_reason += RAISED if sizes[1] < sizes[0] else ""
    encoders: list[Tensor] | None = None
    if encoders_SFD is not None:
        encoders = [e_FD[keep] for e_FD, keep in zip(encoders_SFD, masks_SF, strict=True)]
    decoders = [d_FD[keep] for d_FD, keep in zip(decoders_SFD, masks_SF, strict=True)]
    return _Subset(name, decoders, encoders, surrogate, reason, surrogate_reason, masks_SF)


def _same(every: _Subset, live: _Subset) -> bool:
    """Whether every feature is live, so that nothing needs to be measured twice."""

    def sizes(rows: list[Tensor] | None) -> list[int] | None:
        return None if rows is None else list(map(len, rows))

    same_surrogate = sizes(every.surrogate) == sizes(live.surrogate)
    return not live.reason and same_surrogate and sizes(every.decoders) == sizes(live.decoders)


def _twins_are_live(beside: Beside | None) -> bool:
    """Whether every feature of the twins on an untrained model is live, or there are no such twins."""
    return beside is None or list(map(len, beside.untrained)) == list(
        map(len, beside.untrained_live)
    )


def _both(
    every: _Subset, live: _Subset, setting: Setting, beside: Beside | None
) -> tuple[list[Agreement], dict[SubsetName, Matches]]:
    """All metrics of all and of live features, and how the pairs match of the subset that carries the headline:
    the live ones, where there are any in every seed."""
    matches: Matches = {}
    if _same(every, live) and _twins_are_live(beside):
        agreements = _agreements(every, setting, beside, matches)
        of_live = [replace(agreement, subset="live") for agreement in agreements]
        return agreements + of_live, {"all": matches, "live": matches}
    carries: SubsetName = "all" if live.reason else "live"
    of_live, agreements = together(
        *(
            partial(_agreements, one, setting, beside, matches if one.name == carries else None)
            for one in (live, every)
        )
    )
    return agreements + of_live, {carries: matches}


def _agreements(
    subset: _Subset, setting: Setting, beside: Beside | None, matches: Matches | None
) -> list[Agreement]:
    """All metrics of one subset; how each pair of seeds matches is left in `matches`.

    That is None where the subset does not carry the headline. N4 and N6 are only listed then: they cost as much
    again, and nothing would be decided by them.
    """
    names = metric_names(setting.taus, strict=subset.encoders is not None)
    if subset.reason:
        return [_missing(name, subset, setting) for name in names]
    observed_MSS = pair_table(subset.decoders, subset.encoders, setting, matches)
    surrogate_MSS: Sequence[Floats | None] = [None] * len(names)
    if subset.surrogate is not None:
        found_MSS = list(pair_table(subset.surrogate, None, setting))
        counts = [len(rows) for rows in subset.decoders]
        surrogate_MSS = as_many(found_MSS, subset.surrogate, counts, setting.taus, setting.sign)
    ladder = make_ladder(subset.decoders, setting)
    steps: list[Rung] = []
    if beside is not None:
        live = subset.name == "live"
        steps = (
            make_rungs(subset.decoders, subset.masks_SF, beside, setting, live)
            if matches is not None
            else unmeasured_rungs(ELSEWHERE, setting.taus)
        )
    agreements = []
    for m, name in enumerate(names):
        nulls = ladder.nulls(m)
        if setting.dependence:
            nulls = [replace(null, admissible=False, reason=setting.dependence) for null in nulls]
        nulls.append(surrogate_null(surrogate_MSS[m], subset.surrogate_reason))
        nulls += [rung.nulls[m] for rung in steps]
        paired = {
            rung.nulls[m].name: rung.pairs_MSS[m] for rung in steps if rung.pairs_MSS is not None
        }
        fake_SS = surrogate_MSS[m]
        if fake_SS is not None:
            paired["N3"] = fake_SS
        blank = _missing(name, subset, setting)
        agreements.append(_judged(blank, observed_MSS[m], nulls, paired, setting.dependence))
    return agreements


def _missing(metric: str, subset: _Subset, setting: Setting) -> Agreement:
    """An agreement of which nothing is known."""
    n_seeds = len(subset.decoders)
    return Agreement(
        metric=metric,
        subset=subset.name,
        definition=define(metric, setting.sign),
        n_per_seed=tuple(map(len, subset.decoders)),
        observed=math.nan,
        pairs=np.full((n_seeds, n_seeds), math.nan),
        nulls=(),
        null_name="",
        null=math.nan,
        kappa=math.nan,
        ci_low=math.nan,
        ci_high=math.nan,
        verdict="undetermined",
        reason=subset.reason,
    )


def _judged(
    blank: Agreement,
    pairs_SS: Floats,
    nulls: Sequence[Null],
    paired: Mapping[str, Floats],
    dependence: str,
) -> Agreement:
    """Fill in what was observed, the headline null, kappa with its interval, and the verdict.

    `paired` are the nulls that have a value for each pair of seeds [S, S]: the jackknife deletes a seed there
    too.
    """
    seen = replace(blank, observed=pair_mean(pairs_SS), pairs=pairs_SS, nulls=tuple(nulls))
    if not any(null.admissible and math.isfinite(null.value) for null in nulls):
        return replace(seen, reason=f"no admissible null: {dependence}")
    top = headline(nulls)

    def corrected(seeds: Sequence[int]) -> float:
        null = pair_mean(paired[top.name], seeds) if top.name in paired else top.value
        return kappa(pair_mean(pairs_SS, seeds), null)

    n_seeds = len(pairs_SS)
    value, low, high = corrected(range(n_seeds)), math.nan, math.nan
    if n_seeds < MIN_SEEDS:
        reason = f"{n_seeds} seeds give no interval; at least {MIN_SEEDS} are needed"
    else:
        estimate = jackknife(corrected, n_seeds)
        low, high = estimate.low, estimate.high
        reason = "" if math.isfinite(low) else f"{top.name} leaves no room above it"
    judged = verdict(value, (low, high))
    if not reason and 0 < value < 1 - DEGENERATE and high - low < DEGENERATE:
        judged, reason = (
            "undetermined",
            "every seed gives the same value: the interval has no width",
        )
    if not reason and not any(null.name == "N3" and null.admissible for null in nulls):
        judged, reason = "undetermined", NO_SURROGATE
    return replace(
        seen,
        null_name=top.name,
        null_pairs=paired.get(top.name),
        null=top.value,
        kappa=value,
        ci_low=low,
        ci_high=high,
        verdict=judged,
        reason=reason,
    )


def _start(initial_SFD: Tensor | None, sign: Sign) -> StepZero | None:
    return None if initial_SFD is None else step_zero(initial_SFD, sign)


def _features(decoders_SFD: Tensor, covariance_DD: Tensor | None, sign: Sign) -> FeatureAgreement:
    """Each feature's best match in every other seed, over all non-zero features."""
    n_seeds, n_features, d = decoders_SFD.shape
    units = [unit_rows(decoder_FD) for decoder_FD in decoders_SFD]
    kept = [unit.kept.nonzero().flatten().cpu().numpy() for unit in units]
    best_SSF, runner_up_SSF, p_isotropic_SSF, p_effective_SSF = (
        np.full((n_seeds, n_seeds, n_features), np.nan) for _ in range(4)
    )
    partner_SSF = np.full((n_seeds, n_seeds, n_features), -1, dtype=np.int64)
    again_SSF = np.zeros((n_seeds, n_seeds, n_features), dtype=bool)
    # A rank of 1 would make every pair of atoms parallel, and the distribution degenerate.
    rank = None if covariance_DD is None else max(effective_rank(covariance_DD), 1 + 1e-6)

    def compare(pair: tuple[int, int]) -> None:
        s, t = pair
        cosine_AB = unit_cosines(units[s].rows, units[t].rows, sign)
        both = Nearest.of(cosine_AB)
        for a, b, oriented_AB, near in ((s, t, cosine_AB, both), (t, s, cosine_AB.T, both.T)):
            best_A = near.cosine_A.numpy()
            best_SSF[a, b, kept[a]] = best_A
            runner_up_SSF[a, b, kept[a]] = runner_up(oriented_AB, near.column_A).cpu().numpy()
            partner_SSF[a, b, kept[a]] = kept[b][near.column_A.numpy()]
            again_SSF[a, b, kept[a]] = near.mutual_A.numpy() & (best_A >= FOUND_AGAIN)
            p_isotropic_SSF[a, b, kept[a]] = max_cos_p(best_A, len(kept[b]), d, sign)
            if rank is not None:
                p_effective_SSF[a, b, kept[a]] = max_cos_p(best_A, len(kept[b]), rank, sign)

    side_by_side(compare, combinations(range(n_seeds), 2))
    stability_SF = np.full((n_seeds, n_features), np.nan)
    for s, indices in enumerate(kept):
        stability_SF[s, indices] = again_SSF[s].sum(0)[indices] / (n_seeds - 1)
    return FeatureAgreement(
        best_SSF, partner_SSF, runner_up_SSF, stability_SF, p_isotropic_SSF, p_effective_SSF
    )
