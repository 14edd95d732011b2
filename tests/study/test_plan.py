from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from engine.jobs.submission import job_file
from engine.study import fingerprint
from engine.study.forecast import forecast, past_rates
from engine.study.machine import Machine
from engine.study.partial import partial_report
from engine.study.plan import Plan, make_plan
from engine.study.profile import UNKNOWN_MEMORY, Placement, place, read_profile
from engine.study.spec import check_study, presets, read_study
from engine.study.steps import cohort_steps, training_count
from engine.study.titles import count_saes

MACHINE = Machine(2, 8 << 30, "Linux", {"cpu": "x"}, {"cuda": "", "mps": ""})


@pytest.fixture
def placement() -> Placement:
    return place(read_profile("cpu"), MACHINE)


def plan_of(placement: Placement, *overrides: str) -> Plan:
    return make_plan(read_study("topk-vs-relu", overrides), placement)


def test_the_graph_of_the_seeds_experiment(placement: Placement) -> None:
    plan = plan_of(placement)
    kinds = [job.kind for job in plan.jobs]
    twins = ["activations", *["cohort"] * 2, "activations", "cohort"]
    assert kinds == ["subject", *twins, *["cohort"] * 3, "analysis", "analysis", "report"]
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


def test_a_lone_analysis_gets_all_cores_and_several_share_them(placement: Placement) -> None:
    def analyses(where: Placement, *overrides: str) -> list[tuple[int, int]]:
        jobs = plan_of(where, *overrides).jobs
        return [(job.threads, job.slots) for job in jobs if job.kind == "analysis"]

    lone = "saes=[{architecture: topk, d_sae: 1024, k: 32}]"
    assert analyses(placement) == [(1, 1), (1, 1)]
    assert analyses(placement, lone) == [(2, 2)]
    eight = replace(placement, slots=4, threads=2, cores=8)
    assert analyses(eight) == [(4, 2), (4, 2)]
    assert analyses(eight, lone) == [(8, 4)]
    one = replace(placement, slots=1, threads=2)
    assert analyses(one) == [(2, 1), (2, 1)]


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
        trees.append(fingerprint._text(ast.parse(path.read_text())))
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


# 400 samples, a tenth held out: 360 in batches of 50, twice, are 14.4, so 15 steps.
WARMUPS = {
    "k": ({"k_warmup_steps": 14}, {}),
    "k is reached a step after": ({"k_warmup_steps": 15}, {}, "saes.0.k_warmup_steps", 15, 14),
    "k for long": ({"k_warmup_steps": 100_000}, {}, "saes.0.k_warmup_steps", 100_000, 14),
    "l1": ({"architecture": "relu", "l1": 0.1, "l1_warmup_steps": 15}, {}),
    "l1 too long": (
        {"architecture": "relu", "l1": 0.1, "l1_warmup_steps": 16},
        {},
        "saes.0.l1_warmup_steps",
        16,
        15,
    ),
    "gated": (
        {"architecture": "gated", "l1": 0.1, "l1_warmup_steps": 16},
        {},
        "saes.0.l1_warmup_steps",
        16,
        15,
    ),
    "l0": (
        {"architecture": "jumprelu", "l0": 0.1, "l0_warmup_steps": 16},
        {},
        "saes.0.l0_warmup_steps",
        16,
        15,
    ),
    "rate": ({}, {"warmup_steps": 15}),
    "rate too long": ({}, {"warmup_steps": 16}, "training.warmup_steps", 16, 15),
}


@pytest.mark.parametrize("case", sorted(WARMUPS))
def test_a_warmup_must_end_within_the_training(
    placement: Placement, study_data: dict[str, Any], case: str
) -> None:
    sae, training, *refused = WARMUPS[case]
    study_data["saes"] = [{"architecture": "topk", "d_sae": 12} | sae]
    if study_data["saes"][0]["architecture"] == "topk":
        study_data["saes"][0]["k"] = 2
    study_data["training"] |= training
    if not refused:
        plan_for(placement, study_data)
        return
    where, given, most = refused
    with pytest.raises(InputError) as caught:
        plan_for(placement, study_data)
    assert str(caught.value) == (
        f"tiny: {where}: a warm-up of {given} steps does not end within the training of 15 "
        f"(2 epochs × 360 activations / batches of 50): at most {most} steps, or more epochs"
    )


def test_a_searched_warmup_names_its_point(
    placement: Placement, study_data: dict[str, Any]
) -> None:
    study_data["training"]["warmup_steps"] = 10
    with pytest.raises(InputError, match=r"warmup_steps \(point training\.epochs 1\): .* of 8 "):
        plan_for(placement, study_data, **{"training.epochs": [2, 1]})


def test_the_forecast_counts_what_is_left(placement: Placement, tmp_path: Path) -> None:
    plan = plan_of(placement)
    full = forecast(plan, [], tmp_path)
    rest = forecast(plan, [job.key for job in plan.jobs[:-1]], tmp_path)
    assert full.seconds > rest.seconds > 0
    assert full.disk_bytes > rest.disk_bytes
    nothing = forecast(plan, [job.key for job in plan.jobs], tmp_path)
    assert (nothing.seconds, nothing.factor) == (0, 1)
    # Five float32 SAEs of 2 · 128 · 1,024 weights and biases, once stacked and once each.
    weights = 5 * 2 * (2 * 128 * 1024 + 1024 + 128) * 4
    assert full.disk_bytes > 4 * weights


def leave_result(runs: Path, number: int, seconds: float, **job: Any) -> None:
    """Leave the job file and the result of a finished job."""
    run = runs / "jobs" / f"{job['kind']}-{number:016}"
    run.mkdir(parents=True)
    (run / "job.json").write_text(json.dumps({"config": {}, "policy": {}, **job}))
    (run / "result.json").write_text(json.dumps({"provenance": {"seconds": seconds}}))


def test_jobs_that_were_all_start_do_not_change_a_forecast(
    placement: Placement, tmp_path: Path
) -> None:
    plan = plan_of(placement)
    before = forecast(plan, [], tmp_path)
    for number in range(2):  # what 5,000 planted samples and one step took
        leave_result(tmp_path, number, 1.2, kind="cohort", work=7.68e6)
    leave_result(tmp_path, 2, 1.7, kind="analysis", work=9.2e3)
    leave_result(tmp_path, 3, 4.4, kind="subject", work=8e4, config={"kind": "planted"})
    assert forecast(plan, [], tmp_path).seconds == before.seconds
    assert before.basis == "reference machine, within a factor of 3"
    assert before.factor == 3


def test_past_rates_by_hand(tmp_path: Path) -> None:
    # The fastest job of all says that a start takes a second; (21 + 39) s for 6e10 units are 1e-9 each.
    leave_result(tmp_path, 0, 1.0, kind="report", work=0)
    leave_result(tmp_path, 1, 22.0, kind="cohort", work=1.4e10)
    leave_result(tmp_path, 2, 40.0, kind="cohort", work=4.6e10)
    leave_result(tmp_path, 3, 99.0, kind="cohort", work=1e8)  # small and slow: says nothing
    far = {"placement": {"device": "cuda"}}
    leave_result(tmp_path, 4, 2.0, kind="cohort", work=9e10, **far)
    (rate,) = past_rates(tmp_path).values()
    assert rate.seconds == pytest.approx(1e-9)
    assert rate.factor == pytest.approx(1.5)  # 21 s for 14 units
    assert rate.jobs == 2


def test_a_forecast_says_how_sure_it_is(placement: Placement, tmp_path: Path) -> None:
    plan = plan_of(placement)
    leave_result(tmp_path, 0, 1.0, kind="report", work=0)
    for number, seconds in enumerate((11.0, 41.0), 1):  # 10 and 40 s of work: 25 s on average
        leave_result(tmp_path, number, seconds, kind="cohort", work=1e11)
    said = forecast(plan, [], tmp_path).basis
    assert said == (
        "2 past jobs in this runs root; reference machine for subject modular, analysis; "
        "within a factor of 3"
    )
    leave_result(tmp_path, 3, 2.0, kind="analysis", work=2.6e7)
    subject = [job.key for job in plan.jobs if job.kind == "subject"]
    assert forecast(plan, subject, tmp_path).basis == (
        "3 past jobs in this runs root; within a factor of 3"
    )


def plan_for(placement: Placement, data: dict[str, Any], **over: list[Any]) -> Plan:
    search = {"search": {"kind": "grid", "over": over}} if over else {}
    return make_plan(check_study({**data, **search}, "x"), placement)


def names(plan: Plan, kind: str) -> list[str]:
    return [job.name for job in plan.jobs if job.kind == kind]


def test_points_share_what_they_have_in_common(
    placement: Placement, study_data: dict[str, Any]
) -> None:
    study_data["analysis"] = {"surrogate": False}
    plan = plan_for(placement, study_data, **{"saes.0.d_sae": [12, 24], "training.lr": [0.1, 0.2]})
    assert [job.kind for job in plan.jobs] == (
        ["subject", "activations", *["cohort"] * 4, *["analysis"] * 4, "report"]
    )
    assert names(plan, "cohort") == [
        "topk 12 k2 lr 0.1",
        "topk 12 k2 lr 0.2",
        "topk 24 k2 lr 0.1",
        "topk 24 k2 lr 0.2",
    ]
    told = plan.report.config["cohorts"]
    assert [cohort["point"] for cohort in told] == [point.values for point in plan.points]
    assert [cohort["title"] for cohort in told] == names(plan, "cohort")
    assert set(plan.report.inputs) == {"subject", *(cohort["role"] for cohort in told)}


def test_a_searched_subject_has_cohorts_of_its_own(
    placement: Placement, study_data: dict[str, Any]
) -> None:
    study_data["analysis"] = {"surrogate": False}
    plan = plan_for(placement, study_data, **{"subject.noise": [0.0, 0.5]})
    assert names(plan, "subject") == ["subject noise 0", "subject noise 0.5"]
    assert names(plan, "activations") == [
        "activations planted noise 0",
        "activations planted noise 0.5",
    ]
    assert names(plan, "cohort") == ["topk 12 k2 noise 0", "topk 12 k2 noise 0.5"]
    assert plan.report.config["subjects"] == [
        {"role": "subject", "title": "subject noise 0", "point": {"subject.noise": 0.0}},
        {"role": "subject.1", "title": "subject noise 0.5", "point": {"subject.noise": 0.5}},
    ]
    made = {job.directory: job for job in plan.jobs}
    for job in plan.jobs:
        if job.kind == "analysis":  # each reads its own subject
            subject, cohort = made[job.inputs["subject"]], made[job.inputs["cohort"]]
            assert subject.name.removeprefix("subject") == cohort.name.removeprefix("topk 12 k2")


def test_how_it_is_measured_changes_the_analysis_alone(
    placement: Placement, study_data: dict[str, Any]
) -> None:
    plan = plan_for(placement, study_data, **{"analysis.sign": ["signed", "abs"]})
    assert names(plan, "cohort") == ["topk 12 k2", "topk 12 k2 surrogate"]
    assert names(plan, "analysis") == [
        "analysis topk 12 k2 sign signed",
        "analysis topk 12 k2 sign abs",
    ]


TITLES = {
    "entries that differ in one field": (
        [{"dead": {"method": "ghost"}}, {}],
        {},
        ["topk 12 k2 ghost", "topk 12 k2"],
    ),
    "treatments of dead latents, with settings that only one of them has": (
        [
            {"dead": {"method": "none"}},
            {"dead": {"coefficient": 0.25}},
            {"dead": {"method": "resample", "every": 9, "until": 0.5}},
        ],
        {},
        ["topk 12 k2 dead none", "topk 12 k2 AuxK", "topk 12 k2 resample"],
    ),
    "the same treatment twice": (
        [{"dead": {"method": "resample", "every": n}} for n in (9, 8)] + [{}],
        {},
        ["topk 12 k2 resample dead.every 9", "topk 12 k2 resample dead.every 8", "topk 12 k2"],
    ),
    "a norm that falls below L1": (
        [
            {"architecture": "relu", "k": None, "l1": 0.05, "p_anneal": {"p": 0.5}},
            {"architecture": "relu", "k": None, "l1": 0.05},
        ],
        {},
        ["relu 12 p-anneal l1 0.05", "relu 12 l1 0.05"],
    ),
    "entries that differ and a searched rate": (
        [{"stability": {"consistency": 0.1}}, {}],
        {"training.lr": [0.1]},
        [
            "topk 12 k2 lr 0.1 consistency 0.1",
            "topk 12 k2 lr 0.1",
        ],
    ),
    "what the title shows is not said again": ([{}], {"saes.*.k": [1, 3]}, ["topk 12 k1", "topk 12 k3"]),
    "of the subject the whole path where the SAEs have such a key": (
        [{}],
        {"subject.l0": [1, 2]},
        ["topk 12 k2 subject.l0 1", "topk 12 k2 subject.l0 2"],
    ),
    "a value of another entry is none of its own": (
        [{}, {"d_sae": 24}],
        {"saes.1.dead.after_tokens": [5, 6]},
        ["topk 12 k2", "topk 24 k2 dead.after_tokens 5", "topk 24 k2 dead.after_tokens 6"],
    ),
    "seeds": ([{}], {"seeds": [[1, 2], [7, 9]]}, ["topk 12 k2 seeds 1,2", "topk 12 k2 seeds 7,9"]),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(TITLES))
def test_titles_say_what_tells_cohorts_apart(
    placement: Placement, study_data: dict[str, Any], case: str
) -> None:
    entries, over, titles = TITLES[case]
    merged = [{**study_data["saes"][0], **entry} for entry in entries]
    study_data["saes"] = [{k: v for k, v in sae.items() if v is not None} for sae in merged]
    study_data["analysis"] = {"surrogate": False}
    plan = plan_for(placement, study_data, **over)
    assert names(plan, "cohort") == titles
    assert [cohort["title"] for cohort in plan.report.config["cohorts"]] == titles


@pytest.mark.parametrize(
    "over",
    [
        {"analysis.surrogate_seed": [0, 1]},
        {"vary": [["init"], ["order"]], "training.lr": [0.1, 0.2]},
        {"subject.noise": [0.0, 0.1], "analysis.draws": [20, 30]},
    ],
)
def test_names_of_jobs_are_unique(
    placement: Placement, study_data: dict[str, Any], over: dict[str, list[Any]]
) -> None:
    found = [job.name for job in plan_for(placement, study_data, **over).jobs]
    assert len(set(found)) == len(found)


def test_every_preset_can_be_planned(placement: Placement) -> None:
    wanted = {"roadmap-matrix": 45, "width-sweep": 30, "sparsity-sweep": 30, "layer-sweep": 20}
    for name in presets():
        study = read_study(name)
        plan = make_plan(study, placement)
        assert len({job.name for job in plan.jobs}) == len(plan.jobs)
        assert count_saes(study) == wanted.get(name, count_saes(study))


def test_a_partial_report_is_another_job(placement: Placement, study_data: dict[str, Any]) -> None:
    plan = plan_for(placement, study_data, **{"subject.noise": [0.0, 0.5]})
    first, second = (cohort["role"] for cohort in plan.report.config["cohorts"])
    file = job_file(plan.report, placement, "Linux")
    keys = {job.directory: job.key for job in plan.jobs}
    rest = partial_report(file, keys, {first: "diverged"})
    assert rest is not None
    assert rest["key"] != plan.report.key
    assert rest["config"]["failed"] == {"topk 12 k2 noise 0": "diverged"}
    assert set(rest["inputs"]) == {"subject.1", second}
    assert [one["role"] for one in rest["config"]["subjects"]] == ["subject.1"]
    assert partial_report(file, keys, {first: "x", second: "y"}) is None
    assert partial_report(file, keys, {}) == file, "with nothing lost it is the whole report"
    other = partial_report(file, keys, {first: "another reason"})
    assert other is not None
    assert other["key"] != rest["key"]


# One SAE of 12 latents on 8 inputs has 2 · 8 · 12 + 12 + 8 = 212 weights, 7 times in 4 bytes. Measuring it on
# all 400 inputs takes more than training and saving: 18 bytes for each of 12 latents, 64 for each of 2 that are
# kept, 32 for each of 8 numbers, and the pre-activations of a batch of 50. The activations are 4 · 400 · 8
# bytes, and the work on one seed after another 13 · 50 · 12.
FIXED = (450 << 20) + 4 * 400 * 8 + 13 * 50 * 12
EACH = 28 * 212 + 400 * (18 * 12 + 64 * 2 + 32 * 8) + 4 * 50 * 12


def with_memory(placement: Placement, per_worker: int) -> Placement:
    return Placement(**{**placement.__dict__, "memory_bytes": per_worker * placement.slots})


@pytest.mark.parametrize(
    ("fits", "parts"),
    [
        (7, ["seeds 1-7"]),
        (6, ["seeds 1-3", "seeds 4-7"]),
        (3, ["seeds 1-2", "seeds 3-4", "seeds 5-7"]),
        (1, [f"seed {n}" for n in range(1, 8)]),
    ],
)
def test_seeds_that_do_not_fit_are_trained_in_parts(
    placement: Placement, study_data: dict[str, Any], fits: int, parts: list[str]
) -> None:
    study_data["seeds"] = [1, 2, 3, 4, 5, 6, 7]
    plan = plan_for(with_memory(placement, FIXED + fits * EACH), study_data)
    if len(parts) == 1:
        parts, roles = [""], [""]
    else:
        parts = [f" {part}" for part in parts]
        roles = ["", *(f".{number}" for number in range(1, len(parts)))]
    assert names(plan, "cohort") == [
        *(f"topk 12 k2{part}" for part in parts),
        *(f"topk 12 k2 surrogate{part}" for part in parts),
    ]
    analysis = next(job for job in plan.jobs if job.kind == "analysis")
    cohorts = [f"{twin}{role}" for twin in ("cohort", "surrogate") for role in roles]
    assert list(analysis.inputs) == ["subject", "activations", *cohorts]
    trained = [job.config["seeds"] for job in plan.jobs if job.config.get("surrogate", 1) is None]
    assert [seed for seeds in trained for seed in seeds] == study_data["seeds"]
    assert all(job.memory_bytes <= FIXED + fits * EACH for job in plan.jobs if job.kind == "cohort")


def test_twins_on_the_untrained_model_are_planned_where_there_is_a_model(
    placement: Placement, study_data: dict[str, Any]
) -> None:
    plain = plan_of(placement, "analysis.untrained=false")
    plan = plan_of(placement)
    assert [job.name for job in plan.jobs if job.name.endswith("untrained")] == [
        "activations blocks.0.hook_resid_post untrained",
        "topk 1024 k32 untrained",
        "relu 1024 l1 0.001 untrained",
    ]
    shared = {job.key for job in plain.jobs if job.kind not in ("analysis", "report")}
    assert shared <= {job.key for job in plan.jobs}, "nothing else is done again"
    by_name = {job.name: job for job in plan.jobs}
    twin, cohort = by_name["topk 1024 k32 untrained"], by_name["topk 1024 k32"]
    assert twin.config == {**cohort.config, "untrained": True}
    assert (twin.work, twin.steps, twin.memory_bytes) == (
        cohort.work,
        cohort.steps,
        cohort.memory_bytes,
    )
    analysis = by_name["analysis topk 1024 k32"]
    assert list(analysis.inputs) == ["subject", "activations", "cohort", "surrogate", "untrained"]
    study_data["analysis"] = {"untrained": True}
    assert names(plan_for(placement, study_data), "cohort") == [
        "topk 12 k2",
        "topk 12 k2 surrogate",
    ]


def test_twins_on_the_untrained_model_come_in_the_same_parts(placement: Placement) -> None:
    study = read_study("topk-vs-relu", ["saes=[{architecture: topk, d_sae: 1024, k: 32}]"])
    whole = make_plan(study, placement)
    cohort = next(job for job in whole.jobs if job.kind == "cohort")
    plan = make_plan(study, with_memory(placement, cohort.memory_bytes - 1))
    analysis = next(job for job in plan.jobs if job.kind == "analysis")
    assert [role for role in analysis.inputs if role.startswith("untrained")] == [
        "untrained",
        "untrained.1",
    ]


def test_what_cannot_be_split_or_does_not_fit_at_all_is_refused(
    placement: Placement, study_data: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"^tiny: saes\.0: one seed of topk 12 k2 needs about"):
        plan_for(with_memory(placement, FIXED + EACH - 1), study_data)
    study_data["saes"][0]["stability"] = {"consistency": 0.1}
    # The loss copies the decoder rows twice, and compares 256 of them with all 12 others, three times.
    each = EACH + 2 * 4 * 212 + 12 * 256 * 12
    plan_for(with_memory(placement, FIXED + 3 * each), study_data)
    with pytest.raises(InputError, match=r"the 3 seeds of topk 12 k2 train together"):
        plan_for(with_memory(placement, FIXED + 3 * each - 1), study_data)


def test_a_refusal_says_where_the_memory_of_a_gpu_is_unknown(
    placement: Placement, study_data: dict[str, Any]
) -> None:
    known = with_memory(placement, FIXED + EACH - 1)
    blind = Placement(**{**known.__dict__, "memory_note": UNKNOWN_MEMORY})
    with pytest.raises(InputError, match=r"has 450 MB \(of the computer: .* nvidia-ml-py\): a"):
        plan_for(blind, study_data)


def test_a_machine_without_room_for_a_worker_is_left_to_the_runner(
    placement: Placement, study_data: dict[str, Any]
) -> None:
    plan = plan_for(with_memory(placement, 1 << 20), study_data)
    assert names(plan, "cohort") == ["topk 12 k2", "topk 12 k2 surrogate"]


def test_each_job_is_forecast_by_its_own_size(
    placement: Placement, study_data: dict[str, Any], tmp_path: Path
) -> None:
    study_data["analysis"] = {"surrogate": False}
    plan = plan_for(placement, study_data, **{"saes.0.d_sae": [12, 24]})
    small, large = (job for job in plan.jobs if job.kind == "cohort")
    assert small.memory_bytes == FIXED + 3 * EACH
    # 2 · 8 · 24 + 24 + 8 = 416 weights.
    each = 28 * 416 + 400 * (18 * 24 + 64 * 2 + 32 * 8) + 4 * 50 * 24
    assert large.memory_bytes == FIXED + 13 * 50 * 12 + 3 * each
    assert large.disk_bytes - small.disk_bytes == 2 * 4 * 3 * (416 - 212)
    # Both run side by side; all else is done.
    done = [job.key for job in plan.jobs if job.kind != "cohort"]
    assert forecast(plan, done, tmp_path).memory_bytes == small.memory_bytes + large.memory_bytes
