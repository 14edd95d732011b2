"""Memory, and the runs root: its disk, its file system, who owns it and who may write."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.doctor.finding import Finding
from engine.study.machine import Machine

NETWORK = re.compile(
    r"nfs4?|cifs|smb3?|smbfs|afs|ceph|glusterfs|lustre|gpfs|beegfs|9p|vboxsf|virtiofs|fuse|fuse\.(?!fuse-overlayfs).*"
)
"""File systems on which locks and the order of writes are not what SQLite needs, or may not be."""
ELSEWHERE = "--runs with a folder of your own, or HUSAI_RUNS"


def memory(machine: Machine) -> Finding:
    """Judge the memory of the computer."""
    gigabytes = machine.memory_bytes / 2**30
    if gigabytes < 2:
        remedy = "2 GB are needed for the presets"
        return Finding("memory", "warning", f"{gigabytes:.1f} GB", remedy)
    return Finding("memory", "ok", f"{gigabytes:.1f} GB")


def existing(runs: Path) -> Path:
    """Return a path, or the nearest folder above it that exists."""
    place = runs.resolve()
    while not place.exists():
        place = place.parent
    return place


def disk(runs: Path) -> Finding:
    """Judge the space for the runs root."""
    free = shutil.disk_usage(existing(runs)).free / 2**30
    if free < 1:
        remedy = "1 GB is needed for the presets; `husai-engine gc` frees what no study needs"
        return Finding("disk", "warning", f"{free:.1f} GB free for {runs}", remedy)
    return Finding("disk", "ok", f"{free:.0f} GB free for {runs}")


def mount(runs: Path, mounts: Path = Path("/proc/mounts")) -> Iterator[Finding]:
    """Judge the file system below the runs root, where the kernel lists what is mounted."""
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    found = file_system_of(existing(runs), table)
    if found is None:
        return
    source, point, kind = found
    if NETWORK.fullmatch(kind):
        yield Finding(
            "mount",
            "warning",
            f"{runs} lies on {kind} ({source} at {point}): the queue may be damaged there, as locks may fail",
            "put the runs root on a disk of this machine (--runs, HUSAI_RUNS); reports may be copied",
        )
    else:
        yield Finding("mount", "ok", f"{kind} at {point}")


def file_system_of(place: Path, table: str) -> tuple[str, str, str] | None:
    """Return source, mount point and type of the file system that a path lies on, by `/proc/mounts`."""
    best: tuple[str, str, str] | None = None
    for line in table.splitlines():
        words = [_unescape(word) for word in line.split(" ")]
        if len(words) < 3 or not place.is_relative_to(words[1]):
            continue
        if best is None or len(words[1]) >= len(best[1]):  # the last one hides those before it
            best = (words[0], words[1], words[2])
    return best


def _unescape(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


@dataclass(frozen=True)
class Access:
    """What the system says on who may do what in a folder."""

    folder: bool
    writable: bool
    owner: int
    me: int
    mode: int


def access(place: Path) -> Access:
    """Ask the system about a path that exists."""
    found = place.stat()
    writable = os.access(place, os.W_OK | os.X_OK)
    return Access(place.is_dir(), writable, found.st_uid, os.geteuid(), stat.S_IMODE(found.st_mode))


def runs_root(runs: Path, found: Access | None = None) -> Iterator[Finding]:
    """Judge whether the runs root can be written, belongs to us, and to us alone.

    Args:
        runs: runs root; it need not exist yet.
        found: what the system says about it, or about the folder above it that exists.
    """
    place = existing(runs)
    found = found or access(place)
    if not found.folder:
        yield Finding("runs root", "error", f"{place} is a file, not a folder", ELSEWHERE)
    elif not found.writable:
        yield Finding("runs root", "error", f"{place} cannot be written", ELSEWHERE)
    elif place != runs.resolve():
        yield Finding("runs root", "ok", f"{runs} is made by the first run, for you alone")
    elif found.owner != found.me:
        what = (
            f"{runs} belongs to user {found.owner}, not to you ({found.me}): files of both will mix"
        )
        yield Finding("runs root", "warning", what, f"chown -R {found.me} {runs}, or {ELSEWHERE}")
    elif found.mode & 0o022:
        what = f"{runs} can be written by others (mode {found.mode:o}): they decide what is run"
        yield Finding("runs root", "warning", what, f"chmod 700 {runs}")
    elif found.mode & 0o055:
        what = f"{runs} can be read by others (mode {found.mode:o})"
        yield Finding("runs root", "note", what, f"chmod 700 {runs}")
    else:
        yield Finding("runs root", "ok", f"{runs}, for you alone (mode {found.mode:o})")
