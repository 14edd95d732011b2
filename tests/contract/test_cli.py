"""The command line is a contract: names, `--json` shapes, exit codes, one-line errors."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.cli import main as cli
from engine.cli.options import stop_on_signals
from engine.client import studies as client
from engine.saes.formats import TrainedSaes, save_sae
from engine.saes.weights import Weights
from engine.study.sae import TopK
from engine.study.spec import write_yaml

COMMANDS = {
    "run", "plan", "submit", "up", "down", "status", "jobs", "watch", "logs", "pause", "resume", "cancel",
    "retry", "priority", "gc", "health", "report", "notebook", "studies", "profiles", "doctor", "schema",
    "bench sae", "bench analysis", "tensorboard", "wandb", "validate", "compare", "export",
}  # fmt: skip
OPTIONS = {
    "run": {"--profile", "--runs", "--set", "--json", "--quiet"},
    "plan": {"--profile", "--runs", "--set", "--json"},
    "report": {"--runs", "--json"},
    "wandb": {"--runs", "--out", "--project", "--online", "--json"},
    "tensorboard": {"--runs", "--rebuild", "--port", "--host", "--json"},
    "notebook": {"--runs", "--out", "--execute", "--json"},
    "studies": {"--runs", "--json"},
    "profiles": {"--json"},
    "doctor": {"--runs", "--json"},
    "bench sae": {
        "--workload",
        "--steps",
        "--seeds",
        "--threads",
        "--activations",
        "--profile",
        "--json",
    },
    "bench analysis": {"--seeds", "--d-sae", "--modulus", "--threads", "--profile", "--json"},
    "schema": set(),
    "submit": {"--profile", "--runs", "--set", "--priority", "--json"},
    "up": {"--profile", "--runs", "--foreground", "--json"},
    "down": {"--runs", "--json"},
    "status": {"--runs", "--json"},
    "jobs": {"--runs", "--json"},
    "watch": {"--runs", "--json"},
    "logs": {"--follow", "--runs", "--json"},
    "pause": {"--runs", "--json"},
    "resume": {"--runs", "--json"},
    "cancel": {"--runs", "--json"},
    "retry": {"--runs", "--json"},
    "priority": {"--runs", "--json"},
    "gc": {"--runs", "--yes", "--json"},
    "health": {"--runs", "--json"},
    "validate": {"--only", "--profile", "--json", "--quiet"},
    "compare": {"--sign", "--runs", "--json"},
    "export": {"--format", "--out", "--seed", "--runs", "--json"},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HUSAI_RUNS", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


Capture = pytest.CaptureFixture[str]


def answer(capsys: Capture, *arguments: str) -> Any:
    """Run a command that must succeed and return the one JSON object it prints."""
    assert cli.main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("arguments", [[], ["bench"], ["--debug"]])
def test_without_a_command_the_help_is_printed_as_it_is(
    capsys: Capture, arguments: list[str]
) -> None:
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out.startswith("Usage: ")
    assert len(said.out.splitlines()) > 5
    assert said.err == ""


def test_the_commands_and_their_options_are_frozen(capsys: Capture) -> None:
    assert cli.main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name.split()[0]} " in listed for name in COMMANDS)
    rooms = {
        "": cli.app,
        **{f"{group.name} ": group.typer_instance for group in cli.app.registered_groups},
    }
    names = {
        room + (command.name or command.callback.__name__)
        for room, app in rooms.items()
        if app
        for command in app.registered_commands
        if command.callback
    }
    assert names == COMMANDS
    for name, options in OPTIONS.items():
        assert cli.main([*name.split(), "--help"]) == 0
        text = capsys.readouterr().out
        assert {word for word in text.replace(",", " ").split() if word.startswith("--")} == {
            *options,
            "--help",
        }


def test_studies_lists_the_presets(capsys: Capture) -> None:
    rows = answer(capsys, "studies", "--json")["studies"]
    assert {"topk-vs-relu", "seeds-two-layer", "smoke"} <= {row["name"] for row in rows}
    assert set(rows[0]) == {"name", "description", "source", "saes", "report"}
    assert next(row for row in rows if row["name"] == "topk-vs-relu")["saes"] == 10


def test_profiles_say_what_fits(capsys: Capture) -> None:
    rows = answer(capsys, "profiles", "--json")["profiles"]
    assert [row["name"] for row in rows] == ["auto", "cpu", "cuda", "mps"]
    assert set(rows[0]) == {
        "name", "description", "fits", "reason", "device", "slots", "threads", "gpus", "gaps",
    }  # fmt: skip
    assert "no float64" in rows[3]["gaps"][0]
    assert all(row["fits"] or row["reason"] for row in rows)


def test_plan_shows_jobs_and_forecast(capsys: Capture) -> None:
    plan = answer(capsys, "plan", "topk-vs-relu", "--json")
    assert set(plan) == {"study", "profile", "device", "saes", "points", "jobs", "forecast"}
    assert (plan["saes"], plan["points"]) == (10, [{"point": {}, "saes": 10}])
    assert set(plan["jobs"][0]) == {
        "name",
        "kind",
        "key",
        "directory",
        "cached",
        "slots",
        "threads",
    }
    assert set(plan["forecast"]) == {"seconds", "memory_bytes", "disk_bytes", "basis"}
    assert len(plan["jobs"]) == 12
    assert not Path("runs").exists(), "planning writes nothing"


def test_plan_shows_the_points_of_a_search(capsys: Capture) -> None:
    plan = answer(capsys, "plan", "roadmap-matrix", "--json")
    assert plan["saes"] == 45
    widths = [64, 128, 256, 512, 1024]
    assert plan["points"] == [{"point": {"saes.*.d_sae": width}, "saes": 9} for width in widths]
    assert cli.main(["plan", "roadmap-matrix"]) == 0
    text = capsys.readouterr().out
    assert "5 points, 45 SAEs" in text
    assert "saes.*.d_sae" in text
    assert len(text.splitlines()) < 24, "it fits a small screen"
    rows = answer(capsys, "studies", "--json")["studies"]
    assert next(row for row in rows if row["name"] == "roadmap-matrix")["saes"] == 45


def test_bench_measures_an_analysis(capsys: Capture) -> None:
    """A tiny one: two SAEs of 64 features on the 121 pairs mod 11."""
    small = ("--seeds", "2", "--d-sae", "64", "--modulus", "11", "--threads", "1")
    found = answer(capsys, "bench", "analysis", *small, "--json")
    assert set(found) == {
        "threads", "seeds", "d_in", "d_sae", "data", "inputs", "live", "planes", "seconds", "cpu_seconds",
        "peak_bytes",
    }  # fmt: skip
    assert (found["seeds"], found["d_sae"], found["inputs"], found["threads"]) == (2, 64, 121, 1)
    assert found["planes"] > 0, "or the analysis would skip what it is asked for"
    assert 0 < found["live"] <= 1
    assert found["seconds"] > 0
    assert found["cpu_seconds"] > 0
    assert 1e8 < found["peak_bytes"] < 2e9


def test_bench_measures_a_workload(capsys: Capture, tmp_path: Path) -> None:
    """The tiny one: 20 steps of two TopK SAEs, in a process of its own."""
    found = answer(capsys, "bench", "sae", "--workload", "smoke", "--threads", "1", "--json")
    assert set(found) == {
        "workload",
        "architecture",
        "device",
        "threads",
        "numerics",
        "data",
        "seeds",
        "batch_size",
        "d_in",
        "d_sae",
        "steps",
        "milliseconds",
        "sae_tokens_per_second",
        "explained_variance",
        "floor",
        "share_of_floor",
    }
    assert found["workload"] == "smoke"
    assert (found["seeds"], found["batch_size"], found["d_in"], found["d_sae"]) == (2, 32, 16, 32)
    assert 0 < found["milliseconds"]["minimum"] <= found["milliseconds"]["median"]
    assert set(found["floor"]) == {"encoder", "top_k", "optimizer", "total"}
    assert len(found["explained_variance"]) == 2
    assert not list(tmp_path.iterdir()), "measuring writes nothing"


ROW = {"row", "asks", "seeds", "setup", "passed", "checks", "seconds"}
CHECK = {
    "measure", "text", "low", "high", "source", "published", "value", "ci_low", "ci_high", "per_seed",
    "passed",
}  # fmt: skip


def test_validate_answers_row_by_row(capsys: Capture, tmp_path: Path) -> None:
    """Two rows without training, each in a process of its own; progress goes to stderr."""
    arguments = ["validate", "--only", "oracle-sign", "--only", "oracle-permutation", "--json"]
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert set(found) == {
        "passed",
        "profile",
        "device",
        "processes",
        "threads",
        "seconds",
        "rows",
    }
    assert found["passed"] is True
    assert [row["row"] for row in found["rows"]] == ["oracle-permutation", "oracle-sign"]
    for row in found["rows"]:
        assert set(row) == ROW
        assert set(row["setup"]) == {
            "planted",
            "sae",
            "training",
            "oracle",
            "broken_auxiliary_loss",
        }
        assert all(set(check) == CHECK for check in row["checks"])
    assert len(said.err.splitlines()) == 3, "a word on how long, then a line per row"
    assert "to go" in said.err
    assert not list(tmp_path.iterdir()), "validating writes nothing"


def test_compare_gives_every_number_beside_its_null(capsys: Capture, tmp_path: Path) -> None:
    weights = Weights(torch.eye(8)[None], torch.zeros(1, 8), torch.eye(8)[None], torch.zeros(1, 8))
    for seed in (1, 2):
        fires = torch.full((1, 8), 500)
        one = TrainedSaes(TopK(d_sae=8, k=1), (seed,), weights, 1.0, fires, 1000)
        save_sae(tmp_path / str(seed), one)
    found = answer(capsys, "compare", "1", "2", "--json")
    assert set(found) == {"sign", "d_in", "saes", "subset", "metrics", "pairs", "notes"}
    assert set(found["saes"][0]) == {
        "name", "title", "architecture", "d_sae", "seed", "live", "twin"
    }  # fmt: skip
    assert {"mean_max_cos", "matched_mcc", "strict_shared_fraction@0.7"} <= set(found["metrics"])
    assert set(found["pairs"][0]) == {
        "a", "b", "subset", "observed", "null_name", "null", "kappa"
    }  # fmt: skip


def test_the_schema_is_a_json_schema(capsys: Capture) -> None:
    schema = answer(capsys, "schema")
    assert "saes" in schema["properties"]
    assert schema["$defs"]["TopK"]["properties"]["k"]["description"]


ERRORS = {
    "no such study": (["plan", "nothing"], 2, "nothing: no such study"),
    "unknown key": (
        ["plan", "smoke", "--set", "sedes=[1]"],
        2,
        "smoke.yaml: sedes: unknown key: did you mean 'seeds'?",
    ),
    "k above d_sae": (
        ["plan", "topk-vs-relu", "--set", "saes.0.k=4096"],
        2,
        "saes.0.k: 4096 is above d_sae 1024",
    ),
    "searched typo": (
        ["plan", "width-sweep", "--set", "search.over={saes.*.d_say: [8]}"],
        2,
        "width-sweep.yaml: search.over.saes.*.d_say: names nothing: saes.0 has no 'd_say': did you mean",
    ),
    "not prime": (
        ["run", "topk-vs-relu", "--set", "subject.modulus=100"],
        2,
        "subject.modulus: 100 is not prime",
    ),
    "no profile": (["plan", "smoke", "--profile", "tpu"], 2, "--profile tpu: no such profile"),
    "no device": (["run", "smoke", "--profile", "mps"], 3, "profile mps: no mps device"),
    "no report": (["report", "smoke"], 2, "no such study here"),
    "unknown option": (["plan", "smoke", "--fast"], 2, "--fast"),
    "unknown command": (["fly"], 2, "fly"),
    "missing argument": (["plan"], 2, "STUDY"),
    "no name": (["report", "../x"], 2, "is no study name"),
    "odd date": (["plan", "smoke", "--set", "description=2020-13-45"], 2, "not valid YAML"),
    "too little memory": (["run", "smoke", "--profile", "small.yaml"], 3, "memory_share"),
    "runs is a file": (["run", "smoke", "--runs", "file"], 3, "--runs file"),
    "no workload": (
        ["bench", "sae", "--workload", "x"],
        2,
        "--workload x: no such workload: one of",
    ),
    "no steps": (["bench", "sae", "--steps", "0"], 2, "--steps"),
    "too many threads": (
        ["bench", "sae", "--threads", "4096"],
        3,
        "--threads 4096: this machine has",
    ),
    "no row": (
        ["validate", "--only", "sky"],
        2,
        "--only sky: no such row: one of matched, redundant",
    ),
    "nothing to compare": (["compare"], 2, "SAE..."),
    "no sign": (
        ["compare", "a", "b", "--sign", "both"],
        2,
        "--sign both: no such sign: one of signed",
    ),
    "an empty name": (["plan", ""], 2, "an argument is empty: a name or a path is wanted"),
    "a blank name": (["notebook", " "], 2, "an argument is empty"),
    "an empty option": (["report", "smoke", "--runs", ""], 2, "--runs is empty"),
    "no SAE": (["compare", "a", "b"], 2, "a: no such file, and no such study here: a folder or"),
    "one seed": (["bench", "analysis", "--seeds", "1"], 2, "--seeds"),
    "threads of an analysis": (
        ["bench", "analysis", "--threads", "4096"],
        3,
        "--threads 4096: this machine has",
    ),
    "no prime": (["bench", "analysis", "--modulus", "12"], 2, "prime"),
    "no activations": (["bench", "sae", "--activations", "none"], 2, "--activations none"),
}


@pytest.mark.parametrize("case", sorted(ERRORS))
def test_bad_input_ends_with_its_code_and_one_line(case: str, capsys: Capture) -> None:
    if case == "no device" and sys.platform == "darwin":
        pytest.skip("this machine has mps")
    Path("file").write_text("")
    Path("small.yaml").write_text("{name: small, device: cpu, memory_share: 1e-6}")
    arguments, code, text = ERRORS[case]
    assert cli.main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if line.startswith("husai-engine:")]
    assert len(lines) == 1
    assert text in lines[0]
    assert "Traceback" not in said.err


def test_one_broken_study_does_not_hide_the_others(capsys: Capture) -> None:
    for name, text in {"old": "{name: old, gone: 1}", "marked": "[/bold]"}.items():
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / "study.yaml").write_text(text)
    rows = answer(capsys, "studies", "--json")["studies"]
    assert "cannot be read" in next(row["description"] for row in rows if row["name"] == "old")
    assert cli.main(["studies"]) == 0


def test_planning_changes_nothing(capsys: Capture, tmp_path: Path) -> None:
    answer(capsys, "plan", "smoke", "--json")
    jobs = answer(capsys, "plan", "smoke", "--json")["jobs"]
    folder = tmp_path / jobs[0]["directory"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("damaged")
    assert not answer(capsys, "plan", "smoke", "--json")["jobs"][0]["cached"]
    assert (folder / "result.json").read_text() == "damaged"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_terminal_encoding_will_do(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: κ", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "engine", "plan", "s.yaml"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 2
    assert b"bug" not in done.stderr


def test_ignored_signals_stay_ignored() -> None:
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stop_on_signals()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert callable(signal.getsignal(signal.SIGINT))
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_debug_shows_where(capsys: Capture) -> None:
    assert cli.main(["plan", "nothing", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m engine schema | head -c 10"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.stderr == ""


def test_replacing_another_studys_report_is_said(tmp_path: Path) -> None:
    plan = client.open_plan("smoke")
    assert client.replaced_study(plan, tmp_path) == ""
    folder = tmp_path / "smoke"
    (folder / "report").mkdir(parents=True)
    (folder / "report" / "summary.json").write_text("{}")
    (folder / "study.yaml").write_text(write_yaml(plan.study))
    assert client.replaced_study(plan, tmp_path) == "", "the same study runs again"
    other = client.open_plan("smoke", overrides=["seeds=[7,8,9]"])
    assert "another study named smoke" in client.replaced_study(other, tmp_path)


@pytest.mark.parametrize("command", ["jobs", "cancel", "plan", "--runs"])
def test_an_argument_that_is_no_text_is_refused_in_one_line(command: str, capsys: Capture) -> None:
    assert cli.main([command, "a\udcff"]) == 2
    assert capsys.readouterr().err == "husai-engine: 'a\\udcff': not text in UTF-8\n"
