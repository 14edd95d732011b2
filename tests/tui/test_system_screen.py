"""System by its keys, with a doctor and a machine that are fakes."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.client.machine import Gpu, Load
from engine.doctor import Finding
from engine.errors import EnvironmentUnfit
from husai_tui.app import HusaiApp
from husai_tui.keys import keys_of
from husai_tui.screens.dialogs import Confirm
from husai_tui.screens.system import System
from husai_tui.session import Session, open_session
from husai_tui.widgets.sheet import Sheet

GB = 1 << 30
LOAD = Load(
    (0.5, 0.25), (1.5, 1.0, 0.5), (4 * GB, 16 * GB), (0, GB), (50 * GB, 100 * GB),
    gpus=(Gpu("H100", 0.9, 40 * GB, 80 * GB, 61, 402.0),),
)  # fmt: skip


class FakeProbe:
    """A machine that is always the same."""

    def __init__(self, root: Any) -> None:
        self.looks = 0

    def look(self, running: Any = ()) -> Load:
        self.looks += 1
        return LOAD


class Doctor:
    """Finds what it is told to find."""

    def __init__(self) -> None:
        self.visits = 0
        self.error: Exception | None = None

    def __call__(self, runs: Path) -> list[Finding]:
        self.visits += 1
        if self.error:
            raise self.error
        return [
            Finding("python", "ok", "3.11"),
            Finding("openmp", "warning", "2 OpenMP runtimes", "use a fresh environment"),
        ]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Doctor:
    fake = Doctor()
    monkeypatch.setattr(System, "doctor", staticmethod(fake))
    monkeypatch.setattr("husai_tui.screens.system.Probe", FakeProbe)
    return fake


@pytest.fixture
def session(tmp_path: Path, doctor: Doctor) -> Session:
    return open_session(tmp_path / "runs", "cpu", folder=tmp_path / "config")


@asynccontextmanager
async def opened(
    session: Session, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[HusaiApp, Pilot[None], System]]:
    app = HusaiApp(session, view="system", start=False)
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        view = app.view("system")
        assert isinstance(view, System)
        for _ in range(200):
            await settle(app, pilot)
            if (
                view._begun
                and view._details.findings is not None
                and view._details.stored is not None
            ):
                break
        yield app, pilot, view


async def settle(app: HusaiApp, pilot: Pilot[None]) -> None:
    for _ in range(3):
        await pilot.pause(0.03)
        await app.workers.wait_for_complete()


def text(app: HusaiApp, part: str = "details") -> str:
    return app.screen_stack[0].query_one(f"#{part}", Sheet).text


def told(app: HusaiApp) -> str:
    return "\n".join(str(note.message) for note in app._notifications)


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (100, 30), (200, 60)])
async def test_meters_profiles_and_findings_are_shown(
    session: Session, size: tuple[int, int]
) -> None:
    async with opened(session, size) as (app, _, view):
        assert "4.0 GB of 16.0 GB" in text(app, "meters")
        assert "gpu 0 mem" in text(app, "meters")
        assert " ● cpu " in text(app)
        if size[1] >= 24:
            assert "! openmp     2 OpenMP runtimes" in text(app)
            assert "→ use a fresh environment" in text(app)
        assert view.command.startswith("husai-engine doctor --runs ")
        assert "openmp: 2 OpenMP runtimes" in view.describe()
        assert view.address == "system"


async def test_every_key_of_the_table_is_one_of_the_screen() -> None:
    for key in keys_of("system"):
        assert hasattr(System, f"action_{key.action.partition('(')[0]}"), key
    assert sum(bool(key.short) for key in keys_of("system")) <= 5


async def test_the_cursor_goes_through_the_list_and_tells_what_is_known(session: Session) -> None:
    async with opened(session) as (app, pilot, view):
        assert view._details.at is not None
        await pilot.press("j", "down", "k", "k")
        assert view._details.cursor == "profile cpu"
        assert "bitwise repeatable" in text(app, "about")
        await pilot.press("G")
        assert view._details.cursor == "storage"
        await pilot.press("up")
        assert "python: 3.11" in text(app, "about")
        await pilot.press("home", "end")
        assert view._details.cursor == "storage"
        assert "holds" in view.row_text()


async def test_enter_takes_a_profile_that_fits_and_no_other(session: Session) -> None:
    async with opened(session) as (app, pilot, view):
        await pilot.press("home", "enter")
        assert session.profile == "auto"
        assert " ● auto " in text(app)
        view.open("mps")
        await pilot.press("enter")
        assert session.profile == "auto"
        assert "does not fit" in told(app)
        await pilot.press("G", "enter")
        assert "no profile" in told(app)


async def test_the_doctor_comes_again_and_its_troubles_are_told(
    session: Session, doctor: Doctor
) -> None:
    async with opened(session) as (app, pilot, view):
        assert doctor.visits == 1
        await pilot.press("D")
        await settle(app, pilot)
        assert doctor.visits == 2
        errors: list[tuple[Exception, str]] = [
            (subprocess.TimeoutExpired("torch", 120), "importing torch takes too long"),
            (EnvironmentUnfit("no torch"), "could not look: no torch"),
            (RuntimeError("ours"), "a fault of husai"),
        ]
        for error, said in errors:
            doctor.error = error
            await pilot.press("D")
            await settle(app, pilot)
            assert said in text(app)
        assert "openmp" in {row.values[1] for row in view._details.rows()}, "the last findings stay"


async def test_garbage_is_counted_and_removed_only_after_a_yes(session: Session) -> None:
    session.root.prepare()
    litter = session.root.jobs / "cohort-0"
    litter.mkdir()
    (litter / "big").write_bytes(b"x" * 3_000_000)
    async with opened(session) as (app, pilot, _view):
        assert "3 MB  g looks for what can be removed" in text(app) or await _end(
            pilot, app, "3 MB"
        )
        await pilot.press("g")
        await settle(app, pilot)
        assert isinstance(app.screen, Confirm)
        await pilot.press("n")
        assert litter.exists()
        await pilot.press("g")
        await settle(app, pilot)
        await pilot.press("y")
        await settle(app, pilot)
        assert not litter.exists()
        assert "3 MB removed" in told(app)
        await pilot.press("g")
        await settle(app, pilot)
        assert "nothing to remove" in told(app)


async def _end(pilot: Pilot[None], app: HusaiApp, said: str) -> bool:
    await pilot.press("G")
    return said in text(app)


async def test_read_only_garbage_is_only_counted(session: Session) -> None:
    session.readonly = True
    session.root.prepare()
    (session.root.jobs / "cohort-0").mkdir()
    (session.root.path / "mine").mkdir()
    async with opened(session) as (app, pilot, _view):
        await pilot.press("g")
        await settle(app, pilot)
        assert "read-only: nothing is" in told(app)
        assert (session.root.jobs / "cohort-0").exists()
        (session.root.path / "mine" / "study.yaml").write_text("name: mine\n")
        await pilot.press("g")
        await settle(app, pilot)
        assert "the queue does not know mine" in told(app)


async def test_the_meters_can_have_all_the_room(session: Session) -> None:
    async with opened(session) as (_app, pilot, view):
        await pilot.press("z")
        assert view.has_class("-meters")
        await pilot.press("escape")
        assert not view.has_class("-meters")
        exported = view.exported()
        assert ("doctor", "openmp", "warning") in {tuple(row[:3]) for row in exported.rows}
        assert exported.to_csv().startswith("section,name,state,what,remedy")


async def test_the_cursor_comes_back(session: Session) -> None:
    async with opened(session) as (_app, pilot, view):
        await pilot.press("j")
        session.memory.views["system"] = view.remember()
    async with opened(session) as (_app, _, view):
        assert view._details.cursor == "profile cuda"


async def test_a_machine_that_does_not_change_is_painted_once(session: Session) -> None:
    async with opened(session) as (app, pilot, view):
        sent: list[Any] = []
        for part in ("meters", "details", "about"):
            sheet = app.screen_stack[0].query_one(f"#{part}", Sheet)
            sheet.refresh = lambda *regions, **options: sent.extend(regions)  # type: ignore[method-assign, assignment]
        for second in range(4):
            view._looked = 0.0
            view.show((LOAD, 2.0 * second))
        await pilot.pause()
        assert sent == []


async def test_a_click_goes_to_a_row_and_a_second_one_takes_it(session: Session) -> None:
    async with opened(session) as (_app, pilot, view):
        await pilot.click("#details", offset=(10, 1))
        assert view._details.cursor == "profile auto"
        await pilot.click("#details", offset=(10, 1), times=2)
        assert session.profile == "auto"


async def test_it_comes_in_front_when_others_were_there_before(session: Session) -> None:
    app = HusaiApp(session, view="runs", start=False)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await settle(app, pilot)
        for key, view, part in (
            ("7", "system", "details"),
            ("5", "sweep", "form"),
            ("7", "system", "details"),
        ):
            await pilot.press(key)
            await settle(app, pilot)
            assert app.current == view
            assert app.focused is not None
            assert app.focused.id == part
