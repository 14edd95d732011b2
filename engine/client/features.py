"""The features of one cohort as columns, for a table of hundreds of thousands of rows. Loads no torch.

Shapes: S seeds, F latents of each, R = S·F rows, O = S − 1 other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.disk.root import RunsRoot
from engine.disk.rundir import FEATURES
from engine.errors import CorruptArtifact, InputError
from engine.jobs.cohorts import CohortJob, find_analysis, list_cohorts, unknown_cohort

Column = NDArray[Any]
PER_OTHER = ("best_cosine", "partner", "runner_up")
"""Columns of the file with one value for each other seed."""
FAMILIES = ("a", "b", "a+b", "a-b")
"""Arguments of the Fourier planes, in the order of their numbers in `plane_family`; −1 is none."""


@dataclass(frozen=True)
class Features:
    """Every feature of every seed of a cohort; rows are ordered by seed, then by feature."""

    study: str
    cohort: str
    """Its title."""
    hook: str
    seeds: tuple[int, ...]
    """In the order of the rows."""
    width: int
    """Number F of latents of each seed."""
    columns: Mapping[str, Column]
    """What there is one value of for each row: `seed`, `feature`, `density`, `live`, `stability`,
    `median_best_cosine`, `enc_dec_alignment`, perhaps `p_surrogate` and what the ground truth says
    (`frequency`, `selectivity`, `plane_family`, ...)."""
    best: NDArray[np.float32]
    """[R, O]: best cosine in each other seed; NaN for a feature that is zero."""
    partner: NDArray[np.int32]
    """[R, O]: the feature there; −1 where there is none."""
    runner_up: NDArray[np.float32]
    """[R, O]: second best cosine there; NaN where it is not known."""

    def __len__(self) -> int:
        return len(self.best)

    def row(self, seed: int, feature: int) -> int:
        """Return the row of a feature; raise InputError if there is none."""
        if seed not in self.seeds:
            raise InputError("seed", f"{seed} is not there", f"one of {list(self.seeds)}")
        if not 0 <= feature < self.width:
            raise InputError("feature", f"{feature} is not there", f"0 to {self.width - 1}")
        return self.seeds.index(seed) * self.width + feature

    @cached_property
    def other_places(self) -> NDArray[np.int64]:
        """[S, O]: for each seed, the places in `seeds` of the others, in the order of the columns."""
        S = len(self.seeds)
        others = [[t for t in range(S) if t != s] for s in range(S)]
        return np.array(others, dtype=np.int64).reshape(S, S - 1)

    @cached_property
    def partner_rows(self) -> NDArray[np.int64]:
        """[R, O]: the row of each partner; −1 where there is none."""
        first_SO = self.other_places * self.width
        rows = np.repeat(first_SO, self.width, axis=0) + self.partner
        return np.where(self.partner < 0, -1, rows)

    @cached_property
    def mutual(self) -> NDArray[np.bool_]:
        """[R, O]: whether the partner's partner in this feature's seed is this feature."""
        S = len(self.seeds)
        # Place of seed s among the others of its o-th other seed t: t leaves itself out.
        s_S1, t_SO = np.arange(S)[:, None], self.other_places
        back_SO = s_S1 - (s_S1 > t_SO)
        back_RO = np.repeat(back_SO, self.width, axis=0)
        returned_RO = self.partner[self.partner_rows, back_RO]
        own_R1 = np.tile(np.arange(self.width, dtype=np.int32), S)[:, None]
        found: NDArray[np.bool_] = (self.partner >= 0) & (returned_RO == own_R1)
        return found

    @cached_property
    def margin(self) -> NDArray[np.float32]:
        """[R]: median over the other seeds of best less second best cosine."""
        median: NDArray[np.float32] = np.median(self.best - self.runner_up, axis=1)
        return median


def cohorts(runs: Path, study: str) -> list[CohortJob]:
    """Return the cohorts of a study and how their analyses stand.

    Raises:
        InputError: the queue knows no such study.
        EnvironmentUnfit: the queue cannot be read now.
    """
    return list_cohorts(RunsRoot(runs), study)


def open_features(runs: Path, study: str, cohort: str) -> Features:
    """Open the features of one cohort, as soon as its analysis is done.

    They are read from the analysis; where the queue does not know the study (a report was copied here),
    from its report.

    Raises:
        InputError: there is no such study or cohort.
        JobFailed: the cohort is not analysed yet, or its jobs failed.
        CorruptArtifact: the file is damaged.
        EnvironmentUnfit: the queue cannot be read now.
    """
    root = RunsRoot(runs)
    report = root.report(study) / FEATURES
    try:
        run = find_analysis(root, study, cohort)
    except InputError:
        if not report.is_file() or _queued(root, study):
            raise
        return _read(report, study, cohort, whole=False)
    run.read_result()  # its artifacts are what was published
    return _read(run.artifacts / FEATURES, study, cohort, whole=True)


def _queued(root: RunsRoot, study: str) -> bool:
    try:
        return bool(list_cohorts(root, study))
    except InputError:
        return False


def _read(path: Path, study: str, cohort: str, *, whole: bool) -> Features:
    """Read a file: all of it is the cohort (under a title of its own), or one cohort of several."""
    # Here, because importing it starts a thread and takes most of the time of a cold start.
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        if not whole:
            titles = pc.unique(table["cohort"]).to_pylist()
            table = table.filter(pc.equal(table["cohort"], cohort))
            if not table.num_rows:
                raise unknown_cohort(study, cohort, titles)
        return _features(table, study, cohort)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        what = str(error).splitlines()[0]
        raise CorruptArtifact(f"{path}: not the features of a cohort ({what})") from None


def _features(table: Any, study: str, cohort: str) -> Features:
    """Return a pyarrow table as columns; raise ValueError unless it has one row for each feature of each
    seed."""
    R = table.num_rows
    if not R:
        raise ValueError("no row")
    names = [
        name
        for name in table.column_names
        if name not in ("cohort", "hook", *PER_OTHER) and table[name].null_count < R
    ]
    columns = {name: table[name].to_numpy() for name in names}
    seed_R = columns["seed"]
    seeds = tuple(int(seed) for seed in dict.fromkeys(seed_R.tolist()))
    width, others = R // len(seeds), len(seeds) - 1
    ordered = np.array_equal(seed_R, np.repeat(seeds, width))
    if not ordered or not np.array_equal(columns["feature"], np.tile(np.arange(width), len(seeds))):
        raise ValueError("its rows are not one for each feature of each seed")
    shapes = {
        name: _table(table[name], R, others) for name in PER_OTHER if name in table.column_names
    }
    unknown = np.full(
        (R, others), np.nan, dtype=np.float32
    )  # files from before there was a runner-up
    partner = shapes["partner"].astype(np.int32, copy=False)
    if not ((partner >= -1) & (partner < width)).all():
        raise ValueError("a partner is no feature")
    return Features(
        study,
        cohort,
        str(table["hook"][0]),
        seeds,
        width,
        columns,
        shapes["best_cosine"].astype(np.float32, copy=False),
        partner,
        shapes.get("runner_up", unknown).astype(np.float32, copy=False),
    )


def _table(column: Any, rows: int, others: int) -> Column:
    """Return a column of lists of one length as a table [rows, others]."""
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat: Column = np.concatenate(chunks)
    if flat.size != rows * others:
        raise ValueError(f"{flat.size} values for {rows} rows and {others} other seeds")
    return flat.reshape(rows, others)
