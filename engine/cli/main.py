"""`husai-engine`: the commands. Names, `--json` shapes and exit codes are a contract (see tests)."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback

import typer

from engine.cli import evidence, export, queue, studies, tensorboard, wandb
from engine.disk.root import PRIVATE_UMASK
from engine.disk.text import visible_line
from engine.errors import EnvironmentUnfit, HusaiError, Interrupted

USAGE = 2
"""Exit code of a command line that says too little or something wrong."""

app = typer.Typer(
    name="husai-engine",
    help="Are the features of a sparse autoencoder a property of the model or of the random seed?",
    no_args_is_help=True,
    epilog="--debug, anywhere on the line, shows the traceback of an error.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

bench = typer.Typer(help="Measure how fast this machine trains and analyses.", no_args_is_help=True)

for _command in (
    studies.run,
    studies.plan,
    queue.submit,
    queue.up,
    queue.down,
    queue.status,
    queue.jobs,
    queue.watch,
    queue.logs,
    queue.pause,
    queue.resume,
    queue.cancel,
    queue.retry,
    queue.priority,
    queue.gc,
    queue.health,
    studies.report,
    tensorboard.tensorboard,
    studies.notebook,
    wandb.wandb,
    evidence.validate,
    evidence.compare,
    export.export,
    studies.studies,
    studies.profiles,
    studies.doctor,
    studies.schema,
):
    app.command()(_command)
app.add_typer(bench, name="bench")
bench.command(name="sae")(studies.bench_sae)
bench.command(name="analysis")(studies.bench_analysis)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors are one or two lines on stderr."""
    os.umask(PRIVATE_UMASK)
    given = sys.argv[1:] if arguments is None else arguments
    asked = [word for word in given if word != "--debug"]
    incomplete = asked in ([], ["bench"])
    debug = "--debug" in given
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")  # κ and ✓ on a terminal without them
    if wrong := next((word for word in given if _is_no_text(word)), None):
        return _say(f"{wrong!a}: not text in UTF-8", USAGE, debug)
    if empty := _empty_argument(asked):
        return _say(empty, USAGE, debug)
    try:
        code = app(args=[*asked, *["--help"] * incomplete], standalone_mode=False)
        return USAGE if incomplete else code if isinstance(code, int) else 0
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return Interrupted.exit_code
    except typer.TyperException as usage:
        return _say(f"{usage.format_message()} (see husai-engine --help)", USAGE, debug)
    except HusaiError as error:
        return _say(str(error), error.exit_code, debug)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _say(f"{place}{error.strerror or error}", EnvironmentUnfit.exit_code, debug)
    except Exception as error:
        bug = f"{type(error).__name__}: {error}"
        return _say(f"a bug in husai: {bug}; --debug shows where", 1, debug)


def _empty_argument(words: list[str]) -> str:
    """Say which argument is empty; ``''`` where none is. A shell makes them of variables that are not set."""
    for before, word in zip(["", *words], words, strict=False):
        if not word.strip():
            what = before if before.startswith("-") else "an argument"
            return f"{what} is empty: a name or a path is wanted (see husai-engine --help)"
    return ""


def _is_no_text(word: str) -> bool:
    """Return whether an argument holds bytes that are no text: no name and no path of ours has any."""
    return any("\ud800" <= letter <= "\udfff" for letter in word)


def _say(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    with contextlib.suppress(OSError):
        print(
            f"husai-engine: {visible_line(' '.join(message.split()))}", file=sys.stderr, flush=True
        )
    return code
