"""The variables that thread pools read while they are loaded, in every process that computes.

Each process tells what it found when it first looked for numpy or torch, under a shell that asks for other
numbers; then torch and threadpoolctl are asked what came of it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.client.studies import bench_sae
from engine.client.validation import _Pool
from engine.disk.rundir import RunDirectory
from engine.jobs.launch import LocalLauncher, NurseryLauncher
from engine.jobs.submission import job_file
from engine.study.plan import Plan, make_plan
from engine.study.profile import Placement, place, read_profile, worker_environment
from engine.study.spec import check_study
from tests.jobs.conftest import MACHINE

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_SPY = f"""
import json, os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in ("numpy", "torch"):
            sys.meta_path.remove(self)
            found = {{one: os.environ.get(one) for one in {VARIABLES}}}
            found["wait"] = os.environ.get("OMP_WAIT_POLICY")
            with open(os.environ["SPY"], "a") as file:
                file.write(json.dumps(found) + "\\n")
sys.meta_path.insert(0, Spy())
"""
Seen = Callable[[], list[dict[str, str]]]


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Return what processes found that were started meanwhile."""
    (tmp_path / "sitecustomize.py").write_text(_SPY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SPY", str(tmp_path / "seen"))
    for name in VARIABLES:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    return lambda: [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]


def wanted(threads: int) -> dict[str, str]:
    return {**dict.fromkeys(VARIABLES, str(threads)), "wait": "PASSIVE"}


def placed(threads: int) -> Placement:
    """Two cores, in slots of so many threads."""
    return replace(place(read_profile("cpu"), MACHINE), slots=2 // threads, threads=threads)


def work(
    launcher: LocalLauncher | NurseryLauncher, plan: Plan, threads: int, folder: Path
) -> dict[str, Any]:
    """Do the first job of a plan in a worker and return the result's provenance."""
    run = RunDirectory(folder / "job")
    run.create(job_file(replace(plan.jobs[0], threads=threads), plan.placement, "Linux"))
    run.begin_attempt(1)
    try:
        handle = launcher.start(run, 1)
        deadline = time.monotonic() + 60
        while handle.poll() is None and time.monotonic() < deadline:
            launcher.wait(0.05)
        assert handle.poll() == 0, run.log_file.read_text()
    finally:
        launcher.close()
    found: dict[str, Any] = run.read_result()["provenance"]
    return found


@pytest.mark.parametrize(("way", "threads"), [("process", 1), ("nursery", 2)])
def test_a_worker_has_the_threads_of_its_slot(
    way: str, threads: int, seen: Seen, study_data: dict[str, Any], tmp_path: Path
) -> None:
    if way == "nursery" and sys.platform != "linux":
        pytest.skip("forks only there")
    placement = placed(threads)
    plan = make_plan(check_study(study_data, "x"), placement)
    launcher: LocalLauncher | NurseryLauncher = LocalLauncher(leash=False)
    if way == "nursery":
        launcher = NurseryLauncher(worker_environment(placement, threads, "Linux"))
    found = work(launcher, plan, threads, tmp_path)
    # A nursery that has other threads already starts its worker as a process of its own: then there are two.
    assert seen(), "before anything was loaded that reads them"
    assert all(one == wanted(threads) for one in seen())
    assert found["numerics"]["threads"] == threads, "torch says so"
    assert set(found["numerics"]["float32_precision"].values()) == {"ieee"}
    pools = {pool["user_api"]: pool["num_threads"] for pool in found["thread_pools"]}
    assert pools["openmp"] == threads
    assert max(pools.values()) * placement.slots <= MACHINE.cores


def test_a_measurement_of_speed_has_them_too(seen: Seen) -> None:
    found = bench_sae("smoke", "cpu", steps=1, threads=1)
    assert seen() == [wanted(1)]
    assert found["numerics"]["threads"] == 1


def test_controls_are_measured_under_them(seen: Seen) -> None:
    pool = _Pool(placed(2), [])
    process = pool._start()
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 0
    assert seen() == [wanted(2)]
