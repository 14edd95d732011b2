"""The error tree. Everything that a user can meet derives from `HusaiError`.

HusaiError                 exit code
├── InputError             2    what the user wrote is wrong
├── EnvironmentUnfit       3    this machine cannot do what was asked
├── JobFailed              1    a job ended without a result
│   ├── GateFailed         1    a check that must hold before SAEs are trained does not
│   ├── Diverged           1    a loss became non-finite
│   └── Superseded         1    a later attempt of the same job has begun
├── CorruptArtifact        1    a file does not match its recorded digest
└── Interrupted            130  a signal asked the work to stop; it was saved
"""

from __future__ import annotations


class HusaiError(Exception):
    """Base of all errors that are reported as one or two lines, without a traceback."""

    exit_code = 1


class InputError(HusaiError):
    """What the user wrote is wrong: where, what is wrong, what would be right."""

    exit_code = 2

    def __init__(self, where: str, what: str, want: str = "") -> None:
        self.where, self.what, self.want = where, what, want
        super().__init__(": ".join(part for part in (where, what, want) if part))


class EnvironmentUnfit(HusaiError):
    """This machine lacks what was asked for (a device, a library, disk space)."""

    exit_code = 3


class JobFailed(HusaiError):
    """A job ended without a result."""


class GateFailed(JobFailed):
    """A gate that must hold before SAEs are trained does not hold."""


class Diverged(JobFailed):
    """A loss or a weight became non-finite."""


class Superseded(JobFailed):
    """A later attempt of the same job has begun: this one must leave no trace."""


class CorruptArtifact(HusaiError):
    """A file does not match the digest that was recorded when it was published."""


class Interrupted(HusaiError):
    """A signal asked the work to stop; what was done is saved."""

    exit_code = 130
