"""A run that a test makes up: rows as a worker writes them, and a queue that says what the test wants."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.client.look import Snapshot
from husai_tui.state.panels import Data, Flag

NAN = np.nan
SEEDS = (42, 123, 456)


def data(
    steps: Sequence[float],
    series: dict[str, Any],
    *,
    seconds: Sequence[float] | None = None,
    flags: Sequence[Flag] = (),
) -> Data:
    """Return curves; a list of numbers is a measurement of one column."""
    told = {name: np.array(values, dtype=float) for name, values in series.items()}
    columns = {name: v if v.ndim == 2 else v[:, None] for name, v in told.items()}
    at = np.array(steps, dtype=float)
    return Data(at, np.array(seconds if seconds is not None else at * NAN), columns, tuple(flags))


def row(step: int, loss: Sequence[float | None] = (3.0, 2.0, 1.0), **more: Any) -> str:
    """Return a line of `curves.jsonl` of a cohort with three seeds."""
    told: dict[str, Any] = {"step": step, "seconds": step / 10, "loss": list(loss)}
    told |= {"l0": [8.0] * 3, "explained_variance": [0.9] * 3, "dead_fraction": [0.1, 0.2, 0.3]}
    if step % 20 == 0:
        told["mean_max_cos"] = [0.3, 0.31, 0.32]
    return json.dumps({**told, **more}) + "\n"


def job(directory: str = "cohort-a", **more: Any) -> dict[str, Any]:
    """Return a job as the queue tells it."""
    told = {
        "directory": directory, "name": "topk 64 k8", "kind": "cohort", "key": "ab", "state": "running",
        "attempt": 1, "priority": 0, "slots": 1, "steps": 100, "failure": "", "reason": "", "submitted": 1.0,
        "started": 2.0, "ended": None, "seconds": None, "study": "small", "advice": "", "step": 50,
    }  # fmt: skip
    return {**told, **more}


class FakeQueue:
    """Says what the test wants the queue to be."""

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.tell(*jobs)

    def tell(self, *jobs: dict[str, Any]) -> None:
        """Be these jobs from now on."""
        counts: dict[str, int] = {}
        for one in jobs:
            counts[one["state"]] = counts.get(one["state"], 0) + 1
        self.last = Snapshot(jobs=tuple(jobs), counts=counts, taken=100.0)

    def look(self) -> Snapshot:
        """Return them."""
        return self.last


def make_run(root: Path, directory: str = "cohort-a", rows: Sequence[str] = ()) -> Path:
    """Make a run directory of a cohort with some rows, and return it."""
    folder = root / "jobs" / directory
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(
        json.dumps(
            {
                "kind": "cohort",
                "config": {"seeds": list(SEEDS)},
                "placement": {"profile": "cpu", "device": "cpu"},
            }
        )
    )
    (folder / "log.txt").write_text("topk 64 k8: 1 threads on cpu\n")
    if rows:
        (folder / "curves.jsonl").write_text("".join(rows))
    return folder
