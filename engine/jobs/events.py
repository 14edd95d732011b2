"""What a supervisor tells of: something happened to a job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

What = Literal["cached", "started", "running", "done", "failed", "skipped", "note"]


class Named(Protocol):
    """A job, as far as telling of it goes: one of a plan, or one of the queue."""

    @property
    def kind(self) -> str:
        """Which stage does it."""

    @property
    def name(self) -> str:
        """Name for people."""

    @property
    def key(self) -> str:
        """Content key."""

    @property
    def directory(self) -> str:
        """Name of its run directory."""

    @property
    def steps(self) -> int:
        """Optimizer steps; 0 where there are none."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a job."""

    what: What
    job: Named
    seconds: float = 0.0
    """Since the job started."""
    message: str = ""


def silence(_: Event) -> None:
    """Tell nobody."""


@dataclass
class Outcome:
    """How a study ended."""

    done: list[Named] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Name → why."""
    exit_code: int = 0
    report: Named | None = None
    """The finished report: the whole one, or the one over what is left of it."""
