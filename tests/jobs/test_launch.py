from __future__ import annotations

from typing import Any

from engine.jobs.launch import LOST, ForkedHandle, NurseryLauncher


class FakeNursery:
    """A nursery that lives or is gone, and has said all that it will say."""

    def __init__(self, code: int | None) -> None:
        self.code, self.stdout = code, None

    def poll(self) -> int | None:
        return self.code


def test_a_worker_of_a_nursery_that_is_gone_is_lost_though_another_lives() -> None:
    launcher = NurseryLauncher({})
    gone: Any = FakeNursery(-9)
    alive: Any = FakeNursery(None)
    launcher._process = alive
    assert ForkedHandle(launcher, "a", gone).poll() == LOST
    assert ForkedHandle(launcher, "b", alive).poll() is None
