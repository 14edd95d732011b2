"""The command `wandb`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import RUNS, AsJson, Runs, out, print_json
from engine.client.wandb_runs import trained, write_runs
from engine.disk.root import RunsRoot


def wandb(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A study of the queue.")],
    runs: Runs = RUNS,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Where offline runs go; by default below the study."
        ),
    ] = None,
    project: Annotated[str, typer.Option("--project", metavar="NAME", help="Of W&B.")] = "husai",
    online: Annotated[
        bool, typer.Option("--online", help="Send them now, with the key that wandb knows.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Write a study as runs of Weights & Biases, offline: `wandb sync` sends them."""
    root = RunsRoot(runs)
    place = folder or root.study(study)
    mode = "online" if online else "offline"
    written = write_runs(root, study, place, project=project, mode=mode)  # type: ignore[arg-type]
    if as_json:
        print_json({"project": project, "mode": mode, "runs": written})
        return 0
    for one in written:
        out.print(one, markup=False, soft_wrap=True)
    every = trained(root, study)
    if left := sum(job["state"] != "done" for job in every):
        said = f"{left} of {len(every)} runs are not finished: write them again when they are"
        out.print(f"{said}, which replaces what was sent", markup=False)
    if not online:
        out.print("nothing was sent; `wandb sync DIR` sends one of them", markup=False)
    return 0
