"""One row per feature per seed: the table that the app and notebooks read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from engine.disk.rundir import FEATURES
from engine.metrics.agreement import Stability
from engine.metrics.consensus import Consensus
from engine.metrics.similarity import enc_dec_alignment
from engine.report.columns import describe
from engine.saes.formats import TrainedSaes
from engine.study.sae import sae_title


def write_features(
    folder: Path,
    hook: str,
    saes: TrainedSaes,
    live_SF: Tensor,
    stability: Stability,
    surrogate_match: np.ndarray | None,
    truth: list[dict[str, Tensor]],
    consensus: Consensus,
) -> None:
    """Write `features.parquet`: identity, density, stability, and what the ground truth says.

    `surrogate_match` are the median best cosines of the surrogate's features [M]: `p_surrogate` is how
    often one of them reaches that of a feature. `consensus` is the cluster of a feature, −1 for none, and
    `consensus_size` the features in it: 1 for a feature that is alone, 0 for one that took no part.
    """
    # Here, because importing it starts a thread, and a process with threads must not be forked.
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for s, seed in enumerate(saes.seeds):
        features = saes.config.d_sae
        assert saes.fires is not None, "cohorts are saved with their firing counts"
        columns: dict[str, object] = {
            "cohort": [_title(saes)] * features,
            "hook": [hook] * features,
            "seed": np.full(features, seed, dtype=np.int64),
            "feature": np.arange(features, dtype=np.int32),
            "density": saes.fires[s].numpy() / saes.inputs,
            "live": live_SF[s].numpy(),
            "enc_dec_alignment": _column(
                enc_dec_alignment(saes.weights.W_enc[s], saes.weights.W_dec[s])
            ),
        }
        columns |= _agreement(stability, s, surrogate_match)
        columns |= {"consensus": consensus.cluster[s], "consensus_size": consensus.size[s]}
        columns |= {name: _column(values) for name, values in truth[s].items()}
        tables.append(pa.table(columns))
    pq.write_table(describe(pa.concat_tables(tables)), folder / FEATURES, compression="zstd")


def _title(saes: TrainedSaes) -> str:
    return sae_title(saes.config)


def _agreement(
    stability: Stability, s: int, surrogate_match: np.ndarray | None
) -> dict[str, object]:
    """Return how well the other seeds have each feature of seed `s`."""
    features = stability.features
    others = [t for t in range(stability.n_seeds) if t != s]
    best, partner, runner_up = (
        array[s][others] for array in (features.best, features.partner, features.runner_up)
    )
    median = np.median(best, axis=0)
    columns: dict[str, object] = {
        "stability": features.stability[s],
        "best_cosine": list(best.T.astype(np.float32)),
        "partner": list(partner.T.astype(np.int32)),
        "runner_up": list(runner_up.T.astype(np.float32)),
        "median_best_cosine": median,
    }
    if surrogate_match is not None:
        ordered = np.sort(surrogate_match)
        at_least = len(ordered) - np.searchsorted(ordered, median, side="left")
        columns["p_surrogate"] = (1 + at_least) / (1 + len(ordered))
    return columns


def _column(values: Tensor) -> np.ndarray:
    array = values.detach().cpu().numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array
