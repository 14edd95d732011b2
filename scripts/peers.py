"""HUSAI beside three libraries: the same batches, the same steps, one process, in turns (see bench_peers).

Each library trains as its users let it train: its own step, its own optimizer, its own clipping. What is
made equal is what a user sets: size, k, learning rate, warm-up, AuxK on. Runs in .venv-peers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import types
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine import bench
from engine.saes.cohort import Cohort
from engine.saes.quality import explained_variance
from engine.stages import numerics
from engine.study.recipe import SaeTraining
from engine.study.sae import Dead, TopK

WIDTH, LATENTS, K, BATCH = 128, 1024, 32, 256
LR, WARMUP = 3e-4, 50
SEEDS = 5
LIBRARIES = ("sae_lens", "dictionary_learning", "sparsify")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench_peers", description=__doc__)
    parser.add_argument("--activations", required=True, help="safetensors file with `activations`")
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=10, help="turns that the steps are cut into")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--dead-after",
        type=int,
        default=25_000,
        help="inputs after which a latent counts as dead, in all libraries alike, so that AuxK takes part in "
        "each; 0: each one's own rule, by which none of the three has a dead latent in 1,000 steps",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    given.dead_after = given.dead_after or None
    if not (given.steps > WARMUP and given.steps >= given.rounds > 0):
        parser.error(f"--steps must be above the warm-up of {WARMUP} and at least --rounds")
    return given


def load_dictionary_learning() -> None:
    """Make `dictionary_learning.trainers` importable without its package's own first lines.

    They import a buffer that reads language models through nnsight, which brings another torch.
    """
    found = importlib.util.find_spec("dictionary_learning")
    if found is None or "dictionary_learning" in sys.modules:
        return
    package = types.ModuleType("dictionary_learning")
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["dictionary_learning"] = package


class Contestant(Protocol):
    """One way of training SAEs."""

    saes: int
    """SAEs that one step trains."""

    def step(self, index: int, x_BD: Tensor) -> None:
        """Do the training step of one batch."""

    def score(self, x_BD: Tensor) -> float:
        """Return the explained variance on held-out inputs, mean over the SAEs."""


class Ours:
    """A cohort; it takes its batches from the same stream itself, inside the step."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort, self.saes = cohort, len(cohort.seeds)

    def step(self, index: int, x_BD: Tensor) -> None:
        del x_BD
        self.cohort.step(index)

    def score(self, x_BD: Tensor) -> float:
        del x_BD  # the cohort holds the same rows out, and has the same definition
        return statistics.mean(self.cohort.quality().explained_variance)


class SaeLens:
    """SAELens' SAETrainer with a TopKTrainingSAE: Adam, clipping at 1, a decoder of free norm.

    All settings are its defaults. `use_sparse_activations` fails on a CPU beside the default rescaling by the
    decoder's norms (6.54.12), and without that rescaling it was slower than dense.
    """

    saes = 1

    def __init__(self, steps: int, dead_after: int | None) -> None:
        from sae_lens.config import LoggingConfig, SAETrainerConfig
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
        from sae_lens.training.sae_trainer import SAETrainer

        config = TopKTrainingSAEConfig(d_in=WIDTH, d_sae=LATENTS, k=K)
        window = {} if dead_after is None else {"dead_feature_window": dead_after // BATCH}
        training = SAETrainerConfig(
            total_training_samples=steps * BATCH,
            train_batch_size_samples=BATCH,
            lr=LR,
            lr_end=LR,  # read by schedules that fall, of which none is chosen
            lr_warm_up_steps=WARMUP,
            logger=LoggingConfig(log_to_wandb=False),
            **window,
        )
        self.trainer = SAETrainer(training, TopKTrainingSAE(config), iter(()))

    def step(self, index: int, x_BD: Tensor) -> None:
        del index
        self.trainer.maybe_reset_sparsity()
        self.trainer.step(x_BD)
        self.trainer.n_training_steps += 1

    @torch.no_grad()
    def score(self, x_BD: Tensor) -> float:
        return explained_variance(x_BD, self.trainer.sae(x_BD))


class DictionaryLearning:
    """dictionary_learning's TopKTrainer: Adam, clipping at 1, a decoder of norm 1."""

    saes = 1

    def __init__(self, steps: int, dead_after: int | None) -> None:
        load_dictionary_learning()
        from dictionary_learning.trainers.top_k import TopKTrainer

        self.trainer = TopKTrainer(
            steps, WIDTH, LATENTS, K, 0, "none", lr=LR, warmup_steps=WARMUP, device="cpu", seed=0
        )
        if dead_after is not None:
            self.trainer.dead_feature_threshold = dead_after

    def step(self, index: int, x_BD: Tensor) -> None:
        self.trainer.update(index, x_BD)

    @torch.no_grad()
    def score(self, x_BD: Tensor) -> float:
        return explained_variance(x_BD, self.trainer.ae(x_BD))


class Sparsify:
    """sparsify's SparseCoder, stepped as its Trainer does for one module, without the language model."""

    saes = 1

    def __init__(self, steps: int, dead_after: int | None) -> None:
        del steps
        with redirect_stdout(sys.stderr):  # it prints what it found installed
            from sparsify import SparseCoder, SparseCoderConfig, TrainConfig
        from transformers import get_constant_schedule_with_warmup

        self.config = TrainConfig(
            SparseCoderConfig(num_latents=LATENTS, k=K),
            auxk_alpha=1 / 32,
            **({} if dead_after is None else {"dead_feature_threshold": dead_after}),
        )
        self.coder = SparseCoder(WIDTH, self.config.sae, dtype=torch.float32)
        self.optimizer = torch.optim.Adam(self.coder.parameters(), lr=LR)
        # Its own schedule falls to zero; it is left at the top, as those of the others are.
        self.schedule = get_constant_schedule_with_warmup(self.optimizer, WARMUP)
        self.since_fired = torch.zeros(LATENTS, dtype=torch.long)
        self.did_fire = torch.zeros(LATENTS, dtype=torch.bool)

    def step(self, index: int, x_BD: Tensor) -> None:
        coder = self.coder
        if index == 0:
            coder.b_dec.data = x_BD.mean(0)
        coder.set_decoder_norm_to_unit_norm()
        dead_mask = self.since_fired > self.config.dead_feature_threshold
        total_variance = (x_BD - x_BD.mean(0)).pow(2).sum()
        out = coder(x=x_BD, y=x_BD, dead_mask=dead_mask, total_variance=total_variance)
        self.did_fire[out.latent_indices.flatten()] = True
        float(out.fvu.detach())  # its Trainer sums both for the log
        float(out.auxk_loss.detach())
        (out.fvu + self.config.auxk_alpha * out.auxk_loss + out.multi_topk_fvu / 8).backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self.since_fired += len(x_BD)
        self.since_fired[self.did_fire] = 0
        self.did_fire.zero_()

    @torch.no_grad()
    def score(self, x_BD: Tensor) -> float:
        return explained_variance(x_BD, self.coder(x_BD).sae_out)


@dataclass
class Race:
    """All contestants over the same batches, by turns."""

    cohort: Cohort
    """Whose batches all get."""
    contestants: dict[str, Contestant]
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    """Per step per SAE, one for each block."""

    def run(self, steps: int, rounds: int, also: Callable[[], None]) -> None:
        """Let every contestant do all steps, a block at a time; the order rotates."""
        size, names = steps // rounds, list(self.contestants)
        for turn in range(rounds):
            first = turn * size
            batches = [self.cohort.batches.batch(first + i)[0].contiguous() for i in range(size)]
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                ms = self._block(self.contestants[name], first, batches)
                self.milliseconds.setdefault(name, []).append(ms)
            also()

    def _block(self, contestant: Contestant, first: int, batches: Sequence[Tensor]) -> float:
        # Our workers run deterministic kernels; the libraries leave the choice alone.
        torch.use_deterministic_algorithms(isinstance(contestant, Ours))
        numbers = iter(range(first, first + len(batches)))

        def step() -> None:
            index = next(numbers)
            contestant.step(index, batches[index - first])

        return bench.time_block(step, len(batches), "cpu") / contestant.saes


def make_race(x_ND: Tensor, groups_N: Tensor, given: argparse.Namespace) -> Race:
    """Return the contestants, ready to start."""
    # Two of the libraries clip at 1. Without it Adam divides by the gradients of the first steps, which are
    # thirty times the later ones, for a thousand steps: the explained variance is then .973, with it .989.
    training = SaeTraining(
        clip_norm=1.0,
        lr=LR,
        warmup_steps=WARMUP,
        batch_size=BATCH,
        epochs=given.steps * BATCH // len(x_ND) * 2 + 2,
    )
    dead = Dead() if given.dead_after is None else Dead(after_tokens=given.dead_after)
    sae = TopK(d_sae=LATENTS, k=K, dead=dead)
    five, one = (Cohort(sae, training, range(n), x_ND, groups_N=groups_N) for n in (SEEDS, 1))
    torch.manual_seed(0)
    return Race(
        five,
        {
            "five_seeds": Ours(five),
            "one_seed": Ours(one),
            "sae_lens": SaeLens(given.steps, given.dead_after),
            "dictionary_learning": DictionaryLearning(given.steps, given.dead_after),
            "sparsify": Sparsify(given.steps, given.dead_after),
        },
    )


class Floor:
    """The parts that no step can do without, timed beside the steps."""

    def __init__(self) -> None:
        self.works = bench.floor_works(TopK(d_sae=LATENTS, k=K), SEEDS, BATCH, WIDTH, "cpu")
        self.found: dict[str, list[float]] = {name: [] for name in self.works}

    def __call__(self) -> None:
        for name, work in self.works.items():
            self.found[name].append(bench.time_block(work, 20, "cpu") / SEEDS)

    def milliseconds(self) -> dict[str, float]:
        """Return the cost of each part per step per SAE, and their sum."""
        medians = {name: statistics.median(ms) for name, ms in self.found.items()}
        return {**medians, "total": sum(medians.values())}


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Run the race and return its facts."""
    numerics.configure(given.threads, deterministic=False)
    tensors = load_file(given.activations)
    race, floor = make_race(tensors["activations"], tensors["groups"], given), Floor()
    load_before = os.getloadavg()[0]
    race.run(given.steps, given.rounds, floor)
    held_out_BD = race.cohort.batches.take(race.cohort.batches.held_out)
    ms = {name: statistics.median(blocks) for name, blocks in race.milliseconds.items()}
    ratios = {name: ms["five_seeds"] / ms[name] for name in LIBRARIES}
    return {
        "ratios": {"fastest": max(ratios.values()), **ratios},
        "milliseconds": ms,
        "minima": {name: min(blocks) for name, blocks in race.milliseconds.items()},
        "evs": {name: c.score(held_out_BD) for name, c in race.contestants.items()},
        "one_seed_ratio": ms["five_seeds"] / ms["one_seed"],
        "floor": floor.milliseconds(),
        "steps": given.steps // given.rounds * given.rounds,
        "threads": torch.get_num_threads(),
        "dead_after": given.dead_after,
        "load_before": load_before,
    }


TITLES = {
    "five_seeds": "HUSAI, cohort of 5 seeds",
    "one_seed": "HUSAI, one seed",
    "sae_lens": "SAELens",
    "dictionary_learning": "dictionary_learning",
    "sparsify": "sparsify",
}


def table(found: dict[str, Any]) -> str:
    """Return the facts for people."""
    ms, evs, floor = found["milliseconds"], found["evs"], found["floor"]
    best = max(evs[name] for name in LIBRARIES)
    rows = [
        f"TopK, {WIDTH} → {LATENTS:,}, k {K}, batches of {BATCH}, {found['steps']:,} steps, "
        f"{found['threads']} threads",
        f"{'':26}{'ms/step/SAE':>12}{'best block':>12}{'EV':>8}{'ours ÷ it':>11}",
        *(
            f"{TITLES[name]:26}{ms[name]:12.3f}{found['minima'][name]:12.3f}{evs[name]:8.4f}"
            f"{ms['five_seeds'] / ms[name]:11.3f}"
            for name in ms
        ),
        f"ours ÷ the fastest library: {found['ratios']['fastest']:.3f}; "
        f"five seeds ÷ one, per SAE: {found['one_seed_ratio']:.3f}; "
        f"EV − the best library's: {evs['five_seeds'] - best:+.4f}",
        f"floor: {floor['total']:.3f} ms = "
        + " + ".join(f"{name} {floor[name]:.3f}" for name in floor if name != "total"),
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    given = options()
    facts = run(given)
    print(json.dumps(facts) if given.json else table(facts))
