"""Red flags raised while SAEs train: what a person who watches the curves should not have to notice.

The list is the seeds' (loss rising or flat early, L0 far from its target, many dead latents, low explained
variance), with thresholds that are conventions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine.disk.curves import Flag, Row, Value
from engine.disk.text import bare
from engine.study.sae import BatchTopK, JumpReLU, Matryoshka, Sae, TopK

EARLY = 0.1
"""Share of the training after which the loss must have fallen."""
SETTLED = 0.5
"""Share of the training after which L0, explained variance and dead latents are judged."""
LEAST_FALL = 0.02
"""Share of its first value that the loss must have lost by then."""
RISE = 1.25
"""Multiple of the lowest loss so far that counts as rising, at two measurements in a row."""
FAR = 1.5
"""Factor by which L0 may miss its target."""
MANY_DEAD = 0.3
LOW_EV = 0.7
JUDGED = ("loss", "l0", "dead_fraction", "explained_variance")
"""Values of a row that decide the flags."""


class Watch:
    """Looks at each row of the curves and raises each flag once per seed."""

    def __init__(self, config: Sae, seeds: Sequence[int], steps: int) -> None:
        self.seeds, self.steps = tuple(seeds), steps
        self.target = _target(config)
        self._raised: set[tuple[str, int | None]] = set()
        self._first: dict[int, float] = {}
        self._lowest: dict[int, float] = {}
        self._rising: dict[int, int] = {}

    def look(self, done: int, values: Mapping[str, Value]) -> list[Flag]:
        """Return the flags that the values after `done` steps raise for the first time."""
        fresh = [f for f in self.holding(done, values) if (f.name, f.seed) not in self._raised]
        self._raised |= {(flag.name, flag.seed) for flag in fresh}
        return fresh

    def holding(self, done: int, values: Mapping[str, Value]) -> list[Flag]:
        """Return the flags that hold after `done` steps, raised before or not; asked once for each row."""
        found: list[Flag] = []
        for place, seed in enumerate(self.seeds):
            row = {name: _at(value, place) for name, value in values.items()}
            if not math.isfinite(row.get("loss", math.nan)):
                continue  # a frozen seed, which has its own flag
            for name, message in self._judge(done, seed, row):
                found.append(Flag(name, f"seed {seed}: {message}", seed))
        return found

    def _judge(self, done: int, seed: int, row: Mapping[str, float]) -> list[tuple[str, str]]:
        found = self._judge_loss(done, seed, row["loss"])
        if done < SETTLED * self.steps:
            return found
        l0, dead, ev = row["l0"], row["dead_fraction"], row["explained_variance"]
        if self.target and not self.target / FAR <= l0 <= self.target * FAR:
            found.append(
                ("l0_off_target", bare(f"L0 is {l0:.1f}, far from its target {self.target:g}"))
            )
        if dead > MANY_DEAD:
            found.append(("dead_latents", f"{dead:.0%} of the latents are dead"))
        if ev < LOW_EV:
            found.append(
                ("low_explained_variance", bare(f"explained variance is {ev:.3g}, below .7"))
            )
        return found

    def _judge_loss(self, done: int, seed: int, loss: float) -> list[tuple[str, str]]:
        first = self._first.setdefault(seed, loss)
        lowest = min(self._lowest.get(seed, loss), loss)
        self._lowest[seed] = lowest
        rising = loss > RISE * lowest and lowest > 0
        self._rising[seed] = self._rising.get(seed, 0) + 1 if rising else 0
        found = []
        if self._rising[seed] >= 2:
            message = bare(f"the loss rises: {loss:.3g} after a lowest of {lowest:.3g}")
            found.append(("loss_rising", message))
        elif done >= EARLY * self.steps and done and lowest > (1 - LEAST_FALL) * first:
            values = bare(f"{first:.3g} at first, {loss:.3g} now")
            flat = ("loss_flat", f"the loss is flat: {values}")
            found.append(("loss_rising", f"the loss rises: {values}") if rising else flat)
        return found

    def state(self) -> dict[str, Any]:
        """Return what decides later flags, as plain values."""
        return {
            "raised": sorted([name, seed] for name, seed in self._raised),
            "first": [self._first.get(seed) for seed in self.seeds],
            "lowest": [self._lowest.get(seed) for seed in self.seeds],
            "rising": [self._rising.get(seed, 0) for seed in self.seeds],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""

        def known(name: str) -> dict[int, Any]:
            pairs = zip(self.seeds, state[name], strict=True)
            return {seed: value for seed, value in pairs if value is not None}

        self._raised = {(name, int(seed)) for name, seed in state["raised"]}
        self._first, self._lowest = known("first"), known("lowest")
        self._rising = known("rising")


def flags_at_end(config: Sae, seeds: Sequence[int], rows: Sequence[Row]) -> list[Flag]:
    """Return the red flags that hold after the last row of the curves of a cohort."""
    watch = Watch(config, seeds, rows[-1]["step"] if rows else 0)
    found: list[Flag] = []
    for row in rows:
        values = {name: row[name] for name in JUDGED if row.get(name) is not None}
        found = watch.holding(row["step"], values) if len(values) == len(JUDGED) else []
    return found


def _target(config: Sae) -> float | None:
    if isinstance(config, (TopK, BatchTopK, Matryoshka)):
        return float(config.k)
    return config.target_l0 if isinstance(config, JumpReLU) else None


def _at(value: Value, place: int) -> float:
    one = value if isinstance(value, (int, float)) else value[place]
    return (
        math.nan if one is None else float(one)
    )  # curves hold nothing where a value was not finite
