"""What all screens share: the runs root, the newest look at its queue, and what the user has set."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from engine.client.look import Snapshot, Watcher
from engine.disk.root import RunsRoot
from husai_tui.settings import Memory, Settings, config_folder, read_memory, read_settings


@dataclass
class Session:
    """One app on one runs root."""

    root: RunsRoot
    profile: str = "auto"
    readonly: bool = False
    settings: Settings = field(default_factory=Settings)
    memory: Memory = field(default_factory=Memory)
    folder: Path = field(default_factory=config_folder)
    """Where settings and memory are kept."""
    host: str = field(default_factory=lambda: socket.gethostname().split(".")[0])
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        self.watcher = Watcher(self.root)

    @property
    def snapshot(self) -> Snapshot:
        """The newest look at the queue."""
        return self.watcher.last

    @property
    def runs_option(self) -> str:
        """`--runs DIR` for a command that reproduces a view; empty where it is the default."""
        default = Path(os.environ.get("HUSAI_RUNS", "runs"))
        return "" if self.root.path == default else f" --runs {self.root.path}"


def open_session(
    runs: Path, profile: str = "", readonly: bool = False, folder: Path | None = None
) -> Session:
    """Return a session with the settings and the memory of this user."""
    folder = folder or config_folder()
    settings = read_settings(folder)
    return Session(
        RunsRoot(runs),
        profile or settings.profile,
        readonly,
        settings,
        read_memory(folder, runs),
        folder,
    )
