"""Controls as a process measures them: judgements, oracles, a broken loss, against numbers worked by hand."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import validation
from engine.study.control import Check, Control, find_controls
from engine.study.recipe import SaeTraining
from engine.study.sae import TopK
from engine.study.subject import Planted
from engine.validation import BrokenCohort, Measured, answer, judge, of_pairs, of_seeds

SMALL = Control(
    "small",
    "A quick one",
    (Check("explained_variance", "EV", "here", 0.5), Check("kappa", "κ", "here", -1.0, 1.0)),
    Planted(d_in=12, features=8, l0=1, samples=3000),
    (1, 2, 3),
    TopK(d_sae=8, k=1),
    SaeTraining(epochs=6, lr=1e-2, schedule="linear"),
)


@pytest.mark.parametrize(
    ("value", "low", "high", "passed"),
    [
        (0.9, 0.9, None, True),
        (0.8999, 0.9, None, False),
        (0.05, -0.05, 0.05, True),
        (-0.0501, -0.05, 0.05, False),
        (0.2, None, 0.1, False),
        (math.nan, None, 0.1, False),
    ],
)
def test_an_interval_includes_its_ends_and_no_missing_number(
    value: float, low: float | None, high: float | None, passed: bool
) -> None:
    judged = judge(Check("x", "X", "here", low, high), Measured(value, 0.1, math.inf))
    assert judged["passed"] is passed
    assert judged["value"] == (None if math.isnan(value) else value)
    assert (judged["ci_low"], judged["ci_high"]) == (0.1, None)
    json.dumps(judged, allow_nan=False)


def test_the_interval_of_a_mean_over_seeds_is_that_of_student() -> None:
    # Jackknife of a mean: SE = sd/sqrt(S); sd of 1, 2, 3 is 1, t(.975, 2) = 4.3027.
    found = of_seeds([1.0, 2.0, 3.0])
    half = 4.3027 / math.sqrt(3)
    assert (found.value, found.per_seed) == (2.0, (1.0, 2.0, 3.0))
    assert found.low == pytest.approx(2 - half, abs=1e-3)
    assert found.high == pytest.approx(2 + half, abs=1e-3)
    assert math.isnan(of_seeds([1.0, 2.0]).low)
    assert math.isnan(of_seeds([1.0, math.nan, 2.0]).value)


def test_pairs_without_a_value_measure_nothing() -> None:
    assert math.isnan(of_pairs(np.full((3, 3), math.nan)).value)
    pairs_SS = np.array([[math.nan, 0.2, 0.4], [0.2, math.nan, 0.6], [0.4, 0.6, math.nan]])
    assert of_pairs(pairs_SS).value == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["permutation", "sign", "noise", "duplicates"])
def test_pairs_with_a_known_answer_get_it(name: str) -> None:
    # science.md §8: 1; 0 and 1; 1/sqrt(1+.25) = .894 and 1/1.25 = .800; .75 and .5.
    row = answer(find_controls([f"oracle-{name}"])[0])
    assert row["passed"], row["checks"]
    assert [check["value"] for check in row["checks"]] == pytest.approx(
        {
            "permutation": [1.0, 1.0],
            "sign": [0.0, 1.0],
            "noise": [0.894, 0.8],
            "duplicates": [0.75, 0.5],
        }[name],
        abs=0.005,
    )


def test_seeds_that_find_a_share_q_at_random_share_its_square() -> None:
    control = find_controls(["oracle-subset"])[0]
    fewer = replace(control, planted=Planted(d_in=200, features=200, orthonormal=True, samples=100))
    found = answer(fewer)["checks"][0]
    assert found["value"] == pytest.approx(0.36, abs=0.04)
    assert found["ci_low"] < 0.36 < found["ci_high"]


def test_a_control_is_trained_and_judged() -> None:
    row = answer(SMALL)
    by_name = {check["measure"]: check for check in row["checks"]}
    assert by_name["explained_variance"]["passed"]
    assert len(by_name["explained_variance"]["per_seed"]) == 3
    assert by_name["kappa"]["value"] is None, "without twins there is no κ over N3"
    assert not by_name["kappa"]["passed"]
    assert not row["passed"], "one number is enough"
    assert row["setup"]["sae"]["architecture"] == "topk"
    json.dumps(row, allow_nan=False)


def test_the_broken_loss_is_caught_where_the_same_training_without_it_is_not() -> None:
    checks = (Check("caught", "caught", "here", 1.0, 1.0),)
    planted = Planted(
        d_in=64, features=10, l0=3, orthonormal=True, signed=True, noise=0.01, samples=3000
    )
    training = SaeTraining(epochs=10, lr=3e-3, batch_size=128)
    control = replace(
        SMALL, planted=planted, sae=TopK(d_sae=20, k=3), checks=checks, training=training
    )
    broken = answer(replace(control, broken=True))
    assert broken["passed"], broken["checks"]
    assert broken["setup"]["broken_auxiliary_loss"]
    assert answer(control)["checks"][0]["value"] == 0.0


def test_the_broken_loss_is_the_one_that_is_described() -> None:
    """Worked again, input by input: Σ_D (x−x̂)² · Σ of the |pre-activations| that were not kept."""
    x_ND = torch.randn(64, 4, generator=torch.Generator().manual_seed(3))
    cohort = BrokenCohort(TopK(d_sae=6, k=2), SaeTraining(epochs=1, batch_size=8), [1, 2], x_ND)
    x_SBD = cohort.batches.batch(0)
    done = cohort.saes.forward(x_SBD, 0)
    found = cohort._revival(x_SBD, done)
    w = cohort.saes.weights.map(torch.detach)
    reconstruction_SBD = done.reconstruction.detach()
    for s in range(2):
        total = 0.0
        for x_D, y_D in zip(x_SBD[s], reconstruction_SBD[s], strict=True):
            pre = sorted(((x_D - w.b_dec[s]) @ w.W_enc[s].T + w.b_enc[s]).tolist(), reverse=True)
            total += float(((x_D - y_D) ** 2).sum()) * sum(abs(value) for value in pre[2:])
        assert float(found.loss[s].detach()) == pytest.approx(total / len(x_SBD[s]), rel=1e-4)
    assert found.loss.requires_grad, "nothing is detached"
    assert found.weight == 4 / 32, "beside an error that is summed over D = 4"


def test_each_line_of_input_has_one_line_of_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("oracle-sign\nsky\n"))
    threads = torch.get_num_threads()
    assert validation.main(["--threads", str(threads)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["row"] for row in rows] == ["oracle-sign", "sky"]
    assert rows[0]["passed"]
    assert "no such row" in rows[1]["error"]
