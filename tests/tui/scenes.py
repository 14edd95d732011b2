"""What the pictures show: a queue, curves, features and a machine, the same everywhere and at all times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.client.features import Features
from engine.client.look import Snapshot
from engine.client.machine import Gpu, Load, WorkerLoad
from engine.client.microscope import Card, Grid, Top
from engine.disk.root import RunsRoot
from engine.doctor import Finding
from engine.study.machine import Machine

NOW = 1_700_000_000.0
GB = 1 << 30
SEEDS = (42, 123, 456)
COHORT, SUBJECT = "cohort-a", "subject-a"
MACHINE = Machine(8, 32 * GB, "Linux", {"cpu": "x86_64"}, {"cuda": "no GPU", "mps": "not a Mac"})
UP = {"profile": "cpu", "since": NOW - 7500, "state": "up", "mode": "service", "silent": 0.0}

# The queue


def job(name: str, state: str, **more: Any) -> dict[str, Any]:
    """Return a job as the queue tells it."""
    told = {
        "directory": f"job-{name}", "name": name, "kind": "cohort", "key": "ab", "state": state, "attempt": 1,
        "priority": 0, "slots": 1, "steps": 20_000, "failure": "", "reason": "", "submitted": NOW - 8000,
        "started": None, "ended": None, "seconds": None, "study": "topk-vs-relu", "advice": "", "step": None,
    }  # fmt: skip
    return {**told, **more}


def queue(step: int, taken: float) -> Snapshot:
    """Return a queue with a job in each state, while its cohort is at a step."""
    waits = {"reason": "waits for activations", "started": None}
    jobs = (
        job("topk 1024 k32", "running", directory=COHORT, step=step, started=NOW - 640),
        job("subject", "running", kind="subject", steps=0, study="roadmap", step=300, started=NOW - 42),
        job("topk 2048 k64", "queued", priority=2, **waits),
        job("relu 1024 l1 0.001", "queued", **waits),
        job("a name that is longer than any table of 80 columns has room for", "queued", **waits),
        job("gated 1024 l1 0.01", "paused", step=4000, attempt=2, reason="paused by you"),
        job("relu 4096 l1 0.003", "failed", failure="memory", reason="the worker was killed, probably by "
            "the kernel for memory", advice="retry after others have ended", attempt=3, seconds=812.0),
        job("activations", "done", kind="activations", steps=0, seconds=96.5, ended=NOW - 700),
        job("modular subject", "done", directory=SUBJECT, kind="subject", steps=0, step=8000, seconds=5025.0,
            started=NOW - 7000, ended=NOW - 1000, study="roadmap"),
        job("relu 512 l1 0.1", "cancelled", reason="cancelled by you"),
        job("report", "skipped", kind="report", steps=0, reason="relu 4096 l1 0.003 failed"),
    )  # fmt: skip
    counts: dict[str, int] = {}
    for one in jobs:
        counts[one["state"]] = counts.get(one["state"], 0) + 1
    studies = tuple({"name": name, "report": None} for name in ("roadmap", "topk-vs-relu"))
    return Snapshot(jobs, studies, counts, supervisor=UP, taken=taken)


class StillWatcher:
    """Says of the queue what a test lets it say."""

    def __init__(self, last: Snapshot) -> None:
        self.last = last

    def look(self) -> Snapshot:
        """Return it."""
        return self.last


# Run directories


def make_jobs(root: RunsRoot) -> None:
    """Write the files of a cohort that trains and of a subject that has grokked."""
    placement = {"profile": "cpu", "device": "cpu"}
    _write(root, COHORT, {"config": {"seeds": SEEDS}, "placement": placement}, _cohort_rows())
    subject = {"config": {"training": {"steps": 20_000}}, "placement": placement}
    _write(root, SUBJECT, subject, [_subject_row(step) for step in range(0, 8001, 100)])
    shares = {"frequencies": [4, 9, 17, 23], "logits": [0.42, 0.06, 0.31, 0.2], "keys": [4, 17, 23]}
    (root.jobs / SUBJECT / "result.json").write_text(json.dumps({"spectrum": shares}))
    lines = [f"step {step}  loss {3 + 400 / (step + 10):.4f}" for step in range(0, 6000, 250)]
    lines[9] = "step 2250: seed 123: 31 % of its latents are dead"
    lines[15] = "Traceback: " + "a line that does not fit " * 9
    lines[18] = "ValueError: the loss of seed 456 is nan"
    (root.jobs / COHORT / "log.txt").write_text("\n".join(lines) + "\n")


def _write(root: RunsRoot, name: str, config: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    folder = root.jobs / name
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(config))
    (folder / "log.txt").write_text("")
    (folder / "curves.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _cohort_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(0, 6001, 50):
        t = step / 1000
        row: dict[str, Any] = {
            "step": step,
            "seconds": step / 10,
            "loss": [4 + n + 900 / (1 + 20 * t * (1 + n / 4)) for n in range(3)],
            "l0": [32 + 480 / (1 + 9 * t) + n for n in range(3)],
            "explained_variance": [1 - (0.7 + n / 9) / (1 + 4 * t) for n in range(3)],
            "dead_fraction": [0.02 * n + 0.3 * t / (8 + t) for n in range(3)],
        }
        if step % 1000 == 0:
            row["mean_max_cos"] = [0.3 + 0.6 * t / (3 + t) - n / 50 for n in range(3)]
        if step == 3000:
            message = "seed 123: 31 % of its latents are dead"
            row["flags"] = [{"seed": 123, "name": "dead", "message": message}]
        rows.append(row)
    return rows


def _subject_row(step: int) -> dict[str, Any]:
    train, test = step / (step + 150), (step / 5000) ** 8 / (1 + (step / 5000) ** 8)
    return {
        "step": step,
        "train_accuracy": round(train, 3),
        "test_accuracy": round(test, 3),
        "train_loss": 4.7 * (1 - train) + 1e-4,
        "test_loss": 4.7 * (1 - test) + 3e-3,
        "restricted_loss": 4.7 * (1 - test) + 1e-3,
        "excluded_loss": 4.7 * (1 - train) + 5 * test,
        "key_count": round(4 * test) * 0.75,
        "fve": test * 0.95,
    }


# Features

MODULUS = 23
TITLE = "topk 16 k4"


def features() -> Features:
    """Return features of three seeds: the first of all seeds are found again, the last of none."""
    width, rows = 16, 48
    at = np.arange(rows)
    feature, seed = at % width, at // width
    high = np.round(1 - feature / width * 0.75 - seed / 100, 3)
    best = np.stack([high, high - 0.04], axis=1).astype(np.float32)
    found = (best >= 0.7).mean(axis=1)
    return Features(
        study="roadmap", cohort=TITLE, hook="blocks.0.hook_mlp_out", seeds=SEEDS, width=width,
        columns={
            "seed": np.repeat(SEEDS, width),
            "feature": feature,
            "density": 0.3 / (1 + feature) ** 2,
            "live": feature < 14,
            "stability": found,
            "median_best_cosine": np.median(best, axis=1),
            "p_surrogate": np.where(feature < 8, 0.0005, 0.2 + feature / 40),
            "frequency": np.array([4, 17, 9, 23, 4, 17, 11, 4] * 6) % 12,
            "frequency_family": 0.95 - feature / 20,
            "plane_frequency": np.array([4, 17, 9, 23, 4, 17, 11, 4] * 6) % 12,
            "plane_family": feature % 4,
            "plane_energy": 0.9 - feature / 25,
            "selectivity": 0.92 - feature / 20,
            "localisation": feature % 5,
        },
        best=best,
        partner=np.stack([feature, feature], axis=1).astype(np.int32),
        runner_up=(best * np.float32(0.5)).astype(np.float32),
    )  # fmt: skip


class FakeMicroscope:
    """Sees waves of a + b in every feature."""

    def look(self, study: str, cohort: str, seed: int, feature: int) -> Card:
        """Return a card whose map is one wave, made of whole numbers alone."""
        a, b = np.indices((MODULUS, MODULUS))
        phase = (2 * (a + b) + 7) % MODULUS
        near = np.minimum(phase, MODULUS - phase)
        levels = np.where(near < 3, 255, np.where(near < 6, 120, 0)).astype(np.uint8)
        spectrum = np.zeros((4, MODULUS // 2))
        spectrum[0, 2], spectrum[1, 2], spectrum[2, 1], spectrum[2, 7] = 0.02, 0.03, 0.84, 0.06
        flat = levels.ravel()
        order = np.argsort(-flat.astype(np.int64), kind="stable")[:20].tolist()
        top = tuple(
            Top(i, float(flat[i]) / 100, i // MODULUS, i % MODULUS, (i // MODULUS + i) % MODULUS)
            for i in order
        )
        return Card(
            study, cohort, seed, feature, "modular", flat.size, 2.55, 0.41, 0.48,
            np.array([30, 46, 0, 46, 0, 46, 46, 0, 46, 23]), top,
            Grid(MODULUS, "add", levels, 0.01, spectrum),
        )  # fmt: skip

    def close(self) -> None:
        """End."""


# The machine

LOAD = Load(
    (0.97, 0.88, 0.5, 0.31, 0.12, 0.05, 0.0, 1.0), (3.5, 2.25, 1.5), (11 * GB, 32 * GB), (0, 4 * GB),
    (320 * GB, 500 * GB), gpus=(Gpu("H100", 0.9, 40 * GB, 80 * GB, 61, 402.0),),
    workers=(WorkerLoad(4242, COHORT, "topk 1024 k32", 1.0, 3 * GB // 2),),
)  # fmt: skip


class FakeProbe:
    """A machine that is always the same."""

    def __init__(self, root: object) -> None:
        """Take what a probe takes."""

    def look(self, running: object = ()) -> Load:
        """Return it."""
        return LOAD


def examine(runs: Path) -> list[Finding]:
    """Find what doctors find."""
    return [
        Finding("python", "ok", "3.11.7"),
        Finding("torch", "ok", "2.13.0, imported in 2.1 s"),
        Finding("openmp", "warning", "2 OpenMP runtimes", "use a fresh environment"),
        Finding("disk", "ok", "180 GB free"),
    ]
