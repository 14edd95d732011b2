"""What the subject of a study supplies to the plan: how many activations, how wide, and what its job costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import InputError
from engine.study import sizes
from engine.study.profile import Placement
from engine.study.recording import Recording, content_digest, find_recording
from engine.study.spec import Study
from engine.study.subject import External

SMALL_STEP = 1 << 26
"""Multiplications of a training step that keep one thread busy; with fewer, a second one slows it down
(measured: p 41, 25 million, 9.2 s with one thread and 14.6 s with two; p 113, 200 million, 16 ms a step
with one thread and 9 ms with two)."""


def sample_count(study: Study) -> int:
    """Return the number of activations that the subject gives: p² pairs, the planted samples, the inputs that
    are kept of files."""
    subject = study.subject
    if subject.kind == "external":
        return _recording(study, subject).samples
    return subject.samples if subject.kind == "planted" else subject.modulus**2


def hook_width(study: Study, hook: str) -> int:
    """Return the length of an activation at a hook."""
    subject = study.subject
    if subject.kind == "external":
        return _recording(study, subject).width
    return subject.hooks()[hook]


def subject_config(study: Study) -> dict[str, Any]:
    """Return the settings that decide what a subject is. Of files that is their content, wherever they lie.

    Raises:
        InputError: the files cannot be read, or hold something else than the study says.
    """
    subject = study.subject
    if subject.kind != "external":
        return subject.model_dump(mode="json", exclude={"gates"})
    found = content_digest(_recording(study, subject))
    if subject.sha256 not in (None, found):
        raise InputError(
            f"{study.name}: subject.sha256",
            f"{subject.path} has sha256 {found[:12]}…, the study names {(subject.sha256 or '')[:12]}…",
            "the files that it was written for, or no sha256",
        )
    return {**subject.model_dump(mode="json", exclude={"path"}), "sha256": found}


def subject_policy(study: Study) -> dict[str, Any]:
    """Return the settings of a subject that do not decide what comes out: whether failed gates stop, where
    files lie."""
    policy = {"gates": getattr(study.subject, "gates", "enforce")}
    return policy | ({"path": study.subject.path} if study.subject.kind == "external" else {})


def subject_work(study: Study) -> float:
    """Return the size of the subject's job in units of its kind."""
    subject = study.subject
    if subject.kind == "external":
        found = _recording(study, subject)
        return float(found.rows * found.width)
    if subject.kind == "planted":
        return float(subject.samples * subject.d_in)
    model = subject.transformer
    weights = model.layers * (4 * model.d_model**2 + 2 * model.d_model * model.d_mlp)
    return float(subject.training.steps * subject.training.batch_size * weights)


def subject_threads(study: Study, placement: Placement) -> int:
    """Return the threads that the subject's job can keep busy."""
    subject = study.subject
    if subject.kind != "modular":
        return 1
    step = subject_work(study) / subject.training.steps
    return max(1, min(placement.threads * placement.slots, round(step / SMALL_STEP)))


def reading_memory(study: Study, hooks: Sequence[str]) -> int:
    """Return the memory of a job that makes or reads the activations of some hooks."""
    samples, width = sample_count(study), max(hook_width(study, hook) for hook in hooks)
    if study.subject.kind == "external":
        return sizes.streaming_memory(samples, width)
    return sizes.reading_memory(samples, width)


def looked_at(study: Study, d_sae: int) -> int:
    """Return on how many activations latents are looked at one by one."""
    samples = sample_count(study)
    if study.subject.kind == "external":
        return min(samples, sizes.looked_rows(d_sae))
    return samples


def _recording(study: Study, subject: External) -> Recording:
    try:
        return find_recording(subject)
    except InputError as error:
        raise InputError(f"{study.name}: {error.where}", error.what, error.want) from None
