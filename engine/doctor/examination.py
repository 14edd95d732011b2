"""The examination as a whole: everything that is looked at, in the order of the list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.doctor.clock import clock
from engine.doctor.finding import Finding
from engine.doctor.gpu import gpus
from engine.doctor.libraries import locale, openmp, python, sqlite, torch
from engine.doctor.storage import disk, memory, mount, runs_root
from engine.doctor.terminal import screen, terminal
from engine.study.gpus import driver_version
from engine.study.machine import detect, torch_build

PROBE = """
import json, locale, torch, numpy, scipy.linalg
from threadpoolctl import threadpool_info
gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
try:
    said, unknown = locale.setlocale(locale.LC_CTYPE, ""), ""
except locale.Error as error:
    unknown = str(error)
print(json.dumps({
    "pools": [{k: p.get(k) for k in ("user_api", "internal_api", "prefix", "filepath")}
              for p in threadpool_info()],
    "archs": torch.cuda.get_arch_list(),
    "cuda": torch.cuda.is_available(),
    "gpus": [[torch.cuda.get_device_name(n), *torch.cuda.get_device_capability(n)] for n in gpus],
    "mps": torch.backends.mps.is_available(),
    "encoding": locale.getpreferredencoding(False),
    "locale_error": unknown,
}))
"""


def examine(
    runs: Path, probe: Sequence[str] = (sys.executable, "-P", "-c", PROBE)
) -> list[Finding]:
    """Look at Python, torch and its GPUs, OpenMP, SQLite, cores, memory, the runs root and its disk, terminal,
    locale and clock.

    Args:
        runs: runs root; it need not exist yet.
        probe: command that prints what torch and its libraries report, as JSON.
    """
    machine = detect()
    loaded = _run_probe(probe)
    return [
        python(),
        *torch(torch_build(), loaded),
        *gpus(machine, torch_build(), loaded, driver_version()),
        *openmp(loaded, machine.system),
        sqlite(),
        Finding("cores", "ok", f"{machine.cores} usable"),
        memory(machine),
        disk(runs),
        *mount(runs),
        *runs_root(runs),
        *terminal(os.environ, screen()),
        locale(os.environ, loaded),
        clock(runs),
    ]


def as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return findings as plain dicts."""
    return [asdict(finding) for finding in findings]


def _run_probe(command: Sequence[str]) -> dict[str, Any] | str:
    done = subprocess.run(list(command), capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        loaded: dict[str, Any] = json.loads(lines[-1])
        return loaded
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"ended with {done.returncode} and no message"
