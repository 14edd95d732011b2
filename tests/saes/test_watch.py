"""Red flags while SAEs train: each fires where it should, once, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.saes.watch import Watch, flags_at_end
from engine.study.sae import BatchTopK, Gated, JumpReLU, Sae, TopK

GOOD = {"loss": 5.0, "l0": 4.0, "dead_fraction": 0.1, "explained_variance": 0.9}
TOPK = TopK(d_sae=48, k=4)


def row(**values: float) -> dict[str, list[float]]:
    """Return a row in which the first seed is well and the second has these values."""
    return {name: [good, values.get(name, good)] for name, good in GOOD.items()}


def watch(config: Sae = TOPK) -> Watch:
    fresh = Watch(config, (3, 7), 1000)
    assert fresh.look(0, row() | {"loss": [100.0, 100.0]}) == []
    return fresh


def test_a_sound_training_raises_nothing() -> None:
    task = watch()
    losses = [60.0, 30.0, 31.0, 20.0, 12.0, 6.0, 5.0]
    flags = [task.look(50 + 150 * i, row() | {"loss": [v, v]}) for i, v in enumerate(losses)]
    assert flags == [[]] * len(losses)


@pytest.mark.parametrize(
    ("values", "name", "said"),
    [
        ({"l0": 9.0}, "l0_off_target", "L0 is 9.0, far from its target 4"),
        ({"l0": 1.0}, "l0_off_target", "L0 is 1.0"),
        ({"dead_fraction": 0.31}, "dead_latents", "31% of the latents are dead"),
        ({"explained_variance": 0.69}, "low_explained_variance", ".69, below .7"),
    ],
)
def test_what_is_judged_once_settled(values: dict[str, float], name: str, said: str) -> None:
    task = watch()
    assert task.look(499, row(**values)) == [], "too early to say"
    flags = task.look(500, row(**values))
    assert [(flag.name, flag.seed) for flag in flags] == [(name, 7)]
    assert flags[0].message.startswith("seed 7: ")
    assert said in flags[0].message
    assert task.look(550, row(**values)) == [], "said once"


@pytest.mark.parametrize(
    ("config", "l0", "flagged"),
    [
        (BatchTopK(d_sae=48, k=4), 5.9, False),
        (BatchTopK(d_sae=48, k=4), 6.1, True),
        (JumpReLU(d_sae=48, target_l0=10.0), 6.0, True),
        (JumpReLU(d_sae=48, l0=0.1), 40.0, False),
        (Gated(d_sae=48, l1=0.1), 40.0, False),
    ],
)
def test_targets_of_architectures(config: Sae, l0: float, flagged: bool) -> None:
    values = row() | {"l0": [l0, l0]}
    assert bool(watch(config).look(600, values)) is flagged


def test_a_rising_loss_needs_two_measurements_in_a_row() -> None:
    task = watch()
    task.look(100, row(loss=10.0))
    assert task.look(200, row(loss=13.0)) == []
    assert task.look(300, row(loss=10.0)) == []
    assert task.look(400, row(loss=13.0)) == []
    (flag,) = task.look(450, row(loss=13.0))
    assert (flag.name, flag.seed) == ("loss_rising", 7)
    assert "13 after a lowest of 10" in flag.message


def test_a_flat_loss_is_noticed_early() -> None:
    task = watch()
    assert task.look(50, row(loss=99.5)) == []
    (flag,) = task.look(100, row(loss=99.0))
    assert (flag.name, flag.seed) == ("loss_flat", 7)
    assert "100 at first, 99 now" in flag.message


def test_a_loss_that_explodes_is_not_called_flat() -> None:
    task = watch()
    (flag,) = task.look(150, row(loss=9.3e8))
    assert (flag.name, flag.message) == (
        "loss_rising",
        "seed 7: the loss rises: 100 at first, 9.3e+08 now",
    )


def curves(*losses: float, l0: float = 4.0) -> list[dict[str, Any]]:
    """Return rows as a file of curves holds them, with these losses of the second seed."""
    return [
        {"step": 100 * n, **row(l0=l0), "loss": [5.0 if n else 100.0, loss], "mean_max_cos": None}
        for n, loss in enumerate(losses)
    ]


def test_what_has_passed_does_not_hold_at_the_end() -> None:
    passed = curves(100.0, 20.0, 40.0, 41.0, 10.0)
    assert flags_at_end(TOPK, (3, 7), passed) == []
    (flag,) = flags_at_end(TOPK, (3, 7), passed[:-1])
    assert (flag.name, flag.seed) == ("loss_rising", 7)
    (flag,) = flags_at_end(TOPK, (3, 7), curves(100.0, 50.0, 20.0, l0=9.0))
    assert flag.message == "seed 7: L0 is 9.0, far from its target 4"


def test_gaps_in_the_curves_of_a_frozen_seed_are_passed_over() -> None:
    rows = curves(100.0, 50.0)
    rows[-1] |= {name: [good, None] for name, good in GOOD.items()}
    assert flags_at_end(TOPK, (3, 7), rows) == []
    assert flags_at_end(TOPK, (3, 7), []) == []


def test_gaps_of_frozen_seeds_raise_nothing() -> None:
    gaps: dict[str, Any] = {name: [good, float("nan")] for name, good in GOOD.items()}
    assert watch().look(600, gaps) == []


def test_a_resumed_watch_goes_on_as_if_nothing_happened() -> None:
    task = watch()
    task.look(100, row(loss=10.0))
    task.look(450, row(loss=13.0))
    task.look(500, row(dead_fraction=0.5, loss=9.0))
    task.look(550, row(loss=20.0))
    again = Watch(TOPK, (3, 7), 1000)
    again.restore(json.loads(json.dumps(task.state())))
    assert again.state() == task.state()
    (flag,) = again.look(600, row(loss=20.0, dead_fraction=0.5))
    assert flag.name == "loss_rising", "the second in a row, and dead latents are not told again"
