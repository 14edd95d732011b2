"""The command `tensorboard`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Annotated

import typer

from engine.cli.options import RUNS, AsJson, Runs, out, print_json, stop_on_signals
from engine.client.tensorboard import arrange, follow, refresh, server_command
from engine.client.tunnel import LOOPBACK, free_port, tunnel
from engine.disk.root import RunsRoot
from engine.disk.text import visible_line


def tensorboard(
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STUDY]...", help="Studies; all if none is named."),
    ] = None,
    runs: Runs = RUNS,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Write the events anew from the curves, and end.")
    ] = False,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any that is free.")
    ] = 6006,
    host: Annotated[
        str,
        typer.Option("--host", metavar="ADDRESS", help="Of another than loopback, in a container."),
    ] = LOOPBACK,
    as_json: AsJson = False,
) -> int:
    """Show the runs in TensorBoard, on this machine alone; Ctrl-C ends it."""
    root = RunsRoot(runs)
    if not (rebuild or as_json):
        return _serve(root, studies or (), port, host)
    arranged = arrange(root, studies or (), rebuild=rebuild)
    if as_json:
        folder = str(arranged.folder)
        found = {"runs": arranged.runs, "rebuilt": arranged.rebuilt, "left": arranged.left}
        print_json({"folder": folder, **found})
        return 0
    for line in arranged.left:
        out.print(f"left as it was: {visible_line(line)}", markup=False)
    count = len(arranged.rebuilt)
    out.print(f"events of {count} job{'' if count == 1 else 's'} written anew", markup=False)
    return 0


def _serve(root: RunsRoot, studies: Sequence[str], port: int, host: str) -> int:
    stop = stop_on_signals("TensorBoard ends; all work goes on")
    port = free_port(port)
    if studies:
        arrange(root, studies)
    else:
        shutil.rmtree(root.tensorboard, ignore_errors=True)
        refresh(root)
    out.print(f"TensorBoard is at http://{LOOPBACK}:{port}/", markup=False)
    out.print(f"from another machine first: {tunnel(port)}", markup=False)
    out.print("ctrl+c ends it; all work goes on", markup=False)
    return follow(root, studies, server_command(root.tensorboard, port, host), stop.is_set)
