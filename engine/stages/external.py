"""What the stages `subject` and `activations` do with recorded activations: check the files, then read them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.stages.artifacts import ACTIVATIONS, read_subject
from engine.stages.context import Context, Result
from engine.study.sizes import looked_rows
from engine.study.subject import External, Subject
from engine.subjects.external import (
    check_content,
    examine,
    open_recording,
    read_pieces,
    warnings_of,
    write_activations,
)


def check_files(context: Context) -> Result:
    """Read all files once; return what they are and what they hold.

    Raises:
        InputError: a file is gone or has changed since the plan, a number is not finite, or all inputs are
            the same.
    """
    subject = _subject(context.run, context.policy)
    recording = open_recording(subject)
    facts = examine(read_pieces(subject, recording))
    check_content(subject, recording)  # last: what was read is what was planned
    context.run.begin_artifacts()
    return {
        "kind": "external",
        "files": len(recording.shards),
        "tensor": recording.shards[0].tensor,
        "dtypes": list(recording.dtypes),
        "rows": recording.rows,
        "d_in": recording.width,
        "sequences": sum(shard.shape[0] for shard in recording.shards)
        if recording.by_sequence
        else None,
        "sha256": subject.sha256,
        **asdict(facts),
        "warnings": warnings_of(facts, recording.width),
    }


def read_files(context: Context) -> tuple[Path, list[str]]:
    """Write the activations of files as the artifact of this job; return it, and what a reader must know.

    Raises:
        InputError: a file is gone or has changed since the plan.
    """
    subject = _subject(context.inputs["subject"], context.policy)
    recording = open_recording(subject)
    file = context.run.begin_artifacts() / ACTIVATIONS
    write_activations(file, subject, recording)
    check_content(subject, recording)
    return file, context.inputs["subject"].read_result()["warnings"]


def looked_at(subject: Subject, x_ND: Tensor, d_sae: int) -> Tensor:
    """Return the activations on which latents are looked at one by one: of recorded ones some, drawn once, as
    there may be millions; of others all."""
    count = looked_rows(d_sae)
    if not isinstance(subject, External) or len(x_ND) <= count:
        return x_ND
    drawn = torch.randperm(len(x_ND), generator=torch.Generator().manual_seed(0))[:count]
    return x_ND[drawn.sort().values]


def _subject(run: RunDirectory, policy: dict[str, Any]) -> External:
    """Return the settings of a subject job, with the files where they lie now."""
    found = read_subject(run)
    assert isinstance(found, External)
    return found.model_copy(update={"path": policy["path"]})
