"""The frame: help, palette, footer, copying, exporting, themes, read-only, the engine, leaving."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from textual.command import CommandList
from textual.widgets import Input, Label, OptionList

from engine.errors import EnvironmentUnfit
from husai_tui import app as app_module
from husai_tui.app import SCREENS, HusaiApp
from husai_tui.clipboard import LARGEST, copy_sequence
from husai_tui.commands import Palette
from husai_tui.keys import KEYS, keys_of
from husai_tui.screens.actions import help_text
from husai_tui.screens.dialogs import Ask, Choose, Reading
from husai_tui.screens.runs import Runs
from husai_tui.tones import THEMES
from husai_tui.widgets.bars import Bar
from husai_tui.widgets.table import Table
from tests.tui.conftest import Opened, orders, said, settle


class Terminal:
    """Keeps what is written to it."""

    def __init__(self, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[str] = []
        monkeypatch.setattr(app._driver, "write", self.written.append)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("TMUX", "COLORFGBG", "NO_COLOR", "COLORTERM", "HUSAI_RUNS"):
        monkeypatch.delenv(name, raising=False)


async def test_help_has_every_key_that_works_here_and_its_name(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(pilot.app.screen, Reading)
        await pilot.press("j", "ctrl+d", "k", "ctrl+u", "q")
        await pilot.pause()
        assert not isinstance(pilot.app.screen, Reading)
    text = help_text(("runs", "table", "everywhere"), {"runs.cancel": "X"}).plain
    for key in keys_of("runs", "table", "everywhere"):
        assert key.title in text
        assert key.id in text
    assert "  X      cancel the job" in text


async def test_the_palette_finds_keys_themes_and_jobs(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        await pilot.press("ctrl+p")
        await pilot.pause(0.3)
        await pilot.press(*"theme husai-light")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await pilot.pause(0.3)
        if pilot.app.theme != "husai-light":
            await pilot.press("enter")
            await pilot.pause(0.3)
        assert pilot.app.theme == "husai-light"


async def test_commands_found_after_the_palette_was_left_are_no_fault(
    opened: Opened, root: Path
) -> None:
    async with opened(root) as pilot:
        await pilot.press("colon")
        await pilot.pause()
        palette = pilot.app.screen
        assert isinstance(palette, Palette)
        found = palette.query_one(CommandList)
        await pilot.press("escape")
        await pilot.pause()
        palette._refresh_command_list(found, [], True)
        palette._watch__list_visible()


@pytest.mark.parametrize("readonly", [False, True])
async def test_the_palette_and_the_footer_offer_what_can_be_done(
    opened: Opened, root: Path, readonly: bool
) -> None:
    async with opened(root, readonly=readonly) as pilot:
        foot = pilot.app.screen.query_one("#foot", Bar).text
        assert ("cancel" in foot) is not readonly
        commands = app_module.Commands(pilot.app.screen)
        names = [hit.text async for hit in commands.discover()]
        assert any("cancel the job" in str(name) for name in names) is not readonly
        assert any("show the keys" in str(name) for name in names)


async def test_the_palette_does_what_a_key_does(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        app = pilot.app
        assert isinstance(app, HusaiApp)
        app.perform(next(key for key in KEYS if key.id == "table.move_1"))
        view = app.view()
        assert isinstance(view, Runs)
        assert view.row_text().endswith("#1")
        app.perform(next(key for key in KEYS if key.id == "everywhere.describe"))
        await pilot.pause()
        assert isinstance(app.screen, Reading)


async def test_nothing_writes_under_readonly(opened: Opened, root: Path) -> None:
    async with opened(root, readonly=True, start=True) as pilot:
        for key in (key for key in keys_of("runs") if key.writes):
            await pilot.press(key.keys.split(",")[0])
            await settle(pilot)
            assert len(pilot.app.screen_stack) == 1
        assert orders(root) == []
        assert "read-only" in pilot.app.screen.query_one("#head", Bar).text
        assert not (root / "supervisor.out").exists()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("y", "pretend/topk 1024 k32 #0"), ("a", "husai runs"), ("c", "husai-engine jobs --runs ")],
)
async def test_copying_goes_over_the_terminal(
    opened: Opened, root: Path, choice: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(root) as pilot:
        terminal = Terminal(pilot.app, monkeypatch)
        await pilot.press("y")
        await pilot.pause()
        assert isinstance(pilot.app.screen, Choose)
        await pilot.press(choice)
        await pilot.pause()
        data = next(text for text in terminal.written if text.startswith("\x1b]52;c;"))
        copied = base64.b64decode(data.removeprefix("\x1b]52;c;").removesuffix("\x07")).decode()
        assert copied.startswith(expected)
        assert "copied" in said(pilot.app)


def test_copying_passes_through_tmux_and_screen_and_has_a_cap() -> None:
    plain, _ = copy_sequence("x", {})
    assert plain == "\x1b]52;c;eA==\x07"
    inside, _ = copy_sequence("x", {"TMUX": "/tmp/tmux"})
    assert inside == "\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\"
    pieces, _ = copy_sequence("x" * 2000, {"TERM": "screen-256color"})
    assert pieces.count("\x1bP") == 4
    sequence, problem = copy_sequence("x" * (LARGEST + 1), {})
    assert (sequence, "E writes a file" in problem) == ("", True)
    assert copy_sequence("x" * LARGEST, {})[1] == ""


@pytest.mark.parametrize("form", ["csv", "json", "svg", "txt"])
async def test_a_view_is_exported(opened: Opened, root: Path, tmp_path: Path, form: str) -> None:
    async with opened(root) as pilot:
        await pilot.press("E")
        await pilot.pause()
        await pilot.press(form[0])
        await pilot.pause()
        files = list(tmp_path.glob(f"husai-*.{form}"))
        assert len(files) == 1
        text = files[0].read_text()
        assert str(files[0]) in said(pilot.app)
    assert "topk" in text
    if form == "json":
        assert len(json.loads(text)["rows"]) == 7
    if form == "csv":
        assert text.startswith("directory,study,name")
    if form == "svg":
        assert text.startswith("<svg")


async def test_two_exports_in_one_second_are_two_files(
    opened: Opened, root: Path, tmp_path: Path
) -> None:
    async with opened(root) as pilot:
        for _ in range(2):
            await pilot.press("E", "c")
            await pilot.pause()
        assert len(list(tmp_path.glob("husai-*.csv"))) == 2


async def test_a_folder_that_cannot_be_written_is_told(
    opened: Opened, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("husai_tui.screens.actions.write_bytes", refuse)
    async with opened(root) as pilot:
        await pilot.press("E", "c")
        await pilot.pause()
        assert "Permission denied" in said(pilot.app)


async def test_themes_go_round(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        seen = []
        for _ in THEMES:
            seen.append(pilot.app.theme)
            await pilot.press("T")
            await pilot.pause()
        assert seen == [*THEMES]
        assert pilot.app.theme == THEMES[0]


@pytest.mark.parametrize(
    ("environment", "theme"),
    [
        ({}, "husai-dark"),
        ({"COLORFGBG": "0;15"}, "husai-light"),
        ({"TERM": "linux"}, "ansi-dark"),
        ({"TERM": "xterm-16color", "COLORFGBG": "0;15"}, "ansi-light"),
    ],
)
async def test_the_first_theme_fits_the_terminal(
    opened: Opened,
    root: Path,
    environment: dict[str, str],
    theme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with opened(root) as pilot:
        assert pilot.app.theme == theme


async def test_settings_count_and_their_problems_are_told(
    opened: Opened, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "settings").mkdir()
    text = "theme = 'ansi-light'\ncolour = 1\n[keymap]\n'runs.cancel' = 'X'\n"
    (tmp_path / "settings" / "config.toml").write_text(text)
    async with opened(root) as pilot:
        assert pilot.app.theme == "ansi-light"
        assert "colour: no such setting" in said(pilot.app)
        assert "X cancel" in pilot.app.screen.query_one("#foot", Bar).text
        await pilot.press("x")
        await pilot.pause()
        assert len(pilot.app.screen_stack) == 1
        await pilot.press("X")
        await pilot.pause()
        assert len(pilot.app.screen_stack) == 2


async def test_keys_that_lead_nowhere_do_no_harm(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        await pilot.press("z", "minus", "escape", "ctrl+l", "1", "f5", "ctrl+x", "tab", "shift+tab")
        await settle(pilot)
        assert isinstance(pilot.app, HusaiApp)
        assert pilot.app.current == "runs"
        assert not (pilot.app.session.folder / "faults.log").exists()


@pytest.mark.parametrize("view", SCREENS)
async def test_the_screen_that_was_open_last_comes_back(
    opened: Opened, root: Path, view: str
) -> None:
    async with opened(root, view=view) as pilot:
        assert pilot.app.current == view  # type: ignore[attr-defined]
        await pilot.press("ctrl+q")
    async with opened(root) as pilot:
        assert pilot.app.current == view  # type: ignore[attr-defined]


async def test_keys_before_the_first_screen_do_no_harm(root: Path, tmp_path: Path) -> None:
    from husai_tui.session import open_session

    app = HusaiApp(open_session(root, folder=tmp_path / "settings"), start=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", "y", "E", "a", "z", "x", "question_mark")
        await settle(pilot)
        assert not (tmp_path / "settings" / "faults.log").exists()


async def test_a_fault_while_looking_is_kept_and_told_and_the_app_goes_on(
    opened: Opened, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(root) as pilot:
        app = pilot.app
        assert isinstance(app, HusaiApp)

        def fall(self: Runs) -> None:
            raise ZeroDivisionError("it fell")

        monkeypatch.setattr(Runs, "load", fall)
        app.look()
        await settle(pilot)
        assert "ZeroDivisionError: it fell" in said(app)
        assert "in fall" in (app.session.folder / "faults.log").read_text()
        assert app.is_running


async def test_an_engine_that_does_not_come_up_is_told(
    opened: Opened, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> dict[str, Any]:
        raise EnvironmentUnfit("process 7 is executing there; wait for it")

    monkeypatch.setattr(app_module, "start_supervisor", refuse)
    async with opened(root, start=True) as pilot:
        await settle(pilot)
        assert "process 7 is executing there" in said(pilot.app)


async def test_an_engine_that_is_up_is_told_only_when_asked(
    opened: Opened, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def find(_root: object, profile: str) -> dict[str, Any]:
        started.append(profile)
        return {"already": True}

    monkeypatch.setattr(app_module, "start_supervisor", find)
    async with opened(root, start=True) as pilot:
        assert said(pilot.app) == ""
        await pilot.press("u")
        await settle(pilot)
        assert started == ["auto", "auto"]
        assert "up already" in said(pilot.app)


async def test_a_small_window_says_how_large_it_should_be(opened: Opened, root: Path) -> None:
    async with opened(root, size=(59, 24)) as pilot:
        assert "60 × 15" in str(pilot.app.screen_stack[0].query_one("#small").visual)
        assert not pilot.app.screen.query_one("#views").display
        await pilot.resize_terminal(60, 15)
        await pilot.pause()
        assert pilot.app.screen.query_one("#views").display


async def test_a_dialog_is_left_once(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        for key in ("question_mark", "y", "slash"):
            await pilot.press(key, "escape", "escape", "escape")
            await pilot.pause()
            assert len(pilot.app.screen_stack) == 1


async def test_a_choice_is_taken_by_arrows_too(
    opened: Opened, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(root) as pilot:
        terminal = Terminal(pilot.app, monkeypatch)
        await pilot.press("y")
        await pilot.pause()
        options = pilot.app.screen.query_one(OptionList)
        await pilot.press("j", "j", "k", "enter")
        await pilot.pause()
        assert options.highlighted == 1
        assert any(text.startswith("\x1b]52") for text in terminal.written)


async def test_a_filter_says_what_is_wrong_with_it(
    opened: Opened, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runs, "set_filter", lambda self, text: "no!" if text else "")
    async with opened(root) as pilot:
        await pilot.press("slash", "x")
        await pilot.pause()
        assert isinstance(pilot.app.screen, Ask)
        assert str(pilot.app.screen.query_one("#wrong", Label).visual) == "no!"
        assert pilot.app.screen.query_one(Input).value == "x"


async def test_a_letter_that_answers_a_question_does_nothing_below_it(
    opened: Opened, root: Path
) -> None:
    async with opened(root) as pilot:
        table = pilot.app.screen.query_one(Table)
        before = table.sort
        await pilot.press("E")
        await pilot.pause()
        await pilot.press("s")
        await pilot.pause()
        assert not isinstance(pilot.app.screen, Choose)
        assert table.sort == before


async def test_a_line_that_is_known_to_be_wrong_is_not_taken(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        taken: list[str | None] = []
        wrong = Ask("a number", "", lambda text: "" if text.isdigit() else "no number")
        await pilot.app.push_screen(wrong, taken.append)
        await pilot.press("x", "enter")
        assert (pilot.app.screen, taken) == (wrong, [])
        await pilot.press("backspace", "7", "enter")
        await pilot.pause()
        assert taken == ["7"]


async def test_what_was_read_for_a_screen_that_goes_is_no_fault(opened: Opened, root: Path) -> None:
    async with opened(root) as pilot:
        app = pilot.app
        assert isinstance(app, HusaiApp)
        view = app.view()
        assert view is not None
        loaded = view.load()
        await view.remove()
        app._show(view, loaded, "")
        assert not (app.session.folder / "faults.log").exists()
