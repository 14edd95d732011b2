"""What the features' screen opens: columns of one cohort, by hand and from a finished study."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.client.features import Features, cohorts, open_features
from engine.disk.root import RunsRoot
from engine.errors import CorruptArtifact, InputError, JobFailed
from engine.jobs.cohorts import find_analysis


def test_mutual_partners_by_hand(three: Features) -> None:
    assert three.other_places.tolist() == [[1, 2], [0, 2], [0, 1]]
    assert three.partner_rows.tolist() == [[2, 4], [3, 5], [0, 4], [0, -1], [0, 2], [1, 2]]
    assert three.mutual.tolist() == [
        [True, True],
        [False, True],
        [True, True],
        [False, False],
        [True, True],
        [True, False],
    ]
    assert three.margin.tolist() == pytest.approx(
        [0.5, 0.25, 0.125, np.nan, 0.25, 0.125], nan_ok=True
    )


def test_rows_by_seed_and_feature(three: Features) -> None:
    assert three.row(5, 1) == 3
    with pytest.raises(InputError, match=r"seed: 6 is not there: one of \[7, 5, 9\]"):
        three.row(6, 0)
    with pytest.raises(InputError, match="feature: 2 is not there: 0 to 1"):
        three.row(5, 2)


def test_a_cohort_is_opened_from_its_analysis(tiny: Path) -> None:
    known = cohorts(tiny, "tiny")
    assert [(cohort.state, cohort.reason) for cohort in known] == [("done", "")] * 2
    found = [open_features(tiny, "tiny", cohort.title) for cohort in known]
    for features, cohort in zip(found, known, strict=True):
        assert features.cohort == cohort.title
        assert (features.seeds, features.width, len(features)) == ((1, 2, 3), 12, 36)
        assert features.columns["live"].dtype == np.bool_
        told = features.columns["stability"]
        again = (features.mutual & (features.best >= 0.7)).mean(1)
        np.testing.assert_allclose(again, told, err_msg="the analysis says the same of mutual ones")
        assert (features.best >= features.runner_up).all()
    assert not np.array_equal(found[0].best, found[1].best)


def test_without_the_queue_the_report_serves(finished: Path) -> None:
    titles = [cohort.title for cohort in cohorts(finished, "tiny")]
    before = [open_features(finished, "tiny", title) for title in titles]
    (finished / "queue.sqlite3").unlink()
    for title, one in zip(titles, before, strict=True):
        again = open_features(finished, "tiny", title)
        assert again.seeds == one.seeds
        np.testing.assert_array_equal(again.best, one.best)
        np.testing.assert_array_equal(again.partner, one.partner)
        assert set(again.columns) == set(one.columns)
    with pytest.raises(InputError, match="no cohort 'Gated': one of"):
        open_features(finished, "tiny", "Gated")


def test_a_file_from_before_the_runner_up_opens(finished: Path) -> None:
    path = finished / "tiny" / "report" / "features.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["runner_up"]), path)
    title = cohorts(finished, "tiny")[0].title
    (finished / "queue.sqlite3").unlink()
    features = open_features(finished, "tiny", title)
    assert np.isnan(features.runner_up).all()
    assert np.isnan(features.margin).all()
    assert features.mutual.any()


def test_what_is_not_there_is_said_in_one_line(finished: Path) -> None:
    title = cohorts(finished, "tiny")[1].title
    with pytest.raises(InputError, match="none: no such study in the queue"):
        open_features(finished, "none", title)
    with pytest.raises(InputError, match="tiny: no cohort 'x': one of"):
        open_features(finished, "tiny", "x")
    run = find_analysis(RunsRoot(finished), "tiny", title)
    states = {
        "queued": f"tiny: {title} is not analysed yet: its analysis is queued",
        "running": "its analysis is under way",
        "skipped": f"tiny: {title} has no analysis: needs it",
        "done": "was removed; `husai-engine run tiny` makes it again",
    }
    (run.path / "result.json").unlink()
    for state, said in states.items():
        with sqlite3.connect(finished / "queue.sqlite3") as connection:
            change = "UPDATE jobs SET state = ?, reason = 'needs it' WHERE directory = ?"
            connection.execute(change, (state, run.path.name))
        connection.close()
        with pytest.raises(JobFailed) as caught:
            open_features(finished, "tiny", title)
        assert said in str(caught.value)


def test_damage_is_said(finished: Path) -> None:
    title = cohorts(finished, "tiny")[0].title
    path = find_analysis(RunsRoot(finished), "tiny", title).artifacts / "features.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptArtifact, match="content differs"):
        open_features(finished, "tiny", title)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.slice(1), "not one for each feature of each seed"),
        (lambda table: table.drop_columns(["partner"]), "partner"),
        (lambda table: table.slice(0, 12), "24 values for 12 rows and 0 other seeds"),
    ],
)
def test_a_file_that_is_no_cohort_is_refused(
    finished: Path, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    title = cohorts(finished, "tiny")[0].title
    run = find_analysis(RunsRoot(finished), "tiny", title)
    path = finished / "tiny" / "report" / "features.parquet"
    pq.write_table(change(pq.read_table(run.artifacts / "features.parquet")), path)
    (finished / "queue.sqlite3").unlink()
    with pytest.raises(CorruptArtifact, match=said):
        open_features(finished, "tiny", title)


def test_a_study_without_parts_has_no_cohorts(finished: Path) -> None:
    with sqlite3.connect(finished / "queue.sqlite3") as connection:
        (file,) = connection.execute("SELECT file FROM jobs WHERE kind = 'report'").fetchone()
        data = json.loads(file)
        del data["config"]["cohorts"]
        connection.execute("UPDATE jobs SET file = ? WHERE kind = 'report'", (json.dumps(data),))
    connection.close()
    assert cohorts(finished, "tiny") == []
