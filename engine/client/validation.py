"""The planted controls, measured in processes of their own (`engine.validation`). Loads no torch."""

from __future__ import annotations

import contextlib
import json
import platform
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import JobFailed
from engine.jobs.launch import module_environment
from engine.study.control import Control, find_controls
from engine.study.gpus import gpu_environment
from engine.study.machine import detect
from engine.study.profile import Placement, place, read_profile, worker_environment

Row = dict[str, Any]


def validate(
    only: Sequence[str] = (),
    profile: str = "auto",
    on_row: Callable[[Row, int], None] | None = None,
) -> dict[str, Any]:
    """Measure the controls of these names (all without any), as many at once as the profile has slots.

    Args:
        only: names of controls.
        profile: hardware profile.
        on_row: called with each row as it is there, and how many are still to come.

    Raises:
        InputError: there is no such control or profile.
        EnvironmentUnfit: this machine does not fit the profile.
        JobFailed: a process ended before its row.
    """
    controls = find_controls(only)
    placement = place(read_profile(profile), detect())
    started = time.monotonic()
    found = _Pool(placement, controls).work(on_row)
    rows = [found[control.name] for control in controls]
    return {
        "passed": all(row["passed"] for row in rows),
        "profile": placement.profile,
        "device": placement.device,
        "processes": min(placement.slots, len(controls)),
        "threads": placement.threads,
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }


class _Pool:
    """Processes that measure one row each at a time; the longest rows go first."""

    def __init__(self, placement: Placement, controls: Sequence[Control]) -> None:
        self._waiting = sorted(controls, key=lambda control: control.cost())
        self._left = len(controls)
        self._placement = placement
        self._processes: list[subprocess.Popen[str]] = []
        self._asked: dict[int, str] = {}

    def work(self, on_row: Callable[[Row, int], None] | None) -> dict[str, Row]:
        """Return the rows by name; whatever happens, no process is left behind."""
        found: dict[str, Row] = {}
        try:
            with selectors.DefaultSelector() as ready:
                for _ in range(min(self._placement.slots, self._left)):
                    process = self._start()
                    ready.register(_output(process), selectors.EVENT_READ, process)
                    self._ask(process)
                while self._left:
                    for key, _ in ready.select():
                        row = self._read(key.data)
                        found[row["row"]] = row
                        self._left -= 1
                        if on_row is not None:
                            on_row(row, self._left)
                        self._ask(key.data)
        finally:
            self._end()
        return found

    def _start(self) -> subprocess.Popen[str]:
        placement = self._placement
        command = [sys.executable, "-P", "-m", "engine.validation", "--device", placement.device]
        command += ["--threads", str(placement.threads)]
        command += placement.numerics_options()
        settings = worker_environment(placement, placement.threads, platform.system())
        if placement.gpus:
            settings |= gpu_environment(placement.gpus[len(self._processes) % len(placement.gpus)])
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, and ends them in `_end`
            env=module_environment(settings),
        )
        self._processes.append(process)
        return process

    def _ask(self, process: subprocess.Popen[str]) -> None:
        if not self._waiting:
            return
        self._asked[process.pid] = self._waiting.pop().name
        assert process.stdin is not None
        try:
            process.stdin.write(self._asked[process.pid] + "\n")
            process.stdin.flush()
        except OSError:
            raise self._lost(process) from None

    def _read(self, process: subprocess.Popen[str]) -> Row:
        # A process answers one question with one line, so that nothing waits in a buffer unseen.
        line = _output(process).readline()
        if not line.endswith("\n"):
            raise self._lost(process)
        row: Row = json.loads(line)
        if "error" in row:
            raise JobFailed(f"{row['row']}: {row['error']}")
        return row

    def _lost(self, process: subprocess.Popen[str]) -> JobFailed:
        row = self._asked[process.pid]
        return JobFailed(f"{row}: its process ended without an answer; what it said is above")

    def _end(self) -> None:
        """End all processes: they have nothing to lose."""
        for process in self._processes:
            process.kill()
            with contextlib.suppress(OSError):  # what was never read by it
                process.communicate()


def _output(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return process.stdout
