"""One feature in full, computed by a process of its own (`engine.microscope`), which has torch. We have not.

Shapes: p modulus, K frequencies, 4 arguments a, b, a+b, a−b.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import platform
import select
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError, JobFailed
from engine.jobs.launch import module_environment
from engine.study.machine import detect
from engine.study.profile import place, read_profile, worker_environment

TIMEOUT_SECONDS = 60.0
"""For one look: the first imports torch and reads a cohort."""
LEAVE_SECONDS = 0.5
"""How long the process may take to leave after its input has ended; it has nothing to lose."""
PATIENCE_SECONDS = 0.2
"""How often a look that waits asks whether we are closed."""


@dataclass(frozen=True)
class Top:
    """An input on which a feature is largest."""

    input: int
    """Its row among the activations; on the grid a·p + b."""
    activation: float
    a: int | None = None
    b: int | None = None
    answer: int | None = None


@dataclass(frozen=True)
class Grid:
    """What a feature does on all pairs (a, b) of a modular subject."""

    modulus: int
    task: str
    levels: NDArray[np.uint8]
    """[p, p] by a and b: the activation in steps of `scale`; 255 is the largest."""
    scale: float
    spectrum: NDArray[np.float64] | None
    """[4, K]: share of the map's variance at frequency 1..K of a, b, a+b and a−b; None for a constant map."""

    @property
    def map(self) -> NDArray[np.float32]:
        """The activations [p, p], to half a step."""
        return self.levels * np.float32(self.scale)


@dataclass(frozen=True)
class Card:
    """All there is to see of one feature."""

    study: str
    cohort: str
    seed: int
    feature: int
    kind: str
    """Kind of the subject."""
    inputs: int
    """Number of activations that it was shown."""
    maximum: float
    mean: float
    """Over all inputs."""
    density: float
    """Share of inputs on which it is above zero."""
    histogram: NDArray[np.int64]
    """Inputs on which it is above zero, in bins of equal width from 0 to `maximum`."""
    top: tuple[Top, ...]
    """The largest first, at most 20, all above zero."""
    grid: Grid | None
    """Of a modular subject."""


class Microscope:
    """Asks the process, which it starts at the first look, and again if it left or died. Threads may share it.

    The process ends with `close`, and by itself when ours ends, in whatever way.
    """

    def __init__(self, runs: Path, idle: float | None = None) -> None:
        """Prepare to look below a runs root; `idle` seconds without a look end the process (None: its own)."""
        self._runs, self._idle = runs, idle
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._torn = b""
        self._number = 0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Number of the process, None while there is none."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def look(
        self, study: str, cohort: str, seed: int, feature: int, timeout: float = TIMEOUT_SECONDS
    ) -> Card:
        """Return the card of a feature; blocks until it is there.

        Raises:
            InputError: there is no such study, cohort, seed or feature.
            JobFailed: the cohort is not analysed; the process died twice; no answer in time; we are closed.
        """
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise JobFailed(f"no answer within {timeout:g} s: others are looking")
        try:
            asked = {"study": study, "cohort": cohort, "seed": seed, "feature": feature}
            for _ in range(2):
                answer = self._ask(asked, deadline)
                if answer is not None:
                    return _card(asked, answer)
            raise JobFailed(f"the microscope died twice{self._last_words()}")
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process; whoever is looking gets a JobFailed, and so does every look from now on."""
        self._closed = True
        with self._lock:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, asked: dict[str, Any], deadline: float) -> dict[str, Any] | None:
        """Return the answer, None if the process died over it."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._number += 1
        request = json.dumps({"id": self._number, **asked}).encode() + b"\n"
        try:
            self._process.stdin.write(request)
        except OSError:  # it has just left
            self._bury()
            return None
        while time.monotonic() < deadline:
            line = self._line(min(deadline, time.monotonic() + PATIENCE_SECONDS))
            if self._closed:
                raise JobFailed("the microscope is closed")
            if line is None:
                self._bury()
                return None
            # Answers that nobody waited for are passed over.
            if line and (answer := json.loads(line)).get("id") == self._number:
                return dict(answer)
        raise JobFailed("no answer in time; the feature may be there when you look again")

    def _line(self, deadline: float) -> bytes | None:
        """Return the next line, empty when the time is over, None when the process has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        while b"\n" not in self._torn:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([source], [], [], left)[0]:
                return b""
            data = os.read(source, 1 << 16)
            if not data:
                return None
            self._torn += data
        line, _, self._torn = self._torn.partition(b"\n")
        return line

    def _bury(self) -> None:
        """Wait for the end of a process that no longer listens or speaks."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        if self._closed:
            raise JobFailed("the microscope is closed")
        self._end()
        machine = detect()
        settings = worker_environment(place(read_profile("cpu"), machine), 1, platform.system())
        command = [sys.executable, "-P", "-m", "engine.microscope", "--runs"]
        command.append(str(self._runs.resolve()))
        command += [] if self._idle is None else ["--idle", str(self._idle)]
        # What it says beside answers must not end on the screen of an app.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
            env=module_environment(settings),
        )

    def _end(self) -> None:
        """End the process, if there is one, and let go of it."""
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
        if self._said is not None:
            self._said.close()
        self._process, self._said, self._torn = None, None, b""

    def _last_words(self) -> str:
        if self._said is None:
            return ""
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


def _card(asked: dict[str, Any], answer: dict[str, Any]) -> Card:
    """Return an answer as a card, or raise what it says went wrong."""
    if "error" in answer:
        wrong_input = answer["exit_code"] == InputError.exit_code
        raise InputError(answer["error"], "") if wrong_input else JobFailed(answer["error"])
    card = answer["card"]
    return Card(
        **asked,
        kind=card["kind"],
        inputs=card["inputs"],
        maximum=card["max"],
        mean=card["mean"],
        density=card["density"],
        histogram=np.array(card["histogram"], dtype=np.int64),
        top=tuple(Top(**one) for one in card["top"]),
        grid=_grid(card) if "map" in card else None,
    )


def _grid(card: dict[str, Any]) -> Grid:
    p, spectrum = card["modulus"], card["spectrum"]
    levels = np.frombuffer(base64.b64decode(card["map"]), dtype=np.uint8).reshape(p, p)
    lines = None if spectrum is None else np.array(spectrum, dtype=np.float64)
    return Grid(p, card["task"], levels, card["scale"], lines)
