"""Workers spread over several GPUs: real processes, which compute nothing, on names that only they read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.study.machine import Machine
from engine.study.profile import place, read_profile
from tests.jobs.bench import Bench
from tests.jobs.conftest import QUICK, asked, study_of

GPUS = ("GPU-0", "MIG-1/2/3")
BOX = Machine(4, 8 << 30, "Linux", {"cpu": "x", "cuda": "CUDA 13"}, {"mps": ""}, {}, GPUS)
LONG = {"seconds": 3.0}


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
    first = bench.run(pair[0])
    assert first.log_file.read_text().startswith(
        f"one: 1 threads on cuda {bench.sign(pair[0]).gpu}"
    )


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
