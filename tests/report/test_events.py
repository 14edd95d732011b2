"""TensorBoard events, read back by TensorBoard's own loader."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from engine.report.events import EventFile, write_columns, write_curves, write_result


def loaded(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    return events


def png(width: int, height: int) -> bytes:
    """Return a grey picture, chunk by chunk as PNG (ISO 15948) has it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + b"\x80" * width for _ in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


COHORT = {
    "title": "topk 64 k4",
    "architecture": "topk",
    "d_sae": 64,
    "k": 4,
    "l1": None,
    "hook": "planted",
    "headline": {"metric": "mean_max_cos", "subset": "live"},
    "stability": {
        "mean_max_cos": {"live": {"kappa": 0.25, "observed": 0.7, "null": 0.6}, "all": None}
    },
    "quality": {"explained_variance": {"mean": 0.9}, "l0": {"mean": 4.0}, "dead_fraction": None},
    "ground_truth": None,
}


def test_every_finite_value_of_the_curves_is_there_once_and_flags_are_texts(tmp_path: Path) -> None:
    flag = {"name": "diverged", "message": "seed 7 is not finite", "seed": 7}
    rows = [
        {"step": 0, "seconds": 0.0, "loss": [4.0, 5.0], "lr": 0.1},
        {"step": 10, "seconds": 2.5, "loss": [3.0, None], "lr": 0.2, "flags": [flag]},
    ]
    assert write_curves(tmp_path, rows, ["seed-7", "seed-9"], started=1000.0) == 5
    events = loaded(tmp_path)
    assert set(events.Tags()["scalars"]) == {"loss/seed-7", "loss/seed-9", "lr"}
    first = events.Scalars("loss/seed-7")
    assert [(e.step, e.value, e.wall_time) for e in first] == [(0, 4.0, 1000.0), (10, 3.0, 1002.5)]
    assert [e.step for e in events.Scalars("loss/seed-9")] == [0]
    assert events.Tags()["tensors"] == ["red flags/diverged/text_summary"]
    (told,) = events.Tensors("red flags/diverged/text_summary")
    assert told.tensor_proto.string_val == [b"seed 7 is not finite"]


def test_a_histogram_counts_finite_values_alone(tmp_path: Path) -> None:
    with EventFile(tmp_path) as events:
        events.histogram("density", [0.0, 1.0, 1.0, 2.0, np.nan, np.inf], 3)
        events.histogram("constant", [5.0, 5.0], 3)
        events.histogram("none", [np.nan], 3)
    read = loaded(tmp_path)
    assert read.Tags()["histograms"] == ["density", "constant"]
    (at,) = read.Histograms("density")
    found = at.histogram_value
    assert (at.step, found.num, found.sum, found.min, found.max) == (3, 4, 4.0, 0.0, 2.0)
    assert found.sum_squares == 6.0
    assert sum(found.bucket) == 4
    assert len(found.bucket) == len(found.bucket_limit)
    assert sum(read.Histograms("constant")[0].histogram_value.bucket) == 2


def test_a_picture_keeps_its_size_and_bytes_and_must_be_one(tmp_path: Path) -> None:
    picture = png(7, 3)
    with EventFile(tmp_path) as events:
        events.image("overlap", picture, 0)
        with pytest.raises(ValueError, match="not a PNG"):
            events.image("overlap", b"<svg/>", 0)
    (image,) = loaded(tmp_path).Images("overlap")
    assert (image.width, image.height, image.encoded_image_string) == (7, 3, picture)


def test_the_table_has_its_columns_at_once_and_a_row_for_each_cohort(tmp_path: Path) -> None:
    other = {**COHORT, "title": "relu 64", "architecture": "relu", "k": None, "l1": 0.01}
    write_columns(tmp_path, [COHORT, other])
    write_result(tmp_path / "a", "tiny/topk", COHORT, {"seed-7": [0.1, 0.0, 0.001]})
    told = loaded(tmp_path).SummaryMetadata("_hparams_/experiment").plugin_data
    experiment = plugin_data_pb2.HParamsPluginData.FromString(told.content).experiment
    columns = {info.name: [*info.domain_discrete] for info in experiment.hparam_infos}
    assert set(columns) == {"architecture", "d_sae", "k", "l1", "hook"}
    assert columns["architecture"] == ["relu", "topk"]
    row = loaded(tmp_path / "a")
    values = {tag: row.Scalars(tag)[0].value for tag in row.Tags()["scalars"]}
    assert values == pytest.approx(
        {
            "result/kappa": 0.25,
            "result/observed": 0.7,
            "result/null": 0.6,
            "result/explained_variance": 0.9,
            "result/l0": 4.0,
        }
    )
    found = row.Histograms("log10 density/seed-7")[0].histogram_value
    assert (found.num, found.min, found.max) == (2, -3.0, -1.0)
