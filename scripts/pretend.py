"""A runs root that looks alive: jobs without workers, curves that grow, a supervisor that only beats."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.client.studies import open_plan
from engine.disk.heartbeat import start_of
from engine.disk.root import RunsRoot
from engine.jobs.lock import hold
from engine.jobs.messages import AskedJob, Submission
from engine.jobs.queue import Queue
from engine.jobs.submission import submission_of

STRIDE = 10
"""Steps between two rows of a curve."""
STUDY = "pretend"


def row(step: int, steps: int, seeds: int, chance: random.Random) -> dict[str, Any]:
    """Return a row of a cohort's curves, as training writes it."""
    done = step / steps

    def each(value: float, noise: float) -> list[float]:
        return [value * (1 + chance.gauss(0, noise)) for _ in range(seeds)]

    return {
        "step": step,
        "loss": each(40 * math.exp(-6 * done) + 4, 0.02),
        "explained_variance": each(1 - 0.6 * math.exp(-5 * done), 0.003),
        "l0": each(32 + 400 * math.exp(-8 * done), 0.01),
        "dead_fraction": each(0.2 * done, 0.1),
        "train_loss": each(40 * math.exp(-6 * done) + 4, 0.05),
        "aux_loss": each(0.1, 0.1),
        "mean_max_cos": each(0.3 + 0.4 * done, 0.01),
    }


class Pretence:
    """A runs root with some running, some queued and some finished jobs."""

    def __init__(
        self, path: Path, *, running: int = 8, queued: int = 20, rows: int = 2500, seeds: int = 5
    ) -> None:
        self.root, self._rows, self._seeds = RunsRoot(path), rows, seeds
        self._steps = 3 * rows * STRIDE
        self._chance = random.Random(0)
        self.root.prepare()
        inputs, cohort = self._jobs()
        clones = [self._clone(cohort, number) for number in range(running + queued)]
        self.running = [job.directory for job in clones[:running]]
        queue = Queue(self.root.database)
        asked = Submission(study=STUDY, profile="cpu", jobs=[*inputs, *clones])
        queue.submit("pretend", asked)
        for job in inputs:
            queue.accept(job.directory, 1)
        for number, job in enumerate(clones[:running]):
            queue.claim(job.directory)
            self._fill(job, rows + 10 * number)
        queue.close()

    def _jobs(self) -> tuple[list[AskedJob], AskedJob]:
        plan = submission_of(open_plan("topk-vs-relu", "cpu"))
        kinds = {job.file.kind: job for job in reversed(plan.jobs)}
        return [kinds["subject"], kinds["activations"]], kinds["cohort"]

    def _clone(self, job: AskedJob, number: int) -> AskedJob:
        key = hashlib.sha256(f"{job.file.key} {number}".encode()).hexdigest()
        config = {**job.file.config, "seeds": list(range(1, self._seeds + 1))}
        changed = {"key": key, "name": f"{job.file.name} #{number}", "config": config}
        file = job.file.model_copy(update=changed)
        return job.model_copy(update={"file": file, "steps": self._steps})

    def _fill(self, job: AskedJob, rows: int) -> None:
        run = self.root.run(job.directory)
        run.create(job.file.model_dump(mode="json"))
        run.log_file.write_text("cohort begins\n")
        with open(run.curves_file, "w") as file:
            for number in range(rows):
                told = row(number * STRIDE, self._steps, self._seeds, self._chance)
                file.write(json.dumps(told) + "\n")
        self._at = {**getattr(self, "_at", {}), job.directory: rows}

    def advance(self) -> None:
        """Append a row to every running job's curves, and a line to its log."""
        for directory in self.running:
            run, number = self.root.run(directory), self._at[directory]
            told = row(number * STRIDE, self._steps, self._seeds, self._chance)
            self._at[directory] = number + 1
            with contextlib.suppress(OSError), open(run.curves_file, "a") as file:
                file.write(json.dumps(told) + "\n")
            with contextlib.suppress(OSError), open(run.log_file, "a") as file:
                file.write(f"step {told['step']} loss {told['loss'][0]:.4f}\n")

    def end(self) -> None:
        """Let every running job be done."""
        queue = Queue(self.root.database)
        for directory in self.running:
            queue.finish(directory, 1, 100.0)
        queue.connection.execute("UPDATE jobs SET state = 'done' WHERE state = 'queued'")
        queue.close()
        self.running = []

    def beat(self, since: float) -> None:
        """Say that a supervisor is well, as one does."""
        told = {
            "pid": os.getpid(),
            "started": start_of(os.getpid()),
            "mode": "service",
            "profile": "cpu",
            "device": "cpu",
            "slots": 8,
            "threads": 1,
            "since": since,
            "state": "up",
            "beat": time.time(),
            "running": len(self.running),
            "trouble": "",
        }
        aside = self.root.state_file.with_name(".supervisor.json.tmp")
        aside.write_text(json.dumps(told))
        os.replace(aside, self.root.state_file)

    @contextlib.contextmanager
    def alive(self, period: float = 0.5) -> Iterator[None]:
        """Let jobs advance every `period` seconds under a supervisor that beats, until the block ends."""
        over, since = threading.Event(), time.time()

        def live() -> None:
            tick = 0
            while not over.wait(period):
                tick += 1
                self.advance()
                if tick % max(1, round(1 / period)) == 0:
                    self.beat(since)

        thread = threading.Thread(target=live, daemon=True)
        with hold(self.root.lock_file, self.root.path, "service"):
            self.beat(since)
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()
