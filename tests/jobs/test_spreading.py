"""Workers spread over several GPUs: real processes, which compute nothing, on names that only they read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.client.studies import check_fit
from engine.client.validation import _Pool
from engine.errors import EnvironmentUnfit
from engine.study.forecast import Forecast
from engine.study.machine import Machine
from engine.study.plan import make_plan
from engine.study.profile import place, read_profile
from engine.study.spec import check_study
from tests.jobs.bench import Bench
from tests.jobs.conftest import QUICK, asked, study_of

GPUS = ("GPU-0", "MIG-1/2/3")
BOX = Machine(4, 8 << 30, "Linux", {"cpu": "x", "cuda": "CUDA 13"}, {"mps": ""}, {}, GPUS)
LONG = {"seconds": 60.0}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "runs", QUICK, place(read_profile("cuda"), BOX))
    yield made
    made.close()


def test_each_worker_sees_the_gpu_that_it_was_given(bench: Bench) -> None:
    pair = [asked(name, config=LONG, device="cuda") for name in ("one", "two")]
    bench.submit(study_of(*pair))
    assert {bench.sign(job).gpu for job in pair} == set(GPUS)
    assert {placed.gpu for placed in bench.supervisor.running} == set(GPUS)
    log = bench.run(pair[0]).log_file
    # A worker gives its first sign of life before it has said anything.
    bench.until(lambda: "\n" in log.read_text())
    assert log.read_text().startswith(f"one: 1 threads on cuda {bench.sign(pair[0]).gpu}\n")


def test_the_next_supervisor_knows_where_workers_are(bench: Bench) -> None:
    """A third worker goes to the GPU that a worker has left, though both were started by another process."""
    short, long = (
        asked("a", config={"seconds": 0.0}, device="cuda"),
        asked("b", config=LONG, device="cuda"),
    )
    bench.submit(study_of(long, short))
    there = bench.sign(long).gpu
    bench.restart()
    bench.until(lambda: bench.find(short).state == "done")
    third = asked("c", config={"seconds": 0.1}, device="cuda")
    bench.submit(study_of(third, name="t"))
    assert {bench.sign(third).gpu, there} == set(GPUS)


def test_workers_of_the_cpu_are_given_none(bench: Bench) -> None:
    job = asked("one", config={"seconds": 0.0})
    bench.submit(study_of(job))
    assert bench.sign(job).gpu == ""


def gpu_of(pid: int) -> str:
    """Return the GPU that a process was given; one that is only being born has no environment yet."""
    deadline = time.monotonic() + 30
    while not (found := psutil.Process(pid).environ()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found["CUDA_VISIBLE_DEVICES"]


def test_controls_are_measured_on_all_gpus_in_turn() -> None:
    pool = _Pool(place(read_profile("cuda"), BOX), [])
    try:
        processes = [pool._start() for _ in range(3)]
        seen = [gpu_of(one.pid) for one in processes]
    finally:
        pool._end()
    assert seen == [GPUS[0], GPUS[1], GPUS[0]]


def test_a_job_must_fit_one_gpu_however_many_there_are(
    study_data: dict[str, Any], tmp_path: Path
) -> None:
    sized = replace(BOX, device_memory={"cuda": 10 << 30})
    plan = make_plan(check_study(study_data, "x"), place(read_profile("cuda"), sized))
    jobs = tuple(replace(job, memory_bytes=0) for job in plan.jobs)
    for gigabytes, fits in ((7, True), (9, False)):
        large = replace(plan, jobs=(*jobs[1:], replace(jobs[0], memory_bytes=gigabytes << 30)))
        cost = Forecast(1.0, gigabytes << 30, 0, "", 1.0)
        if fits:
            check_fit(large, cost, tmp_path)
        else:
            with pytest.raises(EnvironmentUnfit, match="one GPU may use 8192 MB"):
                check_fit(large, cost, tmp_path)
