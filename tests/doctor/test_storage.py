from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from engine.doctor.storage import Access, access, disk, file_system_of, memory, mount, runs_root
from engine.study.machine import Machine

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/fast\\040disk tmpfs rw 0 0
//box/share /mnt/share cifs rw 0 0
me@box: /mnt/ssh fuse.sshfs rw 0 0
fuse-overlayfs /var/image fuse.fuse-overlayfs rw 0 0
/dev/sdb1 /mnt/usb fuseblk rw 0 0
none /mnt/over tmpfs rw 0 0
C: /mnt/over 9p rw 0 0
torn
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/runs", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/runs", "nfs4"),
        ("/home/me/fast disk/runs", "tmpfs"),
        ("/homes/x", "ext4"),
        ("/mnt/over/runs", "9p"),
    ],
)
def test_a_path_lies_on_the_last_of_the_longest_mounts(path: str, kind: str) -> None:
    found = file_system_of(Path(path), MOUNTS)
    assert found is not None
    assert found[2] == kind


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("ext4", "ok"), ("xfs", "ok"), ("overlay", "ok"), ("tmpfs", "ok"), ("fuseblk", "ok"),
        ("fuse.fuse-overlayfs", "ok"), ("nfs", "warning"), ("nfs4", "warning"), ("cifs", "warning"),
        ("smb3", "warning"), ("fuse.sshfs", "warning"), ("fuse", "warning"), ("virtiofs", "warning"),
        ("lustre", "warning"),
    ],
)  # fmt: skip
def test_the_queue_must_not_lie_on_a_network(tmp_path: Path, kind: str, state: str) -> None:
    table = tmp_path / "mounts"
    table.write_text(f"there {tmp_path.resolve()} {kind} rw 0 0\n")
    (found,) = mount(tmp_path / "not" / "yet", table)
    assert found.state == state
    assert ("--runs" in found.remedy) == (state == "warning")
    assert kind in found.what


def test_where_no_mounts_are_listed_none_are_judged(tmp_path: Path) -> None:
    assert list(mount(tmp_path, tmp_path / "none")) == []
    assert file_system_of(tmp_path, "") is None


MINE = Access(folder=True, writable=True, owner=1000, me=1000, mode=0o700)


@pytest.mark.parametrize(
    ("found", "state", "what", "remedy"),
    [
        (MINE, "ok", "for you alone (mode 700)", ""),
        (replace(MINE, mode=0o755), "note", "can be read by others (mode 755)", "chmod 700"),
        (replace(MINE, mode=0o770), "warning", "can be written by others", "chmod 700"),
        (
            replace(MINE, owner=0),
            "warning",
            "belongs to user 0, not to you (1000)",
            "chown -R 1000",
        ),
        (replace(MINE, writable=False), "error", "cannot be written", "--runs"),
        (replace(MINE, folder=False), "error", "is a file", "--runs"),
    ],
)
def test_the_runs_root_is_for_its_owner_alone(
    tmp_path: Path, found: Access, state: str, what: str, remedy: str
) -> None:
    (one,) = runs_root(tmp_path, found)
    assert one.state == state
    assert what in one.what
    assert remedy in one.remedy
    assert bool(one.remedy) == bool(remedy)


def test_a_root_that_is_not_there_is_judged_by_the_folder_above(tmp_path: Path) -> None:
    (one,) = runs_root(tmp_path / "a" / "b")
    assert one.state == "ok"
    assert "is made by the first run" in one.what
    (file := tmp_path / "file").touch()
    (one,) = runs_root(file / "runs")
    assert one.state == "error"


def test_the_system_is_asked_about_a_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    found = access(tmp_path)
    assert found == Access(True, True, tmp_path.stat().st_uid, os.geteuid(), 0o750)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert not access(tmp_path).writable


@pytest.mark.parametrize(("gigabytes", "state"), [(1, "warning"), (16, "ok")])
def test_little_memory_is_a_warning(gigabytes: int, state: str) -> None:
    found = memory(Machine(1, gigabytes << 30, "Linux", {}, {}))
    assert found.state == state
    assert bool(found.remedy) == (state == "warning")


def test_free_space_is_told(tmp_path: Path) -> None:
    assert f"GB free for {tmp_path / 'x'}" in disk(tmp_path / "x").what
