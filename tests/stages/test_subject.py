"""Gates on transformers that are really trained: the sound one passes, every control fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.disk.rundir import RunDirectory
from engine.errors import GateFailed
from engine.stages import subject
from engine.stages.context import Context
from engine.study.spec import read_study
from engine.subjects.modular import Grokking

SMOKE = read_study("smoke").subject.model_dump(mode="json", exclude={"gates"})


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def train(policy: str = "warn", **changes: Any) -> dict[str, Any]:
        config = {
            **SMOKE,
            **{k: {**SMOKE[k], **v} if isinstance(v, dict) else v for k, v in changes.items()},
        }
        directory = RunDirectory(tmp_path / "run")
        directory.create({"policy": {}})
        context = Context(directory, config, {"gates": policy}, {}, "cpu", lambda: False)
        return subject.run(context)

    return train


Run = Callable[..., dict[str, Any]]


def failed(result: dict[str, Any]) -> set[str]:
    return {gate["name"] for gate in result["gates"]["gates"] if not gate["passed"]}


def test_without_weight_decay_it_memorises_and_fails(run: Run) -> None:
    result = run(training={"weight_decay": 0.0, "steps": 700})
    assert result["train_accuracy"] > 0.99
    assert result["test_accuracy"] < 0.9
    assert {"G1", "G2"} <= failed(result)


def test_a_memorised_checkpoint_fails(run: Run) -> None:
    result = run(training={"steps": 200})
    assert result["train_accuracy"] > 0.99
    assert {"G1", "G2"} <= failed(result)


def test_a_random_initialisation_fails(run: Run) -> None:
    result = run(training={"steps": 1})
    assert {"G1", "G2", "G3"} <= failed(result)
    assert result["grokked"] == {"train": [1, None], "test": [1, None]}


@pytest.mark.parametrize(
    ("tokens", "position"), [("sequence", "c"), ("sequence", "EOS"), ("tuple", "c")]
)
def test_reading_where_the_answer_is_visible_is_refused_before_training(
    run: Run, monkeypatch: pytest.MonkeyPatch, tokens: str, position: str
) -> None:
    def never(self: Grokking, index: int) -> None:
        raise AssertionError("nothing is trained")

    monkeypatch.setattr(Grokking, "step", never)
    with pytest.raises(GateFailed, match="G0 leakage"):
        run("enforce", tokens=tokens, position=position)


def test_with_warn_a_leak_is_trained_and_marked(run: Run) -> None:
    result = run(tokens="sequence", position="c", training={"steps": 50})
    assert "G0" in failed(result)
    assert not result["gates"]["passed"]


def test_the_seven_token_format_is_sound_at_the_equals_sign(run: Run) -> None:
    result = run(tokens="sequence", position="=", training={"steps": 2})
    assert "G0" not in failed(result)
