"""TensorBoard events: written from curves and results, without torch and without TensorFlow.

They are a copy for those who look there: the curves and `summary.json` are the truth, and events can be written
anew from them at any time.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from engine.disk.curves import NOT_VALUES, Row

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
BINS = 40
"""Bars of a histogram: TensorBoard redraws them to thirty."""


class EventFile:
    """Events of one run, in a file of its own below a folder."""

    def __init__(self, folder: Path) -> None:
        """Open a new file."""
        self._writer = EventFileWriter(str(folder), flush_secs=10)

    def scalar(self, tag: str, value: float, step: int, wall: float | None = None) -> None:
        """Write one number."""
        self._add(Summary.Value(tag=tag, simple_value=value), step, wall)

    def histogram(self, tag: str, values: ArrayLike, step: int) -> None:
        """Write the distribution of finite values; of none, nothing."""
        known = np.asarray(values, dtype=np.float64)
        known = known[np.isfinite(known)]
        if known.size:
            self._add(Summary.Value(tag=tag, histo=_histogram(known)), step)

    def image(self, tag: str, png: bytes, step: int) -> None:
        """Write a picture; raises ValueError unless it is a PNG."""
        if png[:8] != PNG_SIGNATURE:
            raise ValueError(f"{tag}: not a PNG")
        width, height = struct.unpack(">II", png[16:24])
        picture = Summary.Image(width=width, height=height, encoded_image_string=png)
        self._add(Summary.Value(tag=tag, image=picture), step)

    def text(self, tag: str, text: str, step: int) -> None:
        """Write a text; TensorBoard reads it as Markdown."""
        tensor = TensorProto(
            dtype="DT_STRING",
            string_val=[text.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        plugin = SummaryMetadata.PluginData(plugin_name="text")
        value = Summary.Value(
            tag=f"{tag}/text_summary", metadata=SummaryMetadata(plugin_data=plugin), tensor=tensor
        )
        self._add(value, step)

    def summary(self, summary: Summary) -> None:
        """Write a summary that another part of TensorBoard has made."""
        self._writer.add_event(Event(wall_time=time.time(), step=0, summary=summary))

    def close(self) -> None:
        """Write out what waits, and close."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, value: Summary.Value, step: int, wall: float | None = None) -> None:
        moment = time.time() if wall is None else wall
        self._writer.add_event(Event(wall_time=moment, step=step, summary=Summary(value=[value])))


def _histogram(values: NDArray[np.float64]) -> HistogramProto:
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=BINS if high > low else 1)
    return HistogramProto(
        min=low,
        max=high,
        num=values.size,
        sum=float(values.sum()),
        sum_squares=float(np.square(values).sum()),
        bucket_limit=[float(edges[0]), *map(float, edges[1:])],
        bucket=[0.0, *map(float, counts)],
    )


def write_curves(
    folder: Path, rows: Iterable[Row], labels: Sequence[str], started: float = 0.0
) -> int:
    """Write the rows of a curves file, and return how many points that were.

    Args:
        folder: of the events; made if it is not there.
        rows: as `read_curves` returns them; what is None, a value that was not finite, is left out.
        labels: names of the entries of lists.
        started: seconds since 1970 at which the training began; a row's `seconds` count from there.
    """
    points = 0
    with EventFile(folder) as events:
        for row in rows:
            step, wall = int(row["step"]), started + float(row.get("seconds") or 0.0)
            for tag, value in _points(row, labels):
                events.scalar(tag, value, step, wall)
                points += 1
            for flag in row.get("flags", ()):
                events.text(f"red flags/{flag['name']}", str(flag["message"]), step)
    return points


def _points(row: Row, labels: Sequence[str]) -> Iterable[tuple[str, float]]:
    for name, value in row.items():
        if name in NOT_VALUES or value is None:
            continue
        if not isinstance(value, list):
            yield name, float(value)
            continue
        for number, item in enumerate(value):
            if item is not None:
                label = labels[number] if number < len(labels) else str(number)
                yield f"{name}/{label}", float(item)


SETTINGS = ("architecture", "d_sae", "k", "l1", "target_l0", "hook")
"""Settings of a cohort that TensorBoard's table of hyperparameters has a column for."""
METRICS = {
    "kappa": "κ",
    "observed": "agreement",
    "null": "chance",
    "explained_variance": "EV",
    "l0": "L0",
    "dead_fraction": "dead",
    "recall": "recall",
}
"""Figures of a cohort that the table shows, by tag."""


def write_columns(folder: Path, cohorts: Sequence[Mapping[str, Any]]) -> None:
    """Write the columns of the table of hyperparameters for all cohorts: those that come with a later run would
    not be seen (pytorch#40574)."""
    found = {name: [c[name] for c in cohorts if c.get(name) is not None] for name in SETTINGS}
    columns = [
        hparams.HParam(name, hparams.Discrete(sorted(set(values))))
        for name, values in found.items()
        if values
    ]
    shown = [hparams.Metric(f"result/{tag}", display_name=name) for tag, name in METRICS.items()]
    with EventFile(folder) as events:
        events.summary(hparams.hparams_config_pb(hparams=columns, metrics=shown))


def write_result(
    folder: Path, name: str, cohort: Mapping[str, Any], densities: Mapping[str, ArrayLike]
) -> None:
    """Write a cohort's row of the table, and how often the features of each seed fire.

    Args:
        folder: of the events.
        name: of the row, unique among all studies.
        cohort: as in `summary.json`.
        densities: label of a seed → share of inputs on which each feature fires; of those that never do, none.
    """
    settings = {key: cohort[key] for key in SETTINGS if cohort.get(key) is not None}
    with EventFile(folder) as events:
        events.summary(hparams.hparams_pb(settings, trial_id=name))
        for tag, value in _results(cohort).items():
            events.scalar(f"result/{tag}", value, 0)
        for label, values in densities.items():
            known = np.asarray(values, dtype=np.float64)
            events.histogram(f"log10 density/{label}", np.log10(known[known > 0]), 0)


def _results(cohort: Mapping[str, Any]) -> dict[str, float]:
    headline = cohort["headline"]
    cell = cohort["stability"][headline["metric"]][headline["subset"]] or {}
    found = {name: cell.get(name) for name in ("kappa", "observed", "null")}
    quality = cohort["quality"]
    for name in ("explained_variance", "l0", "dead_fraction"):
        found[name] = (quality.get(name) or {}).get("mean")
    found["recall"] = ((cohort.get("ground_truth") or {}).get("recall") or {}).get("mean")
    return {name: float(value) for name, value in found.items() if value is not None}
