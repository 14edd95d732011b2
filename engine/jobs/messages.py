"""What a client may ask of the supervisor, as files in the inbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from engine.errors import InputError
from engine.jobs.entry import MOST_PRIORITY
from engine.study.model import Config, refuse

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
Size = Annotated[int, Field(ge=0, le=1 << 62)]
Count = Annotated[int, Field(ge=1, le=1 << 31)]
Priority = Annotated[int, Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY)]


class JobFile(Config):
    """The content of a `job.json`: all that a worker is told."""

    kind: Annotated[str, Field(pattern=r"^[a-z]{1,20}$")]
    """Which stage does it."""
    name: Annotated[str, Field(min_length=1, max_length=300)]
    """Name for people."""
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Content key."""
    code: Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")] = ""
    """Digest of the code that the key stands for; empty: not known."""
    config: dict[str, Any]
    """Settings that decide the result."""
    policy: dict[str, Any]
    """Settings that decide whether to go on."""
    inputs: dict[str, Name]
    """Role → run directory whose artifacts are read."""
    work: float
    """Size, for forecasts."""
    threads: Count
    """Threads of its worker."""
    placement: dict[str, Any]
    """Device and numerics."""
    environment: dict[str, str]
    """What is set before libraries are imported."""


class AskedJob(Config):
    """One job of a submission."""

    file: JobFile
    """What the worker is told."""
    slots: Count = 1
    """Slots that it takes."""
    steps: Size = 0
    """Optimizer steps, for progress."""
    memory_bytes: Size = 0
    """Memory that it is expected to need."""
    disk_bytes: Size = 0
    """What it is expected to write."""

    @property
    def directory(self) -> str:
        """Name of its run directory: never taken from the message."""
        return f"{self.file.kind}-{self.file.key[:16]}"


class Submission(Config):
    """A study to be queued: its plan, made by the client."""

    command: Literal["submit"] = "submit"
    study: Name
    """Name of the study."""
    profile: str = ""
    """Profile under which it was planned."""
    yaml: Annotated[str, Field(max_length=1 << 20)] = ""
    """The study file, for the record."""
    priority: Priority = 0
    """Jobs of a higher one go first."""
    report: str = ""
    """Directory of the job that gathers everything; empty: there is none."""
    jobs: Annotated[list[AskedJob], Field(min_length=1)]
    """Inputs before those that read them."""

    @model_validator(mode="after")
    def _inputs_come_first(self) -> Submission:
        known: set[str] = set()
        for number, job in enumerate(self.jobs):
            missing = set(job.file.inputs.values()) - known
            if missing:
                raise refuse(
                    f"jobs.{number}.inputs", f"reads {min(missing)}", "jobs listed before it"
                )
            known.add(job.directory)
        if self.report and self.report not in known:
            raise refuse("report", self.report, "one of the jobs")
        return self


class Order(Config):
    """Something to do with jobs that are queued already."""

    command: Literal["cancel", "pause", "resume", "retry", "priority"]
    target: Annotated[str, Field(min_length=1, max_length=400)]
    """A study, a job of it as `study/name`, a run directory, a key's beginning, or `all`."""
    value: Priority = 0
    """The priority."""


Message = Submission | Order
_MESSAGE: TypeAdapter[Message] = TypeAdapter(
    Annotated[Submission | Order, Field(discriminator="command")]
)


def read_message(data: Mapping[str, Any], where: str) -> Message:
    """Return a message; raise InputError saying what is wrong with it."""
    try:
        return _MESSAGE.validate_python(dict(data))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise InputError(where, f"{path}: {first['msg']}") from None
