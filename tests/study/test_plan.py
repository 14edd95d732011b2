from __future__ import annotations

from pathlib import Path

import pytest

from engine.study import fingerprint
from engine.study.forecast import forecast
from engine.study.machine import Machine
from engine.study.plan import Plan, cohort_steps, make_plan, training_count
from engine.study.profile import Placement, place, read_profile
from engine.study.spec import read_study

MACHINE = Machine(2, 8 << 30, "Linux", {"cpu": "x"}, {"cuda": "", "mps": ""})


@pytest.fixture
def placement() -> Placement:
    return place(read_profile("cpu"), MACHINE)


def plan_of(placement: Placement, *overrides: str) -> Plan:
    return make_plan(read_study("topk-vs-relu", overrides), placement)


def test_the_graph_of_the_seeds_experiment(placement: Placement) -> None:
    plan = plan_of(placement)
    kinds = [job.kind for job in plan.jobs]
    assert kinds == ["subject", "activations", *["cohort"] * 4, "analysis", "analysis", "report"]
    seen: set[str] = set()
    for job in plan.jobs:
        assert set(job.inputs.values()) <= seen, "inputs come before those that read them"
        seen.add(job.directory)
    report = plan.jobs[-1]
    assert [job.kind for job in plan.waiting_for(report)] == ["subject", "analysis", "analysis"]


def test_the_lone_subject_gets_all_cores_and_cohorts_share_them(placement: Placement) -> None:
    threads = {job.kind: (job.threads, job.slots) for job in plan_of(placement).jobs}
    assert threads["subject"] == (2, 2)
    assert threads["cohort"] == (1, 1)


def keys(plan: Plan) -> dict[str, str]:
    return {job.name: job.key for job in plan.jobs}


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("name=other", {"subject", "activations blocks.0.hook_resid_post", "topk 1024 k32"}),
        ("subject.gates=warn", {"subject", "topk 1024 k32", "analysis topk 1024 k32"}),
        ("saes.1.l1=5e-4", {"subject", "topk 1024 k32", "topk 1024 k32 surrogate"}),
        ("analysis.draws=50", {"subject", "topk 1024 k32", "relu 1024 l1 0.001 surrogate"}),
        ("seeds=[1,2,3]", {"subject", "activations blocks.0.hook_resid_post"}),
    ],
)
def test_a_change_redoes_only_what_it_touches(
    placement: Placement, override: str, kept: set[str]
) -> None:
    before, after = keys(plan_of(placement)), keys(plan_of(placement, override))
    same = {name for name in before if after.get(name) == before[name]}
    assert kept <= same


@pytest.mark.parametrize("override", ["subject.split_seed=1", "subject.training.lr=1e-3"])
def test_another_subject_redoes_everything(placement: Placement, override: str) -> None:
    before, after = keys(plan_of(placement)), keys(plan_of(placement, override))
    assert not set(before.values()) & set(after.values())


def test_another_device_is_other_work(placement: Placement) -> None:
    on_gpu = Placement(**{**placement.__dict__, "device": "cuda"})
    study = read_study("topk-vs-relu")
    one, two = keys(make_plan(study, placement)), keys(make_plan(study, on_gpu))
    assert not set(one.values()) & set(two.values())


def test_comments_and_docstrings_redo_nothing_but_code_does(tmp_path: Path) -> None:
    texts = [
        '"""One."""\ndef f(x):\n    """Two."""\n    return x + 1\n',
        '"""Uno."""\n# why\ndef f(x):\n    """Dos."""\n    return x  +  1\n',
        '"""One."""\ndef f(x):\n    """Two."""\n    return x + 2\n',
    ]
    trees = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.py"
        path.write_text(text)
        trees.append(fingerprint._tree(path))
    assert trees[0] == trees[1]
    assert trees[0] != trees[2]


def test_the_code_of_a_job_is_all_that_its_stage_imports() -> None:
    root = Path(fingerprint.engine.__path__[0])
    of = {
        kind: {str(p.relative_to(root)) for p in fingerprint.code_of(kind)}
        for kind in ("analysis", "cohort", "activations")
    }
    assert {
        "stages/truth.py",
        "stages/features.py",
        "stages/numerics.py",
        "metrics/nulls.py",
    } <= of["analysis"]
    assert {"saes/kernels.py", "study/sae.py", "training.py"} <= of["cohort"]
    assert not any(name.startswith(("report/", "cli")) for name in of["cohort"])
    # The live curve is the one definition of mean_max_cos.
    assert {n for n in of["cohort"] if n.startswith("metrics/")} == {"metrics/similarity.py"}
    assert not any(name.startswith("saes/") for name in of["activations"])


def test_another_version_of_a_library_is_other_work(
    placement: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(plan_of(placement))
    monkeypatch.setattr(fingerprint, "package_version", lambda name: "0.0")
    assert not set(before.values()) & set(keys(plan_of(placement)).values())


def test_steps_and_split_by_hand() -> None:
    # 12,769 pairs, a tenth (1,277) held out: 11,492 are trained on; 20 · 11,492 / 256 = 897.8, so 898 batches.
    assert training_count(12_769, 0.1) == 11_492
    assert cohort_steps(read_study("topk-vs-relu")) == 898


def test_the_forecast_counts_what_is_left(placement: Placement, tmp_path: Path) -> None:
    plan = plan_of(placement)
    full = forecast(plan, [], tmp_path)
    rest = forecast(plan, [job.key for job in plan.jobs[:-1]], tmp_path)
    assert full.seconds > rest.seconds > 0
    assert full.disk_bytes > rest.disk_bytes
    assert forecast(plan, [job.key for job in plan.jobs], tmp_path).seconds == 0
    # Five float32 SAEs of 2 · 128 · 1,024 weights and biases, once stacked and once each.
    weights = 5 * 2 * (2 * 128 * 1024 + 1024 + 128) * 4
    assert full.disk_bytes > 4 * weights
