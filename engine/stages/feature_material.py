"""What the report draws of a cohort's features, read from the artifacts of its analysis.

Shapes: R rows (features of all seeds), M live features of the twin on surrogate data, G features of
the gallery.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file

from engine.disk.rundir import FEATURES, GALLERY, RunDirectory

COLUMNS = ("seed", "feature", "density", "live", "stability", "median_best_cosine")


def feature_material(analysis: RunDirectory) -> dict[str, NDArray[Any]]:
    """Return columns by name: of the features [R], of the twin's (`surrogate_*` [M]), and the gallery's maps
    (`maps`, `partner_maps` [G, p, p] uint8, with their peaks); what was not measured is not there."""
    import pyarrow.parquet as pq  # here, because importing it starts a thread (see engine.nursery)

    table = pq.ParquetFile(analysis.artifacts / FEATURES).read(columns=list(COLUMNS))
    found: dict[str, NDArray[Any]] = {name: table[name].to_numpy() for name in COLUMNS}
    file = analysis.artifacts / GALLERY
    if file.is_file():
        found |= load_file(file)
    return found
