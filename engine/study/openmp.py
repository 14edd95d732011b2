"""Finds the OpenMP runtimes that one process would load."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

_NAMES = ("libomp*.dylib", "libiomp5*.dylib", "libomp*.so*", "libiomp5*.so*", "libgomp*.so*")


def runtimes_on_disk(site: Path | None = None) -> list[Path]:
    """Return the OpenMP runtimes that installed packages bring, found on disk.

    Args:
        site: folder of installed packages; by default this interpreter's.

    Two wheels that each bring `libomp` under another install name are both loaded, and on macOS the
    second aborts the process ("OMP: Error #15").
    """
    folder = site or Path(sysconfig.get_paths()["platlib"])
    found = {path.resolve() for name in _NAMES for path in folder.glob(f"*/**/{name}")}
    if site is None:  # a conda environment brings one of its own beside the packages'
        conda = (Path(sys.prefix) / "lib" / name for name in ("libomp.dylib", "libiomp5.dylib"))
        found |= {path.resolve() for path in conda if path.exists()}
    return sorted(found)
