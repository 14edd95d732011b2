"""Notebooks are written the same each time, and run from the first cell to the last."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from engine.cli import main as cli
from engine.client.results import read_study
from engine.errors import EnvironmentUnfit, InputError

nbformat = pytest.importorskip("nbformat")

from engine.client import notebook as notebooks  # noqa: E402


def test_a_notebook_is_valid_and_the_same_each_time(grid: Path, tmp_path: Path) -> None:
    first = notebooks.write_notebook(grid, "grid", tmp_path / "a")
    second = notebooks.write_notebook(grid, "grid", tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert first == tmp_path / "a" / "grid.ipynb"
    read = nbformat.read(first, as_version=4)
    nbformat.validate(read)
    kinds = [cell.cell_type for cell in read.cells]
    assert kinds[:2] == ["markdown", "code"]
    assert not any(cell.get("outputs") for cell in read.cells)


def test_its_code_reads_through_the_public_interface_alone(grid: Path) -> None:
    made = notebooks.make_notebook(read_study(grid, "grid"))
    code = "\n".join(cell.source for cell in made.cells if cell.cell_type == "code")
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported == {"engine.client.results", "matplotlib.pyplot", "numpy"}


def test_every_cell_runs(grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    path = notebooks.write_notebook(grid, "grid", tmp_path, execute=True)
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    said = "".join(o.get("text", "") for cell in cells for o in cell.outputs)
    study = read_study(grid, "grid")
    for title, verdict in study.verdicts.items():
        assert f"{title}: {verdict}" in said
    images = [o for cell in cells for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(images) >= 3


def test_the_command_says_where_it_wrote(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["notebook", "grid", "--runs", str(grid), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "grid.ipynb")


def test_what_cannot_be_written_is_told(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        notebooks.write_notebook(grid, "grid", tmp_path / "file")
    with pytest.raises(EnvironmentUnfit, match=r"file/below: cannot be written \(.*--out DIR"):
        notebooks.write_notebook(grid, "grid", tmp_path / "file" / "below")
    with pytest.raises(InputError, match="no such study"):
        notebooks.write_notebook(grid, "nothing", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "nbclient", None)
    with pytest.raises(EnvironmentUnfit, match=r"husai\[notebook\]"):
        notebooks.write_notebook(grid, "grid", tmp_path, execute=True)
