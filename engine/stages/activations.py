"""Stage `activations`: what the SAEs will reconstruct, read at one hook."""

from __future__ import annotations

import math

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.errors import GateFailed, JobFailed
from engine.stages.artifacts import ACTIVATIONS, WEIGHTS, read_subject
from engine.stages.context import Context, Result
from engine.stages.external import read_files
from engine.study.subject import External, Modular
from engine.subjects.arithmetic import make_problem, pairs
from engine.subjects.reader import read_hooks
from engine.subjects.surrogate import moments
from engine.subjects.transformer import make_transformer, read_network
from engine.subjects.transformer import network as network_of


def run(context: Context) -> Result:
    """Read the activations: for `modular` over the full grid, row a·p + b, at the read position; with
    `untrained`, of the transformer as its training found it (N4)."""
    subject_run, hook = context.inputs["subject"], str(context.config["hook"])
    gates = subject_run.read_result().get("gates")
    if gates and not gates["passed"] and context.policy.get("gates") == "enforce":
        raise GateFailed("the subject failed a gate; `gates: warn` goes on and marks every result")
    subject = read_subject(subject_run)
    if isinstance(subject, External):
        written, warnings = read_files(context)
        # Mapped: of what is larger than memory, pieces are there when they are needed.
        return {**_describe(hook, load_file(written)["activations"]), "warnings": warnings}
    if isinstance(subject, Modular):
        untrained = bool(context.config.get("untrained"))
        x_ND = _harvest(subject, subject_run, hook, context.device, untrained=untrained)
        groups_N = (
            commuting_pairs(subject.modulus)
            if subject.task != "subtract"
            else torch.arange(len(x_ND))
        )
    else:
        from engine.subjects.planted import load_planted

        x_ND = load_planted(subject_run.artifacts).activations
        groups_N = torch.arange(len(x_ND))
    described = _describe(hook, x_ND)
    tensors = {"activations": x_ND.contiguous(), "groups": groups_N}
    save_file(tensors, context.run.begin_artifacts() / ACTIVATIONS)
    return described


def _describe(hook: str, x_ND: Tensor) -> Result:
    """Return what the activations are like; raise JobFailed if they are the same for all inputs."""
    mean_D, covariance_DD = moments(x_ND)
    variance, first = rank_one_share(covariance_DD)
    if variance == 0:
        raise JobFailed(
            f"the activations at {hook} are the same for all inputs: nothing to train on"
        )
    return {
        "hook": hook,
        "samples": len(x_ND),
        "d_in": x_ND.shape[1],
        "mean_norm": float(mean_D.norm()),
        "variance": variance,
        "rank_one_variance": first,
    }


def rank_one_share(covariance_DD: Tensor) -> tuple[float, float]:
    """Return the variance, and the share of it that one direction can explain.

    SAEs that explain less than that were not trained (science.md §7, 15).
    """
    variances_D = torch.linalg.eigvalsh(covariance_DD).flip(0).clamp_min(0)
    variance = float(variances_D.sum())
    return variance, float(variances_D[0]) / variance if variance else math.nan


def _harvest(
    subject: Modular, run: RunDirectory, hook: str, device: str, *, untrained: bool
) -> Tensor:
    problem = make_problem(subject)
    if untrained:
        # Drawn where the subject's were, so that they are the weights that its training began with.
        network = network_of(make_transformer(subject, device))
    else:
        network = read_network(subject, run.artifacts / WEIGHTS, device)
    tokens_NT = problem.tokens_NT.to(device)
    return read_hooks(network, tokens_NT, [hook], problem.read_index)[hook].float().cpu()


def commuting_pairs(p: int) -> Tensor:
    """Return a group for each row a·p + b that (a, b) shares with (b, a), int64 [p²]."""
    a, b = pairs(p)
    return torch.minimum(a, b) * p + torch.maximum(a, b)
