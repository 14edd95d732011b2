"""One process that measures controls: `python -m engine.validation` reads names of rows, one a line, and
answers each with one JSON object on a line.

Data, training, metrics and flags are those of the studies; what is trained is in `engine.study.control`.

Shapes: S seeds, N activations, B inputs of a batch, D width, F latents, M true features.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.errors import HusaiError
from engine.metrics.ground_truth import Recovery, recover
from engine.metrics.matching import gt_mcc, matched_mcc, shared_fraction, truth_match
from engine.metrics.similarity import Sign, live_mask, mean_max_cos
from engine.metrics.stability import measure_stability
from engine.metrics.uncertainty import MIN_SEEDS, jackknife, jackknife_pairs, spread
from engine.saes.architecture import Pass
from engine.saes.cohort import Cohort
from engine.saes.dead import Revival
from engine.saes.formats import TrainedSaes, start_of, to_raw
from engine.saes.quality import Quality
from engine.stages import allocator, numerics
from engine.stages.activations import rank_one_share
from engine.stages.flags import UNTRAINED, reconstruction_flags
from engine.stages.planted import planted_planes
from engine.study.control import Check, Control, find_controls
from engine.subjects.planted import (
    PlantedData,
    duplicated,
    flipped,
    make_planted,
    noised,
    permuted,
    subset,
)
from engine.subjects.surrogate import moments, surrogate
from engine.training import stream

SHARE, SIGMA = 0.6, 0.5
"""Of the oracle pairs: share of the features that a seed finds, size of the noise."""
SURROGATE_SEED = 0
BROKEN_COEFFICIENT = 1 / 32


@dataclass(frozen=True)
class Measured:
    """A number with its delete-one-seed jackknife interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    per_seed: tuple[float, ...] = ()
    """Empty where the number belongs to pairs of seeds."""


Measures = dict[str, Measured]


def main(arguments: list[str] | None = None) -> int:
    """Answer rows until the input ends; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.validation", description=main.__doc__)
    numerics.add_options(parser)
    options = parser.parse_args(arguments)
    allocator.keep_freed()
    numerics.configure(options.threads, options.deterministic, options.tf32)
    try:
        for line in sys.stdin:
            try:
                row = answer(find_controls([line.strip()])[0], options.device)
            except HusaiError as error:
                row = {"row": line.strip(), "error": " ".join(str(error).split())}
            print(json.dumps(row, allow_nan=False), flush=True)
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return 0


def answer(control: Control, device: str = "cpu") -> dict[str, Any]:
    """Measure one control and judge it: plain values, None where nothing could be measured."""
    started = time.monotonic()
    measured = measure(control, device)
    checks = [judge(check, measured[check.measure]) for check in control.checks]
    return {
        "row": control.name,
        "asks": control.asks,
        "seeds": list(control.seeds),
        "setup": _setup(control),
        "passed": all(check["passed"] for check in checks),
        "checks": checks,
        "seconds": round(time.monotonic() - started, 1),
    }


def judge(check: Check, found: Measured) -> dict[str, Any]:
    """Compare a number with its interval, ends included; what could not be measured does not pass."""
    low = -math.inf if check.low is None else check.low
    high = math.inf if check.high is None else check.high
    return {
        "measure": check.measure,
        "text": check.text,
        "low": check.low,
        "high": check.high,
        "source": check.source,
        "published": check.published,
        "value": _plain(found.value),
        "ci_low": _plain(found.low),
        "ci_high": _plain(found.high),
        "per_seed": [_plain(value) for value in found.per_seed],
        "passed": low <= found.value <= high,
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _setup(control: Control) -> dict[str, Any]:
    sae = None if control.sae is None else control.sae.model_dump(mode="json")
    return {
        "planted": control.planted.model_dump(mode="json"),
        "sae": sae,
        "training": None if sae is None else control.training.model_dump(mode="json"),
        "oracle": control.oracle,
        "broken_auxiliary_loss": control.broken,
    }


def measure(control: Control, device: str = "cpu") -> Measures:
    """Make the data of a control, train on it, and measure all there is to measure."""
    data = make_planted(control.planted)
    if control.oracle is not None:
        return ORACLES[control.oracle](data.features, control.seeds)
    x_ND = data.activations
    cohort = _train(control, x_ND, device)
    quality, saes = cohort.quality(), to_raw(cohort)
    live_SF = _live(saes)
    measures = {
        "explained_variance": of_seeds(quality.explained_variance),
        "caught": of_seeds(_caught(quality, saes, rank_one_share(moments(x_ND)[1])[1])),
        **_agreement(control, x_ND, saes, live_SF, start_of(cohort), device),
    }
    if control.planted.generator == "fourier":
        return {**measures, **_planes(data, saes, live_SF)}
    return {**measures, **_features(data, saes, live_SF)}


def _train(control: Control, x_ND: Tensor, device: str) -> Cohort:
    assert control.sae is not None, "a control trains, or has an oracle"
    kind = BrokenCohort if control.broken else Cohort
    cohort = kind(control.sae, control.training, control.seeds, x_ND, device=device)
    for index in range(cohort.steps):
        cohort.step(index)
    return cohort


class BrokenCohort(Cohort):
    """The trainer with the original project's auxiliary loss instead of AuxK: a negative control.

    Each input's squared error, summed over D, times its unselected |pre-activations|, summed over F; the
    mean over inputs is minimised, nothing is detached, and its weight of 1/32 stands beside an error that
    is a mean over D (science.md §0, 5). It is written here so that no study can ask for it.
    """

    def _revival(self, x_SBD: Tensor, done: Pass) -> Revival:
        w = self.saes.weights
        centred_SBD = x_SBD - w.b_dec.unsqueeze(1)
        pre_SBF = torch.baddbmm(w.b_enc.unsqueeze(1), centred_SBD, w.W_enc.mT)
        chosen = pre_SBF.detach().topk(int(getattr(self.config, "k", 1)), dim=2).indices
        unselected_SBF = pre_SBF.abs().scatter(2, chosen, 0.0)
        error_SB = (x_SBD - done.reconstruction).square().sum(2)
        loss_S = (error_SB * unselected_SBF.sum(2)).mean(1)
        return Revival(loss_S, BROKEN_COEFFICIENT * x_SBD.shape[2])


def _live(saes: TrainedSaes) -> Tensor:
    assert saes.fires is not None, "firings were counted"
    return torch.stack([live_mask(fires_F, saes.inputs) for fires_F in saes.fires])


def _caught(quality: Quality, saes: TrainedSaes, floor: float) -> list[float]:
    """Return, per seed, whether the flag of SAEs that did not train is raised."""
    dead = spread([0.0])
    flags = [
        reconstruction_flags(
            {"explained_variance": spread([ev]), "dead_fraction": dead, "loss_recovered": None},
            floor,
        )
        for ev in quality.explained_variance
    ]
    assert len(flags) == len(saes.seeds)
    return [float(any(UNTRAINED in flag for flag in found)) for found in flags]


def _agreement(
    control: Control,
    x_ND: Tensor,
    saes: TrainedSaes,
    live_SF: Tensor,
    start: TrainedSaes,
    device: str,
) -> Measures:
    twin = None
    if control.twin:
        twin = to_raw(_train(control, surrogate(x_ND, SURROGATE_SEED), device))
    found = measure_stability(
        saes.weights.W_dec,
        live_SF,
        activation_covariance_DD=moments(x_ND)[1],
        initial_SFD=start.weights.W_dec,
        surrogate_SFD=twin.weights.W_dec if twin else None,
        surrogate_live_SF=_live(twin) if twin else None,
        tau=(0.7,),
    )
    headline = found.agreement("mean_max_cos", "live")
    kappa = math.nan if headline.null_name != "N3" else headline.kappa
    before = found.step_zero
    assert before is not None, "the start was given"
    return {
        "kappa": Measured(kappa, headline.ci_low, headline.ci_high),
        "mean_max_cos_live": of_pairs(headline.pairs),
        "matched_mcc_all": of_pairs(found.agreement("matched_mcc", "all").pairs),
        "step_zero": Measured((before.observed - before.expected) / (1 - before.expected)),
    }


def _features(data: PlantedData, saes: TrainedSaes, live_SF: Tensor) -> Measures:
    """Score live atoms on the features. Of both signs, a feature is two for a code that cannot be negative:
    GT-MCC asks for both halves, `found` for either."""
    both_signs = data.config.signed
    truth_MD = torch.cat([data.features, -data.features]) if both_signs else data.features
    sign: Sign = "abs" if both_signs else "signed"
    mcc, found = [], []
    for decoder_FD, live_F in zip(saes.weights.W_dec, live_SF, strict=True):
        any_live = bool(live_F.any())
        mcc.append(truth_match(decoder_FD, truth_MD, live_N=live_F).mcc if any_live else 0.0)
        found.append(
            truth_match(decoder_FD, data.features, live_N=live_F, sign=sign).recall
            if any_live
            else 0.0
        )
    return {"gt_mcc": of_seeds(mcc), "found": of_seeds(found)}


def _planes(data: PlantedData, saes: TrainedSaes, live_SF: Tensor) -> Measures:
    truth = planted_planes(data)
    found: list[Recovery] = [
        recover(decoder_FD, truth, live_F)
        for decoder_FD, live_F in zip(saes.weights.W_dec, live_SF, strict=True)
    ]
    return {
        "one_plane": of_seeds([recovery.precision for recovery in found]),
        "planes": of_seeds([recovery.recall for recovery in found]),
    }


def of_seeds(values: Sequence[float]) -> Measured:
    """Return the mean of one value per seed, with its interval from three seeds on."""
    kept = [float(value) for value in values]
    mean = math.fsum(kept) / len(kept)
    if len(kept) < MIN_SEEDS or not math.isfinite(mean):
        return Measured(mean, per_seed=tuple(kept))
    found = jackknife(lambda seeds: math.fsum(kept[s] for s in seeds) / len(seeds), len(kept))
    return Measured(found.value, found.low, found.high, tuple(kept))


def of_pairs(pairs_SS: Any) -> Measured:
    """Return the mean over pairs of seeds with its interval; NaN where a pair has no value."""
    upper = [pairs_SS[s, t] for s in range(len(pairs_SS)) for t in range(s)]
    if not all(map(math.isfinite, upper)) or len(pairs_SS) < MIN_SEEDS:
        return Measured(math.nan)
    found = jackknife_pairs(pairs_SS)
    return Measured(found.value, found.low, found.high)


def _permutation(features_MD: Tensor, seeds: Sequence[int]) -> Measures:
    other_MD = [permuted(features_MD, seed) for seed in seeds]
    return {
        "mean_max_cos": of_seeds([mean_max_cos(features_MD, other) for other in other_MD]),
        "matched_mcc": of_seeds([matched_mcc(features_MD, other) for other in other_MD]),
    }


def _sign(features_MD: Tensor, seeds: Sequence[int]) -> Measures:
    other_MD = [flipped(features_MD, seed) for seed in seeds]
    return {
        "signed": of_seeds([mean_max_cos(features_MD, other) for other in other_MD]),
        "abs": of_seeds([mean_max_cos(features_MD, other, "abs") for other in other_MD]),
    }


def _noise(features_MD: Tensor, seeds: Sequence[int]) -> Measures:
    runs = [noised(features_MD, seed, SIGMA) for seed in seeds]
    return {
        "gt_mcc": of_seeds([gt_mcc(run, features_MD) for run in runs]),
        "matched_mcc": _over_pairs(runs, matched_mcc),
    }


def _duplicates(features_MD: Tensor, seeds: Sequence[int]) -> Measures:
    twice_MD = duplicated(features_MD[: len(features_MD) // 2], 2)
    other_MD = [permuted(twice_MD, seed) for seed in seeds]
    return {
        "mean_max_cos": of_seeds([mean_max_cos(features_MD, other) for other in other_MD]),
        "matched_mcc": of_seeds([matched_mcc(features_MD, other) for other in other_MD]),
    }


def _subset(features_MD: Tensor, seeds: Sequence[int]) -> Measures:
    runs = []
    for seed in seeds:
        found_MD = subset(features_MD, seed, SHARE)
        generator = stream("oracle private", seed)
        shape = (len(features_MD) - len(found_MD), features_MD.shape[1])
        runs.append(torch.cat([found_MD, torch.randn(shape, generator=generator)]))
    return {"shared": _over_pairs(runs, lambda a, b: shared_fraction(a, b, 0.7))}


def _over_pairs(runs: Sequence[Tensor], value: Callable[[Tensor, Tensor], float]) -> Measured:
    pairs_SS = torch.full((len(runs), len(runs)), math.nan, dtype=torch.float64)
    for s, a_MD in enumerate(runs):
        for t, b_MD in enumerate(runs[:s]):
            pairs_SS[s, t] = pairs_SS[t, s] = value(a_MD, b_MD)
    return of_pairs(pairs_SS.numpy())


ORACLES: dict[str, Callable[[Tensor, Sequence[int]], Measures]] = {
    "permutation": _permutation,
    "sign": _sign,
    "noise": _noise,
    "duplicates": _duplicates,
    "subset": _subset,
}


if __name__ == "__main__":
    sys.exit(main())
