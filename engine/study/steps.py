"""Steps of a cohort's training, and whether its schedules fit into them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from engine.errors import InputError
from engine.study.spec import Point, Study
from engine.study.supply import sample_count


def training_count(samples: int, held_out: float) -> int:
    """Return how many of the activations are trained on; at least one is held out, one is kept."""
    return samples - min(max(1, round(samples * held_out)), samples - 1)


def cohort_steps(study: Study) -> int:
    """Return the optimizer steps of a cohort: batches in all passes over the training share, for progress
    (mirror pairs that are held out together may make it one less)."""
    training = study.training
    kept = training_count(sample_count(study), training.held_out)
    return math.ceil(training.epochs * kept / min(training.batch_size, kept))


def check_schedules(point: Point, at: str) -> None:
    """Refuse a warm-up that the training is too short for: what it leads to would never be trained with.

    Raises:
        InputError: it names the key, the steps of the training and where they come from.
    """
    study, steps = point.study, cohort_steps(point.study)
    training = study.training
    kept = training_count(sample_count(study), training.held_out)
    batch = min(training.batch_size, kept)
    for path, warmup, needed in _warmups(study):
        if needed > steps:
            raise InputError(
                f"{study.name}: {path}{f' (point {at})' if at else ''}",
                f"a warm-up of {warmup} steps does not end within the training of {steps} "
                f"({training.epochs} epochs × {kept} activations / batches of {batch})",
                f"at most {steps - (needed - warmup)} steps, or more epochs",
            )


def _warmups(study: Study) -> Iterator[tuple[str, int, int]]:
    """Yield, for each warm-up, its key, its length, and the steps in which its end is reached."""
    yield "training.warmup_steps", study.training.warmup_steps, study.training.warmup_steps
    for number, sae in enumerate(study.saes):
        for name, extra in _SCHEDULES.items():
            warmup = getattr(sae, name, 0)
            if warmup:
                yield f"saes.{number}.{name}", warmup, warmup + extra


_SCHEDULES = {"k_warmup_steps": 1, "l1_warmup_steps": 0, "l0_warmup_steps": 0}
"""Keys of warm-ups → steps beyond their last that the end takes: a penalty is whole at the last step of
its own, k is reached at the one after."""
