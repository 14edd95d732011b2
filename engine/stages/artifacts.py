"""What the stages leave for each other: file names, and how each is read."""

from __future__ import annotations

from pydantic import TypeAdapter
from safetensors.torch import load_file
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.study.subject import Subject

WEIGHTS = "transformer.safetensors"
"""Of a `modular` subject."""
ACTIVATIONS = "activations.safetensors"
"""`activations` [N, D] float32 and `groups` [N] int64: rows of one group are held out together."""
SPLIT = "split.safetensors"
"""Of a cohort: `held_out`, the rows that it was not trained on, int64."""
FROZEN = "frozen"
"""Folder of the SAEs of a cohort whose loss stopped being finite, as they were held."""

_SUBJECT: TypeAdapter[Subject] = TypeAdapter(Subject)


def read_subject(run: RunDirectory) -> Subject:
    """Return the configuration of a finished subject job."""
    job = run.read_job()
    # Where files lie decides nothing, so it is no part of the settings.
    place = {"path": path} if (path := job.get("policy", {}).get("path")) else {}
    return _SUBJECT.validate_python({**job["config"], **place}, strict=False)


def read_activations(run: RunDirectory) -> tuple[Tensor, Tensor]:
    """Return the activations [N, D], float32, and the group of each row [N], of a finished job."""
    tensors = load_file(run.artifacts / ACTIVATIONS)
    return tensors["activations"], tensors["groups"]


def read_held_out(run: RunDirectory) -> Tensor:
    """Return the rows that a finished cohort was not trained on, int64."""
    return load_file(run.artifacts / SPLIT)["held_out"]
