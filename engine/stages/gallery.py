"""What the report shows of single features, and of the twin on surrogate data: written beside the analysis.

A handful of features of the first seed is chosen by a rule that looks at nothing but agreement: live ones by
the share of other seeds that have them, then by their median best cosine, ties by index; the first of that
order and the last. Beside each stands its best match in the second seed, whatever it is.

Shapes: S seeds, O the others, N activations (p² for the grid), F latents, G shown ones, M live latents of
the twin.
"""

from __future__ import annotations

from collections.abc import Mapping
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

HANDFUL = 4
"""Features shown from either end."""
LEVELS = 255
"""Steps of a map's grey scale: each map is scaled to its own largest activation."""
ETA2 = dict(zip(("eta2_a", "eta2_b", "eta2_sum", "eta2_difference"), FAMILIES, strict=True))

Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]


class Gallery:
    """Which features are shown, and their maps, taken while the latents are there: computed once for all."""

    def __init__(
        self, saes: TrainedSaes, live_SF: Tensor, stability: Stability, modulus: int | None
    ) -> None:
        """Choose the features.

        Args:
            saes: the cohort.
            live_SF: which latents fire often enough to be counted.
            stability: the agreement of its seeds.
            modulus: p of a subject whose inputs are pairs (a, b); None where there is no grid.
        """
        self._saes, self._stability, self._modulus = saes, stability, modulus
        found = stability.features
        self._median_F: Floats = np.median(found.best[0][1:], axis=0)
        chosen = choose(found.stability[0], self._median_F, live_SF[0].numpy())
        self._groups = dict(zip(("stable", "unstable"), chosen, strict=True))
        features = [f for group in self._groups.values() for f in group]
        self._shown = {0: features, 1: [int(found.partner[0][1][f]) for f in features]}
        self._maps: Arrays = {}

    def see(self, s: int, z_NF: Tensor) -> None:
        """Take the maps of what is shown of seed `s` from its latents on the whole grid, a by a. Seeds may come
        in any order, from several threads at once."""
        p = self._modulus
        if p is None or len(z_NF) != p * p or s not in self._shown:
            return
        name = ("maps", "partner_maps")[s]
        maps, peaks = _maps(z_NF[:, self._shown[s]], p)
        self._maps |= {name: maps, f"{name}_peak": peaks}

    def write(
        self, folder: Path, truth: Mapping[str, Tensor], twin: TwinFeatures | None
    ) -> dict[str, Any]:
        """Write `gallery.safetensors`; return what of it belongs in the summary: `gallery`, `surrogate_pairs`.

        Args:
            folder: where the artifacts of the analysis are gathered.
            truth: columns [F] that the ground truth gave of the first seed.
            twin: the features of the same SAEs on surrogate data.
        """
        arrays = dict(sorted(self._maps.items()))
        summary: dict[str, Any] = {"gallery": self._entries(truth)}
        if twin is not None:
            arrays |= twin.arrays()
            summary["surrogate_pairs"] = {"metric": "mean_max_cos", **twin.pairs}
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, folder / GALLERY)
        return summary

    def _entries(self, truth: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        return [
            {"group": group, **self._entry(f), "responds_to": _response(truth, f)}
            for group, features in self._groups.items()
            for f in features
        ]

    def _entry(self, f: int) -> dict[str, Any]:
        found, saes = self._stability.features, self._saes
        best_O, partner = found.best[0][1:, f], int(found.partner[0][1][f])
        assert saes.fires is not None, "cohorts are saved with their firing counts"
        return {
            "seed": saes.seeds[0],
            "feature": f,
            "stability": float(found.stability[0][f]),
            "median_best_cosine": float(self._median_F[f]),
            "density": float(saes.fires[0][f]) / saes.inputs,
            "best_cosines": {
                str(seed): float(best) for seed, best in zip(saes.seeds[1:], best_O, strict=True)
            },
            "partner": {
                "seed": saes.seeds[1],
                "feature": partner,
                "cosine": float(best_O[0]),
                "density": float(saes.fires[1][partner]) / saes.inputs,
                "mutual": int(found.partner[1][0][partner]) == f,
            },
        }


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


def _maps(z_NG: Tensor, p: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return activation maps of some features, uint8 [G, p, p] (a down, b across), and their peaks [G]."""
    peak_G = z_NG.amax(0) if z_NG.numel() else z_NG.new_zeros(z_NG.shape[1])
    scaled_NG = (LEVELS * z_NG / peak_G.clamp(min=1e-12)).clamp(0, LEVELS).round()
    maps = scaled_NG.to(torch.uint8).T.reshape(-1, p, p)
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
