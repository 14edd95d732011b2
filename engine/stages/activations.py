"""Stage `activations`: what the SAEs will reconstruct, read at one hook."""

from __future__ import annotations

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.stages.context import Context, Result
from engine.study.subject import Modular, Subject
from engine.subjects.surrogate import moments

FILE = "activations.safetensors"
_SUBJECT: TypeAdapter[Subject] = TypeAdapter(Subject)


def read_subject(run: RunDirectory) -> Subject:
    """Return the configuration of a finished subject job."""
    return _SUBJECT.validate_python(run.read_job()["config"], strict=False)


def read_activations(run: RunDirectory) -> Tensor:
    """Return the activations [N, D] of a finished activations job, float32."""
    return load_file(run.artifacts / FILE)["activations"]


def run(context: Context) -> Result:
    """Read the activations: for `modular` over the full grid, row a·p + b, at the read position."""
    subject_run, hook = context.inputs["subject"], str(context.config["hook"])
    subject_run.read_result()
    subject = read_subject(subject_run)
    if isinstance(subject, Modular):
        x_ND = _harvest(subject, subject_run, hook, context.device)
    else:
        from engine.subjects.planted import load_planted

        x_ND = load_planted(subject_run.artifacts).activations
    mean_D, covariance_DD = moments(x_ND)
    variances_D = torch.linalg.eigvalsh(covariance_DD).flip(0).clamp_min(0)
    save_file({"activations": x_ND.contiguous()}, context.run.begin_artifacts() / FILE)
    return {
        "hook": hook,
        "samples": len(x_ND),
        "d_in": x_ND.shape[1],
        "mean_norm": float(mean_D.norm()),
        "variance": float(variances_D.sum()),
        # What one direction can explain; SAEs that explain less were not trained (science.md §7, 15).
        "rank_one_variance": float(variances_D[0] / variances_D.sum()),
    }


def _harvest(subject: Modular, run: RunDirectory, hook: str, device: str) -> Tensor:
    from engine.stages.subject import WEIGHTS
    from engine.subjects.arithmetic import make_problem
    from engine.subjects.transformer import activations, load_weights

    problem = make_problem(subject)
    model = load_weights(subject, run.artifacts / WEIGHTS, device)
    tokens_NT = problem.tokens_NT.to(device)
    return activations(model, tokens_NT, [hook], problem.read_index)[hook].float().cpu()
