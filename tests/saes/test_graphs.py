"""Recorded steps: what is replayed is what would have been done. (On a CPU; CUDA only records kernels.)"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from engine.saes.cohort import Cohort
from engine.saes.graphs import WARM, Outcome, StepGraphs, Work
from engine.study.sae import (
    BatchTopK,
    Dead,
    Gated,
    JumpReLU,
    Matryoshka,
    PAnneal,
    ReLU,
    Sae,
    Stability,
    TopK,
)
from tests.saes.conftest import TRAINING, activations
from tests.saes.test_cohort import ALL, COUPLED_TOPK, NAMES, TOPK


class Asked(Exception):
    """Recorded work waited for a value from the device."""


class NoLists(TorchFunctionMode):
    """Refuses `tolist` and `cpu`, which need no operator where tensors are on the CPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (Tensor.tolist, Tensor.cpu):
            raise Asked(func.__name__)
        return func(*args, **(kwargs or {}))


class NoValues(TorchDispatchMode):
    """Refuses operators whose outcome, or its shape, the host must know: `item`, `bool`, `nonzero`."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = str(func)
        masked = "aten.index.Tensor" in name and any(
            part is not None and part.dtype == torch.bool for part in args[1]
        )
        if masked or any(n in name for n in ("_local_scalar_dense", "nonzero", "masked_select")):
            raise Asked(name)
        return func(*args, **(kwargs or {}))


class Tape:
    """Replays by doing the recorded work again, with the step number of the recording.

    What CUDA refuses to record, this refuses to replay: work that asks the device for a value.
    """

    def __init__(self) -> None:
        self.warmed, self.recorded, self.replayed = 0, 0, 0
        self._made: list[weakref.ref[Callable[[], Outcome]]] = []

    def kept(self) -> int:
        """Return how many recordings are still held by someone."""
        gc.collect()
        return sum(made() is not None for made in self._made)

    def warm(self, work: Work) -> Outcome:
        self.warmed += 1
        return work()

    def record(self, work: Work) -> Work:
        self.recorded += 1

        def replay() -> Outcome:
            self.replayed += 1
            with NoLists(), NoValues():
                return work()

        self._made.append(weakref.ref(replay))
        return replay


KINDS: list[Sae] = [
    TopK(d_sae=48, k=4),
    BatchTopK(d_sae=48, k=4),
    Matryoshka(d_sae=48, k=4, groups=(0.25, 0.25, 0.5)),
    ReLU(d_sae=48, l1=0.3, p_anneal=PAnneal(start=0.5)),
    JumpReLU(d_sae=48, target_l0=4.0),
    Gated(d_sae=48, l1=0.5),
]


def trained(
    config: Sae, tape: Tape, vary: tuple[str, ...] = ("init",), replay: bool = True
) -> Cohort:
    task = Cohort(config, TRAINING, (3, 7), activations(), vary=vary, recorder=tape)
    if not replay:
        task.graphs = None
    for index in range(task.steps):
        task.step(index)
    return task


@pytest.mark.parametrize("vary", [("init",), ("init", "order")])
@pytest.mark.parametrize("config", ALL, ids=NAMES)
def test_recorded_training_equals_plain_training(config: Sae, vary: tuple[str, ...]) -> None:
    tape = Tape()
    recorded, plain = trained(config, tape, vary), trained(config, Tape(), vary, replay=False)
    ours, reference = recorded.state()[0], plain.state()[0]
    for name, tensor in reference.items():
        assert torch.equal(ours[name].nan_to_num(), tensor.nan_to_num()), name
    assert recorded.measure(45) == plain.measure(45)
    assert tape.replayed > 0


def test_each_kind_of_step_is_warmed_and_recorded_once() -> None:
    """45 steps of 32 inputs: latents can be dead (100 inputs) from step 4 on, so there are two kinds."""
    tape = Tape()
    trained(TOPK, tape)
    assert (tape.warmed, tape.recorded, tape.replayed) == (2 * WARM, 2, 45 - 2 * WARM)


def test_steps_of_a_warmup_are_never_recorded() -> None:
    tape = Tape()
    trained(ReLU(d_sae=48, l1=0.05, l1_warmup_steps=60), tape)
    assert (tape.warmed, tape.recorded) == (45, 0)


def test_only_the_newest_recording_is_kept() -> None:
    """k falls from 10 to 4 over 36 steps, so each k holds for 6 steps, one of which is replayed twice."""
    tape = Tape()
    task = Cohort(
        TopK(d_sae=48, k=4, k_start=10, k_warmup_steps=36),
        TRAINING,
        (3, 7),
        activations(),
        recorder=tape,
    )
    for index in range(task.steps):
        task.step(index)
        assert tape.kept() <= 1
    assert tape.recorded > 5


METHODS = [
    Dead(method="auxk", after_tokens=100, auxk=3),
    Dead(method="ghost", after_tokens=100),
    Dead(method="resample", after_tokens=100, every=7),
    Dead(method="none", after_tokens=100),
]
OBJECTIVES = [
    Stability(),
    Stability(consistency=0.3, start=0.4),
    Stability(orthogonality=0.1, start=0.4),
    Stability(pinned=0.1),
    Stability(shared_init=True),
    Stability(consistency=0.2, orthogonality=0.1, pinned=0.2, shared_init=True, start=0.5),
]


@pytest.mark.parametrize("stability", OBJECTIVES, ids=range(len(OBJECTIVES)))
@pytest.mark.parametrize("dead", METHODS, ids=lambda dead: dead.method)
@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.architecture)
def test_a_recorded_step_asks_the_device_nothing(
    config: Sae, dead: Dead, stability: Stability
) -> None:
    """Latents can be dead from step 4 on, objectives join at step 18 at the earliest, in steps not recorded."""
    tape = Tape()
    own = config.model_copy(update={"dead": dead, "stability": stability})
    task = Cohort(own, TRAINING, (3, 7), activations(), vary=("init", "order"), recorder=tape)
    for index in range(20):
        task.step(index)
    assert tape.replayed > 8


def test_a_tape_refuses_what_cuda_refuses() -> None:
    flags = torch.tensor([True, False])
    asking: list[Callable[[Tensor], object]] = [
        lambda x: x.tolist(), lambda x: x.sum().item(), lambda x: bool(x.any()), Tensor.nonzero,
        lambda x: x[flags], lambda x: float(x[0]), lambda x: x.cpu(),
    ]  # fmt: skip
    for ask in asking:

        def work(ask: Callable[[Tensor], object] = ask) -> Outcome:
            ask(torch.ones(2))
            raise AssertionError("it was let through")

        with pytest.raises(Asked):
            Tape().record(work)()


def test_coupled_steps_run_as_usual() -> None:
    tape = Tape()
    trained(COUPLED_TOPK, tape)  # the objectives join at .3 of the training
    assert tape.warmed + tape.replayed == 14


def test_the_batch_of_a_replay_is_the_new_one() -> None:
    seen: list[Tensor] = []

    def step(x_SBD: Tensor) -> Outcome:
        seen.append(x_SBD.sum())
        one = x_SBD.sum((1, 2))
        return Outcome(one, one, one, one)

    graphs = StepGraphs(Tape())
    batches = [torch.full((1, 2, 2), float(n)).expand(3, -1, -1) for n in range(6)]
    found = [float(graphs.run("kind", batch, step).total[0]) for batch in batches]
    assert found == [4.0 * n for n in range(6)]
    assert [float(total) for total in seen] == [12.0 * n for n in range(6)]


@pytest.mark.parametrize(
    "config",
    [TopK(d_sae=48, k=4, dead=Dead(after_tokens=100)), JumpReLU(d_sae=48, target_l0=4.0)],
    ids=["topk", "jumprelu"],
)
def test_half_precision_products_move_float32_weights(config: Sae) -> None:
    half = Cohort(config, TRAINING, (3, 7), activations(), precision="bfloat16")
    full = Cohort(config, TRAINING, (3, 7), activations(), sparse=False)
    for index in range(half.steps):
        half.step(index)
        full.step(index)
    for name, tensor in half.saes.weights.named().items():
        assert tensor.dtype == torch.float32, name
    assert not torch.equal(half.saes.weights.W_enc, full.saes.weights.W_enc)
    gaps = [
        abs(ours - reference)
        for ours, reference in zip(
            half.quality().explained_variance, full.quality().explained_variance, strict=True
        )
    ]
    assert max(gaps) < 0.02
