"""Given SAEs compared, in a process of its own (`engine.comparison`). Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import InputError, JobFailed
from engine.jobs.launch import run_module
from engine.study.machine import detect
from engine.study.profile import place, read_profile, worker_environment

SIGNS = ("signed", "abs")


def compare_saes(saes: Sequence[str], runs: Path, sign: str = "signed") -> dict[str, Any]:
    """Return how far saved SAEs agree, beside what chance would score.

    Args:
        saes: paths of saved SAEs, or `STUDY/COHORT[:SEED]` of the runs root.
        runs: runs root.
        sign: whether −f is another feature (`signed`) or the same (`abs`).

    Raises:
        InputError: something was not found, or cannot be compared.
        JobFailed: a file is damaged, a cohort is not analysed, or the process ended without a result.
    """
    if sign not in SIGNS:
        raise InputError(f"--sign {sign}", "no such sign", f"one of {', '.join(SIGNS)}")
    machine = detect()
    placement = place(read_profile("cpu"), machine)
    arguments = [f"--runs={runs}", f"--sign={sign}", f"--threads={placement.threads}", "--", *saes]
    settings = worker_environment(placement, placement.threads, machine.system)
    said = run_module("engine.comparison", arguments, settings).splitlines()[-1:]
    if not said:
        raise JobFailed("the comparison ended without a result; what it said is above")
    found: dict[str, Any] = json.loads(said[0])
    if "error" in found:
        wrong_input = found["exit_code"] == InputError.exit_code
        raise InputError(found["error"], "") if wrong_input else JobFailed(found["error"])
    return found
