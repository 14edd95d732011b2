"""Commands about what can be believed: do the planted controls come out, do given SAEs agree. Torch stays in
the processes that they start."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.cli.options import RUNS, AsJson, Profile, Quiet, Runs, out, print_json


def validate(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="ROW", help="This row alone; may be given several times."),
    ] = None,
    profile: Profile = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Train on planted data: is what is there found, and what is not, not? Exit code 0 or 1."""
    from engine.client.validation import validate as measure
    from engine.console import Screen
    from engine.report.control_tables import controls_table, progress_line

    screen = Screen(stderr=True, quiet=quiet, highlight=False)

    def show(row: dict[str, Any], left: int) -> None:
        screen.print(progress_line(row, left), markup=False, soft_wrap=True)

    screen.print("planted data, some seconds a row; Ctrl-C ends it, nothing is kept", markup=False)
    found = measure(only or (), profile, show)
    if as_json:
        print_json(found)
    else:
        out.print(controls_table(found))
    return 0 if found["passed"] else 1


def compare(
    saes: Annotated[
        list[str],
        typer.Argument(metavar="SAE...", help="Saved SAEs: a path, or STUDY/COHORT[:SEED]."),
    ],
    sign: Annotated[
        str, typer.Option("--sign", metavar="SIGN", help="signed, or abs: −f counts as f.")
    ] = "signed",
    runs: Runs = RUNS,
    as_json: AsJson = False,
) -> int:
    """Compare saved SAEs: what they share, beside what chance would share."""
    from engine.client.comparison import compare_saes
    from engine.report.comparison_tables import comparison_table

    found = compare_saes(saes, runs, sign)
    if as_json:
        print_json(found)
    else:
        out.print(comparison_table(found))
    return 0
