"""The run directory: the one class that knows every file name in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.disk.atomic import (
    MANIFEST,
    digest,
    publish_directory,
    read_object,
    verify_directory,
    write_json,
)
from engine.disk.failpoints import failpoint
from engine.errors import CorruptArtifact, Superseded

FEATURES = "features.parquet"
"""Among the artifacts of an analysis and of a report: one row per feature per seed."""
GALLERY = "gallery.safetensors"
"""Among the artifacts of an analysis: activation maps of a few features, and the features of the twin."""
CONSENSUS = "consensus.safetensors"
"""Among the artifacts of an analysis: directions, members and sizes of the features that seeds share."""
_STEP = re.compile(r"step-([0-9]{1,18})")
_MOST_ATTEMPTS = 1 << 31


class RunDirectory:
    """Everything that one job writes.

    It fills in order: `job.json`, `log.txt`, `curves.jsonl`, `tensorboard/`, `checkpoints/step-N/`,
    artifacts, `result.json`. A directory with a result is done.
    """

    def __init__(self, path: Path, attempt: int | None = None) -> None:
        """Name a run directory; a worker gives the number of its attempt, and publishes nothing once another
        has begun."""
        self.path, self.attempt = path, attempt

    @property
    def job_file(self) -> Path:
        """What the job is: kind, configuration, inputs, numerics."""
        return self.path / "job.json"

    @property
    def log_file(self) -> Path:
        """Everything the worker printed."""
        return self.path / "log.txt"

    @property
    def curves_file(self) -> Path:
        """Measurements by step."""
        return self.path / "curves.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard event files, a copy of the curves for its readers."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """Folder of `step-N` checkpoints."""
        return self.path / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """Folder of what later jobs read."""
        return self.path / "artifacts"

    @property
    def result_file(self) -> Path:
        """The last file written."""
        return self.path / "result.json"

    @property
    def attempt_file(self) -> Path:
        """Number of the attempt that may publish here."""
        return self.path / "attempt.json"

    @property
    def sign_file(self) -> Path:
        """Sign of life of the worker in it."""
        return self.path / "worker.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the worker in it."""
        return self.path / ".lock"

    @property
    def error_file(self) -> Path:
        """Why the last attempt ended without a result."""
        return self.path / "error.json"

    def create(self, job: Mapping[str, Any]) -> None:
        """Make the directory for a job and write `job.json`.

        Where a checkpoint waits, the threads and environment of the attempt that made it are kept, so that
        the next one ends bitwise the same; only the policy, which decides no digit, follows the new request.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        kept: dict[str, Any] = {}
        if self._steps():
            with contextlib.suppress(CorruptArtifact):
                kept = self.read_job()
        write_json(self.job_file, {**job, **kept, "policy": job.get("policy", {})})

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        """Let a finished job follow a newer request's policy, which decides no digit of it."""
        write_json(self.job_file, {**self.read_job(), "policy": policy})

    def begin_attempt(self, attempt: int) -> None:
        """Let an attempt publish here, and none before it."""
        self.error_file.unlink(missing_ok=True)
        # Not fsynced: when the power fails, whoever might have been fenced off is gone, too.
        aside = self.path / ".attempt.tmp"
        aside.write_text(json.dumps({"attempt": attempt}))
        os.replace(aside, self.attempt_file)

    def newest_attempt(self) -> int:
        """Return the number of the attempt that may publish here; 0 if there was none."""
        with contextlib.suppress(CorruptArtifact, OSError):
            found = read_object(self.attempt_file).get("attempt")
            return found if isinstance(found, int) and 0 < found < _MOST_ATTEMPTS else 0
        return 0

    def check_attempt(self) -> None:
        """Raise Superseded if a later attempt than ours has begun."""
        if self.attempt is not None and self.newest_attempt() != self.attempt:
            raise Superseded(f"attempt {self.attempt} was superseded by {self.newest_attempt()}")

    def read_job(self) -> dict[str, Any]:
        """Read `job.json`; raise CorruptArtifact if it is missing or torn."""
        if not self.job_file.is_file():
            raise CorruptArtifact(f"{self.path}: no job.json, so this is no run directory")
        job = read_object(self.job_file)
        if not isinstance(job.get("policy"), dict):
            raise CorruptArtifact(f"{self.job_file}: names no policy, so it is no job")
        return job

    def done(self) -> bool:
        """Return whether the job has a result."""
        return self.result_file.is_file()

    def begin_artifacts(self) -> Path:
        """Return an empty folder to write artifacts into; `finish` publishes it."""
        aside = self.path / ".artifacts"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        return aside

    def drop_unfinished(self) -> None:
        """Remove artifacts that were never published."""
        shutil.rmtree(self.path / ".artifacts", ignore_errors=True)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Publish the artifacts, then the result; from then on the job is done."""
        aside = self.path / ".artifacts"
        aside.mkdir(parents=True, exist_ok=True)
        self.check_attempt()
        publish_directory(aside, self.artifacts)
        self.error_file.unlink(missing_ok=True)
        sealed = {**result, "manifest": digest(self.artifacts / MANIFEST)}
        failpoint("result.before-write")
        write_json(self.result_file, {**sealed, "seal": _seal(sealed)})

    def read_result(self) -> dict[str, Any]:
        """Read the result after checking every artifact against its digest.

        Raises:
            CorruptArtifact: there is no result, or a file differs from what was published.
        """
        if not self.done():
            raise CorruptArtifact(f"{self.path}: no result yet")
        result = read_object(self.result_file)
        seal, manifest = result.pop("seal", None), result.get("manifest")
        if seal != _seal(result):
            raise CorruptArtifact(f"{self.result_file}: content differs from what was written")
        verify_directory(self.artifacts)
        if digest(self.artifacts / MANIFEST) != manifest:
            raise CorruptArtifact(f"{self.artifacts}: not the artifacts of this result")
        return result

    def sound(self) -> bool:
        """Return whether the job is known and has a result that matches its artifacts."""
        try:
            self.read_job()
            self.read_result()
        except CorruptArtifact:
            return False
        return True

    def discard(self) -> None:
        """Forget the result and artifacts so that the job runs again; curves and log stay."""
        self.result_file.unlink(missing_ok=True)
        shutil.rmtree(self.artifacts, ignore_errors=True)

    def begin_checkpoint(self, step: int) -> Path:
        """Return an empty folder for the checkpoint of a step; `publish_checkpoint` makes it count."""
        aside = self.checkpoints / f".step-{step}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        return aside

    def publish_checkpoint(self, step: int, keep: int = 2) -> None:
        """Make a written checkpoint count and remove all but the newest `keep`."""
        self.check_attempt()
        publish_directory(self.checkpoints / f".step-{step}", self.checkpoints / f"step-{step}")
        for old in self._steps()[:-keep]:
            shutil.rmtree(self.checkpoints / f"step-{old}", ignore_errors=True)

    def newest_checkpoint(self) -> tuple[int, Path] | None:
        """Return step and folder of the newest checkpoint whose files match their digests.

        A damaged one is renamed to `damaged-step-N` (never silently loaded, never in the way) and the
        one before it is tried.
        """
        for step in reversed(self._steps()):
            folder = self.checkpoints / f"step-{step}"
            try:
                verify_directory(folder)
            except CorruptArtifact as damage:
                aside = self.checkpoints / f"damaged-step-{step}"
                shutil.rmtree(aside, ignore_errors=True)
                os.rename(folder, aside)
                print(f"checkpoint at step {step} is damaged, falling back: {damage}", flush=True)
                continue
            return step, folder
        return None

    def remove_checkpoints(self) -> None:
        """Remove all checkpoints (a finished job needs none)."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def progress(self) -> int:
        """Return the step of the newest checkpoint, 0 without one."""
        return max(self._steps(), default=0)

    def _steps(self) -> list[int]:
        if not self.checkpoints.is_dir():
            return []
        found = (_STEP.fullmatch(path.name) for path in self.checkpoints.iterdir())
        return sorted(int(name[1]) for name in found if name)


def _seal(result: Mapping[str, Any]) -> str:
    """Return a digest of a result's content, whatever the order and spacing it was written with."""
    text = json.dumps(result, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
