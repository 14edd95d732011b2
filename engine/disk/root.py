"""The runs root: the one class that knows the names below it, and that nothing leads out of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.disk.rundir import RunDirectory
from engine.errors import EnvironmentUnfit, InputError

PRIVATE_FOLDER = 0o700
PRIVATE_UMASK = 0o077
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class RunsRoot:
    """Where everything is written: `jobs/` with the run directories, the queue, the inbox, one folder per
    study."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def jobs(self) -> Path:
        """Folder of the run directories."""
        return self.path / "jobs"

    @property
    def database(self) -> Path:
        """The queue."""
        return self.path / "queue.sqlite3"

    @property
    def backup(self) -> Path:
        """A copy of the queue from a little while ago."""
        return self.path / "queue.backup.sqlite3"

    @property
    def inbox(self) -> Path:
        """Folder where clients drop messages for the supervisor."""
        return self.path / "inbox"

    @property
    def tensorboard(self) -> Path:
        """Folder that TensorBoard is started on: a name for every run."""
        return self.path / "tensorboard"

    @property
    def lock_file(self) -> Path:
        """Locked by the supervisor for as long as it lives."""
        return self.path / ".runner"

    @property
    def state_file(self) -> Path:
        """What the supervisor says of itself."""
        return self.path / "supervisor.json"

    @property
    def log_file(self) -> Path:
        """What the supervisor decided, line by line."""
        return self.path / "supervisor.log"

    def prepare(self) -> None:
        """Make the root, for its owner alone; raise EnvironmentUnfit if it cannot be written."""
        try:
            # One by one: the mode is not that of parents which are made along the way.
            self.path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            for folder in (self.jobs, self.inbox):
                folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            if not os.access(self.path, os.W_OK):
                raise PermissionError(13, "not writable")
        except OSError as error:
            raise EnvironmentUnfit(
                f"--runs {self.path}: {error.strerror}; a folder that can be written"
            ) from None

    def run(self, directory: str) -> RunDirectory:
        """Return a run directory by its name; raise InputError if the name leads anywhere else."""
        return RunDirectory(self._inside(self.jobs, directory))

    def study(self, name: str) -> Path:
        """Return a study's folder; raise InputError if the name leads anywhere else, or is taken."""
        if name in ("jobs", "inbox", "tensorboard") or name.startswith(("queue.", "supervisor.")):
            raise InputError(name, "is taken in every runs folder", "another name for the study")
        return self._inside(self.path, name)

    def report(self, study: str) -> Path:
        """Return where a study's report is published."""
        return self.study(study) / "report"

    def _inside(self, folder: Path, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InputError(repr(name), "is no name", "letters, digits and . _ -, at most 80")
        path = folder / name
        if path.is_symlink() and not path.resolve().is_relative_to(self.path.resolve()):
            raise InputError(str(path), "a link that leads out of the runs root", "a folder")
        return path


def is_name(text: str) -> bool:
    """Return whether a text can name a study or a run directory."""
    return _NAME.fullmatch(text) is not None
