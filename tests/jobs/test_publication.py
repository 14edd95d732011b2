"""Reports that are published while things go wrong."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.jobs.messages import Submission
from tests.jobs.bench import Bench
from tests.jobs.conftest import FakeLauncher, asked, study_of


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "runs")
    made.restart(Writing())
    return made


class Writing(FakeLauncher):
    """Workers that leave an artifact in a folder."""

    def start(self, run: Any, attempt: int, gpu: str = "") -> Any:
        folder = run.begin_artifacts() / "figures"
        folder.mkdir()
        (folder / "one.svg").write_text("a figure")
        return super().start(run, attempt, gpu)


def with_report() -> Submission:
    report = asked("report", kind="report")
    return study_of(report, asked("other"), report=report.directory)


def figure(bench: Bench) -> Path:
    return bench.root.report("s") / "figures" / "one.svg"


def test_a_report_that_meets_a_full_disk_waits_for_space(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path, **_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    bench.submit(with_report())
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        bench.until(lambda: "the disk is full" in bench.supervisor.trouble)
    assert set(bench.until_ended().values()) == {"done"}
    assert figure(bench).read_text() == "a figure"


def test_a_report_that_cannot_be_published_stops_nothing_and_can_be_tried_again(
    bench: Bench, tmp_path: Path
) -> None:
    folder = bench.root.path / "s"
    (tmp_path / "outside").mkdir()
    bench.submit(with_report())
    bench.supervisor.tick()
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path / "outside")
    assert bench.until_ended() == {"report": "failed", "other": "done"}
    assert list((tmp_path / "outside").iterdir()) == []
    folder.unlink()
    bench.order("retry", "s")
    bench.until(lambda: {job.state for job in bench.jobs()} == {"done"})
    assert figure(bench).read_text() == "a figure"
    assert bench.results() == 2


def test_what_a_killed_process_of_our_number_left_is_not_in_the_way(bench: Bench) -> None:
    for _ in range(2):
        bench.submit(with_report())
        bench.until(lambda: not bench.supervisor.inbox.waiting() and bench.results() == 2)
        left = bench.root.report("s").with_name(f".report.{os.getpid()}.old")
        left.mkdir()
        (left / "litter").write_text("x")
    assert set(bench.until_ended().values()) == {"done"}
    assert figure(bench).read_text() == "a figure"
