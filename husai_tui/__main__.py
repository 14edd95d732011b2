"""`husai`: opens the app; every view of it has an address."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from dataclasses import dataclass
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
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
RunsOption = Annotated[
    Path | None, typer.Option("--runs", metavar="DIR", help="Where everything is written.")
]
Profile = Annotated[
    str,
    typer.Option(
        "--profile", metavar="NAME", help="Hardware profile of a supervisor to be started."
    ),
]
Readonly = Annotated[bool, typer.Option("--readonly", help="Look, and change nothing.")]
Detached = Annotated[bool, typer.Option("--no-engine", help="Start no supervisor.")]
SHOWN: dict[Where, tuple[str, str]] = {
    "runs": ("every job of the queue", ""),
    "run": ("one job's curves over all its seeds", "STUDY/JOB, STUDY or a run directory"),
    "compare": ("the cohorts of a study beside chance", "STUDY/COHORT"),
    "features": ("features, and who else has them", "STUDY/COHORT#SEED:FEATURE"),
    "sweep": ("a form over a study, and its cost", "a preset, or a study"),
    "logs": ("a job's log, or the supervisor's", "STUDY/JOB"),
    "system": ("this machine, profiles, the doctor", ""),
}
"""Screen → what it shows, and what its address names."""


@dataclass(frozen=True)
class Options:
    """What may be said before the name of a screen, or after it."""

    runs: Path = Path("runs")
    profile: str = ""
    readonly: bool = False
    detached: bool = False

    def with_those(
        self, runs: Path | None, profile: str, readonly: bool, detached: bool
    ) -> Options:
        """Return these options with those said later."""
        return Options(
            runs or self.runs,
            profile or self.profile,
            self.readonly or readonly,
            self.detached or detached,
        )


def show(view: Where | None, target: str, options: Options) -> None:
    """Open the app; leaves with 3 where there is no terminal for it."""
    if reason := unfit():
        complain(reason)
        raise typer.Exit(3)
    in_browser = "TEXTUAL_DRIVER" in os.environ
    from husai_tui.app import HusaiApp  # here: `--help` and errors need no Textual
    from husai_tui.driver import SafeDriver

    session = open_session(options.runs, options.profile, options.readonly)
    guard = Guard()
    shown = HusaiApp(
        session,
        view=view,
        target=target,
        start=not options.detached,
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
    runs: Annotated[
        Path,
        typer.Option(
            "--runs", metavar="DIR", envvar="HUSAI_RUNS", help="Where everything is written."
        ),
    ] = Path("runs"),
    profile: Profile = "",
    readonly: Readonly = False,
    detached: Detached = False,
) -> None:
    """Open the app where it was left."""
    context.obj = Options(runs, profile, readonly, detached)
    if context.invoked_subcommand is None:
        show(None, "", context.obj)


def _command(view: Where) -> None:
    shown, named = SHOWN[view]
    about = typer.Argument("", help=f"{named}; `y` copies it." if named else "")

    @app.command(view, help=f"Show {shown}.")
    def command(
        context: typer.Context,
        target: str = about,
        runs: RunsOption = None,
        profile: Profile = "",
        readonly: Readonly = False,
        detached: Detached = False,
    ) -> None:
        show(view, target, context.obj.with_those(runs, profile, readonly, detached))


for _view in VIEWS:
    _command(_view)


@app.command("serve")
def serve_browser(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="On loopback; 0: one that is free.")] = 8000,
    runs: RunsOption = None,
    profile: Profile = "",
    readonly: Readonly = False,
    detached: Detached = False,
) -> None:
    """Show the app in a browser, on this machine alone."""
    from husai_tui.serving import serve  # here: aiohttp takes a while

    options: Options = context.obj.with_those(runs, profile, readonly, detached)
    words = [sys.executable, "-m", "husai_tui", "--runs", str(options.runs.resolve())]
    words += ["--profile", options.profile] if options.profile else []
    words += ["--readonly"] * options.readonly + ["--no-engine"] * options.detached
    serve(shlex.join(words), port)


@app.command("reset-terminal")
def reset_terminal() -> None:
    """Bring back a terminal without echo or cursor."""
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
