"""Memory that is freed stays: counted in page faults of a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import numpy as np
from engine.stages.allocator import keep_freed

if sys.argv[1] == "keep":
    assert keep_freed()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use():
    matrices = [np.empty((1024, 1024)) for _ in range(6)]
    for matrix in matrices:
        matrix.fill(1.0)

use()
before = faults()
for _ in range(10):
    use()
print(faults() - before)
"""


def faults(mode: str) -> int:
    """Page faults of ten times six matrices of 8 MB; a page is 4 kB, so up to 122,880."""
    told = subprocess.run(
        [sys.executable, "-c", COUNT, mode], capture_output=True, text=True, check=True
    )
    return int(told.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_matrices_that_come_and_go_fault_once() -> None:
    # Pages of another size make fewer faults of both.
    assert faults("keep") < 0.1 * faults("leave")
