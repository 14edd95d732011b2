"""The app and every reading command start without torch: asked of a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformer_lens", "matplotlib", "scipy", "tensorboard", "textual", "pyarrow")

PROBE = """
import sys
{code}
print(*sorted({heavy!r} & set(sys.modules)))
"""


def loaded_by(code: str, tmp_path: Path) -> list[str]:
    """Return the heavy packages that a fresh interpreter holds after running code."""
    text = PROBE.format(code=code, heavy=set(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "arguments",
    [
        ["studies"],
        ["studies", "--json"],
        ["profiles"],
        ["plan", "smoke"],
        ["plan", "topk-vs-relu", "--json"],
        ["schema"],
        ["report", "smoke"],
        ["notebook", "smoke"],
        ["run", "no-such-study"],
        ["doctor"],
        ["bench", "sae", "--workload", "no-such-workload"],
        ["validate", "--only", "no-such-row"],
        ["compare", "a", "b", "--sign", "none"],
        ["--help"],
        ["submit", "smoke"],
        ["status"],
        ["jobs", "--json"],
        ["pause", "nothing"],
        ["logs", "nothing"],
        ["watch", "nothing"],
        ["down"],
        ["health"],
        ["gc"],
    ],
    ids=" ".join,
)
def test_a_reading_command_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = f"from engine.cli import main; main.main({arguments!r})"
    assert loaded_by(code, tmp_path) == []


@pytest.mark.parametrize(
    "module",
    [
        "engine.client.studies",
        "engine.client.queue",
        "engine.client.curves",
        "engine.client.comparison",
        "engine.client.features",
        "engine.client.guide",
        "engine.client.notebook",
        "engine.client.results",
        "engine.client.filters",
        "engine.client.microscope",
        "engine.client.machine",
        "engine.client.validation",
        "engine.study.spec",
        "engine.doctor",
        "husai_tui",
        "husai_tui.state.estimate",
        "husai_tui.state.form",
        "husai_tui.state.system",
    ],
)
def test_a_front_ends_module_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    assert loaded_by(f"import {module}", tmp_path) == []


def test_the_app_and_all_its_screens_load_textual_and_nothing_else_heavy(tmp_path: Path) -> None:
    code = "import husai_tui.__main__, husai_tui.app, husai_tui.driver"
    assert loaded_by(code, tmp_path) == ["textual"]


@pytest.mark.parametrize("arguments", [["--help"], ["reset-terminal"], ["runs"]], ids=" ".join)
def test_what_the_app_refuses_or_explains_needs_no_textual(
    arguments: list[str], tmp_path: Path
) -> None:
    code = f"""from husai_tui.__main__ import app
try: app({arguments!r})
except SystemExit: pass"""
    assert loaded_by(code, tmp_path) == []


def test_planning_a_sweep_and_looking_at_the_machine_loads_nothing_heavy(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from engine.client.machine import Probe
from engine.disk.root import RunsRoot
from husai_tui.state.draft import FRESH
from husai_tui.state.estimate import estimate
assert estimate(FRESH, "cpu", Path("runs")).ready
Probe(RunsRoot(Path("runs"))).look()
"""
    assert loaded_by(code, tmp_path) == []


def test_the_probe_sees_what_is_loaded(tmp_path: Path) -> None:
    assert loaded_by("import scipy", tmp_path) == ["scipy"]
