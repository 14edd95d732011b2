"""A study that never ran: invented numbers in the shape of `summary.json`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

Record = dict[str, Any]
HOOK = "blocks.0.hook_resid_post"
SEEDS = [42, 123, 456, 789, 1011]
METRICS = (
    "mean_max_cos",
    "matched_mcc",
    "shared_fraction_0.5",
    "shared_fraction_0.7",
    "shared_fraction_0.9",
)


def spread(mean: float, sd: float, count: int) -> Record:
    offsets = [sd * (number - (count - 1) / 2) for number in range(count)]
    return {
        "mean": mean,
        "sd": sd if count > 1 else None,
        "per_seed": [mean + off for off in offsets],
    }


def stability_cell(observed: float, kappa: float, seeds: int, verdict: str) -> Record:
    null = (observed - kappa) / (1 - kappa)
    pairs = [
        [
            None if i == j else observed + 0.004 * ((3 * (i + j) + i * j) % 5 - 2)
            for j in range(seeds)
        ]
        for i in range(seeds)
    ]
    interval = (kappa - 0.02, kappa + 0.02) if seeds > 2 else (None, None)
    ladder = [
        ("N0 isotropic", 0.45 * null, 0.0011, 20, True, ""),
        (
            "N1 activation covariance",
            1.32 * null,
            0.0022,
            20,
            False,
            "atoms leave the activations' subspace",
        ),
        ("N2 decoder covariance", 0.93 * null, 0.0019, 20, True, ""),
        ("N3 surrogate retrain", null, None, None, True, ""),
    ]
    return {
        "observed": observed,
        "null": null,
        "null_name": "N3 surrogate retrain",
        "kappa": kappa,
        "ci_low": interval[0],
        "ci_high": interval[1],
        "verdict": verdict,
        "definition": "half the sum of both directed means of the largest signed cosine",
        "reason": "" if seeds > 2 else "two seeds give no interval",
        "n_per_seed": [1024 - 7 * number for number in range(seeds)],
        "nulls": [
            {
                "name": name,
                "value": value,
                "sd": sd,
                "draws": draws,
                "kappa": (observed - value) / (1 - value),
                "admissible": admissible,
                "reason": reason,
            }
            for name, value, sd, draws, admissible, reason in ladder
        ],
        "pairs": pairs,
    }


def cohort(
    title: str, observed: float, kappa: float, verdict: str, seeds: list[int], hook: str = HOOK
) -> Record:
    architecture, d_sae, *_ = title.split()
    count = len(seeds)
    topk = architecture == "topk"
    stability = {
        metric: {
            "all": stability_cell(
                observed - 0.03 - 0.05 * number, kappa - 0.01 * number, count, verdict
            ),
            "live": stability_cell(observed - 0.05 * number, kappa - 0.01 * number, count, verdict),
        }
        for number, metric in enumerate(METRICS)
    }
    return {
        "title": title,
        "hook": hook,
        "architecture": architecture,
        "d_in": 128,
        "d_sae": int(d_sae),
        "k": 32 if topk else None,
        "l1": None if topk else 0.001,
        "seeds": seeds,
        "steps": 880,
        "quality": {
            "explained_variance": spread(0.9962 if topk else 0.9871, 0.0004, count),
            "l0": spread(31.9 if topk else 41.7, 0.3, count),
            "dead_fraction": spread(0.361 if topk else 0.122, 0.014, count),
            "loss_recovered": None,
        },
        "stability": stability,
        "step_zero": {"observed": 0.2989, "expected": 0.2988, "ok": True},
        "headline": {"metric": "mean_max_cos", "subset": "live"},
        "verdict": verdict,
        "ground_truth": {
            "recall": spread(0.125, 0.11, count),
            "precision": spread(0.324, 0.021, count),
            "planes": [
                {"family": family, "k": k, "share": share, "exists": share > 0.01}
                for k in (11, 36, 38, 56)
                for family, share in (("a", 0.032), ("b", 0.0315), ("a+b", 0.17), ("a−b", 0.0004))
            ],
            "baselines": {
                "neurons": {"recall": 0.5, "precision": 0.75},
                "pca": {"recall": 0.0, "precision": 0.021},
                "random": {"recall": 0.0, "precision": None},
            },
        },
    }


def gate(name: str, title: str, passed: bool, reason: str, **evidence: Any) -> Record:
    return {"name": name, "title": title, "passed": passed, "reason": reason, "evidence": evidence}


def modular_subject() -> Record:
    return {
        "kind": "modular",
        "modulus": 113,
        "task": "add",
        "layers": 1,
        "gates": {
            "passed": True,
            "policy": "enforce",
            "gates": [
                gate(
                    "G0",
                    "no leakage",
                    True,
                    "",
                    read_position=2,
                    probe_accuracy=0.0089,
                    limit=0.0177,
                ),
                gate("G1", "grokked", True, "", t1=[400, 500], t2=[1100, 1200], sustained=True),
                gate("G2", "Fourier", True, "", keys=[11, 36, 38, 56], fve=0.9883, gini=0.913),
                gate("G3", "losses", True, "", restricted=3.1e-7, excluded=14.2, note=None),
            ],
        },
        "train_accuracy": 1.0,
        "test_accuracy": 0.9998,
        "steps": 3700,
        "key_frequencies": [11, 36, 38, 56],
        "fve": 0.9883,
        "grokked": {"train": [400, 500], "test": [1100, 1200]},
        "seconds": 127.4,
    }


def subject_settings() -> Record:
    return {
        "kind": "modular",
        "modulus": 113,
        "task": "add",
        "tokens": "answer-blank",
        "position": "=",
        "split": {"train": 0.3, "validation": 0.0, "test": None},
        "split_seed": 0,
        "transformer": {
            "layers": 1,
            "d_model": 128,
            "heads": 4,
            "d_mlp": 512,
            "activation": "relu",
            "normalization": "none",
            "init_seed": 0,
        },
        "training": {
            "steps": 6000,
            "batch_size": 1024,
            "lr": 0.003,
            "weight_decay": 1.0,
            "betas": [0.9, 0.98],
            "warmup_steps": 10,
            "schedule": "constant",
        },
    }


def settings() -> Record:
    return {
        "name": "topk-vs-relu",
        "description": "Are TopK or ReLU features of a grokked 1-layer transformer stable?",
        "subject": subject_settings(),
        "hooks": [HOOK],
        "saes": [
            {
                "architecture": "topk",
                "d_sae": 1024,
                "k": 32,
                "dead": {"after_tokens": 25000, "auxk": None, "coefficient": 0.03125},
            },
            {"architecture": "relu", "d_sae": 1024, "l1": 0.001, "l1_warmup_steps": 0},
        ],
        "seeds": SEEDS,
        "vary": ["init"],
        "training": {
            "epochs": 20,
            "batch_size": 256,
            "lr": 0.0003,
            "betas": [0.9, 0.999],
            "warmup_steps": 50,
            "schedule": "constant",
            "held_out": 0.1,
            "normalize": True,
            "data_order_seed": 0,
            "split_seed": 0,
        },
        "analysis": {
            "sign": "signed",
            "surrogate": True,
            "surrogate_seed": 0,
            "draws": 20,
            "tau": [0.5, 0.7, 0.9],
        },
    }


def sample_summary() -> Record:
    return {
        "schema": 1,
        "study": "topk-vs-relu",
        "description": "Are TopK or ReLU features of a grokked 1-layer transformer stable?",
        "profile": "cpu",
        "warnings": ["relu 1024 l1 0.001: step-0 similarity is above its closed form by 2.1 sd."],
        "subject": modular_subject(),
        "cohorts": [
            cohort("topk 1024 k32", 0.487, 0.01, "chance", SEEDS),
            cohort("relu 1024 l1 0.001", 0.641, 0.23, "moderate", SEEDS),
        ],
        "contrasts": [],
        "timings": {
            "total_seconds": 301.2,
            "jobs": [
                {
                    "name": "subject",
                    "kind": "subject",
                    "seconds": 127.4,
                    "peak_memory_bytes": 702_000_000,
                },
                {
                    "name": "topk 1024 k32",
                    "kind": "cohort",
                    "seconds": 81.9,
                    "peak_memory_bytes": 1_240_000_000,
                },
                {
                    "name": "relu 1024 l1 0.001",
                    "kind": "cohort",
                    "seconds": 77.0,
                    "peak_memory_bytes": None,
                },
            ],
        },
        "provenance": {
            "versions": {"husai": "0.1.0", "python": "3.12.3", "torch": "2.13.0", "numpy": "2.3.1"},
            "seeds": {"init": SEEDS, "data_order": 0, "split": 0},
            "keys": {"subject": "5f1d2ab39c77e0aa", "topk 1024 k32": "b71102fe9ad3c55e"},
            "environment": {
                "device": "cpu",
                "threads": 1,
            },
            "settings": settings(),
        },
    }


def sample_material() -> Record:
    curves = []
    for step in range(0, 3701, 100):
        fitted, grokked = min(1.0, step / 500), 1 / (1 + 2.718 ** ((1000 - step) / 60))
        curves.append(
            {
                "step": step,
                "train_loss": 4.7 * 10 ** (-min(step, 1800) / 250),
                "test_loss": (4.7 + 0.8 * step / 100) * (1 - grokked) + 1e-6,
                "train_accuracy": fitted,
                "test_accuracy": grokked,
                "restricted_loss": 4.7 * (1 - grokked) + 1e-7 if step > 200 else None,
                "excluded_loss": 0.02 + 14 * grokked if step > 200 else None,
            }
        )
    frequencies = list(range(1, 57))
    peaks = {11: 0.31, 36: 0.24, 38: 0.27, 56: 0.17}
    spectrum = {
        "frequencies": frequencies,
        "logits": [peaks.get(k, 0.0002) for k in frequencies],
        "embedding": [0.8 * peaks.get(k, 0.004) for k in frequencies],
        "keys": list(peaks),
    }
    return {
        "subject_curves": curves,
        "spectrum": spectrum,
        "cohorts": [sae_curves(5, 0.0), sae_curves(5, 0.4)],
    }


def sae_curves(seeds: int, shift: float) -> Record:
    rows = []
    for step in range(0, 881, 20):
        left = 2.718 ** (-step / 120)
        wobble = [1 + 0.1 * ((number * 7 + step // 20) % 5 - 2) for number in range(seeds)]
        rows.append(
            {
                "step": step,
                "loss": [128 * (left * w + 0.004 + shift / 100) for w in wobble],
                "explained_variance": [
                    1 - left * w * 0.9 - 0.004 if step else None for w in wobble
                ],
                "l0": [32 + (300 * left * w if shift else 0) for w in wobble],
                "dead_fraction": [0.36 * (1 - left) * w for w in wobble],
            }
        )
    return {"curves": rows}


@pytest.fixture
def summary() -> Record:
    """Two cohorts of five seeds on a grokked transformer."""
    return sample_summary()


@pytest.fixture
def material() -> Record:
    """Curves and spectrum for `summary`."""
    return sample_material()


@pytest.fixture
def fail_gates(summary: Record) -> Record:
    """The same study after two gates failed under `warn`."""
    failed = copy.deepcopy(summary)
    gates = failed["subject"]["gates"]
    gates.update(passed=False, policy="warn")
    gates["gates"][1].update(passed=False, reason="test accuracy .412 is below .99")
    gates["gates"][2].update(
        passed=False, reason="12 frequencies are needed for FVE .95, at most 8 are allowed"
    )
    failed["subject"].update(
        grokked={"train": [400, 500], "test": [None, None]},
        test_accuracy=0.412,
        key_frequencies=[],
        fve=None,
    )
    return failed


@pytest.fixture
def planted() -> Record:
    """Two seeds on planted data: no gates, no interval, no planes."""
    found = sample_summary()
    found["subject"] = {"kind": "planted"}
    found["provenance"]["settings"]["subject"] = {
        "kind": "planted",
        "generator": "sparse",
        "features": 64,
        "d_in": 32,
        "l0": 4,
        "samples": 40_000,
        "noise": 0.02,
        "data_seed": 0,
    }
    first = cohort("topk 64 k4", 0.953, 0.89, "undetermined", [1, 2], "planted")
    first["ground_truth"] = {
        "gt_mcc": spread(0.97, 0.01, 2),
        "recall": spread(0.95, 0.02, 2),
        "precision": spread(0.96, 0.01, 2),
        "baselines": {
            "pca": {"recall": 0.0, "precision": 0.0},
            "random": {"recall": 0.0, "precision": 0.0},
        },
    }
    second = cohort("topk 128 k4", 0.74, 0.5, "undetermined", [1, 2], "planted")
    second["ground_truth"] = None
    found["cohorts"] = [first, second]
    return found


@pytest.fixture
def sweep(summary: Record) -> Record:
    """Three architectures by five widths by two rates: thirty cohorts of three seeds."""
    found = copy.deepcopy(summary)
    found["cohorts"] = []
    verdicts = ("chance", "weak", "moderate", "strong", "undetermined")
    for number, width in enumerate((64, 128, 256, 512, 1024)):
        for rate in (0.001, 0.01):
            for family in ("topk {} k16", "relu {} l1 0.001", "batch_topk {} k16"):
                title = f"{family.format(width)} lr {rate:g}"
                one = cohort(title, 0.5, 0.1 * number + rate, verdicts[number], [1, 2, 3])
                point = {"saes.*.d_sae": width, "training.lr": rate}
                found["cohorts"].append({**one, "point": point})
    over = {"saes.*.d_sae": [64, 128, 256, 512, 1024], "training.lr": [0.001, 0.01]}
    found["provenance"]["settings"]["search"] = {"kind": "grid", "over": over}
    found["warnings"] = [
        f"{one['title']}: explained variance is 0.{n}, below .7"
        for n, one in enumerate(found["cohorts"])
    ]
    return found


@pytest.fixture
def make_cohort() -> Callable[..., Record]:
    """Return the maker of cohorts, for studies of other sizes."""
    return cohort
