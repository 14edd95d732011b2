"""Which cohort is open: addresses, what is read anew, and what stays when files go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from engine.client.look import Snapshot
from engine.disk.root import RunsRoot
from engine.errors import CorruptArtifact, EnvironmentUnfit, JobFailed
from husai_tui.state.cohorts import Opened, Shelf, Target
from tests.tui.fake_features import TITLE, FakeStudies


def snapshot(*names: str, state: str = "done") -> Snapshot:
    jobs = ({"directory": "analysis-0", "kind": "analysis", "state": state},)
    return Snapshot(jobs=jobs, studies=tuple({"name": name} for name in names), taken=1.0)


class Bench:
    """A shelf over studies that are not there."""

    def __init__(self, runs: Path) -> None:
        self.root = RunsRoot(runs)
        self.studies = FakeStudies()
        self.shelf = Shelf(self.root, self.studies.open, self.studies.cohorts)
        self.file = self.root.run("analysis-0").artifacts / "features.parquet"

    def look(self, text: str = "", shot: Snapshot | None = None) -> Opened:
        return self.shelf.look(Target.read(text), shot or snapshot("tiny"))

    def write(self, text: str) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        aside = self.file.with_suffix(".new")
        aside.write_text(text)
        os.replace(aside, self.file)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("", Target()),
        ("tiny", Target("tiny")),
        ("tiny/topk 64 k8", Target("tiny", "topk 64 k8")),
        ("tiny/topk 64 k8#42", Target("tiny", "topk 64 k8", 42)),
        ("tiny/topk 64 k8#42:17", Target("tiny", "topk 64 k8", 42, 17)),
        ("tiny#-3:0", Target("tiny", "", -3, 0)),
        ("#7:1", Target("", "", 7, 1)),
        ("tiny/a/b#c", Target("tiny", "a/b#c")),
        ("tiny/x#1#2:3", Target("tiny", "x#1", 2, 3)),
    ],
)
def test_addresses(text: str, target: Target) -> None:
    assert Target.read(text) == target
    assert str(target) == text


def test_the_newest_study_with_an_analysis_is_opened(bench: Bench) -> None:
    bench.studies.names = ["old", "tiny"]
    opened = bench.look("", snapshot("old", "tiny", "queued"))
    assert opened.target == Target("tiny", TITLE)
    assert opened.features is not None
    assert [one.title for one in opened.choices] == [TITLE, "relu 2", "gated 2"]
    assert opened.problem == ""


def test_nothing_is_open_where_nothing_was_analysed(bench: Bench) -> None:
    assert bench.look("", snapshot()) == Opened()
    bench.studies.titles = dict.fromkeys(bench.studies.titles, "queued")
    assert bench.look("") == Opened()
    told = bench.look("tiny")
    assert (told.features, told.problem) == (None, "tiny is not analysed yet (queued)")
    bench.studies.titles = {}
    assert bench.look("tiny", snapshot("tiny", state="x")).problem == "tiny has no cohorts"


def test_it_is_read_once_until_the_file_changes(bench: Bench) -> None:
    bench.write("1")
    first = bench.look()
    for _ in range(3):
        assert bench.look().features is first.features
    assert bench.studies.read == [f"tiny/{TITLE}"]
    bench.write("2")
    again = bench.look()
    assert len(bench.studies.read) == 2
    assert again.features is not first.features


def test_the_queue_is_asked_again_only_when_an_analysis_has_ended(bench: Bench) -> None:
    asked = []
    real = bench.studies.cohorts

    def counted(root: object, study: str) -> list[Any]:
        asked.append(study)
        return real(root, study)

    shelf = Shelf(bench.root, bench.studies.open, counted)
    for _ in range(3):
        shelf.look(Target("tiny"), snapshot("tiny"))
    assert asked == ["tiny"]
    shelf.look(Target("tiny"), snapshot("tiny", state="running"))
    assert asked == ["tiny", "tiny"]


def test_a_torn_file_is_told_once_and_what_was_read_stays(bench: Bench) -> None:
    bench.write("1")
    good = bench.look()
    bench.studies.problem = CorruptArtifact("features.parquet: not the features of a cohort")
    bench.write("torn")
    told = bench.look()
    assert told.features is good.features
    assert told.problem == (
        "shown is what was read before: features.parquet: not the features of a cohort"
    )
    bench.look()
    assert len(bench.studies.read) == 2, "a file that is torn is not read twice a second"
    bench.studies.problem = None
    bench.write("mended")
    assert bench.look().problem == ""


def test_a_file_that_goes_and_comes_back(bench: Bench) -> None:
    bench.write("1")
    good = bench.look()
    bench.file.unlink()
    bench.studies.problem = JobFailed("tiny: the analysis of topk 2 k1 was removed")
    told = bench.look()
    assert told.features is good.features
    assert "was removed" in told.problem
    bench.studies.problem = None
    bench.write("2")
    assert bench.look().problem == ""


def test_a_study_that_is_removed_while_shown_stays_on_the_screen(bench: Bench) -> None:
    good = bench.look(f"tiny/{TITLE}")
    bench.studies.names = []
    told = bench.look(f"tiny/{TITLE}", snapshot())
    assert told.features is good.features
    assert told.problem.startswith("shown is what was read before: tiny: no such study")
    bench.studies.names = ["tiny"]
    assert bench.look(f"tiny/{TITLE}").problem == ""


def test_one_that_was_never_there_shows_nothing_of_another(bench: Bench) -> None:
    bench.look("tiny")
    told = bench.look("tiny/no such")
    assert (told.features, told.problem) == (None, "tiny: no cohort 'no such'")
    assert bench.look("none").problem == "none: no such study in the queue"
    assert bench.look(f"tiny/{TITLE}").features is not None


def test_an_analysis_that_ends_is_opened(bench: Bench) -> None:
    told = bench.look("tiny/gated 2")
    assert told.problem == "tiny: gated 2 is not analysed yet"
    bench.studies.titles["gated 2"] = "done"
    opened = bench.look("tiny/gated 2", snapshot("tiny", state="later"))
    assert opened.features is not None
    assert opened.problem == ""


def test_a_queue_that_cannot_be_read_is_asked_again(bench: Bench) -> None:
    good = bench.look("tiny")
    bench.write("2")
    bench.studies.problem = EnvironmentUnfit("the queue is locked")
    with pytest.raises(EnvironmentUnfit):
        bench.look(f"tiny/{TITLE}")
    bench.studies.problem = None
    opened = bench.look(f"tiny/{TITLE}")
    assert opened.features is not None
    assert opened.features is not good.features


def test_every_analysed_cohort_can_be_chosen(bench: Bench) -> None:
    bench.studies.names = ["old", "tiny"]
    found = bench.shelf.every(snapshot("old", "gone", "tiny"))
    assert [(one.study, one.title) for one in found] == [
        ("tiny", TITLE), ("tiny", "relu 2"), ("old", TITLE), ("old", "relu 2"),
    ]  # fmt: skip


def test_a_report_that_was_copied_here_can_be_opened(bench: Bench) -> None:
    report = bench.root.report("copied")
    report.mkdir(parents=True)
    (report / "features.parquet").write_text("x")
    (report / "summary.json").write_text('{"cohorts": [{"title": "topk 2 k1"}]}')
    assert [one.title for one in bench.shelf.choices("copied")] == [TITLE]
    assert [one.study for one in bench.shelf.every(snapshot())] == ["copied"]
