"""Stages run in this process, without starting workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.client.studies import run_directory, run_plan
from engine.disk.rundir import RunDirectory
from engine.errors import HusaiError
from engine.jobs.events import Outcome
from engine.jobs.failures import sort_of
from engine.saes.cohort import Cohort
from engine.stages import cohort as stage
from engine.stages.context import Context
from engine.stages.kinds import stage_of
from engine.study.machine import Machine
from engine.study.plan import Plan, make_plan
from engine.study.profile import place, read_profile
from engine.study.spec import Study, check_study
from engine.subjects.surrogate import surrogate

MACHINE = Machine(2, 8 << 30, "Linux", {"cpu": "x"}, {"cuda": "", "mps": ""})

MODULAR = {
    "kind": "modular",
    "modulus": 7,
    "gates": "warn",
    "transformer": {"layers": 1, "d_model": 8, "heads": 2, "d_mlp": 16},
    "training": {"steps": 20, "batch_size": 16},
}
"""The smallest subject that is a network."""


class Finished:
    """A worker that has ended."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class InProcess:
    """Does a job at once, here."""

    def start(self, run: RunDirectory, attempt: int, gpu: str = "") -> Finished:
        job = run.read_job()
        inputs = {
            role: RunDirectory(run.path.parent / name) for role, name in job["inputs"].items()
        }
        context = Context(run, job["config"], job["policy"], inputs, "cpu", lambda: False)
        provenance = {
            "seconds": 1.0, "peak_memory_bytes": 1, "warnings": [], "versions": {}, "environment": {},
            "threads": 1, "placement": job["placement"], "thread_pools": [], "attempt": attempt,
        }  # fmt: skip
        try:
            run.finish({**stage_of(job["kind"])(context), "provenance": provenance})
        except HusaiError as error:
            said = {"sort": sort_of(error), "message": str(error)}
            run.error_file.write_text(json.dumps(said))
            return Finished(error.exit_code)
        return Finished(0)

    def wait(self, seconds: float) -> None: ...

    def close(self) -> None: ...


Execute = Callable[[dict[str, Any]], tuple[Plan, Outcome]]
Sicken = Callable[..., None]


@pytest.fixture
def execute(tmp_path: Path) -> Execute:
    """Run a whole study, given as plain data, below tmp_path."""

    def run(data: dict[str, Any]) -> tuple[Plan, Outcome]:
        study: Study = check_study(data, "study")
        plan = make_plan(study, place(read_profile("cpu"), MACHINE))
        outcome = run_plan(
            plan, tmp_path, on_event=lambda event: None, stop=lambda: False, launcher=InProcess()
        )
        return plan, outcome

    return run


@pytest.fixture
def result_of(tmp_path: Path) -> Callable[[Plan, str], dict[str, Any]]:
    """Read the result of the first job of a kind."""

    def read(plan: Plan, kind: str) -> dict[str, Any]:
        job = next(job for job in plan.jobs if job.kind == kind)
        return run_directory(tmp_path, job).read_result()

    return read


@pytest.fixture
def sicken(monkeypatch: pytest.MonkeyPatch) -> Sicken:
    """Let seeds of the cohort, or of its twin on surrogate data, meet a NaN: at step 3, or in the last
    gradient."""
    twins: list[Tensor] = []

    def remembered(x_ND: Tensor, seed: int) -> Tensor:
        twins.append(surrogate(x_ND, seed))
        return twins[-1]

    def choose(main: tuple[int, ...] = (), twin: tuple[int, ...] = (), last: bool = False) -> None:
        class Sick(Cohort):
            def __init__(
                self, config: Any, training: Any, seeds: Any, x_ND: Tensor, **more: Any
            ) -> None:
                super().__init__(config, training, seeds, x_ND, **more)
                chosen = twin if any(x_ND is made for made in twins) else main
                self.sick = [place for place, seed in enumerate(seeds) if seed in chosen]

            def _work(self, x_SBD: Tensor, index: int) -> Any:
                if index == 3 and not last:
                    x_SBD = x_SBD.clone()
                    x_SBD[self.sick] = torch.nan
                return super()._work(x_SBD, index)

            def _descend(self, index: int) -> None:
                if index == self.steps - 1 and last:
                    for parameter in self.saes.parameters().values():
                        assert parameter.grad is not None
                        parameter.grad[self.sick] = torch.nan
                super()._descend(index)

        monkeypatch.setattr(stage, "Cohort", Sick)

    monkeypatch.setattr(stage, "surrogate", remembered)
    return choose


def _table(value: float, seeds: int, wobble: float) -> list[list[float | None]]:
    """Return the pairs of some seeds, of mean `value` and not all the same."""
    pairs = {}
    for first, second in combinations(range(seeds), 2):
        pairs[first, second] = value + wobble * (first + second - (seeds - 1))
    return [
        [None if i == j else pairs[min(i, j), max(i, j)] for j in range(seeds)]
        for i in range(seeds)
    ]


@pytest.fixture
def entry() -> Callable[..., dict[str, Any]]:
    """Return a maker of cohorts as the analysis describes them: null .2 by N3, so κ = (cos − .2) / .8."""

    def make(title: str, observed: float, **changes: Any) -> dict[str, Any]:
        given = {
            "seeds": [1, 2, 3, 4, 5], "l0": 32.0, "ev": 0.9, "n_live": 100, "kept": 0.1, "wobble": 0.01,
            "hook": "mlp_out", "point": {}, "warnings": [], "twins": True, "d_sae": 128, "sign": "cos",
        } | changes  # fmt: skip
        seeds = given["seeds"]
        name, count = title.split()[0], len(seeds)
        sparsity = {"k": 32} if name == "topk" else {"l1": 0.1}
        null = {"name": "N3", "value": 0.2, "admissible": given["twins"]}
        cell = {
            "observed": observed,
            "pairs": _table(observed, count, given["wobble"]),
            "null_pairs": _table(0.2, count, 0.0) if given["twins"] else None,
            "n_per_seed": [given["n_live"]] * count,
            "definition": f"mean; C = {given['sign']} of unit decoder rows",
            "nulls": [null], "null_name": "N3", "null": 0.2, "kappa": (observed - 0.2) / 0.8,
            "ci_low": 0.0, "ci_high": 0.1, "reason": "", "verdict": "weak",
        }  # fmt: skip

        def spread(value: float) -> dict[str, Any]:
            return {"mean": value, "sd": 0.0, "per_seed": [value] * count}

        return {
            "title": title, "hook": given["hook"], "architecture": name, "d_in": 8,
            "d_sae": given["d_sae"], "seeds": seeds, "point": given["point"],
            "settings": {
                "architecture": name, "d_sae": given["d_sae"], "stability": {},
                **sparsity, **given.get("settings", {}),
            },
            "quality": {
                "l0": spread(given["l0"]),
                "explained_variance": spread(given["ev"]),
                "cosine_with_start": spread(given["kept"]),
            },
            "stability": {"mean_max_cos": {"live": cell, "all": cell}},
            "headline": {"metric": "mean_max_cos", "subset": "live"},
            "verdict": "weak", "warnings": given["warnings"],
        }  # fmt: skip

    return make
