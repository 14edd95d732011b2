"""What a study would be and cost, and how that reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.client.studies import Placement
from engine.study import profile as profiles
from engine.study.forecast import Forecast
from engine.study.spec import presets, read_yaml
from husai_tui.state.estimate import Estimate, detail_lines, estimate, summary_lines, told
from husai_tui.state.planning import plan_lines
from husai_tui.state.sweep import Form
from husai_tui.tones import Line


def preset(name: str) -> Any:
    return read_yaml(presets()[name])


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line.parts).rstrip() for line in lines]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Estimate:
    return estimate(preset("roadmap-matrix"), "cpu", tmp_path_factory.mktemp("runs"))


def test_a_study_is_counted(found: Estimate) -> None:
    # Three architectures of five widths and three seeds; each cohort has a twin and an analysis.
    assert found.plan is not None
    assert (found.saes, len(found.cohorts), len(found.plan.points)) == (45, 15, 5)
    assert len(found.plan.jobs) == 1 + 1 + 2 * 15 + 15 + 1
    assert (found.ready, found.cached, found.replaces) == (True, frozenset(), "")


def test_the_summary_says_what_it_costs_and_how_sure_that_is(found: Estimate) -> None:
    known = replace(
        found, cost=Forecast(600.0, 3 << 30, 5 << 20, "reference machine", 3.0), free=7 << 30
    )
    lines = texts(summary_lines(known))
    assert lines[0] == " 45 SAEs in 15 cohorts, 5 points · 48 jobs, 0 cached"
    assert lines[1:3] == [" time    about 10 m 00 s", "         3 m 20 s to 30 m 00 s"]
    assert lines[3].startswith(" memory  3.0 GB of ")
    assert lines[4] == " disk    5 MB of 7.0 GB free"
    assert lines[5].startswith(" ✓ fits cpu: cpu, ")
    dense = texts(summary_lines(known, dense=True))
    assert len(dense) == 4
    assert "about 10 m 00 s, 3 m 20 s to 30 m 00 s" in dense[1]
    assert "disk    5 MB" in dense[2]
    assert "reference machine" in dense[1]


def test_what_is_too_large_is_marked_by_more_than_colour(found: Estimate) -> None:
    large = replace(found, cost=Forecast(1.0, 1 << 50, 2 << 50, "x", 2.0), free=1, unfit="no room")
    lines = texts(summary_lines(large))
    assert " memory  ✗ 1.0 PB" in lines[3].replace("1024.0 TB", "1.0 PB")
    assert lines[4].startswith(" disk    ✗ ")
    assert lines[5] == " ✗ no room"
    assert not large.ready


def test_the_details_name_jobs_and_cohorts(found: Estimate) -> None:
    assert found.plan is not None
    cached = frozenset(job.key for job in found.plan.jobs if job.kind in ("subject", "activations"))
    lines = texts(detail_lines(replace(found, cached=cached), 60))
    assert " subject              1       1       0" in lines
    assert " cohort              30       0      30" in lines
    assert " ○ topk 64 k16  3 seeds, 360 steps" in lines


def test_all_that_is_cached_costs_nothing(found: Estimate) -> None:
    assert found.plan is not None
    every = replace(found, cached=frozenset(job.key for job in found.plan.jobs))
    lines = texts(summary_lines(every))
    assert "all cached" in lines[0]
    assert "nothing to do" in lines[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"search": {"kind": "grid", "over": {"saes.*.k": [8]}}}, "has no 'k'"),
        ({"training": {"epochs": 1, "warmup_steps": 9999}}, "warmup_steps"),
        ({"name": "jobs"}, "reserved"),
    ],
)
def test_what_cannot_be_planned_says_why(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    found = estimate({**preset("topk-vs-relu"), **change}, "cpu", tmp_path)
    assert found.plan is None
    assert said in str(found.fault)
    assert "cannot be planned" in told(found)


def test_a_profile_that_does_not_fit_says_why(tmp_path: Path) -> None:
    found = estimate(preset("smoke"), "mps", tmp_path)
    assert "no mps device" in str(found.fault)
    assert texts(plan_lines(Form(), found, False, 80, 5))[1].startswith(" ✗ profile mps")


def test_too_little_memory_says_what_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = profiles.place

    def small(*arguments: Any) -> Placement:
        return replace(real(*arguments), memory_bytes=400 << 20)

    monkeypatch.setattr("engine.client.studies.place", small)
    found = estimate(preset("smoke"), "cpu", tmp_path)
    said = str(found.fault or found.unfit)
    assert "MB" in said
    assert not found.ready


def test_a_sentence_has_the_numbers(found: Estimate) -> None:
    assert told(found).startswith("45 SAEs in 15 cohorts, 48 jobs, 0 of them cached; about ")
    assert told(Estimate()) == "it is not planned yet"


def test_the_plan_says_that_it_is_being_made_anew(found: Estimate) -> None:
    form = Form()
    assert texts(plan_lines(form, found, True, 80, 5))[0].startswith(" plan, being made anew ─")
    assert (
        texts(plan_lines(form, Estimate(), False, 80, 5))[1] == " counting jobs and what is cached"
    )
    form.take("name: [")
    assert "cannot be read" in texts(plan_lines(form, found, False, 80, 5))[1]
    form.take("name: 3\nseeds: x\n")
    assert "no plan before this is mended: " in texts(plan_lines(form, found, False, 80, 5))[1]
