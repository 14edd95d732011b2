"""Named places where a test may kill this process or fail its disk; they cost nothing otherwise.

`HUSAI_FAILPOINT=role:name:nth:what` arms one: in processes of that role (`worker`, `supervisor`, `client`), the
n-th time that the place is reached, `kill` ends the process by SIGKILL and `full` raises what a full disk
raises. `HUSAI_FAILPOINT_ONCE=FILE` makes it happen once in all: the file is created just before.
"""

from __future__ import annotations

import errno
import os
import signal

_setting = os.environ.get("HUSAI_FAILPOINT", "")
_counts: dict[str, int] = {}
_role = ""


def enter_role(role: str) -> None:
    """Say what this process is."""
    global _role
    _role = role


def failpoint(name: str) -> None:
    """Fail here if a test asks for it."""
    if not _setting:
        return
    role, wanted, nth, what = _setting.split(":")
    if (role, wanted) != (_role, name):
        return
    _counts[name] = _counts.get(name, 0) + 1
    if _counts[name] != int(nth) or not _first():
        return
    if what == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
    os.kill(os.getpid(), signal.SIGKILL)


def _first() -> bool:
    token = os.environ.get("HUSAI_FAILPOINT_ONCE")
    if token is None:
        return True
    try:
        os.close(os.open(token, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
