from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.client.studies import run_directory
from engine.console import Lines, Live, Screen, choose, duration, headline
from engine.disk.curves import CurveWriter
from engine.jobs.events import Event
from engine.study.machine import Machine
from engine.study.plan import Job, make_plan
from engine.study.profile import place, read_profile
from engine.study.spec import check_study


@pytest.fixture
def job(study_data: dict[str, Any], tmp_path: Path) -> Job:
    machine = Machine(2, 8 << 30, "Linux", {"cpu": "x"}, {"cuda": "", "mps": ""})
    plan = make_plan(check_study(study_data, "x"), place(read_profile("cpu"), machine))
    job = next(job for job in plan.jobs if job.kind == "cohort")
    run = run_directory(tmp_path, job)
    run.path.mkdir(parents=True)
    with CurveWriter(run.curves_file) as curves:
        curves.write(5, {"explained_variance": [0.5, 0.75]})
    return job


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1:01"), (3599.6, "1:00:00"), (7384, "2:03:04")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_headline_is_the_figure_that_says_how_far() -> None:
    assert headline({"step": 1, "test_accuracy": 0.25, "train_loss": 3}) == "test accuracy .250"
    assert (
        headline({"step": 1, "explained_variance": [0.5, None, 0.7]}) == "explained variance .600"
    )
    assert headline({"step": 1, "explained_variance": [None]}) == ""
    assert headline(None) == ""


def test_plain_lines_tell_starts_ends_and_signs_of_life(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    with Lines(Console(file=out, width=40), tmp_path) as lines:
        lines.show(Event("started", job))
        lines.show(Event("running", job, 1.0))
        monkeypatch.setattr("engine.console.LINE_EVERY_SECONDS", 0.0)
        lines.show(Event("running", job, 3600.0))
        lines.show(Event("running", job, 0.0))
        lines.show(Event("done", job, 75.0))
        lines.show(Event("failed", job, 1.0, "seed 3 [bold]diverged"))
    assert out.getvalue().splitlines() == [
        "  topk 12 k2: started",
        f"  topk 12 k2: step 5 of {job.steps}  explained variance .625",
        "✓ topk 12 k2: 1:15",
        "✗ topk 12 k2: seed 3 [bold]diverged",
    ]


def test_the_live_display_draws_the_running_job_and_keeps_the_ended(
    job: Job, tmp_path: Path
) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with Live(console, tmp_path) as live:
        live.show(Event("started", job))
        live.show(Event("running", job, 1.0))
        live.show(Event("done", job, 3.0))
        live.show(Event("skipped", job, message="needs x"))
    text = out.getvalue()
    assert "explained variance .625" in text
    assert "✓ topk 12 k2: 3.0 s" in text
    assert "– topk 12 k2: needs x" in text


def test_every_running_job_is_drawn(job: Job, tmp_path: Path) -> None:
    other = replace(job, name="other", key="0" * 64)
    run = run_directory(tmp_path, other)
    run.path.mkdir(parents=True)
    with CurveWriter(run.curves_file) as curves:
        curves.write(7, {"explained_variance": [0.125]})
    out = io.StringIO()
    with Live(Console(file=out, width=80, force_terminal=True), tmp_path) as live:
        for event in (Event("started", job), Event("started", other), Event("running", job, 1.0)):
            live.show(event)
    assert "explained variance .625" in out.getvalue()
    assert "explained variance .125" in out.getvalue()


def test_lines_to_a_reader_that_left_are_dropped(job: Job, tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    screen = Screen(file=Gone())
    with Lines(screen, tmp_path) as lines:
        lines.show(Event("done", job, 3.0))
    assert screen.quiet


def test_the_display_fits_the_terminal(tmp_path: Path) -> None:
    assert isinstance(choose(Console(file=io.StringIO()), tmp_path), Lines)
    assert isinstance(choose(Console(file=io.StringIO(), force_terminal=True), tmp_path), Live)
