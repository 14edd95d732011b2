"""Sweep by its keys: on a runs root of its own, with an engine and an editor that are fakes."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.client.queue import waiting_studies
from engine.disk.root import RunsRoot
from engine.errors import EnvironmentUnfit
from engine.study.spec import presets, read_study
from husai_tui.app import HusaiApp
from husai_tui.keys import keys_of
from husai_tui.screens.dialogs import Confirm, Reading
from husai_tui.screens.pick import Pick
from husai_tui.screens.sweep import Sweep
from husai_tui.session import Session, open_session
from husai_tui.state.estimate import estimate
from husai_tui.widgets.sheet import Sheet
from husai_tui.widgets.table import Table

Open = Callable[..., Any]


class Engine:
    """Takes the place of the supervisor's start."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def __call__(self, root: RunsRoot, profile: str) -> dict[str, Any]:
        self.started.append(profile)
        return {"already": False}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    monkeypatch.setattr("husai_tui.screens.sweep.start_supervisor", fake)
    monkeypatch.setattr("husai_tui.app.start_supervisor", fake)
    return fake


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("husai_tui.screens.drafting.PAUSE_SECONDS", 0.01)
    return open_session(tmp_path / "runs", "cpu", folder=tmp_path / "config")


@asynccontextmanager
async def opened(
    session: Session, target: str = "smoke", size: tuple[int, int] = (80, 24), start: bool = False
) -> AsyncIterator[tuple[HusaiApp, Pilot[None], Sweep]]:
    app = HusaiApp(session, view="sweep", target=target, start=start)
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        view = app.view("sweep")
        assert isinstance(view, Sweep)
        await settle(app, pilot)
        yield app, pilot, view


async def settle(app: HusaiApp, pilot: Pilot[None]) -> None:
    """Wait until looks and plans have come to an end."""
    view = app.view("sweep")
    assert isinstance(view, Sweep)
    for number in range(200):
        await pilot.pause(0.02)
        await app.workers.wait_for_complete()
        if number > 1 and view._made == view._known and view._misfits:
            return


def form(app: HusaiApp) -> str:
    return app.screen_stack[0].query_one("#form", Sheet).text


def plan(app: HusaiApp) -> str:
    return app.screen_stack[0].query_one("#plan", Sheet).text


def told(app: HusaiApp) -> str:
    return "\n".join(f"{note.title} {note.message}" for note in app._notifications)


async def type_text(pilot: Pilot[None], text: str) -> None:
    names = {",": "comma", " ": "space", "-": "minus", ".": "full_stop", "[": "left_square_bracket"}
    await pilot.press(*(names.get(letter, letter) for letter in text))


async def test_a_preset_is_shown_with_its_plan(session: Session) -> None:
    async with opened(session) as (app, _, view):
        assert " study    name         smoke" in form(app)
        assert "6 SAEs in 2 cohorts · 9 jobs, 0 cached" in plan(app)
        assert "fits cpu" in plan(app)
        assert view.address == "sweep smoke"
        assert view.command.startswith("husai-engine plan smoke --profile cpu --runs ")
        assert view.describe().startswith("Study smoke, from smoke: 6 SAEs in 2 cohorts, 9 jobs")
        assert view.row_text() == "name: smoke"
        exported = view.exported()
        assert exported is not None
        assert len(exported.rows) == 9
        assert json.loads(exported.to_json())["rows"][0]["state"] == "to do"


async def test_at_both_sizes_nothing_is_wider_than_the_window(session: Session) -> None:
    for size in ((60, 15), (80, 24), (100, 30), (200, 60)):
        async with opened(session, "roadmap-matrix", size) as (app, _, _view):
            assert "45 SAEs" in plan(app)
            wide = size[0] >= 100
            assert ("topk 64 k16" in plan(app)) == wide, "where there is room, each cohort is named"


async def test_every_key_of_the_table_is_one_of_the_screen() -> None:
    for key in keys_of("sweep"):
        assert hasattr(Sweep, f"action_{key.action.partition('(')[0]}"), key
    assert sum(bool(key.short) for key in keys_of("sweep")) <= 5


async def test_the_cursor_goes_by_vim_keys_and_arrows(session: Session) -> None:
    async with opened(session) as (_app, pilot, view):
        await pilot.press("j", "down", "k")
        assert view._form.cursor == "about"
        await pilot.press("G")
        assert view._form.cursor == "priority"
        await pilot.press("g", "up")
        assert view._form.cursor == "name"
        await pilot.press("end", "home")
        assert view._form.cursor == "name"


async def test_typing_takes_every_letter_and_is_checked_as_typed(session: Session) -> None:
    async with opened(session) as (app, pilot, view):
        await pilot.press("enter")
        await type_text(pilot, "-q5:e")
        await pilot.pause()
        assert (app.current, view._form.name) == ("sweep", "smoke-q5:e")
        assert "✗ got 'smoke-q5:e'" in form(app)
        assert "no plan before this is mended: name" in plan(app)
        await pilot.press("backspace", "backspace", "enter")
        assert view._form.name == "smoke-q5"
        await settle(app, pilot)
        assert "6 SAEs" in plan(app)


async def test_commas_make_a_grid_and_the_plan_follows(session: Session) -> None:
    async with opened(session) as (app, pilot, view):
        view._form.cursor = "width"
        await pilot.press("enter")
        await type_text(pilot, ", 32")
        await pilot.press("enter")
        await settle(app, pilot)
        assert view._form.data["search"]["over"] == {"saes.*.d_sae": [64, 32]}
        assert "12 SAEs in 4 cohorts, 2 points" in plan(app)


async def test_a_value_that_only_the_grid_refuses_is_told_beside_its_field(
    session: Session,
) -> None:
    async with opened(session) as (app, pilot, view):
        view._form.cursor = "k"
        await pilot.press("enter")
        await type_text(pilot, ",99")
        await pilot.press("enter")
        await settle(app, pilot)
        assert "99 is above d_sae 64" in form(app).replace("\n ", " ")
        await pilot.press("ctrl+s")
        await settle(app, pilot)
        assert "not queued" in told(app)
        assert waiting_studies(session.root) == []


async def test_escape_leaves_a_line_as_it_was_and_paste_goes_into_it(session: Session) -> None:
    async with opened(session) as (app, pilot, view):
        await pilot.press("enter")
        await type_text(pilot, "zzz")
        await pilot.press("escape")
        assert view._form.name == "smoke"
        await pilot.press("enter")
        view._paste("-two")
        assert view._form.name == "smoke-two"
        await pilot.press("ctrl+c")
        assert (view._form.name, app.is_running) == ("smoke", True)


async def test_space_arrows_and_enter_turn_choices(session: Session) -> None:
    async with opened(session) as (_app, pilot, view):
        data = view._form.data
        view._form.cursor = "architecture"
        await pilot.press("l", "right", "space")
        assert [sae["architecture"] for sae in data["saes"]] == ["topk", "relu", "batch_topk"]
        await pilot.press("left", "h", "space")
        assert [sae["architecture"] for sae in data["saes"]] == ["relu", "batch_topk"]
        view._form.cursor = "task"
        await pilot.press("enter")
        assert data["subject"]["task"] == "subtract"
        await pilot.press("left")
        assert data["subject"]["task"] == "add"
        view._form.cursor = "null"
        await pilot.press("space")
        assert data["analysis"]["surrogate"] is False


async def test_undo_brings_back_and_says_when_nothing_is_left(session: Session) -> None:
    async with opened(session) as (app, pilot, view):
        view._form.cursor = "task"
        await pilot.press("right", "n")
        assert view._form.name == "sweep"
        await pilot.press("u")
        assert (view._form.name, view._form.data["subject"]["task"]) == ("smoke", "subtract")
        await pilot.press("u", "u", "u")
        assert "nothing to undo" in told(app)


async def test_a_fresh_study_takes_a_free_name(session: Session) -> None:
    (session.root.path / "sweep").mkdir(parents=True)
    async with opened(session) as (app, pilot, view):
        await pilot.press("n")
        await settle(app, pilot)
        assert (view._form.name, view._form.sound) == ("sweep-2", True)
        assert "a new study" in form(app)
        assert "5 SAEs" in plan(app)


async def test_the_profile_is_that_of_the_session_both_ways(session: Session) -> None:
    async with opened(session) as (app, pilot, view):
        view._form.cursor = "profile"
        await pilot.press("right")
        await settle(app, pilot)
        assert session.profile == "cuda"
        assert "no cuda device" in plan(app) + form(app)
        session.profile = "auto"
        app.look()
        await settle(app, pilot)
        assert view._form.profile == "auto"
        assert "fits auto" in plan(app)


async def test_a_preset_is_picked_from_a_list_that_filters(session: Session) -> None:
    async with opened(session) as (app, pilot, view):
        await pilot.press("p")
        await settle(app, pilot)
        assert isinstance(app.screen, Pick)
        assert len(app.screen.query_one(Table).rows) == len(presets())
        await pilot.press("slash")
        await type_text(pilot, "matryo")
        await pilot.press("enter")
        assert "nested dictionaries" in app.screen.query_one(Sheet).text
        await pilot.press("enter")
        await settle(app, pilot)
        assert view._form.origin == "matryoshka"
        await pilot.press("p")
        await settle(app, pilot)
        await pilot.press("j", "escape")
        assert view._form.origin == "matryoshka"


async def test_a_finished_study_can_be_the_start(session: Session) -> None:
    folder = session.root.path / "mine"
    folder.mkdir(parents=True)
    shutil.copy(presets()["topk"], folder / "study.yaml")
    async with opened(session, "mine") as (app, pilot, view):
        assert (view._form.origin, view._form.name) == ("mine", "topk")
        view.open("nothing-of-this-name")
        await pilot.pause()
        assert "no such preset" in told(app)
        assert view._form.origin == "mine"


async def test_the_yaml_is_shown(session: Session) -> None:
    async with opened(session) as (app, pilot, _view):
        await pilot.press("v")
        await pilot.pause()
        assert isinstance(app.screen, Reading)
        await pilot.press("escape")
        assert len(app.screen_stack) == 1


class Editor:
    """Writes what it is told to, as a person would."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.seen = list(texts), list[str]()
        self.modes: list[int] = []

    def __call__(self, app: Any, path: Path) -> None:
        self.seen.append(path.read_text())
        self.modes.append(path.stat().st_mode & 0o777)
        path.write_text(self.texts.pop(0))


async def test_the_editor_is_given_the_yaml_and_what_it_wrote_is_taken(session: Session) -> None:
    text = "# mine\n" + presets()["planted"].read_text()
    async with opened(session) as (app, pilot, view):
        editor = Editor(text)
        view.run_editor = editor
        await pilot.press("e")
        await settle(app, pilot)
        assert editor.seen == [presets()["smoke"].read_text()]
        assert editor.modes == [0o600]
        assert (view._form.name, view._form.yaml) == ("planted", text)
        assert "5 SAEs" in plan(app)
        assert list((session.folder / "drafts").iterdir()) == []


async def test_yaml_that_cannot_be_read_is_kept_and_opened_again(session: Session) -> None:
    torn = "name: x\nseeds: [1\nhooks: 3\n"
    async with opened(session) as (app, pilot, view):
        editor = Editor(torn, torn, "name: mended\n")
        view.run_editor = editor
        await pilot.press("e", "ctrl+s")
        await settle(app, pilot)
        assert "line 3: not valid YAML" in form(app)
        assert "not queued: the edited YAML cannot be read" in told(app)
        await pilot.press("e")
        assert editor.seen[1] == torn, "nothing is lost"
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        await pilot.press("n", "e")
        assert (editor.seen[2], view._form.broken, view._form.name) == (torn, "", "mended")


async def test_a_torn_text_can_be_dropped(session: Session) -> None:
    async with opened(session) as (_app, pilot, view):
        view.run_editor = Editor("[")
        await pilot.press("e", "escape", "y")
        assert (view._form.broken, view._form.name) == ("", "smoke")


async def test_an_editor_that_cannot_run_is_told(session: Session) -> None:
    def none(app: Any, path: Path) -> None:
        raise EnvironmentUnfit("no editor: set EDITOR to the command of yours")

    async with opened(session) as (app, pilot, view):
        view.run_editor = none
        await pilot.press("e")
        assert "no editor" in told(app)

        def binary(app: Any, path: Path) -> None:
            path.write_bytes(b"\xff\xfe\x00")

        view.run_editor = binary
        await pilot.press("e")
        assert "not UTF-8" in told(app)
        assert view._form.name == "smoke"


async def test_a_file_is_written_and_never_over_another_unasked(session: Session) -> None:
    async with opened(session) as (app, pilot, _view):
        await pilot.press("w")
        assert read_study("smoke.yaml") == read_study("smoke")
        Path("smoke.yaml").write_text("mine")
        await pilot.press("w")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        await pilot.press("n")
        assert Path("smoke.yaml").read_text() == "mine"
        await pilot.press("w", "y")
        await pilot.pause()
        assert read_study("smoke.yaml").name == "smoke"


async def test_a_study_without_a_name_becomes_no_file(session: Session) -> None:
    async with opened(session) as (app, pilot, _view):
        await pilot.press("enter", "ctrl+u")
        await type_text(pilot, "a b")
        await pilot.press("enter", "w")
        assert "no file: name" in told(app)
        assert list(Path().glob("*.yaml")) == []


async def test_it_is_queued_and_the_engine_is_started(session: Session, engine: Engine) -> None:
    async with opened(session, start=True) as (app, pilot, view):
        view._form.cursor = "priority"
        await pilot.press("enter", "ctrl+u", "4", "ctrl+s")
        await settle(app, pilot)
        assert waiting_studies(session.root) == ["smoke"]
        message = json.loads(next(session.root.inbox.glob("*.json")).read_text())
        assert (message["priority"], message["profile"], len(message["jobs"])) == (4, "cpu", 9)
        assert "queued smoke: 6 SAEs, 9 jobs; 1 shows it" in told(app)
        assert engine.started == ["cpu", "cpu"], "at the start of the app, and now"


async def test_without_an_engine_of_ours_it_says_how_to_start_one(
    session: Session, engine: Engine
) -> None:
    async with opened(session) as (app, pilot, _view):
        await pilot.press("ctrl+s")
        await settle(app, pilot)
        assert "u there starts the engine" in told(app)
        assert engine.started == []


async def test_what_is_typed_last_is_what_is_queued(session: Session, engine: Engine) -> None:
    async with opened(session) as (app, pilot, view):
        view._form.cursor = "seeds"
        await pilot.press("enter", "ctrl+u")
        await type_text(pilot, "1-5")
        await pilot.press("ctrl+s")
        await settle(app, pilot)
        message = json.loads(next(session.root.inbox.glob("*.json")).read_text())
        cohort = next(job for job in message["jobs"] if job["file"]["kind"] == "cohort")
        assert cohort["file"]["config"]["seeds"] == [1, 2, 3, 4, 5]


async def test_what_is_changed_after_the_order_is_not_queued(
    session: Session, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    gate.set()

    def slow(*arguments: Any) -> Any:
        gate.wait(10)
        return estimate(*arguments)

    monkeypatch.setattr("husai_tui.screens.drafting.estimate", slow)
    async with opened(session) as (app, pilot, view):
        gate.clear()
        view._form.cursor = "task"
        await pilot.press("right", "ctrl+s", "right")
        gate.set()
        await settle(app, pilot)
        assert "not queued: it was changed meanwhile" in told(app)
        assert waiting_studies(session.root) == []


async def test_an_engine_that_does_not_come_up_is_told_and_the_study_stays_queued(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(root: RunsRoot, profile: str) -> dict[str, Any]:
        raise EnvironmentUnfit("the supervisor did not come up")

    monkeypatch.setattr("husai_tui.screens.sweep.start_supervisor", refuse)
    async with opened(session) as (app, pilot, _view):
        app.starts_engine = True
        await pilot.press("ctrl+s")
        await settle(app, pilot)
        assert "queued smoke" in told(app)
        assert "did not come up" in told(app)
        assert waiting_studies(session.root) == ["smoke"]


async def test_a_report_of_another_study_is_not_replaced_unasked(
    session: Session, engine: Engine
) -> None:
    folder = session.root.path / "smoke"
    (folder / "report").mkdir(parents=True)
    (folder / "report" / "summary.json").write_text("{}")
    shutil.copy(presets()["topk"], folder / "study.yaml")
    async with opened(session) as (app, pilot, _view):
        await pilot.press("ctrl+s")
        await settle(app, pilot)
        assert isinstance(app.screen, Confirm)
        await pilot.press("n")
        assert waiting_studies(session.root) == []
        await pilot.press("ctrl+s")
        await settle(app, pilot)
        await pilot.press("y")
        await settle(app, pilot)
        assert waiting_studies(session.root) == ["smoke"]


async def test_nothing_wrong_and_nothing_read_only_is_queued(
    session: Session, engine: Engine
) -> None:
    async with opened(session) as (app, pilot, view):
        view._form.cursor = "modulus"
        await pilot.press("enter", "ctrl+u", "6", "enter", "g", "ctrl+s")
        await settle(app, pilot)
        assert ("not queued" in told(app), view._form.cursor) == (True, "modulus")
        session.readonly = True
        await pilot.press("u", "ctrl+s")
        view.action_queue()  # as another way than a key would
        await settle(app, pilot)
        assert "read-only: nothing was queued" in told(app)
        assert waiting_studies(session.root) == []


async def test_a_plan_with_a_fault_of_ours_ends_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr("husai_tui.screens.drafting.estimate", broken)
    async with opened(session) as (app, _, _view):
        assert "a fault of husai: RuntimeError: ours" in plan(app)


async def test_the_plan_can_have_all_the_room(session: Session) -> None:
    async with opened(session, "roadmap-matrix") as (app, pilot, view):
        await pilot.press("z")
        await pilot.pause()
        assert "topk 64 k16" in plan(app)
        await pilot.press("j", "j", "G")
        await pilot.pause()
        assert "reference machine" in plan(app)
        await pilot.press("escape")
        await pilot.pause()
        assert not view.has_class("-plan")
        await pilot.press("j")
        assert view._form.cursor == "about"


async def test_the_draft_comes_back_at_the_next_start(session: Session) -> None:
    async with opened(session) as (_app, pilot, view):
        view._form.cursor = "epochs"
        await pilot.press("enter", "ctrl+u", "7")
        session.memory.views["sweep"] = view.remember()
    json.dumps(session.memory.views)
    async with opened(session, "") as (_app, _, view):
        assert view._form.data["training"]["epochs"] == 7
        assert (view._form.origin, view._form.edited, view._form.cursor) == (
            "smoke",
            True,
            "epochs",
        )


async def test_the_first_time_there_is_a_preset(session: Session) -> None:
    async with opened(session, "") as (_app, _, view):
        assert view._form.origin == "topk-vs-relu"


async def test_a_click_goes_to_a_line_and_a_second_one_changes_it(session: Session) -> None:
    async with opened(session) as (_app, pilot, view):
        await pilot.click("#form", offset=(30, 4))
        assert view._form.cursor == "modulus"
        await pilot.click("#form", offset=(30, 4), times=2)
        assert view._form.entry is not None
