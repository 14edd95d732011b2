"""One row per feature per seed: the table that the app and notebooks read."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from engine.disk.rundir import FEATURES
from engine.metrics.agreement import Stability
from engine.metrics.consensus import Consensus
from engine.metrics.discoveries import Discoveries, find_discoveries
from engine.metrics.similarity import enc_dec_alignment
from engine.report.columns import describe
from engine.saes.formats import TrainedSaes
from engine.study.sae import sae_title


def load_parquet() -> None:
    """Load what writes the table, an eighth of a second, in a process that will not be forked any more."""
    importlib.import_module("pyarrow.parquet")


def write_features(
    folder: Path,
    hook: str,
    saes: TrainedSaes,
    live_SF: Tensor,
    stability: Stability,
    discoveries: Discoveries,
    truth: list[dict[str, Tensor]],
    consensus: Consensus,
) -> None:
    """Write `features.parquet`: identity, density, stability, and what the ground truth says.

    `p_isotropic` and `p_effective` are for being found by most of the other seeds, `p_surrogate` how often
    a feature of the surrogate has as large a median best cosine; `q_…` are what Benjamini and Hochberg make
    of them over the live features of the cohort (see `metrics.discoveries`). `consensus` is the cluster of a
    feature, −1 for none, and `consensus_size` the features in it: 1 for a feature that is alone, 0 for one
    that took no part.
    """
    # Here, because importing it starts a thread, and a process with threads must not be forked.
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for s, seed in enumerate(saes.seeds):
        features = saes.config.d_sae
        assert saes.fires is not None, "cohorts are saved with their firing counts"
        columns: dict[str, np.ndarray] = {
            "seed": np.full(features, seed, dtype=np.int64),
            "feature": np.arange(features, dtype=np.int32),
            "density": saes.fires[s].numpy() / saes.inputs,
            "live": live_SF[s].numpy(),
            "enc_dec_alignment": _column(
                enc_dec_alignment(saes.weights.W_enc[s], saes.weights.W_dec[s])
            ),
        }
        columns |= _agreement(stability, s) | discoveries.columns(s)
        columns |= {"consensus": consensus.cluster[s], "consensus_size": consensus.size[s]}
        columns |= {name: _column(values) for name, values in truth[s].items()}
        arrays = {"cohort": _repeated(_title(saes), features), "hook": _repeated(hook, features)}
        arrays |= {name: _arrow(values) for name, values in columns.items()}
        tables.append(pa.Table.from_arrays(list(arrays.values()), names=list(arrays)))
    pq.write_table(describe(pa.concat_tables(tables)), folder / FEATURES, compression="zstd")


def _title(saes: TrainedSaes) -> str:
    return sae_title(saes.config)


def _agreement(stability: Stability, s: int) -> dict[str, np.ndarray]:
    """Return how well the other seeds have each feature of seed `s`."""
    features = stability.features
    others = [t for t in range(stability.n_seeds) if t != s]
    best, partner, runner_up = (
        array[s][others] for array in (features.best, features.partner, features.runner_up)
    )
    return {
        "stability": features.stability[s],
        "best_cosine": best.T.astype(np.float32),
        "partner": partner.T.astype(np.int32),
        "runner_up": runner_up.T.astype(np.float32),
        "median_best_cosine": np.median(best, axis=0),
    }


def _arrow(values: np.ndarray) -> Any:
    """Return an Arrow array of numbers or truth values [F], or of lists [F, K].

    From buffers, because everything else in pyarrow that takes numpy or Python values imports pandas first,
    which is half a second.
    """
    import pyarrow as pa

    count = len(values)
    if values.ndim == 2:
        offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
        flat = _arrow(np.ascontiguousarray(values).ravel())
        buffers = [None, pa.py_buffer(offsets)]
        return pa.Array.from_buffers(pa.list_(flat.type), count, buffers, children=[flat])
    if values.dtype == bool:
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), count, [None, pa.py_buffer(bits)])
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), count, [None, data])


def _repeated(text: str, count: int) -> Any:
    """Return an Arrow array of one text, so many times."""
    import pyarrow as pa

    data = text.encode()
    offsets = np.arange(count + 1, dtype=np.int32) * len(data)
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data * count)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def p_surrogate(stability: Stability, surrogate_match: np.ndarray) -> np.ndarray:
    """Return how often a surrogate's median best cosine [M] reaches that of each feature, (1 + #)/(1 + M):
    [S, F]."""
    ordered = np.sort(surrogate_match)
    n_seeds = stability.n_seeds
    rows = []
    for s in range(n_seeds):
        others = [t for t in range(n_seeds) if t != s]
        median_F = np.median(stability.features.best[s][others], axis=0)
        at_least_F = len(ordered) - np.searchsorted(ordered, median_F, side="left")
        rows.append((1 + at_least_F) / (1 + len(ordered)))
    return np.stack(rows)


def find_again(
    stability: Stability, surrogate_match: np.ndarray | None, live_SF: Tensor
) -> Discoveries:
    """Return which live features the other seeds have beyond chance, by null."""
    features = stability.features
    partner = {"isotropic": features.p_isotropic}
    if not np.isnan(features.p_effective).all():
        partner["effective"] = features.p_effective
    whole = (
        {} if surrogate_match is None else {"surrogate": p_surrogate(stability, surrogate_match)}
    )
    return find_discoveries(partner, whole, live_SF.numpy())


def _column(values: Tensor) -> np.ndarray:
    array = values.detach().cpu().numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array
