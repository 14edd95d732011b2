"""The command `husai`: options before and after the name of a screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from husai_tui import __main__ as command
from husai_tui.__main__ import Options
from husai_tui.keys import VIEWS


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("", (None, "", Options())),
        ("--readonly", (None, "", Options(readonly=True))),
        ("--readonly runs", ("runs", "", Options(readonly=True))),
        ("runs --readonly", ("runs", "", Options(readonly=True))),
        ("--runs a run s/j --no-engine", ("run", "s/j", Options(Path("a"), detached=True))),
        ("--runs a features --runs b", ("features", "", Options(Path("b")))),
        ("--profile cpu sweep smoke", ("sweep", "smoke", Options(profile="cpu"))),
    ],
)
def test_options_hold_wherever_they_stand(
    words: str, shown: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(command, "show", lambda *given: told.append(given))
    monkeypatch.delenv("HUSAI_RUNS", raising=False)
    done = CliRunner().invoke(command.app, words.split())
    assert (done.exit_code, told) == (0, [shown])


def test_the_environment_names_the_runs_unless_an_option_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Options] = []
    monkeypatch.setattr(command, "show", lambda view, target, options: told.append(options))
    monkeypatch.setenv("HUSAI_RUNS", "e")
    for words in (["logs"], ["--runs", "a", "logs"], ["logs", "--runs", "b"]):
        CliRunner().invoke(command.app, words)
    assert [str(options.runs) for options in told] == ["e", "a", "b"]


def test_help_names_every_screen() -> None:
    said = CliRunner().invoke(command.app, ["-h"]).output
    assert all(f"  {view} " in said for view in VIEWS)
    assert "..." not in said.partition("Commands:")[2]
