"""Content keys: the same work has the same key, and other code or other numbers another."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import engine

_LIBRARIES = ("torch", "transformer-lens", "numpy", "scipy")
"""Libraries that compute; another version of one is other work."""
PARSINGS = 20
"""How often a module is parsed anew when another thread came in between."""


def content_key(kind: str, config: Any, inputs: dict[str, str], numerics: dict[str, Any]) -> str:
    """Return the key of a job: sha256 over kind, settings, inputs' keys, numerics, code and libraries.

    Args:
        kind: kind of job.
        config: its settings as plain JSON values.
        inputs: role → key of the job that makes it.
        numerics: what else may change digits (device, precision, determinism).
    """
    content = {
        "kind": kind,
        "config": config,
        "inputs": inputs,
        "numerics": numerics,
        "code": code_fingerprint(kind),
        "libraries": {name: package_version(name) for name in _LIBRARIES},
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def package_version(package: str) -> str:
    """Return the version of an installed package, or `absent`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@cache
def code_fingerprint(kind: str) -> str:
    """Return a digest of the code that decides the results of a kind of job: its stage, the numerics, and
    everything of the engine that they import, however deep.

    The syntax trees are compared, without docstrings: a comment or a reworded docstring redoes no work.
    """
    total = hashlib.sha256()
    sources = code_of(kind)
    for source in sorted(sources):
        total.update(_parsed(source)[0].encode())
    for sheet in sorted(
        sheet for folder in {s.parent for s in sources} for sheet in folder.glob("*.css")
    ):
        total.update(sheet.read_bytes())
    return total.hexdigest()[:16]


def code_of(kind: str) -> set[Path]:
    """Return the source files of a kind of job, found by following imports without running any."""
    root = Path(engine.__path__[0])
    found: set[Path] = set()
    waiting = [root / "stages" / f"{kind}.py", root / "stages" / "numerics.py"]
    while waiting:
        source = waiting.pop()
        if source not in found:
            found.add(source)
            waiting += _parsed(source)[1]
    return found


def parse_among_threads(text: str) -> ast.Module:
    """Return the syntax tree of a module, though other threads parse, too.

    Python 3.11 counts the depth of trees for all threads together: the longer parsing fails when a shorter
    one comes in between, as for every key of the terminal app.
    """
    for _ in range(PARSINGS):
        with contextlib.suppress(SystemError):
            return ast.parse(text)
    return ast.parse(text)


@cache
def _parsed(source: Path) -> tuple[str, tuple[Path, ...]]:
    """Return the syntax tree of a module as text, and the engine's modules that it imports anywhere."""
    root = Path(engine.__path__[0])
    tree = parse_among_threads(source.read_text(encoding="utf-8"))
    return _text(tree), tuple(_imports(tree, root))


def _imports(tree: ast.AST, root: Path) -> list[Path]:
    """Return the engine's modules that a module imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    places = (root.parent.joinpath(*name.split(".")).with_suffix(".py") for name in names)
    return [place for place in places if place.is_relative_to(root) and place.is_file()]


def _text(tree: ast.AST) -> str:
    """Return a syntax tree as text; its docstrings are taken out."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body[0] = ast.Pass()
    return ast.dump(tree)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
