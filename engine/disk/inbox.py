"""The inbox: clients leave messages as files, whether or not a supervisor is up; it takes them in order."""

from __future__ import annotations

import json
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Any

from engine.disk.atomic import sync_directory, write_bytes
from engine.errors import InputError

SIZE_CAP = 64 << 20
"""Largest message that is read, in bytes: a study of some 20,000 jobs."""
KEEP_TAKEN_SECONDS = 30 * 86400.0


class Inbox:
    """A folder of messages: new ones in it, those that were applied in `taken/`, bad ones in `refused/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken, self.refused = path / "taken", path / "refused"

    def drop(self, message: dict[str, Any]) -> str:
        """Leave a message; return its name. It is on disk, whole, when this returns.

        Raises:
            InputError: it is larger than a supervisor would read.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{self._moment():020d}-{os.getpid()}-{secrets.token_hex(4)}.json"
        data = json.dumps(message, allow_nan=False).encode()
        if len(data) > SIZE_CAP:
            raise InputError(
                "submit", f"{len(data) >> 20} MB of jobs", f"at most {SIZE_CAP >> 20} MB at a time"
            )
        write_bytes(self.path / name, data)
        return name

    def _moment(self) -> int:
        """Return now in nanoseconds, or, if somebody set back the clock, what is after all that waits."""
        before = (path.name[:20] for path in self.waiting())
        return max(time.time_ns(), *(int(one) + 1 for one in before if one.isdecimal()), 0)

    def waiting(self) -> list[Path]:
        """Return the messages that wait, oldest first."""
        if not self.path.is_dir():
            return []
        names = [e.name for e in os.scandir(self.path) if e.name.endswith(".json")]
        return [self.path / name for name in sorted(names) if not name.startswith(".")]

    def archive(self) -> list[Path]:
        """Return the messages that were applied, oldest first."""
        return sorted(self.taken.glob("*.json")) if self.taken.is_dir() else []

    def read(self, path: Path) -> dict[str, Any]:
        """Read a message; raise InputError if it is no regular file, too large, or no JSON object."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > SIZE_CAP:
                raise InputError(path.name, "no file of at most 64 MB", "a message")
            data = file.read(SIZE_CAP + 1)
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            raise InputError(path.name, "not JSON", "a message") from None
        if not isinstance(message, dict):
            raise InputError(path.name, f"{type(message).__name__}, not an object", "a message")
        return message

    def put_away(self, path: Path, folder: Path) -> None:
        """Move a message out of the way, after it has had its effect."""
        folder.mkdir(mode=0o700, exist_ok=True)
        os.replace(path, folder / path.name)
        sync_directory(self.path)

    def forget_old(self) -> int:
        """Remove archived messages that are older than a month; return how many."""
        old = [
            path
            for path in self.archive()
            if time.time() - path.stat().st_mtime > KEEP_TAKEN_SECONDS
        ]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)
