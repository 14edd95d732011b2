"""Acceptance on data whose truth is known: what is there is found, what is not is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.study.spec import read_study

Execute = Callable[[dict[str, Any]], Any]


def planted(**changes: Any) -> dict[str, Any]:
    data = read_study("planted").model_dump(mode="json")
    data["subject"] |= changes
    return data


def summary(folder: Path, name: str = "planted") -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / name / "report" / "summary.json").read_text())
    return read


def test_matched_features_are_found_and_shared(execute: Execute, tmp_path: Path) -> None:
    # science.md §6, case A: d 32, n 64, L0 4; acceptance GT-MCC >= .9 and kappa >= .8.
    _, outcome = execute(planted())
    assert not outcome.failed
    cohort = summary(tmp_path)["cohorts"][0]
    assert cohort["ground_truth"]["gt_mcc"]["mean"] >= 0.9
    assert cohort["stability"]["mean_max_cos"]["live"]["kappa"] >= 0.8
    assert cohort["stability"]["mean_max_cos"]["live"]["null_name"] == "N3"
    assert cohort["verdict"] == "strong"
    assert cohort["ground_truth"]["baselines"]["random"]["gt_mcc"] < 0.6
    assert cohort["warnings"] == []

    table = pq.read_table(tmp_path / "planted" / "report" / "features.parquet")
    assert table.num_rows == 5 * 64
    assert {"seed", "feature", "density", "live", "stability", "p_surrogate"} <= set(
        table.column_names
    )
    margins = [
        best - second
        for row in table.select(["best_cosine", "runner_up"]).to_pylist()
        for best, second in zip(row["best_cosine"], row["runner_up"], strict=True)
    ]
    assert len(margins) == 5 * 64 * 4, "one of each other seed"
    assert min(margins) >= 0
    p = [
        value
        for value, live in zip(
            table["p_surrogate"].to_pylist(), table["live"].to_pylist(), strict=True
        )
        if live
    ]
    assert sorted(p)[len(p) // 2] < 0.01, "most features match better than any of the surrogate's"


def test_gaussian_data_of_the_same_moments_is_at_chance(execute: Execute, tmp_path: Path) -> None:
    _, outcome = execute(planted(generator="gaussian", samples=20_000))
    assert not outcome.failed
    cohort = summary(tmp_path)["cohorts"][0]
    agreement = cohort["stability"]["mean_max_cos"]["live"]
    assert agreement["null_name"] == "N3"
    assert abs(agreement["kappa"]) <= 0.05
    assert agreement["observed"] - agreement["nulls"][0]["value"] > 0.05, "N0 alone would be fooled"
    assert cohort["ground_truth"] is None


@pytest.mark.parametrize("surrogate", [True, False])
def test_seeds_of_one_start_are_never_called_stable_for_it(
    execute: Execute, tmp_path: Path, surrogate: bool
) -> None:
    data = planted(generator="gaussian", samples=4000)
    data |= {"vary": ["order"], "seeds": [1, 2, 3], "analysis": {"surrogate": surrogate}}
    _, outcome = execute(data)
    assert not outcome.failed
    cohort = summary(tmp_path)["cohorts"][0]
    assert cohort["verdict"] in ("chance", "undetermined")
    assert any("share their initial weights" in text for text in cohort["warnings"])


def test_without_a_surrogate_noise_gets_no_verdict(execute: Execute, tmp_path: Path) -> None:
    data = planted(generator="gaussian", samples=4000)
    data |= {"seeds": [1, 2, 3], "analysis": {"surrogate": False}}
    execute(data)
    cohort = summary(tmp_path)["cohorts"][0]
    assert cohort["verdict"] == "undetermined"
    assert any("no verdict" in text for text in cohort["warnings"])


def test_planted_planes_are_scored_as_planes(execute: Execute, tmp_path: Path) -> None:
    data = planted(generator="fourier", d_in=16, features=4, gate=0.2, samples=20_000)
    data["saes"] = [{"architecture": "topk", "d_sae": 24, "k": 3}]
    data |= {"seeds": [1, 2, 3], "training": {"epochs": 12, "lr": 1e-2, "schedule": "linear"}}
    _, outcome = execute(data)
    assert not outcome.failed
    truth = summary(tmp_path)["cohorts"][0]["ground_truth"]
    assert truth["recall"]["mean"] > 0.7, (
        "single directions of a plane are arbitrary, the planes are not"
    )
    assert set(truth["baselines"]) == {"neurons", "pca", "random", "random_covariance"}


def test_saes_that_do_not_train_have_no_verdict(execute: Execute, tmp_path: Path) -> None:
    data = planted(samples=2000)
    data["saes"] = [{"architecture": "relu", "d_sae": 128, "l1": 1e-3}]
    data |= {
        "training": {"epochs": 1, "batch_size": 1800, "lr": 1e-6, "warmup_steps": 0},
        "seeds": [1, 2, 3],
    }
    _, outcome = execute(data)
    assert not outcome.failed
    found = summary(tmp_path)
    assert found["cohorts"][0]["verdict"] == "undetermined"
    assert any("did not train" in text for text in found["warnings"])
