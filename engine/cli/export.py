"""The command that writes trained SAEs for other libraries. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import RUNS, AsJson, Runs, out, print_json


def export(
    job: Annotated[
        str,
        typer.Argument(metavar="JOB", help="A cohort: STUDY/JOB, its folder's name, or its key."),
    ],
    format_name: Annotated[
        str,
        typer.Option(
            "--format", metavar="F", help="sae_lens, sparsify (TopK alone), or safetensors."
        ),
    ],
    folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="A new folder; seed-N in it for each SAE.")
    ],
    seed: Annotated[
        list[int] | None,
        typer.Option("--seed", metavar="N", help="This seed alone; may be given several times."),
    ] = None,
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> int:
    """Write trained SAEs as other libraries read them; they act on raw activations."""
    from engine.client.export import export_saes

    found = export_saes(runs, job, format_name, folder, seed or ())
    if as_json:
        print_json(found)
        return 0
    count = len(found["saes"])
    job = " and ".join(found["jobs"])
    said = f"{found['out']}: {count} SAE{'s' if count > 1 else ''} of {job} as {found['format']}"
    out.print(said, markup=False, soft_wrap=True)
    for note in found["notes"]:
        out.print(f"  {note}", markup=False, soft_wrap=True)
    return 0
