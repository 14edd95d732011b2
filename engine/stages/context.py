"""What a stage is given: its run directory, its settings, its inputs, and a way to be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.disk.rundir import RunDirectory


@dataclass(frozen=True)
class Context:
    """One job as its stage sees it."""

    run: RunDirectory
    """Where it writes."""
    config: dict[str, Any]
    """Settings that decide the result."""
    policy: dict[str, Any]
    """Settings that decide whether to go on."""
    inputs: dict[str, RunDirectory]
    """Role → run directory of a finished job."""
    device: str
    """Name of the torch device where tensors live."""
    stop: Callable[[], bool]
    """True once a signal asked the work to stop."""
    precision: str = "float32"
    """Precision of the matrix products of SAEs."""


Result = dict[str, Any]
Stage = Callable[[Context], Result]
