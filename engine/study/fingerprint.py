"""Content keys: the same work has the same key, and other code or other numbers another."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import engine

_ROOMS = {
    "subject": (
        "training.py",
        "subjects",
        "metrics/fourier.py",
        "metrics/gates.py",
        "stages/subject.py",
    ),
    "activations": ("subjects", "stages/activations.py"),
    "cohort": ("training.py", "saes", "subjects/surrogate.py", "stages/cohort.py"),
    "analysis": ("metrics", "saes", "subjects", "stages/analysis.py"),
    "report": ("report", "stages/report.py"),
}


def content_key(kind: str, config: Any, inputs: dict[str, str], numerics: dict[str, Any]) -> str:
    """Return the key of a job: sha256 over kind, settings, inputs' keys, numerics, code and torch.

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
        "torch": _version("torch"),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@cache
def code_fingerprint(kind: str) -> str:
    """Return a digest of the code that decides the results of a kind of job.

    The syntax trees are compared, without docstrings: a comment or a reworded docstring redoes no work.
    """
    root = Path(engine.__path__[0])
    sources = []
    for name in _ROOMS[kind]:
        place = root / name
        sources += sorted(place.rglob("*.py")) if place.is_dir() else [place]
    total = hashlib.sha256()
    for source in sources:
        total.update(_tree(source).encode())
    return total.hexdigest()[:16]


def _tree(source: Path) -> str:
    tree = ast.parse(source.read_text(encoding="utf-8"))
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
