"""Summaries of real studies have what the reference says, and no more."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.metrics.rank_correlation import RankCorrelation, correlate
from engine.report.summary import faults, reference, seen
from engine.stages import report
from engine.stages.contrasts import adjust, contrast
from engine.stages.curves import curve_contrasts
from engine.stages.geometry import _dimensionality, _directions
from engine.stages.recovery import _Sides, _summary, correlate_stability
from engine.stages.trends import find_trends
from engine.stages.truth import _coverage, _no_planes
from engine.worker import _provenance
from tests.stages.conftest import MODULAR, Execute, Sicken

Record = dict[str, Any]
Entry = Callable[..., Record]
QUICK = {"epochs": 10, "batch_size": 16, "warmup_steps": 5}
SPOILT = {"architecture": "relu", "d_sae": 12, "l1": 1e38}
"""Never finite, in any seed."""
ON_A_GPU = {"provenance.numerics.<name>"}
"""Paths that no study on the CPU has."""


@pytest.fixture
def summary(
    execute: Execute, study_data: Record, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Record]:
    """Run a study that differs from the small one, and return its summary; figures and page, which take most
    of the time, are not drawn."""
    written: list[Record] = []

    def keep(folder: Path, summary: Record, material: Record) -> None:
        written.append(json.loads(json.dumps(summary, allow_nan=False)))

    monkeypatch.setattr(report, "write_report", keep)

    def run(name: str, **changes: Any) -> Record:
        execute({**copy.deepcopy(study_data), "name": name, **changes})
        return written[-1]

    return run


def of_stages(whole: Record, entry: Entry) -> Record:
    """Return a summary with what studies so small do not come to, as the stages write it."""
    entries = [entry(f"topk 128 k{k}", x, settings={"k": k}, l0=k) for k, x in CURVE]
    relu = entry("relu 128", 0.7, l0=20.0)
    other = entry("relu b", 0.62)
    other["stability"]["mean_max_cos"]["live"] |= {"null_name": "N0", "null_pairs": None}
    contrasts = [
        contrast(entry("topk a", 0.36), entry("relu b", 0.6), ""),
        contrast(entry("topk a", 0.6), other, ""),
    ]
    contrasts = [{**one, "kind": "cohorts"} for one in contrasts]
    contrasts += curve_contrasts([*entries, relu], "")
    adjust(contrasts)
    placement = {"device": "cpu", "precision": "float32", "deterministic": True}
    job = {
        "kind": "analysis",
        "key": "0" * 64,
        "environment": {},
        "threads": 1,
        "placement": placement,
    }
    worker = _provenance(job, 1.0)
    return {
        **whole,
        "subjects": [{"title": "one", "point": {"subject.noise": 0.5}, **whole["subject"]}],
        "contrasts": contrasts,
        "trends": find_trends(entries, ""),
        "provenance": {**whole["provenance"], **{name: worker[name] for name in WORKER}},
    }


WORKER = ("versions", "numerics", "thread_pools")
CURVE = ((8, 0.4), (16, 0.6), (32, 0.8))


def of_nothing(whole: Record, modular: Record) -> Record:
    """Return a summary of a cohort of which little can be said, as the stages write it."""
    cohort = copy.deepcopy(whole["cohorts"][0])
    nothing, live = torch.zeros(0, 8), torch.ones(1, 1)
    known, constant = _correlation(np.arange(5.0), [0, 0, 5]), _correlation(np.zeros(5), [5] * 3)
    enough = _Sides("plane_energy", tested=40, true=20, shared=20)
    scores = [_summary(known, enough), _summary(constant, enough)]
    names = ("median_best_cosine", "stability")
    cohort["ground_truth"] |= {
        "coverage": _coverage(torch.zeros(1, 8), (), 1.0, None, live),  # type: ignore[arg-type]
        "stability_correlation": {
            "plane_energy": dict(zip(names, scores, strict=True)),
            "truth_cosine": dict(zip(names, scores[::-1], strict=True)),
        },
    }
    cohort["geometry"] |= {
        "directions": _directions([nothing]),
        "dimensionality": _dimensionality([nothing], torch.eye(8)),
    }
    silent = copy.deepcopy(cohort)
    silent["point"] = {"saes.*.k": 2}
    silent["ground_truth"]["stability_correlation"] = correlate_stability([{}], _Nothing(), live)  # type: ignore[arg-type]
    blind = copy.deepcopy(silent)
    features = modular["cohorts"][0]["ground_truth"]["features"]
    blind["ground_truth"] = {
        "missing": _no_planes((), torch.eye(8)),
        "features": features,
        "stability_correlation": silent["ground_truth"]["stability_correlation"],
    }
    return {**whole, "cohorts": [cohort, silent, blind]}


def _correlation(truth_F: NDArray[np.float64], live: list[int]) -> RankCorrelation:
    """Of a truth with an agreement, for seeds with so many live features."""
    masks = [np.arange(5) < count for count in live]
    return correlate([truth_F] * len(live), lambda s, others: np.arange(5.0), masks)


class _Nothing:
    """Stands for the stability of a single seed."""

    class features:  # noqa: N801  stands for an attribute
        best = np.zeros((1, 1, 1))
        partner = np.zeros((1, 1, 1), dtype=int)


def test_summaries_and_the_reference_have_the_same_paths(
    summary: Callable[..., Record], sicken: Sicken, entry: Entry, tmp_path: Path
) -> None:
    modular = summary(
        "modular", subject=MODULAR, hooks=["blocks.0.hook_resid_post"], training=QUICK
    )
    file = tmp_path / "acts.npy"
    np.save(file, np.random.default_rng(0).normal(size=(400, 8)).astype(np.float16))
    external = summary(
        "external", subject={"kind": "external", "path": str(file)}, hooks=["external"]
    )
    sicken(main=(1,), twin=(2,))
    topk = {"architecture": "topk", "d_sae": 12, "k": 2}
    planted = summary("sick", seeds=[1, 2, 3, 4, 5], saes=[topk, SPOILT])
    found = [modular, external, planted]
    found += [of_stages(one, entry) for one in (modular, external, planted)]
    found += [of_nothing(planted, modular)]

    wrong = {fault: None for one in found for fault in faults(one)}
    assert not wrong, "engine/report/summary.yaml says otherwise:\n" + "\n".join(wrong)
    had = set().union(*(seen(one) for one in found))
    never = [path for path in reference().paths() if path not in had | ON_A_GPU]
    assert not never, "engine/report/summary.yaml tells of what no summary has:\n" + "\n".join(
        never
    )
