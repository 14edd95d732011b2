"""`husai`: opens the app; every view of it has an address."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import HusaiError
from husai_tui.faults import keep_fault
from husai_tui.guard import Guard
from husai_tui.keys import VIEWS, Where
from husai_tui.session import open_session
from husai_tui.settings import config_folder
from husai_tui.terminal import complain, reset, unfit

app = typer.Typer(
    name="husai",
    help="The workstation: pick a study, queue it, watch it, see what can be trusted.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)
Runs = Annotated[
    Path, typer.Option("--runs", envvar="HUSAI_RUNS", help="Where everything is written.")
]
Profile = Annotated[
    str, typer.Option("--profile", help="Hardware profile of a supervisor to be started.")
]
Readonly = Annotated[bool, typer.Option("--readonly", help="Look, and change nothing.")]
Detached = Annotated[bool, typer.Option("--no-engine", help="Start no supervisor.")]


def show(
    view: Where | None, target: str, runs: Path, profile: str, readonly: bool, detached: bool
) -> None:
    """Open the app; leaves with 3 where there is no terminal for it."""
    if reason := unfit():
        complain(reason)
        raise typer.Exit(3)
    in_browser = "TEXTUAL_DRIVER" in os.environ
    from husai_tui.app import HusaiApp  # here: `--help` and errors need no Textual
    from husai_tui.driver import SafeDriver

    session = open_session(runs, profile, readonly)
    guard = Guard()
    shown = HusaiApp(
        session,
        view=view,
        target=target,
        start=not detached,
        driver_class=None if in_browser else SafeDriver,
        guard=None if in_browser else guard,
    )
    if not in_browser:
        guard.hear(shown.asked_to_leave)
    try:
        shown.run(mouse=session.settings.mouse)
    finally:
        guard.say_farewell()
    raise typer.Exit(guard.code or shown.return_code or 0)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    runs: Runs = Path("runs"),
    profile: Profile = "",
    readonly: Readonly = False,
    detached: Detached = False,
) -> None:
    """Open the app where it was left."""
    if context.invoked_subcommand is None:
        show(None, "", runs, profile, readonly, detached)


def _command(view: Where) -> None:
    @app.command(view)
    def command(
        target: Annotated[str, typer.Argument(help="What to show there, as `y` copies it.")] = "",
        runs: Runs = Path("runs"),
        profile: Profile = "",
        readonly: Readonly = False,
        detached: Detached = False,
    ) -> None:
        show(view, target, runs, profile, readonly, detached)

    command.__doc__ = f"Open the app at {view}."


for _view in VIEWS:
    _command(_view)


@app.command("serve")
def serve_browser(
    port: Annotated[int, typer.Option(help="On loopback; 0: one that is free.")] = 8000,
    runs: Runs = Path("runs"),
    profile: Profile = "",
    readonly: Readonly = False,
    detached: Detached = False,
) -> None:
    """Show the app in a browser, on this machine's own address alone."""
    from husai_tui.serving import serve  # here: aiohttp takes a while

    words = [sys.executable, "-m", "husai_tui", "--runs", str(runs.resolve())]
    words += ["--profile", profile] if profile else []
    words += ["--readonly"] * readonly + ["--no-engine"] * detached
    serve(shlex.join(words), port)


@app.command("reset-terminal")
def reset_terminal() -> None:
    """Bring back a terminal that a lost connection left without echo, cursor or mouse."""
    reset()


def main() -> None:
    """Run `husai`."""
    try:
        app()
    except HusaiError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except Exception:
        complain(keep_fault(config_folder(), traceback.format_exc()))
        sys.exit(1)


if __name__ == "__main__":
    main()
