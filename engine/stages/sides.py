"""What a finished cohort brings to a comparison: its pairs of seeds, its null, its quality by seed.

Shapes: S = shared seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.metrics.contrasts import Side, constant
from engine.metrics.uncertainty import pair_mean
from engine.stages.flags import HEADLINE_METRIC

Floats = NDArray[np.float64]
Record = dict[str, Any]
SPARSITY = ("k", "l1", "target_l0")
"""Settings that decide how many latents are active."""


def shared_seeds(cohorts: Sequence[Record]) -> list[int]:
    """Return the seeds that all cohorts have, in the order of the first."""
    first, *others = (cohort["seeds"] for cohort in cohorts)
    return [seed for seed in first if all(seed in seeds for seeds in others)]


def common_subset(cohorts: Sequence[Record]) -> str:
    """Return `live` where every cohort was measured on live features, else `all`."""
    measured = (c["stability"][HEADLINE_METRIC].get("live") or {} for c in cohorts)
    return "live" if all(cell.get("kappa") is not None for cell in measured) else "all"


def cell_of(cohort: Record, subset: str) -> Record:
    """Return what was measured of a cohort at the headline metric; empty where nothing was."""
    return cohort["stability"].get(HEADLINE_METRIC, {}).get(subset) or {}


def has_surrogate(cell: Mapping[str, Any]) -> bool:
    """Return whether the retrained null (N3) was measured and may be used."""
    return any(n["name"] == "N3" and n["admissible"] for n in cell.get("nulls") or ())


def side_of(cohort: Record, subset: str, seeds: Sequence[int]) -> Side | None:
    """Return the pairs of some seeds and those of the null that κ is taken against, which is held fixed where
    it has none; None where κ was not measured."""
    cell = cell_of(cohort, subset)
    if cell.get("kappa") is None:
        return None
    observed_SS = _of_seeds(cell["pairs"], cohort, seeds)
    beside = cell.get("null_pairs")
    if beside is not None:
        return Side(observed_SS, _of_seeds(beside, cohort, seeds))
    return Side(observed_SS, constant(float(cell["null"]), len(seeds)))


def surrogate_side(cohort: Record, subset: str, seeds: Sequence[int]) -> Side | None:
    """Return the pairs of some seeds and those of N3, whichever null κ is taken against; None where there is
    no N3 that may be used.

    The pairs of the surrogate are raised together to the value of the null, which corrects them for the
    number of features; without them the null is held fixed.
    """
    cell = cell_of(cohort, subset)
    value = next(
        (n["value"] for n in cell.get("nulls") or () if n["name"] == "N3" and n["admissible"]), None
    )
    if cell.get("kappa") is None or value is None:
        return None
    if cell.get("null_name") == "N3":
        return side_of(cohort, subset, seeds)
    observed_SS = _of_seeds(cell["pairs"], cohort, seeds)
    told = cohort.get("surrogate_pairs") or {}
    pairs = told.get(subset) if told.get("metric") == HEADLINE_METRIC else None
    if not pairs or len(pairs) != len(cohort["seeds"]):
        return Side(observed_SS, constant(float(value), len(seeds)))
    every_SS = _of_seeds(pairs, cohort, cohort["seeds"])
    raised = float(value) - pair_mean(every_SS)
    if not math.isfinite(raised):
        return Side(observed_SS, constant(float(value), len(seeds)))
    return Side(observed_SS, _of_seeds(pairs, cohort, seeds) + raised)


def null_kinds(cohorts: Sequence[Record], subset: str) -> list[str]:
    """Return the kinds of null that κ is taken against, each once, in the order of the cohorts."""
    return list(dict.fromkeys(str(cell_of(cohort, subset).get("null_name")) for cohort in cohorts))


def _of_seeds(
    pairs: Sequence[Sequence[float | None]], cohort: Record, seeds: Sequence[int]
) -> Floats:
    table = np.array([[math.nan if x is None else x for x in row] for row in pairs])
    places = [cohort["seeds"].index(seed) for seed in seeds]
    return np.asarray(table[np.ix_(places, places)], dtype=np.float64)


def quality_by_seed(cohort: Record, name: str, seeds: Sequence[int]) -> list[float]:
    """Return a quality of some seeds; NaN where it is unknown."""
    values = (cohort["quality"].get(name) or {}).get("per_seed") or []
    known = dict(zip(cohort["seeds"], values, strict=False))
    return [math.nan if known.get(seed) is None else float(known[seed]) for seed in seeds]


def qualities(cohort: Record) -> dict[str, float | None]:
    """Return what must match between cohorts that are compared: L0, explained variance, live latents."""
    counts = cell_of(cohort, "live").get("n_per_seed") or ()
    quality = cohort["quality"]
    return {
        "l0": (quality.get("l0") or {}).get("mean"),
        "explained_variance": (quality.get("explained_variance") or {}).get("mean"),
        "n_live": sum(counts) / len(counts) if counts else None,
    }


def sparsity_of(cohort: Record) -> list[str]:
    """Return the settings of a cohort that decide how many latents are active: `k`, `l1`, `target_l0`."""
    return [name for name in SPARSITY if cohort["settings"].get(name) is not None]


def without(cohort: Record, *names: str) -> str:
    """Return what a cohort is but for some settings of its SAE, as one comparable text: hook, settings,
    and where in the search it is."""
    settings = {k: v for k, v in cohort["settings"].items() if k not in names}
    point = {
        path: value
        for path, value in (cohort.get("point") or {}).items()
        if not path.startswith("saes.") and path not in names
    }
    return repr((cohort["hook"], _sorted(settings), _sorted(point)))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((name, _sorted(item)) for name, item in value.items())
    return value


def plain(value: float) -> float | None:
    """Return a number as JSON has it: None for what is not finite."""
    return value if math.isfinite(value) else None
