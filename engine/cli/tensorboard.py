"""The command `tensorboard`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from engine.cli.options import RUNS, AsJson, Runs, out, print_json
from engine.client.tensorboard import arrange, server_command
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
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="On loopback; 0: any free.")
    ] = 6006,
    as_json: AsJson = False,
) -> int:
    """Show the runs in TensorBoard, on this machine alone; Ctrl-C ends it."""
    root = RunsRoot(runs)
    arranged = arrange(root, studies or (), rebuild=rebuild)
    if as_json:
        folder = str(arranged.folder)
        found = {"runs": arranged.runs, "rebuilt": arranged.rebuilt, "left": arranged.left}
        print_json({"folder": folder, **found})
        return 0
    for line in arranged.left:
        out.print(f"left as it was: {visible_line(line)}", markup=False)
    if rebuild:
        count = len(arranged.rebuilt)
        out.print(f"events of {count} job{'' if count == 1 else 's'} written anew", markup=False)
        return 0
    port = free_port(port)
    out.print(f"TensorBoard is at http://{LOOPBACK}:{port}/", markup=False)
    out.print(f"from another machine first: {tunnel(port)}", markup=False)
    out.print("ctrl+c ends it; all work goes on", markup=False)
    command = server_command(arranged.folder, port)
    return os.execv(command[0], command)
