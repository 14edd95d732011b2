"""Looks at single features, against formulas in numpy; requests as a process answers them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from engine.disk.root import RunsRoot
from engine.jobs.cohorts import find_analysis, list_cohorts
from engine.microscope import Codes, Microscope, describe
from engine.study.subject import Modular, Planted
from tests.client.conftest import grid, tiny

__all__ = ["grid", "tiny"]
P, K = 17, 3
MODULAR = Modular(modulus=P)


def entries(map_PP: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = map_PP.flatten().nonzero().flatten()
    return inputs, map_PP.flatten()[inputs]


def sources(runs: Path, study: str, number: int) -> tuple[str, Path, NDArray[np.float32]]:
    """Return the title of a study's cohort, the folder of its SAEs and its activations."""
    root = RunsRoot(runs)
    title = list_cohorts(root, study)[number].title
    inputs = find_analysis(root, study, title).read_job()["inputs"]
    x_ND = load_file(root.run(inputs["activations"]).artifacts / "activations.safetensors")
    return title, root.run(inputs["cohort"]).artifacts, x_ND["activations"]


def column(folder: Path, x_ND: NDArray[np.float32], seed: int, feature: int, k: int) -> Any:
    """One latent over all activations, straight from the formulas; `k` 0: ReLU."""
    sae = load_file(folder / f"seed-{seed}" / "sae.safetensors")
    pre_NF = (x_ND - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
    if k:
        bound_N = np.sort(pre_NF, axis=1)[:, -k]
        pre_NF = np.where(pre_NF >= bound_N[:, None], pre_NF, 0)
    return np.maximum(pre_NF[:, feature], 0)


@pytest.mark.parametrize(("number", "k"), [(0, 3), (1, 0)], ids=["topk", "relu"])
def test_the_map_is_what_the_saved_weights_say(grid: Path, number: int, k: int) -> None:
    title, folder, x_ND = sources(grid, "grid", number)
    microscope = Microscope(RunsRoot(grid))
    fired = 0
    for seed, feature in ((1, 0), (1, 7), (2, 7), (3, 23), (1, 5)):
        card = microscope.look("grid", title, seed, feature)
        expected = column(folder, x_ND, seed, feature, k)
        levels = np.frombuffer(base64.b64decode(card["map"]), np.uint8)
        close = 0.51 * card["scale"] + 1e-6
        np.testing.assert_allclose(levels * card["scale"], expected, atol=close)
        assert card["max"] == pytest.approx(float(expected.max()), rel=1e-4)
        assert card["mean"] == pytest.approx(float(expected.mean()), rel=1e-4)
        assert card["density"] == pytest.approx((expected > 0).mean())
        assert sum(card["histogram"]) == (expected > 0).sum()
        order = np.argsort(-expected, kind="stable")[:20]
        for one, row in zip(card["top"], order, strict=False):
            assert one["activation"] == pytest.approx(float(expected[row]), rel=1e-4)
            assert (one["a"], one["b"]) == divmod(one["input"], 11)
            assert one["answer"] == (one["a"] + one["b"]) % 11
        assert len(card["top"]) == min(20, (expected > 0).sum())
        fired += len(card["top"]) > 0
    assert fired > 2, "most of them fire"


def test_a_planted_subject_has_top_inputs_and_no_map(tiny: Path) -> None:
    title, folder, x_ND = sources(tiny, "tiny", 1)
    card = Microscope(RunsRoot(tiny)).look("tiny", title, 2, 4)
    expected = column(folder, x_ND, 2, 4, 0)
    assert card["kind"] == "planted"
    assert "map" not in card
    assert card["inputs"] == len(expected) == 400
    assert card["top"][0]["input"] == expected.argmax()
    assert set(card["top"][0]) == {"input", "activation"}


def test_the_spectrum_of_a_wave_of_the_sum_peaks_at_its_frequency() -> None:
    total_PP = (torch.arange(P)[:, None] + torch.arange(P)) * (2 * torch.pi * K / P)
    card = describe(*entries(1 + total_PP.cos()), P * P, MODULAR)
    spectrum = np.array(card["spectrum"])
    assert spectrum.shape == (4, P // 2)
    assert np.unravel_index(spectrum.argmax(), spectrum.shape) == (2, K - 1)
    assert spectrum[2, K - 1] == pytest.approx(1, abs=1e-6)
    assert card["top"][0]["answer"] == 0, "cos is largest where a + b = 0"


def test_a_card_by_hand() -> None:
    map_PP = torch.zeros(P, P)
    map_PP[2, 5], map_PP[16, 1], map_PP[3, 3], map_PP[0, 1] = 10.0, 4.0, 10.0, 0.01
    card = describe(*entries(map_PP), P * P, MODULAR)
    assert card["max"] == 10
    assert card["scale"] == pytest.approx(10 / 255)
    assert card["mean"] == pytest.approx(24.01 / 289)
    assert card["density"] == pytest.approx(4 / 289)
    assert [card["histogram"][bin_] for bin_ in (0, 9, 23)] == [1, 1, 2]
    told = [(one["a"], one["b"], one["answer"]) for one in card["top"]]
    assert told == [(2, 5, 7), (3, 3, 6), (16, 1, 0), (0, 1, 1)]
    levels = np.frombuffer(base64.b64decode(card["map"]), np.uint8).reshape(P, P)
    assert (levels[2, 5], levels[16, 1], levels[0, 1]) == (255, 102, 0)


def test_a_dead_feature_has_a_card() -> None:
    nothing = torch.empty(0, dtype=torch.int64), torch.empty(0)
    card = describe(*nothing, P * P, MODULAR)
    assert (card["max"], card["mean"], card["density"], card["top"]) == (0, 0, 0, [])
    assert card["spectrum"] is None
    assert set(base64.b64decode(card["map"])) == {0}
    planted = describe(*nothing, 400, Planted(d_in=4, features=4, l0=1, samples=400))
    assert planted["histogram"] == [0] * 24
    json.dumps(card, allow_nan=False)


def test_codes_find_a_latent_again_in_all_chunks() -> None:
    z_NF = torch.tensor([[0, 1.0, 0], [2, 0, 0], [0, 3, 4], [0, 0, 0], [5, 6, 0]])
    codes = Codes()
    for start in (0, 2, 4):
        codes.add(z_NF[start : start + 2], start)
    for feature, inputs, values in ((0, [1, 4], [2, 5]), (1, [0, 2, 4], [1, 3, 6]), (2, [2], [4])):
        found = codes.of(feature)
        assert (found[0].tolist(), found[1].tolist()) == (inputs, values)


def test_what_is_kept_has_a_limit_and_changes_no_card(
    grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = [cohort.title for cohort in list_cohorts(RunsRoot(grid), "grid")]
    looks = [(title, seed, 7) for title in titles for seed in (1, 2, 3)]
    roomy = Microscope(RunsRoot(grid))
    cards = [roomy.look("grid", *look) for look in looks]
    assert roomy.look("grid", *looks[0]) == cards[0], "from what was kept"
    monkeypatch.setattr("engine.microscope.CHUNK", 24 * 50)
    largest = 0
    for budget in (0, 40_000):
        tight = Microscope(RunsRoot(grid), budget)
        for look, card in zip(looks, cards, strict=True):
            again = tight.look("grid", *look)
            assert [one["input"] for one in again["top"]] == [one["input"] for one in card["top"]]
            assert again["mean"] == pytest.approx(card["mean"])
            largest = max(largest, tight.kept())
    assert largest <= 40_000 < roomy.kept()


def ask(microscope: Microscope, **request: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(microscope.answer(json.dumps(request).encode()))
    return answer


def test_a_bad_request_is_answered_in_one_line(grid: Path) -> None:
    microscope = Microscope(RunsRoot(grid))
    title = list_cohorts(RunsRoot(grid), "grid")[0].title
    good = {"id": 1, "study": "grid", "cohort": title, "seed": 1, "feature": 0}
    assert "card" in ask(microscope, **good)
    for change, said in (
        ({"study": "none"}, "none: no such study in the queue"),
        ({"cohort": "x"}, "grid: no cohort 'x': one of topk"),
        ({"seed": 9}, "seed: 9 is not there"),
        ({"feature": 24}, "feature: 24 is not there: 0 to 23"),
        ({"feature": -1}, "feature: -1 is not there"),
        ({"seed": "1"}, "request: {"),
        ({"seed": True}, "request: {"),
    ):
        answer = ask(microscope, **{**good, **change})
        assert answer["error"].startswith(said)
        assert answer["exit_code"] == 2
    for line in (b"", b"\xff", b"[]", b"3", b"{}", b'{"id": 1}'):
        assert json.loads(microscope.answer(line))["error"].startswith("request: ")
    assert "card" in ask(microscope, **good)


def test_the_process_answers_line_by_line_and_leaves_at_the_end_of_its_input(grid: Path) -> None:
    title = list_cohorts(RunsRoot(grid), "grid")[0].title
    good = json.dumps({"id": "x", "study": "grid", "cohort": title, "seed": 1, "feature": 0})
    done = subprocess.run(
        [sys.executable, "-m", "engine.microscope", "--runs", str(grid)],
        input=f"nonsense\n{good}\n{good[:20]}", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    first, second = map(json.loads, done.stdout.splitlines())
    assert "error" in first
    assert second["id"] == "x"
    assert second["card"]["modulus"] == 11


def test_the_process_leaves_when_nobody_asks(tmp_path: Path) -> None:
    source, held_open = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.microscope", "--runs", str(tmp_path), "--idle", "0.1"],
            stdin=source,
        )
        assert process.wait(60) == 0
    finally:
        os.close(source)
        os.close(held_open)
