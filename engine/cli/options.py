"""What the commands share: options, output, how they are stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="Name of a preset, or path of a study file.")
]
Profile = Annotated[str, typer.Option("--profile", metavar="NAME", help="Hardware profile.")]
Runs = Annotated[
    Path,
    typer.Option("--runs", metavar="DIR", envvar="HUSAI_RUNS", help="Where everything is written."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a value of the study."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]

RUNS = Path("runs")
SHOW_CURSOR = b"\x1b[?25h"
out = Console(highlight=False)


def print_json(value: object) -> None:
    """Print the one JSON object of a command: a line per member, and per row of a list.

    Not with `json.dumps(…, indent=1)`, which is written in Python: .2 s for the jobs of a long queue.
    """
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {_rows(member)}" for name, member in value.items())
        text = "{" + ",\n".join(members) + "}"
    else:
        text = _rows(value)
    sys.stdout.write(text + "\n")


def _rows(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in value) + "\n]"
    return json.dumps(value, allow_nan=False)


def stop_on_signals(said: str = "stopping: workers save and leave") -> threading.Event:
    """Let Ctrl-C and SIGTERM ask for a stop, and say so; a second Ctrl-C ends this process at once."""
    stop = threading.Event()

    def ask(number: int, _: object) -> None:
        if stop.is_set():
            with contextlib.suppress(OSError):
                os.write(2, SHOW_CURSOR)
            os._exit(128 + number)
        stop.set()
        with contextlib.suppress(OSError):
            os.write(2, f"\n{said}\n".encode())

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup and shells in the background set signals to be ignored, and mean it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, ask)
    return stop
