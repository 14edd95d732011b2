"""The README's tree, sizes and names are promises; these tests hold them."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(p for top in ("engine", "husai_tui") for p in (ROOT / top).rglob("*.py"))
LONGEST_MODULE, LONGEST_FUNCTION, P90_FUNCTION = 400, 60, 35
TOP = {
    "engine", "husai_tui", "profiles", "tests", "scripts", "docs", "pyproject.toml", "README.md", "LICENSE",
    "CHANGELOG.md", "CONTRIBUTING.md", "requirements.lock", "Dockerfile", "compose.yaml",
}  # fmt: skip


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def readme_tree() -> dict[str, str]:
    """Return path → what the README says of it."""
    block = re.search(
        r"## The tree\n.*?```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert block, "the README has a tree"
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in block.group(1).splitlines():
        name, _, text = line.strip().partition("  ")
        depth = (len(line) - len(line.lstrip())) // 2
        folders = folders[:depth]
        found["".join(folders) + name] = text.strip()
        if name.endswith("/"):
            folders.append(name)
    return found


def test_every_file_of_the_code_has_its_line_in_the_readme() -> None:
    told = readme_tree()
    real = {
        name
        for name in tracked()
        if name.startswith(("engine/", "husai_tui/", "profiles/", "scripts/"))
        and "__init__" not in name
    }
    files = {name for name in told if not name.endswith("/")}
    assert files == real, f"missing: {sorted(real - files)}; gone: {sorted(files - real)}"
    assert all(text for name, text in told.items()), "every line says what it is"


def test_nothing_new_stands_at_the_top() -> None:
    entries = {name.split("/")[0] for name in tracked()}
    assert {entry for entry in entries if not entry.startswith(".")} <= TOP


def test_modules_stay_small() -> None:
    swollen = {
        str(p.relative_to(ROOT)): n
        for p in MODULES
        if (n := len(p.read_text().splitlines())) > LONGEST_MODULE
    }
    assert not swollen, "split along a noun"


def test_functions_stay_small() -> None:
    sizes: dict[str, int] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(ROOT)}:{node.name}:{node.lineno}"
                sizes[name] = (node.end_lineno or 0) - node.lineno + 1
    assert not {name: size for name, size in sizes.items() if size > LONGEST_FUNCTION}
    assert sorted(sizes.values())[int(0.9 * len(sizes))] <= P90_FUNCTION


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "manager", "misc"])
def test_no_module_has_a_name_that_says_nothing(name: str) -> None:
    assert not [path for path in MODULES if name in path.stem]
