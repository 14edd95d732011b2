"""N4 and N6 from the inputs of an analysis: which planes are turned, which twins there are, and why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from engine.client.studies import run_directory
from engine.disk.rundir import RunDirectory
from engine.stages.artifacts import read_activations
from engine.stages.rungs import true_planes
from engine.study.spec import read_study

Execute = Callable[[dict[str, Any]], Any]


def planted(**changes: Any) -> dict[str, Any]:
    data = read_study("planted").model_dump(mode="json")
    data["subject"] |= {"samples": 2000, **changes}
    data |= {"seeds": [1, 2, 3]}
    data["training"] |= {"epochs": 2, "warmup_steps": 2}
    return data


def cohort_of(folder: Path, name: str) -> dict[str, Any]:
    read = json.loads((folder / name / "report" / "summary.json").read_text())
    found: dict[str, Any] = read["cohorts"][0]
    return found


def rungs_of(cohort: dict[str, Any]) -> dict[str, Any]:
    subset = cohort["headline"]["subset"]
    return {null["name"]: null for null in cohort["stability"]["mean_max_cos"][subset]["nulls"]}


def test_planted_planes_are_turned_and_directions_are_not(execute: Execute, tmp_path: Path) -> None:
    execute(planted(generator="fourier", features=3, gate=0.5))
    planes = rungs_of(cohort_of(tmp_path, "planted"))
    assert planes["N6"]["admissible"]
    assert planes["N6"]["reason"].startswith("3 of 3 planes turned; they hold ")
    assert (
        planes["N4 untrained"]["reason"]
        == "planted data have no model that could be left untrained"
    )
    assert planes["N4 step 0"]["value"] is not None
    execute({**planted(), "name": "sparse"})
    cohort = cohort_of(tmp_path, "sparse")
    assert rungs_of(cohort)["N6"]["reason"].startswith("the planted truth is directions")
    assert "strict_shared_fraction@0.7" in cohort["stability"]
    assert cohort["activation_match"]["shift"] == "rows"
    assert cohort["activation_match"]["inputs"] == {"used": 2000, "of": 2000}
    table = pq.read_table(tmp_path / "sparse" / "report" / "features.parquet")
    assert {
        f"{kind}_{null}" for kind in "pq" for null in ("isotropic", "effective", "surrogate")
    } <= set(table.column_names)
    q = table["q_isotropic"].to_numpy()
    found = cohort["discoveries"]["isotropic"]["per_seed"]
    assert sum(found) == int((q <= 0.05).sum())
    assert len(found) == 3


def grokking(**analysis: Any) -> dict[str, Any]:
    data = read_study("smoke").model_dump(mode="json")
    data["name"] = "small"
    data["subject"] |= {"modulus": 11, "gates": "warn"}
    data["subject"]["transformer"] |= {"d_model": 16, "heads": 2, "d_mlp": 16, "layers": 1}
    data["subject"]["training"] |= {"steps": 40, "warmup_steps": 2, "batch_size": 16}
    data["saes"] = [{"architecture": "topk", "d_sae": 16, "k": 4}]
    data["seeds"] = [1, 2, 3]
    data["training"] |= {"warmup_steps": 2}
    data["analysis"] |= {"surrogate": False, **analysis}
    return data


def test_the_untrained_model_is_that_before_the_first_step(
    execute: Execute, tmp_path: Path
) -> None:
    plan, outcome = execute(grokking(untrained=True))
    assert not outcome.failed
    runs = {job.name: RunDirectory(run_directory(tmp_path, job).path) for job in plan.jobs}
    trained, before = (
        read_activations(run)[0] for name, run in runs.items() if name.startswith("activations")
    )
    assert trained.shape == before.shape
    assert not torch.allclose(trained, before, atol=1e-2)
    config = {**grokking(untrained=True), "name": "lazy"}
    # A transformer whose learning rate is nothing stays as it began.
    config["subject"]["training"] |= {"lr": 1e-12, "weight_decay": 0.0}
    still, _ = execute(config)
    kept, again = (
        read_activations(run_directory(tmp_path, job))[0]
        for job in still.jobs
        if job.kind == "activations"
    )
    assert torch.allclose(kept, again, atol=1e-5)
    assert torch.allclose(again, before, atol=1e-6)
    null = rungs_of(cohort_of(tmp_path, "small"))["N4 untrained"]
    assert null["value"] is not None
    assert not null["admissible"]


class Subject(RunDirectory):
    """A finished subject of p = 11 with these key frequencies."""

    def __init__(self, keys: list[int]) -> None:
        self.keys = keys

    def read_job(self) -> dict[str, Any]:
        return {"config": grokking()["subject"]}

    def read_result(self) -> dict[str, Any]:
        return {"key_frequencies": self.keys}


def test_a_model_without_structure_has_no_planes() -> None:
    noise = torch.rand(121, 16, generator=torch.Generator().manual_seed(0))
    bases, why = true_planes(Subject([]), "blocks.0.hook_resid_post", noise)
    assert bases == ()
    assert "no key frequencies" in why


def test_existing_planes_come_largest_first() -> None:
    a, b = (x.flatten() for x in torch.meshgrid(torch.arange(11), torch.arange(11), indexing="ij"))
    x = torch.zeros(121, 16)
    for place, (k, size) in enumerate([(2, 1.0), (3, 3.0)]):
        angle = 2 * torch.pi * k * (a + b) / 11
        x[:, 2 * place], x[:, 2 * place + 1] = size * angle.cos(), size * angle.sin()
    bases, why = true_planes(Subject([2, 3]), "blocks.0.hook_resid_post", x)
    assert why == ""
    assert [float(basis[2:4].square().sum()) for basis in bases] == pytest.approx([2, 0], abs=1e-9)
