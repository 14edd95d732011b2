"""Pictures of every screen, from inputs that are made up; `--snapshot-update` renews them.

Nothing in them comes from the machine: not its clock, name, cores, folders, nor what its terminal can.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot

from engine.disk.root import RunsRoot
from husai_tui.app import HusaiApp
from husai_tui.keys import Where
from husai_tui.screens.features import Features
from husai_tui.screens.system import System
from husai_tui.session import Session
from husai_tui.settings import Memory, Settings
from husai_tui.state.cohorts import Shelf
from husai_tui.widgets.closeup import CloseUp
from tests.tui import scenes
from tests.tui.fake_features import FakeStudies
from tests.tui.picture import Pictures, picture_of

SUMMARY = Path(__file__).parent / "summary.json"
SMALL, LARGE = (80, 24), (200, 60)
PAUSE_SECONDS = 0.03
Disk = namedtuple("Disk", "total used free")
Taken = Callable[..., Any]


@pytest.fixture
def snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """Keep pictures as text, each in its file."""
    return snapshot.use_extension(Pictures)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in a folder, on a machine and at a terminal that are the same everywhere."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("TEXTUAL_", "HUSAI_")) or name in (
            "NO_COLOR", "COLORTERM", "COLORFGBG", "COLUMNS", "LINES", "TMUX", "EDITOR", "VISUAL",
        ):  # fmt: skip
            monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("textual.constants.COLOR_SYSTEM", "truecolor")
    monkeypatch.setattr("engine.client.studies.detect", lambda: scenes.MACHINE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(500 << 30, 320 << 30, 180 << 30))
    studies = FakeStudies(scenes.features())
    studies.names, studies.titles = ["roadmap"], {scenes.TITLE: "done", "relu 16 l1 0.1": "queued"}
    monkeypatch.setattr(
        Features,
        "_make_shelf",
        lambda view: Shelf(view.session.root, studies.open, studies.cohorts),
    )
    monkeypatch.setattr(Features, "_microscope", lambda _: scenes.FakeMicroscope())
    monkeypatch.setattr(System, "doctor", staticmethod(scenes.examine))
    monkeypatch.setattr("husai_tui.screens.system.Probe", scenes.FakeProbe)
    monkeypatch.setattr("husai_tui.screens.system.bytes_below", lambda _: 7 << 30)


@pytest.fixture
def root() -> RunsRoot:
    """A runs root with what the screens read of it."""
    made = RunsRoot(Path("runs"))
    scenes.make_jobs(made)
    report = made.path / "tiny" / "report" / "summary.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({**json.loads(SUMMARY.read_text()), "study": "tiny"}))
    return made


@pytest.fixture
def taken(root: RunsRoot) -> Taken:
    """Take a picture of a screen, once it shows a text, keys were pressed, and nothing changes any more."""

    async def take(
        view: Where, target: str, size: tuple[int, int], theme: str, shows: str, *keys: str
    ) -> str:
        session = Session(
            root, "cpu", settings=Settings(theme=theme, refresh=3600), memory=Memory(),
            folder=Path("config"), host="ada",
        )  # fmt: skip
        watcher = scenes.StillWatcher(scenes.queue(5000, scenes.NOW - 40))
        session.watcher = watcher  # type: ignore[assignment]
        app = HusaiApp(session, view=view, target=target, start=False)
        app.animation_level = "none"
        async with app.run_test(size=size, notifications=True) as pilot:
            await still(pilot)
            watcher.last = scenes.queue(6000, scenes.NOW)
            app.look()
            await still(pilot)
            for key in keys:
                await pilot.press(key)
                await still(pilot)
            return await still(pilot, shows)

    return take


async def still(pilot: Pilot[None], shows: str = "") -> str:
    """Return the screen once it shows a text and is the same three times."""
    app, before, same = pilot.app, "", 0
    for _ in range(300):
        await pilot.pause(PAUSE_SECONDS)
        await app.workers.wait_for_complete()
        now = picture_of(app)
        busy = app._looking or any(card._fetching for card in app.query(CloseUp))  # type: ignore[attr-defined]
        same = same + 1 if now == before and shows in now and not busy else 0
        if same == 2:
            return now
        before = now
    raise AssertionError(f"never still, or without {shows!r}:\n{before}")


DARK, LIGHT, ANSI = "husai-dark", "husai-light", "ansi-dark"


@pytest.mark.parametrize("theme", [DARK, LIGHT, ANSI])
async def test_picture_of_runs(theme: str, taken: Taken, snapshot: SnapshotAssertion) -> None:
    failed = ["j"] * 6
    assert await taken("runs", "", SMALL, theme, "the worker was killed", *failed) == snapshot


@pytest.mark.parametrize("view", ["runs", "compare"])
async def test_picture_without_colour(
    view: Where, taken: Taken, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert await taken(view, "", SMALL, DARK, " 2 running") == snapshot


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
async def test_picture_of_a_cohort(
    size: tuple[int, int], taken: Taken, snapshot: SnapshotAssertion
) -> None:
    assert await taken("run", scenes.COHORT, size, DARK, "agree") == snapshot


async def test_picture_of_a_subject(taken: Taken, snapshot: SnapshotAssertion) -> None:
    assert await taken("run", scenes.SUBJECT, SMALL, DARK, "key frequencies") == snapshot


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
async def test_picture_of_compare(
    size: tuple[int, int], taken: Taken, snapshot: SnapshotAssertion
) -> None:
    assert await taken("compare", "tiny", size, DARK, "observed") == snapshot


async def test_picture_of_features(taken: Taken, snapshot: SnapshotAssertion) -> None:
    assert await taken("features", "", SMALL, DARK, "density") == snapshot


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
async def test_picture_of_a_card(
    size: tuple[int, int], taken: Taken, snapshot: SnapshotAssertion
) -> None:
    target = f"roadmap/{scenes.TITLE}#123:3"
    assert await taken("features", target, size, DARK, "k=2") == snapshot


async def test_picture_of_sweep(taken: Taken, snapshot: SnapshotAssertion) -> None:
    assert await taken("sweep", "smoke", SMALL, DARK, "fits cpu") == snapshot


async def test_picture_of_logs(taken: Taken, snapshot: SnapshotAssertion) -> None:
    assert await taken("logs", scenes.COHORT, SMALL, DARK, "ValueError") == snapshot


async def test_picture_of_system(taken: Taken, snapshot: SnapshotAssertion) -> None:
    assert await taken("system", "", SMALL, DARK, "OpenMP") == snapshot


async def test_picture_of_help(taken: Taken, snapshot: SnapshotAssertion) -> None:
    assert await taken("runs", "", SMALL, DARK, "cancel the job", "question_mark") == snapshot
