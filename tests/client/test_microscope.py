"""The microscope as the app has it: started when needed, found again, gone with the app."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.client.features import cohorts, open_features
from engine.client.microscope import Microscope
from engine.disk.root import RunsRoot
from engine.errors import InputError, JobFailed
from engine.microscope import Microscope as Process


@pytest.fixture
def microscope(grid: Path) -> Iterator[Microscope]:
    with Microscope(grid) as opened:
        yield opened


def test_a_card_is_what_the_process_saw(microscope: Microscope, grid: Path) -> None:
    title = cohorts(grid, "grid")[0].title
    features = open_features(grid, "grid", title)
    assert microscope.pid is None, "it starts with the first look"
    feature = int(np.argmax(features.columns["density"][: features.width]))
    card = microscope.look("grid", title, features.seeds[0], feature)
    assert (card.study, card.cohort, card.seed, card.feature) == ("grid", title, 1, feature)
    assert card.density == pytest.approx(features.columns["density"][feature], abs=0.02)
    assert card.inputs == 121
    assert card.histogram.sum() == round(card.density * 121)
    assert card.grid is not None
    assert card.grid.levels.shape == (11, 11)
    assert card.grid.map.max() == pytest.approx(card.maximum)
    assert (card.top[0].a, card.top[0].b) == divmod(card.top[0].input, 11)
    assert card.grid.map[card.top[0].a, card.top[0].b] == pytest.approx(card.maximum)
    assert card.grid.spectrum is not None
    assert card.grid.spectrum.shape == (4, 5)
    best = card.grid.spectrum.sum(0)
    assert best.max() == pytest.approx(features.columns["selectivity"][feature], abs=1e-3)
    assert best.argmax() + 1 == features.columns["frequency"][feature]


def test_errors_come_back_and_the_process_stays(microscope: Microscope, grid: Path) -> None:
    title = cohorts(grid, "grid")[0].title
    with pytest.raises(InputError, match="grid: no cohort 'x'"):
        microscope.look("grid", "x", 1, 0)
    pid = microscope.pid
    with pytest.raises(InputError, match="seed: 4 is not there"):
        microscope.look("grid", title, 4, 0)
    assert microscope.look("grid", title, 1, 0).feature == 0
    assert microscope.pid == pid


def test_it_is_started_again_when_it_died_or_left(grid: Path) -> None:
    title = cohorts(grid, "grid")[1].title
    with Microscope(grid, idle=0.2) as microscope:
        first = microscope.look("grid", title, 1, 0)
        deadline = time.monotonic() + 20
        while microscope.pid is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert microscope.pid is None, "nobody asked"
        assert microscope.look("grid", title, 1, 0).top == first.top
    with Microscope(grid) as microscope:
        microscope.look("grid", title, 1, 0)
        pid = microscope.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert microscope.look("grid", title, 1, 0).top == first.top
        assert microscope.pid not in (None, pid)


def test_one_that_cannot_live_is_given_up_with_its_last_words(grid: Path) -> None:
    with Microscope(grid, idle=-1.0) as microscope, pytest.raises(JobFailed) as caught:
        microscope.look("grid", "x", 1, 0)
    assert str(caught.value).startswith("the microscope died twice: ValueError: ")


def test_threads_share_it(microscope: Microscope, grid: Path) -> None:
    title = cohorts(grid, "grid")[1].title
    alone = Process(RunsRoot(grid))
    found: dict[tuple[int, int], float] = {}

    def look(seed: int) -> None:
        for feature in range(6):
            found[seed, feature] = microscope.look("grid", title, seed, feature).maximum

    threads = [threading.Thread(target=look, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 18
    for (seed, feature), maximum in found.items():
        assert maximum == alone.look("grid", title, seed, feature)["max"]


def test_an_answer_that_comes_too_late_is_not_taken_for_another(
    microscope: Microscope, grid: Path
) -> None:
    title = cohorts(grid, "grid")[1].title
    with pytest.raises(JobFailed, match="no answer in time"):
        microscope.look("grid", title, 1, 0, timeout=0.05)
    assert microscope.look("grid", title, 2, 5).feature == 5
    card = microscope.look("grid", title, 2, 5)
    assert card.maximum == microscope.look("grid", title, 2, 5).maximum
    assert card.maximum != microscope.look("grid", title, 1, 0).maximum


def test_closing_frees_who_is_looking_and_ends_the_process(grid: Path) -> None:
    title = cohorts(grid, "grid")[0].title
    microscope = Microscope(grid)
    said: list[str] = []

    def look() -> None:
        try:
            microscope.look("grid", title, 1, 0)
        except JobFailed as error:
            said.append(str(error))

    thread = threading.Thread(target=look)
    thread.start()
    while microscope.pid is None:
        time.sleep(0.01)
    pid, started = microscope.pid, time.monotonic()
    microscope.close()
    thread.join()
    assert said == ["the microscope is closed"]
    assert time.monotonic() - started < 3
    assert not psutil.pid_exists(pid)
    with pytest.raises(JobFailed, match="closed"):
        microscope.look("grid", title, 1, 0)
    microscope.close()


def test_it_dies_with_an_app_that_is_killed(grid: Path) -> None:
    title = cohorts(grid, "grid")[0].title
    app = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from engine.client.microscope import Microscope
        microscope = Microscope(Path({str(grid)!r}))
        microscope.look("grid", {title!r}, 1, 0)
        print(microscope.pid, flush=True)
        time.sleep(600)
        """
    )
    with subprocess.Popen([sys.executable, "-c", app], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        seen = psutil.Process(pid)
        process.kill()
    seen.wait(20)
