"""Python, torch, OpenMP, SQLite, and the locale that they read text in."""

from __future__ import annotations

import codecs
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from engine.doctor.finding import Finding
from engine.study.openmp import runtimes_on_disk

ALLOWED = (
    "; profiles with `duplicate_runtime: allow-on-macos` set KMP_DUPLICATE_LIB_OK=TRUE for workers and stamp a "
    "warning into every result"
)
Loaded = dict[str, Any] | str
"""What torch and its libraries report, or why they cannot be imported."""


def python() -> Finding:
    """Judge the interpreter's version."""
    version = sys.version.split()[0]
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", version)
    return Finding("python", "error", version, "install Python 3.11, 3.12 or 3.13")


def torch(build: tuple[str, str | None] | None, loaded: Loaded) -> Iterator[Finding]:
    """Judge whether torch is there and can be imported."""
    if build is None:
        remedy = "./scripts/start installs it from the lock"
        yield Finding("torch", "error", "not installed", remedy)
        return
    name = f"{build[0]}, {'CUDA ' + build[1] if build[1] else 'CPU build'}"
    if isinstance(loaded, str):
        what = f"{name}; importing it fails: {loaded}"
        yield Finding("torch", "error", what, "remove .venv, start again")
    else:
        yield Finding("torch", "ok", name)


def openmp(loaded: Loaded, system: str) -> Iterator[Finding]:
    """Judge the runtimes of one process.

    Two of LLVM or Intel crash or, worse, compute wrong numbers; two copies of GNU's libgomp are benign
    (threadpoolctl's documentation).
    """
    if isinstance(loaded, str):
        return
    pools = [pool for pool in loaded["pools"] if pool["user_api"] == "openmp"]
    clashing = [pool["filepath"] for pool in pools if pool["prefix"] in ("libomp", "libiomp")]
    copies = Counter(pool["prefix"] for pool in pools)
    if len(clashing) > 1:
        yield Finding(
            "openmp",
            "error" if system == "Darwin" else "warning",
            f"{len(clashing)} OpenMP runtimes are loaded at once: {', '.join(clashing)}",
            "use a fresh environment without conda, of wheels alone"
            + (ALLOWED * (system == "Darwin")),
        )
    elif copies["libgomp"] > 1:
        what = f"{copies['libgomp']} copies of GNU's libgomp are loaded, which is benign"
        yield Finding("openmp", "note", what)
    else:
        yield Finding(
            "openmp", "ok", f"no duplicate runtime; loaded: {', '.join(sorted(copies)) or 'none'}"
        )
    if os.environ.get("KMP_DUPLICATE_LIB_OK"):
        yield Finding(
            "openmp",
            "warning",
            "KMP_DUPLICATE_LIB_OK is set in your shell, for every program",
            "unset it; its vendor says that results may silently be wrong",
        )
    if system == "Darwin" and len(runtimes_on_disk()) > 1:
        yield Finding("openmp", "note", "installed packages bring more than one OpenMP runtime")


def sqlite() -> Finding:
    """Tell SQLite's version."""
    version = sqlite3.sqlite_version
    if (3, 7, 0) <= sqlite3.sqlite_version_info < (3, 51, 3):
        return Finding("sqlite", "ok", f"{version}; write-ahead logging is avoided (its reset bug)")
    return Finding("sqlite", "ok", version)


def locale(environment: Mapping[str, str], loaded: Loaded) -> Finding:
    """Judge whether text is UTF-8, and whether the locale asked for exists on this machine.

    Args:
        environment: variables of the shell.
        loaded: what a fresh process reports under them.
    """
    asked = next((environment[n] for n in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(n)), "")
    named = asked or "none set"
    remedy = "export LC_ALL=C.UTF-8"
    if isinstance(loaded, str) or "encoding" not in loaded:
        return Finding("locale", "note", f"{named}; not examined, because torch was not")
    if loaded["locale_error"]:
        return Finding("locale", "warning", f"{named} is not installed on this machine", remedy)
    encoding = codecs.lookup(loaded["encoding"]).name
    if encoding != "utf-8":
        what = f"{named}, text in {encoding}: κ, ✓ and the lines of charts cannot be shown"
        return Finding("locale", "warning", what, remedy)
    return Finding("locale", "ok", f"{named}, text in UTF-8")
