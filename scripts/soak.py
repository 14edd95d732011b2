"""Kills workers, supervisors and clients at random while a queue is worked off; nothing may be lost.

Two roots run the same studies: one undisturbed, one under fire. Afterwards every job of the second has exactly
one result, the weights are bitwise those of the first, and SQLite finds the queue whole.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from engine.client import queue as client
from engine.client.studies import drop
from engine.disk.heartbeat import lives, read_sign
from engine.disk.root import RunsRoot
from engine.jobs.lock import holder
from engine.jobs.messages import AskedJob, JobFile, Submission

READING = (
    "jobs",
    "status",
    "health",
    "gc",
    "priority rehearsal/1 1",
    "pause rehearsal/2",
    "resume rehearsal/2",
    "logs rehearsal/0",
)
"""Commands that must answer at once, whatever the length of the queue."""
KINDS = ("worker", "supervisor", "client")
PATIENCE_SECONDS = 1800.0
MOST_STRIKES = 6
"""Kills of one job's workers: the queue gives up a job that is killed eleven times without coming further."""
LOCKED_SECONDS = 30.0
"""How long somebody else holds the queue's database, once per study."""
STOPPED_SECONDS = 45.0
"""How long a worker is stopped, once per study: longer than its lease."""


def study(number: int, cohorts: int, epochs: int) -> dict[str, Any]:
    """Return a study of short cohorts; another number means other seeds, so other jobs."""
    seeds = [10 * number + seed for seed in (1, 2, 3)]
    rates = [round(0.001 + 0.0001 * step, 6) for step in range(cohorts)]
    return {
        "name": f"soak-{number}",
        "subject": {"kind": "planted", "d_in": 16, "features": 24, "l0": 2, "samples": 2000},
        "hooks": ["planted"],
        "saes": [{"architecture": "topk", "d_sae": 32, "k": 2}],
        "seeds": seeds,
        "training": {
            "epochs": epochs,
            "batch_size": 100,
            "checkpoint_every": 50,
            "measure_every": 50,
        },
        "analysis": {"surrogate": False},
        "search": {"kind": "grid", "over": {"training.lr": rates}},
    }


def engine(root: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a command of the engine, as a user would."""
    command = [sys.executable, "-m", "engine", *words, "--runs", str(root)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a command that must succeed."""
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    if process.returncode:
        raise SystemExit(f"a command failed with {process.returncode}: {said.decode()}")


class Fire:
    """Kills at random, and brings back what must be there."""

    def __init__(self, root: Path, kills: int, seed: int, wait: float, hard: bool) -> None:
        self.root, self.left, self.wait = RunsRoot(root), kills, wait
        self.hard = hard
        """Whether each study also meets a locked database and a stopped worker."""
        self.random = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.hardships: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        """Run directory → how often its worker was killed."""

    def round(self, file: Path, name: str) -> None:
        """Submit a study and kill until it has ended, or all kills are spent; then let it end."""
        finish(engine(self.root.path, "up"))
        self._submit(file)
        hardships = []
        if self.hard:
            hardships = [threading.Thread(target=one) for one in (self._lock, self._stop)]
            for hardship in hardships:
                hardship.start()
        self._fire(file, name)
        for hardship in hardships:
            hardship.join()

    def _fire(self, file: Path, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._ended(name):
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} has not ended in {PATIENCE_SECONDS:.0f} s")
            if self.left:
                time.sleep(self.random.uniform(0.0, self.wait))
                # The kind that has had the least, so that each has its share.
                kind = min(KINDS, key=lambda kind: (self.kills[kind], self.random.random()))
                getattr(self, f"_{kind}")(file)
            if holder(self.root.lock_file) is None:
                finish(engine(self.root.path, "up"))
            time.sleep(0.05)

    def _submit(self, file: Path) -> None:
        finish(engine(self.root.path, "submit", str(file)))

    def _ended(self, name: str) -> bool:
        if client.waiting_studies(self.root):
            return False
        with contextlib.suppress(
            Exception
        ):  # the supervisor may be in the middle of its first commit
            found = client.jobs(self.root, name)
            return all(job["state"] in client.ENDED for job in found)
        return False

    def _count(self, kind: str) -> None:
        self.kills[kind] += 1
        self.left -= 1

    def _worker(self, _: Path) -> None:
        found = {
            path.parent.name: sign
            for path in self.root.jobs.glob("*/worker.json")
            if (sign := read_sign(path)) is not None and lives(sign)
        }
        names = [name for name in sorted(found) if self.struck[name] < MOST_STRIKES]
        if names:
            name = self.random.choice(names)
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[name].pid, signal.SIGKILL)
                self.struck[name] += 1
                self._count("worker")

    def _supervisor(self, _: Path) -> None:
        found = holder(self.root.lock_file)
        if found and "pid" in found:
            os.kill(found["pid"], signal.SIGKILL)
            self._count("supervisor")

    def _lock(self) -> None:
        """Hold the queue's database, as a backup program might."""
        time.sleep(5.0)
        with contextlib.closing(sqlite3.connect(self.root.database, timeout=60.0)) as queue:
            queue.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED_SECONDS)
            queue.rollback()
        self.hardships["locked"] += 1

    def _stop(self) -> None:
        """Stop a worker for longer than its lease, then let it find out that it was replaced."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            signs = [read_sign(path) for path in self.root.jobs.glob("cohort-*/worker.json")]
            alive = [sign for sign in signs if sign is not None and lives(sign)]
            if alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(alive[0].pid, signal.SIGSTOP)
                    time.sleep(STOPPED_SECONDS)
                    os.kill(alive[0].pid, signal.SIGCONT)
                self.hardships["stopped"] += 1
                return
            time.sleep(0.1)

    def _client(self, file: Path) -> None:
        """Submit once more, which changes nothing, and kill that in the middle."""
        process = engine(self.root.path, "submit", str(file))
        time.sleep(self.random.uniform(0.2, 1.5))
        if process.poll() is None:
            process.kill()
            self._count("client")
        process.communicate()


def weights(root: Path) -> dict[str, str]:
    """Return the sha256 of every cohort's weights, by job."""
    return {
        path.parents[1].name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.glob("jobs/cohort-*/artifacts/cohort.safetensors")
    }


def judge(calm: Path, fired: Path) -> dict[str, Any]:
    """Count what must be equal, and what must not be there."""
    with contextlib.closing(sqlite3.connect(fired / "queue.sqlite3")) as queue:
        jobs = dict(queue.execute("SELECT directory, state FROM jobs"))
        results = Counter(row[0] for row in queue.execute("SELECT directory FROM results"))
        whole = queue.execute("PRAGMA integrity_check").fetchone()[0]
    done_lines = {
        path.parent.name: path.read_text().count("\ndone in ")
        for path in fired.glob("jobs/*/log.txt")
    }
    wanted, found = weights(calm), weights(fired)
    alive = [read_sign(path) for path in fired.glob("jobs/*/worker.json")]
    return {
        "jobs": len(jobs),
        "results": sum(results.values()),
        "lost": sum(state != "done" or results[name] == 0 for name, state in jobs.items()),
        "twice": sum(count > 1 for count in [*results.values(), *done_lines.values()]),
        "cohorts": len(wanted),
        "different_weights": sum(found.get(name) != digest for name, digest in wanted.items()),
        "orphans": sum(sign is not None and lives(sign) for sign in alive),
        "integrity": whole,
    }


def soak(
    kills: int, seed: int, cohorts: int, epochs: int, wait: float, folder: Path, hard: bool = False
) -> dict[str, Any]:
    """Run studies under fire until all kills are spent, and the same undisturbed; return the counts."""
    fire = Fire(folder / "fired", kills, seed, wait, hard)
    number = 0
    while fire.left:
        file = folder / f"study-{number}.yaml"
        file.write_text(yaml.safe_dump(study(number, cohorts, epochs)))
        fire.round(file, f"soak-{number}")
        number += 1
        print(f"{sum(fire.kills.values())} kills after {number} studies", flush=True)
    finish(engine(fire.root.path, "down"))
    for file in sorted(folder.glob("study-*.yaml")):
        finish(engine(folder / "calm", "run", str(file), "--quiet"))
    return {"kills": dict(fire.kills), **fire.hardships, **judge(folder / "calm", fire.root.path)}


def held(counts: dict[str, Any]) -> bool:
    """Return whether every promise held."""
    bad = ("lost", "twice", "different_weights", "orphans")
    same = counts["jobs"] == counts["results"]
    return same and counts["integrity"] == "ok" and not any(counts[name] for name in bad)


def rehearsals(count: int, **config: Any) -> Submission:
    """Return a study of jobs that compute nothing."""
    jobs = [
        AskedJob(
            file=JobFile(
                kind="rehearsal",
                name=f"{number}",
                key=hashlib.sha256(f"{number} {sorted(config.items())}".encode()).hexdigest(),
                config=config,
                policy={},
                inputs={},
                work=0.0,
                threads=1,
                placement={"device": "cpu", "precision": "float32", "deterministic": True},
                environment={"PYTHONUNBUFFERED": "1"},
            )
        )
        for number in range(count)
    ]
    return Submission(study="rehearsal", jobs=jobs)


def pace(count: int, folder: Path) -> dict[str, Any]:
    """Queue jobs that do nothing; measure how long submitting and answers take, and the jobs a second."""
    root = RunsRoot(folder / "paced")
    root.prepare()
    finish(engine(root.path, "up"))
    started = time.monotonic()
    drop(root, rehearsals(count))
    while not _known(root):
        time.sleep(0.02)
    submitted = time.monotonic() - started
    answers = {command: _answer_time(root, command) for command in READING}
    while client.status(root)["counts"].get("done", 0) < count:
        time.sleep(0.5)
    passed = time.monotonic() - started
    finish(engine(root.path, "down"))
    return {
        "jobs": count,
        "submit_seconds": round(submitted, 2),
        "answer_seconds": answers,
        "jobs_per_second": round(count / passed, 1),
    }


def _answer_time(root: RunsRoot, command: str) -> float:
    """Return the median seconds of five calls."""
    passed = []
    for _ in range(5):
        begun = time.monotonic()
        with contextlib.suppress(SystemExit):  # `health` may not be
            finish(engine(root.path, *command.split(), "--json"))
        passed.append(time.monotonic() - begun)
    return round(sorted(passed)[2], 3)


def _known(root: RunsRoot) -> bool:
    with contextlib.suppress(Exception):
        return bool(client.jobs(root, "rehearsal"))
    return False


def main() -> int:
    """Soak, or pace; the last line holds the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cohorts", type=int, default=30, help="cohorts of one study")
    parser.add_argument("--epochs", type=int, default=40, help="passes of each cohort")
    parser.add_argument("--wait", type=float, default=0.5, help="longest time between kills")
    parser.add_argument(
        "--noops", type=int, help="instead: the pace of so many jobs that do nothing"
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="husai-soak-"))
    try:
        if options.noops:
            counts = pace(options.noops, folder)
            good = True
        else:
            sizes = (options.cohorts, options.epochs, options.wait)
            counts = soak(options.kills, options.seed, *sizes, folder, hard=options.kills >= 50)
            good = held(counts)
    except BaseException:
        print(f"what was found lies in {folder}", file=sys.stderr)
        raise
    if good:
        shutil.rmtree(folder)
    else:
        print(f"what was found lies in {folder}", file=sys.stderr)
    print(json.dumps(counts), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
