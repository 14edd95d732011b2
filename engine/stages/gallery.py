"""What the report shows of single features, and of the twin on surrogate data: written beside the analysis.

A handful of features of the first seed is chosen by a rule that looks at nothing but agreement: live ones by
the share of other seeds that have them, then by their median best cosine, ties by index; the first of that
order and the last. Beside each stands its best match in the second seed, whatever it is.

Shapes: S seeds, N activations (p² for the grid), D width, F latents, M live latents of the twin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from engine.disk.rundir import GALLERY
from engine.metrics.agreement import Stability
from engine.metrics.ground_truth import FAMILIES
from engine.metrics.similarity import Sign, cosine_matrix, live_mask, mean_max
from engine.metrics.stability import FOUND_AGAIN
from engine.saes.formats import TrainedSaes
from engine.stages.truth import latents

HANDFUL = 4
"""Features shown from either end."""
LEVELS = 255
"""Steps of a map's grey scale: each map is scaled to its own largest activation."""
ETA2 = dict(zip(("eta2_a", "eta2_b", "eta2_sum", "eta2_difference"), FAMILIES, strict=True))

Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]


def write_gallery(
    folder: Path,
    x_ND: Tensor,
    saes: TrainedSaes,
    live_SF: Tensor,
    stability: Stability,
    twin: TwinFeatures | None,
    truth: Sequence[Mapping[str, Tensor]],
    modulus: int | None,
) -> dict[str, Any]:
    """Write `gallery.safetensors`; return what of it belongs in the summary: `gallery`, `surrogate_pairs`.

    Args:
        folder: where the artifacts of the analysis are gathered.
        x_ND: activations; the full grid of pairs, a by a, where `modulus` is given.
        saes: the cohort.
        live_SF: which latents fire often enough to be counted.
        stability: the agreement of its seeds.
        twin: the features of the same SAEs on surrogate data.
        truth: per seed, columns [F] that the ground truth gave.
        modulus: p of a subject whose inputs are pairs (a, b); None where there is no grid.
    """
    arrays: Arrays = {}
    summary: dict[str, Any] = {"gallery": _entries(saes, live_SF[0], stability, truth[0])}
    if twin is not None:
        arrays = twin.arrays()
        summary["surrogate_pairs"] = {"metric": "mean_max_cos", **twin.pairs}
    if modulus is not None and len(x_ND) == modulus * modulus:
        shown = [(0, [one["feature"] for one in summary["gallery"]], "maps")]
        shown.append((1, [one["partner"]["feature"] for one in summary["gallery"]], "partner_maps"))
        for place, features, name in shown:
            maps, peaks = _maps(saes, place, features, x_ND, modulus)
            arrays |= {name: maps, f"{name}_peak": peaks}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(contiguous, folder / GALLERY)
    return summary


def choose(
    stability_F: NDArray[np.float64], median_F: NDArray[np.float64], live_F: NDArray[np.bool_]
) -> tuple[list[int], list[int]]:
    """Return the most and the least stable of the live features, at most `HANDFUL` each, none twice."""
    known = [int(f) for f in np.flatnonzero(live_F & np.isfinite(stability_F))]
    most = sorted(known, key=lambda f: (-stability_F[f], -median_F[f], f))[:HANDFUL]
    least = sorted(
        (f for f in known if f not in most), key=lambda f: (stability_F[f], median_F[f], f)
    )
    return most, least[:HANDFUL]


def _entries(
    saes: TrainedSaes, live_F: Tensor, stability: Stability, truth: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    found, seeds = stability.features, list(saes.seeds)
    best_OF, partner_F = found.best[0][1:], found.partner[0][1]
    median_F = np.median(best_OF, axis=0)
    most, least = choose(found.stability[0], median_F, live_F.numpy())
    assert saes.fires is not None, "cohorts are saved with their firing counts"
    entries = []
    for group, features in (("stable", most), ("unstable", least)):
        for f in features:
            partner = int(partner_F[f])
            entries.append(
                {
                    "group": group,
                    "seed": seeds[0],
                    "feature": f,
                    "stability": float(found.stability[0][f]),
                    "median_best_cosine": float(median_F[f]),
                    "density": float(saes.fires[0][f]) / saes.inputs,
                    "best_cosines": {
                        str(seed): float(best)
                        for seed, best in zip(seeds[1:], best_OF[:, f], strict=True)
                    },
                    "partner": {
                        "seed": seeds[1],
                        "feature": partner,
                        "cosine": float(best_OF[0, f]),
                        "density": float(saes.fires[1][partner]) / saes.inputs,
                        "mutual": int(found.partner[1][0][partner]) == f,
                    },
                    "responds_to": _response(truth, f),
                }
            )
    return entries


def _response(truth: Mapping[str, Tensor], feature: int) -> dict[str, Any] | None:
    """Return the dominant frequency and argument of a feature's map; None where there is no grid."""
    if "frequency" not in truth:
        return None
    shares = {family: float(truth[name][feature]) for name, family in ETA2.items()}
    known = {family: share for family, share in shares.items() if share == share}
    family = max(known, key=lambda name: known[name], default=None)
    selectivity = float(truth["selectivity"][feature])
    return {
        "frequency": int(truth["frequency"][feature]),
        "selectivity": selectivity if selectivity == selectivity else None,
        "family": family,
        "eta2": None if family is None else known[family],
    }


def _maps(
    saes: TrainedSaes, place: int, features: Sequence[int], x_ND: Tensor, p: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return activation maps of some features, uint8 [few, p, p] (a down, b across), and their peaks [few]."""
    z_NG = latents(saes, place, x_ND)[:, list(features)]
    peak_G = z_NG.amax(0)
    scaled_NG = (LEVELS * z_NG / peak_G.clamp(min=1e-12)).clamp(0, LEVELS).round()
    maps = scaled_NG.to(torch.uint8).T.reshape(len(features), p, p)
    return maps.numpy(), peak_G.numpy().astype(np.float32)


@dataclass(frozen=True)
class TwinFeatures:
    """The live features of a cohort's twin on surrogate data, of all seeds together."""

    match: Floats
    """[M]: median over the other seeds of the best cosine."""
    stability: Floats
    """[M]: share of the other seeds that have it, as for the cohort's own."""
    density: Floats
    """[M]: share of inputs on which it fires."""
    pairs: dict[str, list[list[float | None]]]
    """Mean max cosine of every pair of seeds for `all` and `live` features, [S][S]; None on the diagonal and
    where a seed has no such feature."""

    def arrays(self) -> Arrays:
        """Return what is written beside the gallery."""
        named = {"match": self.match, "stability": self.stability, "density": self.density}
        return {f"surrogate_{name}": array.astype(np.float32) for name, array in named.items()}


def twin_features(twin: TrainedSaes, sign: Sign) -> TwinFeatures:
    """Return what a cohort's features are compared with one by one: those of its twin on surrogate data."""
    assert twin.fires is not None, "cohorts are saved with their firing counts"
    S, F = len(twin.seeds), twin.config.d_sae
    live = [live_mask(fires_F, twin.inputs) for fires_F in twin.fires]
    nonzero_SF = (twin.weights.W_dec != 0).any(2)
    best_SSF, found_SF = np.full((S, S, F), np.nan), np.zeros((S, F))
    pairs: dict[str, list[list[float | None]]] = {
        name: [[None] * S for _ in range(S)] for name in ("all", "live")
    }
    for s, t in combinations(range(S), 2):
        cosine_FF = cosine_matrix(twin.weights.W_dec[s], twin.weights.W_dec[t], sign)
        there, back = cosine_FF.max(1), cosine_FF.max(0)
        for a, b, ours, theirs in ((s, t, there, back), (t, s, back, there)):
            mutual_F = theirs.indices[ours.indices] == torch.arange(F)
            best_SSF[a, b] = ours.values.numpy()
            found_SF[a] += (mutual_F & (ours.values >= FOUND_AGAIN)).numpy()
        for name, kept_SF in (("all", nonzero_SF), ("live", live)):
            whole = bool(kept_SF[s].all() and kept_SF[t].all())
            cosine_AB = cosine_FF if whole else cosine_FF[kept_SF[s]][:, kept_SF[t]]
            value = mean_max(cosine_AB) if cosine_AB.numel() else None
            pairs[name][s][t] = pairs[name][t][s] = value
    kept = [live_F.numpy() for live_F in live]
    others = [[t for t in range(S) if t != s] for s in range(S)]
    return TwinFeatures(
        match=np.concatenate(
            [np.median(best_SSF[s, others[s]], axis=0)[kept[s]] for s in range(S)]
        ),
        stability=np.concatenate([found_SF[s, kept[s]] / (S - 1) for s in range(S)]),
        density=np.concatenate([(twin.fires[s].numpy() / twin.inputs)[kept[s]] for s in range(S)]),
        pairs=pairs,
    )
