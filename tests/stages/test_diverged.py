"""Seeds that diverge, from the training to the report: left out, named, and no one else's trouble."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from engine.client.studies import run_directory
from engine.disk.rundir import RunDirectory
from engine.jobs.events import Outcome
from engine.saes.formats import START, load_cohort, load_sae
from engine.saes.quality import Quality
from engine.stages.cohort import figures_of
from engine.stages.flags import red_flags
from engine.study.plan import Plan
from engine.study.sizes import CohortSize

Execute = Callable[[dict[str, Any]], tuple[Plan, Outcome]]
Sicken = Callable[..., None]


@pytest.fixture
def five(study_data: dict[str, Any]) -> dict[str, Any]:
    return {**study_data, "seeds": [1, 2, 3, 4, 5]}


def only_cohort(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "tiny" / "report" / "summary.json").read_text())
    (cohort,) = summary["cohorts"]
    assert isinstance(cohort, dict)
    return cohort


def run_of(folder: Path, plan: Plan, name: str) -> RunDirectory:
    return run_directory(folder, next(job for job in plan.jobs if job.name == name))


@pytest.mark.parametrize("last", [False, True], ids=["early", "in the last gradient"])
@pytest.mark.parametrize(
    ("main", "twin"),
    [((2,), ()), ((), (4,)), ((2,), (2,)), ((2,), (4,)), ((1,), (1, 2))],
    ids=["main", "twin", "both", "both, different", "more"],
)
def test_a_seed_is_left_out_with_its_twin(
    main: tuple[int, ...],
    twin: tuple[int, ...],
    last: bool,
    five: dict[str, Any],
    execute: Execute,
    sicken: Sicken,
    tmp_path: Path,
) -> None:
    sicken(main, twin, last)
    _, outcome = execute(five)
    assert not outcome.failed
    cohort = only_cohort(tmp_path)
    left = [seed for seed in range(1, 6) if seed not in (*main, *twin)]
    assert cohort["seeds"] == left
    assert list(cohort["diverged"]) == [str(seed) for seed in main]
    assert list(cohort["surrogate_diverged"]) == [str(seed) for seed in twin]
    for name in ("explained_variance", "dead_fraction", "cosine_with_start"):
        assert len(cohort["quality"][name]["per_seed"]) == len(left), name
    cell = cohort["stability"]["mean_max_cos"]["all"]
    assert len(cell["pairs"]) == len(left)
    n3 = cell["nulls"][3]
    assert n3["name"] == "N3"
    assert n3["admissible"]
    assert math.isfinite(cell["ci_low"])
    for seed in main:
        assert any(f"seed {seed} diverged at step" in text for text in cohort["warnings"])
    for seed in twin:
        assert any(f"seed {seed} diverged on surrogate data" in text for text in cohort["warnings"])
    table = pq.read_table(tmp_path / "tiny" / "report" / "features.parquet")
    assert sorted(set(table["seed"].to_pylist())) == left


def test_without_two_common_seeds_there_is_no_n3(
    study_data: dict[str, Any], execute: Execute, sicken: Sicken, tmp_path: Path
) -> None:
    sicken((1,), (2,))
    _, outcome = execute(study_data)
    assert not outcome.failed
    cohort = only_cohort(tmp_path)
    assert cohort["seeds"] == [2, 3]
    assert cohort["stability"]["mean_max_cos"]["all"]["nulls"][3]["admissible"] is False
    assert any("on surrogate data seed 2 diverged" in text for text in cohort["warnings"])
    assert cohort["verdict"] == "undetermined"


def test_frozen_saes_lie_apart(
    five: dict[str, Any], execute: Execute, sicken: Sicken, tmp_path: Path
) -> None:
    sicken((2,))
    plan, _ = execute(five)
    run = run_of(tmp_path, plan, "topk 12 k2")
    for name in ("cohort", START):
        assert load_cohort(run.artifacts, name).seeds == (1, 3, 4, 5)
    apart = load_sae(run.artifacts / "frozen" / "seed-2")
    assert apart.seeds == (2,)
    assert torch.isfinite(apart.weights.W_dec).all()
    assert sorted(path.name for path in run.artifacts.glob("seed-*")) == [
        f"seed-{seed}" for seed in (1, 3, 4, 5)
    ]
    result = run.read_result()
    assert result["seeds"] == [1, 3, 4, 5]
    assert len(result["quality"]["l0"]) == 4
    assert result["diverged"] == {"2": {"step": 3, "held_at": 0}}


@pytest.mark.parametrize("main", [(2,), (2, 3)], ids=["one of two", "a whole part"])
def test_a_part_of_a_cohort_may_lose_its_seeds(
    main: tuple[int, ...],
    five: dict[str, Any],
    execute: Execute,
    sicken: Sicken,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CohortSize, "width", lambda *_: 2)
    sicken(main)
    plan, outcome = execute(five)
    assert not outcome.failed
    assert [job.config["seeds"] for job in plan.jobs if job.kind == "cohort"][:3] == [
        [1],
        [2, 3],
        [4, 5],
    ]
    cohort = only_cohort(tmp_path)
    assert cohort["seeds"] == [seed for seed in range(1, 6) if seed not in main]
    assert list(cohort["diverged"]) == [str(seed) for seed in main]
    assert cohort["stability"]["mean_max_cos"]["all"]["nulls"][3]["admissible"]


def test_fewer_than_two_seeds_are_no_cohort(
    five: dict[str, Any], execute: Execute, sicken: Sicken
) -> None:
    sicken((1, 2, 4, 5))
    _, outcome = execute(five)
    assert list(outcome.failed) == ["analysis topk 12 k2"]
    (reason,) = outcome.failed.values()
    assert reason == (
        "fewer than two seeds are left: loss or weights are not finite: "
        "seed 1 at step 3, seed 2 at step 3, seed 4 at step 3, seed 5 at step 3"
    )


def test_figures_that_are_not_finite_are_none() -> None:
    """JSON has no infinity; a held-out part of equal rows has no variance to explain."""
    row = [1.0, -math.inf, math.nan]
    quality = Quality(row, row, row, row, row, [1, 2, 3])
    found = figures_of(quality, [0, 1, 2])
    assert found["explained_variance"] == [1.0, None, None]
    assert figures_of(quality, [2, 0])["n_live"] == [3, 1]


def test_a_twin_that_learnt_nothing_is_flagged_whatever_part_it_is_in() -> None:
    def part(seeds: list[int], values: list[float | None]) -> dict[str, Any]:
        return {"seeds": seeds, "quality": {"explained_variance": values}, "diverged": {}}

    cohort: dict[str, Any] = {
        "seeds": [1, 3],
        "diverged": {},
        "surrogate_diverged": {"2": {"step": 3}},
        "quality": {
            "explained_variance": {"mean": 0.9, "per_seed": [0.9, 0.9]},
            "dead_fraction": {"mean": 0.0},
            "loss_recovered": None,
            "cosine_with_start": {"mean": 0.1},
        },
    }
    stability: dict[str, Any] = {"metrics": {}, "step_zero": None}
    for worst, flagged in ((-0.25, True), (0.25, False), (None, True)):
        results = {
            "activations": {"rank_one_variance": 0.1, "samples": 100},
            "surrogate": part([1], [0.8]),
            "surrogate.1": part([3, 4], [worst, -9.0]),  # seed 4 is not compared
        }
        flags = red_flags(results, {"batch_size": 9, "held_out": 0.1}, cohort, stability)
        assert any("N3 is no fair null" in flag for flag in flags) == flagged
        assert not any("-9" in flag for flag in flags)


@pytest.mark.parametrize(("lr", "finite"), [(1e3, 4), (1e8, 4), (1e18, 1)])
def test_blow_ups_that_stay_finite_did_not_train(
    lr: float, finite: int, study_data: dict[str, Any], execute: Execute, tmp_path: Path
) -> None:
    """One step: weights of the size of the learning rate, errors up to its fourth power (Gated: second)."""
    study_data["saes"] = [
        {"architecture": "topk", "d_sae": 12, "k": 2},
        {"architecture": "relu", "d_sae": 12, "l1": 0.1},
        {"architecture": "jumprelu", "d_sae": 12, "target_l0": 2.0},
        {"architecture": "gated", "d_sae": 12, "l1": 0.1},
    ]
    study_data["training"] = {"epochs": 1, "batch_size": 400, "lr": lr, "warmup_steps": 0}
    _, outcome = execute(study_data)
    report = tmp_path / "tiny" / "report" / "summary.json"
    cohorts = json.loads(report.read_text())["cohorts"]
    assert (len(cohorts), len(outcome.failed)) == (finite, 4 - finite)
    assert all("fewer than two seeds are left" in reason for reason in outcome.failed.values())
    assert all(cohort["verdict"] == "undetermined" for cohort in cohorts)
