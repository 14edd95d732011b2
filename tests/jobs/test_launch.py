from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.jobs import launch
from engine.jobs.launch import LOST, ForkedHandle, NurseryLauncher


class FakeNursery:
    """A nursery that lives or is gone, and has said all that it will say."""

    def __init__(self, code: int | None) -> None:
        self.code, self.stdout, self.killed = code, None, False

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.killed = True


def test_a_worker_of_a_nursery_that_is_gone_is_lost_though_another_lives() -> None:
    launcher = NurseryLauncher({})
    gone: Any = FakeNursery(-9)
    alive: Any = FakeNursery(None)
    launcher._process = alive
    assert ForkedHandle(launcher, "a", gone).poll() == LOST
    assert ForkedHandle(launcher, "b", alive).poll() is None


def test_a_nursery_that_never_tells_of_a_killed_worker_is_ended_and_the_worker_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "ANSWER_SECONDS", 0.0)
    launcher = NurseryLauncher({})
    mute: Any = FakeNursery(None)
    launcher._process = mute
    handle = ForkedHandle(launcher, "a", mute)
    assert handle.poll() is None
    handle.kill()
    assert handle.poll() == LOST
    assert mute.killed


@pytest.mark.skipif(sys.platform != "linux", reason="forks only there")
def test_what_libraries_print_does_not_get_into_the_nurserys_protocol(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Loud:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'engine.stages.rehearsal': print('hello from an import', flush=True)\n"
        "sys.meta_path.insert(0, Loud())\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(launch.__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.nursery"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "hello from an import" in line:
            break
    else:
        raise AssertionError("the library printed nothing")
    process.kill()
    assert process.communicate()[0] == ""
