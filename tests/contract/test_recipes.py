"""Every command of the README and of the recipes is run here, or a list says where it is, or why not."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import TINY, execute

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NO_DOCKER = "needs Docker; scripts/test_image does what the image does"
MINUTES = "takes minutes; tests/stages/test_sweep.py runs a study with overrides and a search"
APP = "the app, which stays open; tests/tui/test_terminal.py opens it in a terminal"
EXPORT = "a cohort of the whole study; tests/client/test_export.py exports one of a small one"
ELSEWHERE: dict[str, str] = {
    "./scripts/start": ".ci/run does it with the study smoke; the whole study takes minutes",
    "./scripts/test": ".ci/run does it",
    "husai-engine run smoke": "scripts/test_image runs it",
    "husai-engine run topk-vs-relu --set saes.0.k=16 --set name=sparser": MINUTES,
    "husai-engine run topk-vs-relu": MINUTES,
    "husai-engine run matched": MINUTES,
    "husai-engine run fourier-control": MINUTES,
    "husai-engine validate": "tests/test_validation.py runs rows of it; the whole takes a minute or two",
    "husai-engine compare A B C": "names of SAEs; tests/test_comparison.py compares some",
    "husai-engine export 'topk-vs-relu/topk 1024 k32' --format sae_lens --out exported": EXPORT,
    "husai-engine export 'topk-vs-relu/topk 1024 k32' --format sparsify --out for-sparsify --seed 42": EXPORT,
    "husai-engine bench analysis": "half a minute; tests/contract/test_cli.py asks it for a tiny one",
    "husai-engine bench sae": "half a minute; tests/contract/test_cli.py asks it for two steps",
    "husai-engine submit topk-vs-relu --runs runs": "as `submit width-sweep`, which is run: it would replace "
    "the finished study that others read",
    "husai-engine watch width-sweep": "goes on until the study has ended; tests/client/test_daemon.py",
    "husai-engine logs 'width-sweep/subject' -f": "follows until it is stopped; tests/contract/test_cli.py",
    "husai": APP,
    "husai compare topk-vs-relu": "tests/tui/test_command.py opens addresses",
    "husai --readonly": APP,
    "husai --runs runs --no-engine": APP,
    "husai serve": "tests/tui/test_serving.py",
    "husai-engine tensorboard": "serves until it is stopped; tests/client/test_tensorboard.py",
    "husai-engine tensorboard topk-vs-relu --port 0": "the same",
    "tmux new -s husai": "tmux",
    "tmux attach -t husai": "tmux",
    "ssh -L 6006:127.0.0.1:6006 HOST": "another machine",
}
"""Command → where it is run, or why nowhere."""


def commands(page: Path) -> list[str]:
    """Return the commands of a page's shell blocks, without comments, continued lines joined."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            text = re.split(r"\s+# ", f"{line} ")[0].strip()
            if text and not text.startswith("#"):
                found.append(text.removeprefix(".venv/bin/"))
    return found


def run_here() -> list[str]:
    """Return the commands that are run by this test, each once, in the order of the pages."""
    every = dict.fromkeys(command for page in PAGES for command in commands(page))
    return [one for one in every if one not in ELSEWHERE and not one.startswith("docker ")]


def block(page: Path, language: str) -> str:
    """Return the first block of a page in a language."""
    found = re.search(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None, f"no {language} in {page.name}"
    return found[1]


def make_recording(folder: Path) -> None:
    """Make the file and the study of docs/activations.md as it says, its first Python and its YAML."""
    page = ROOT / "docs" / "activations.md"
    (folder / "mine.yaml").write_text(block(page, "yaml"), encoding="utf-8")
    code = [sys.executable, "-c", block(page, "python")]
    subprocess.run(code, cwd=folder, check=True, timeout=60)


def test_python_that_is_not_run_is_said_to_be_not_run() -> None:
    """Blocks that need a model stand below a line that says so; the page names their number here."""
    text = (ROOT / "docs" / "activations.md").read_text(encoding="utf-8")
    run, _, shown = text.partition("Not run by our tests, as they need a model")
    assert (run.count("```python"), shown.count("```python")) == (1, 3)
    for one in re.findall(r"```python\n(.*?)```", shown, re.DOTALL):
        compile(one, "docs/activations.md", "exec")


def test_the_list_names_what_stands_in_a_page_and_gives_a_reason() -> None:
    every = {command for page in PAGES for command in commands(page)}
    assert set(ELSEWHERE) <= every, "in no page any more"
    assert all(ELSEWHERE.values())


@pytest.mark.parametrize("reason", sorted(set(ELSEWHERE.values())))
def test_the_tests_that_it_names_are_there(reason: str) -> None:
    for name in re.findall(r"(?:tests|scripts)/[\w/.]+\w", reason):
        assert (ROOT / name).is_file(), name


def test_all_others_do_what_they_are_for(tmp_path: Path) -> None:
    """In the order of the pages, in a folder with a finished study and with the file and the study of
    docs/activations.md, with a supervisor from `up` to `down`."""
    data: dict[str, Any] = {**TINY, "name": "topk-vs-relu"}
    execute(data, tmp_path / "runs")
    make_recording(tmp_path)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HUSAI_", "WANDB_"))}
    environment |= {"HOME": str(tmp_path), "WANDB_MODE": "offline", "PYTHONPATH": str(ROOT)}
    failed = []
    try:
        for command in run_here():
            name, *arguments = shlex.split(command)
            assert name == "husai-engine", (
                f"nothing is known of {command!r}: run it here or list it"
            )
            words = [sys.executable, "-P", "-m", "engine", *arguments]
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
            )
            if done.returncode != 0:
                failed.append((command, done.returncode, done.stderr[-500:]))
    finally:
        down = [sys.executable, "-P", "-m", "engine", "down"]
        subprocess.run(down, cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    assert not failed
    summary = json.loads((tmp_path / "runs" / "mine" / "report" / "summary.json").read_text())
    (cohort,) = summary["cohorts"]
    assert cohort["verdict"] == "strong", "as docs/activations.md says"
    assert cohort["warnings"] == []


def test_docker_commands_use_the_image_and_the_services_that_there_are() -> None:
    docker = [one for page in PAGES for one in commands(page) if one.startswith("docker ")]
    assert docker, NO_DOCKER
    for command in docker:
        words = shlex.split(command)
        if words[1:3] == ["compose", "exec"]:
            assert words[3] == "engine"
            assert words[4] in ("husai", "husai-engine")
        elif words[1] in ("build", "run"):
            assert "husai:0.1.0" in words
        else:
            assert words[1] in ("compose", "exec", "stop")
