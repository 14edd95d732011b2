"""Textual's driver for terminals, made safe: it counts what it writes, and leaves when the terminal is gone."""

from __future__ import annotations

import errno
import os
import select
from typing import Any, cast

from textual.drivers.linux_driver import LinuxDriver

from husai_tui.host import Host
from husai_tui.link import Link


class _Metered:
    """The terminal as the writing thread sees it: counts, and swallows what a terminal that is gone refuses."""

    def __init__(self, file: Any, link: Link) -> None:
        self._file, self._link = file, link
        self.gone = False

    def write(self, text: str) -> int:
        if self.gone:
            return len(text)
        self._link.begin()
        try:
            self._file.write(text)
        except OSError as error:
            self._lost(error)
        finally:
            self._link.end(len(text.encode("utf-8", "replace")))
        return len(text)

    def flush(self) -> None:
        if self.gone:
            return
        self._link.begin()
        try:
            self._file.flush()
        except OSError as error:
            self._lost(error)
        finally:
            self._link.end(0)

    def fileno(self) -> int:
        return int(self._file.fileno())

    def isatty(self) -> bool:
        return bool(self._file.isatty())

    def _lost(self, error: OSError) -> None:
        if error.errno not in (errno.EIO, errno.EPIPE, errno.EBADF, errno.ENXIO):
            raise error
        self.gone = True


class SafeDriver(LinuxDriver):
    """Ends the app at the end of its input, where Textual's would read nothing for ever at full speed."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._husai = cast("Host", app)
        self._file = cast("Any", _Metered(self._file, self._husai.link))

    def run_input_thread(self) -> None:
        """Read keys until the app leaves or the terminal is gone."""
        try:
            super().run_input_thread()
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EBADF, errno.ENXIO):
                raise
            self._husai.lost_terminal()


def at_end(fileno: int) -> bool:
    """Return whether a terminal has hung up: readable, and nothing to read."""
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    events = dict(poll.poll(0)).get(fileno, 0)
    return (
        bool(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL))
        and os.isatty(fileno) is False
    )
