from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from engine.report.publication import write_report

Record = dict[str, Any]


def test_the_folder_holds_summary_page_and_every_figure_thrice(
    summary: Record, material: Record, tmp_path: Path
) -> None:
    write_report(tmp_path, summary, material)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    stems = {name.rsplit(".", 1)[0] for name in files}
    assert len(stems) == 8
    assert files == sorted(f"{stem}.{kind}" for stem in stems for kind in ("csv", "png", "svg"))
    for image in (tmp_path / "figures").glob("*.png"):
        assert image.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "figures",
        "report.html",
        "summary.json",
    ]


def test_a_second_run_writes_the_same_bytes(
    summary: Record, material: Record, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, summary, material)
    for first in (tmp_path / "one").rglob("*"):
        if first.is_file():
            assert (
                first.read_bytes()
                == (tmp_path / "two" / first.relative_to(tmp_path / "one")).read_bytes()
            )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(
    summary: Record, material: Record, tmp_path: Path, bad: float
) -> None:
    summary["cohorts"][0]["stability"]["matched_mcc"]["all"]["kappa"] = bad
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path, summary, material)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_or_in_use_is_refused(
    summary: Record, material: Record, tmp_path: Path
) -> None:
    (tmp_path / "old").write_text("")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="an existing empty folder"):
            write_report(folder, summary, material)


def test_the_report_loads_no_torch() -> None:
    code = "import sys, engine.report.publication, engine.report.tables; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
