"""The image, as far as it can be looked at without a daemon; `scripts/test_image` does what it does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, lines that go on joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def only(word: str) -> str:
    (found,) = [rest for name, rest in last_stage() if name == word]
    return found


def test_it_runs_the_engine_as_nobody_in_particular_under_an_init_process() -> None:
    assert only("USER") == "10001:10001"
    assert json.loads(only("ENTRYPOINT")) == ["tini", "--"]
    assert json.loads(only("CMD")) == ["husai-engine", "up", "--foreground"]
    assert only("STOPSIGNAL") == "SIGTERM"
    assert only("VOLUME") == "/runs"
    health = only("HEALTHCHECK")
    assert json.loads(health[health.index("[") :]) == ["husai-engine", "health"]
    words = [word for word, _ in last_stage()]
    assert words.index("USER") > max(n for n, word in enumerate(words) if word in ("RUN", "COPY"))


def test_every_version_is_pinned() -> None:
    base = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+", base["PYTHON_IMAGE"])
    assert {rest.split()[0] for word, rest in instructions() if word == "FROM"} == {
        "${PYTHON_IMAGE}"
    }
    system = (ROOT / "scripts/image_system").read_text()
    (installed,) = re.findall(r"install --yes --no-install-recommends (.*)", system)
    assert all("=" in package for package in installed.split())
    assert "--constraint" in (ROOT / "scripts/image_environment").read_text()
    assert "\ntorch==" in (ROOT / "requirements.lock").read_text()


def test_what_is_run_while_building_is_a_script_that_can_be_tried() -> None:
    run = [rest for word, rest in instructions() if word == "RUN"]
    assert len(run) == 2
    environment, system = run
    assert "./scripts/image_environment /opt/venv" in environment
    assert system == "/tmp/image_system && rm /tmp/image_system"
    assert '"$here/image_environment"' in (ROOT / "scripts/test_image").read_text()


def test_all_that_is_copied_is_there_and_let_through() -> None:
    let = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert source in let


def test_the_services_are_confined_and_answer_this_machine_alone() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"engine", "tensorboard"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"] == ["runs:/runs"]
        assert service["tmpfs"] == ["/tmp"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    # Longer than workers have to save and leave (engine.client.daemon.LEAVE_SECONDS).
    assert int(services["engine"]["stop_grace_period"].removesuffix("s")) > 60
    assert services["tensorboard"]["command"][:2] == ["husai-engine", "tensorboard"]


def test_hadolint_finds_nothing() -> None:
    linter = shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([linter, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
