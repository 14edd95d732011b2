"""One row per feature per seed: the table that the app and notebooks read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from engine.metrics.agreement import Stability
from engine.metrics.similarity import enc_dec_alignment
from engine.saes.formats import TrainedSaes

FILE = "features.parquet"


def write_features(
    folder: Path,
    hook: str,
    saes: TrainedSaes,
    live_SF: Tensor,
    stability: Stability | None,
    truth: list[dict[str, Tensor]],
) -> None:
    """Write `features.parquet`: identity, density, stability, and what the ground truth says."""
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
        if stability is not None:
            columns |= _agreement(stability, s)
        columns |= {name: _column(values) for name, values in truth[s].items()}
        tables.append(pa.table(columns))
    pq.write_table(pa.concat_tables(tables), folder / FILE, compression="zstd")


def _title(saes: TrainedSaes) -> str:
    from engine.study.plan import sae_title

    return sae_title(saes.config)


def _agreement(stability: Stability, s: int) -> dict[str, object]:
    """Return how well the other seeds have each feature of seed `s`."""
    features = stability.features
    others = [t for t in range(stability.n_seeds) if t != s]
    best, partner = features.best[s][others], features.partner[s][others]
    return {
        "stability": features.stability[s],
        "best_cosine": pa.array(list(best.T.astype(np.float32)), pa.list_(pa.float32())),
        "partner": pa.array(list(partner.T.astype(np.int32)), pa.list_(pa.int32())),
        "median_best_cosine": np.median(best, axis=0),
        "median_p": np.median(features.p_effective[s][others], axis=0),
    }


def _column(values: Tensor) -> np.ndarray:
    array = values.detach().cpu().numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array
