"""Which stage does which kind of job; a stage's module is imported only when it is run."""

from __future__ import annotations

from importlib import import_module

from engine.errors import InputError
from engine.stages.context import Stage

KINDS = ("subject", "activations", "cohort", "analysis", "report", "rehearsal")
COMPUTE_NOTHING = ("report", "rehearsal")
"""Kinds that need no torch."""


def stage_of(kind: str) -> Stage:
    """Return the function that does a kind of job; raise InputError for an unknown kind."""
    if kind not in KINDS:
        raise InputError("job.json: kind", f"got {kind!r}", "one of " + ", ".join(KINDS))
    stage: Stage = import_module(f"engine.stages.{kind}").run
    return stage
