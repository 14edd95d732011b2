"""What the rungs N4 and N6 of a cohort are measured on, read from its inputs.

Shapes: N activations, D width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.metrics.ground_truth import planes
from engine.metrics.rungs import NOT_ASKED, Beside, subset_rows
from engine.metrics.similarity import live_mask
from engine.saes.formats import TrainedSaes
from engine.stages.artifacts import read_subject
from engine.stages.parts import Results, diverged_of, read_cohort
from engine.study.subject import External, Modular
from engine.subjects.planted import load_planted

Bases = tuple[Tensor, ...]


def read_beside(
    inputs: Mapping[str, RunDirectory],
    results: Results,
    hook: str,
    x_ND: Tensor,
    start: TrainedSaes,
) -> Beside:
    """Return the starts of a cohort's seeds, their twins on the untrained model, and the true planes."""
    twins, live, why = _untrained(inputs, results)
    bases, lack = true_planes(inputs["subject"], hook, x_ND)
    return Beside(start.weights.W_dec, twins, live, why, bases, lack)


def true_planes(run: RunDirectory, hook: str, x_ND: Tensor) -> tuple[Bases, str]:
    """Return the bases of the existing planes at a hook, the largest first, or why there are none."""
    subject = read_subject(run)
    if isinstance(subject, Modular):
        ks = run.read_result()["key_frequencies"]
        if not ks:
            return (), "the model has no key frequencies, so no true planes"
        existing = planes(x_ND, subject.modulus, ks, subject.task).existing
        if not existing:
            return (), f"no true plane exists at {hook}"
        return tuple(q.basis for q in sorted(existing, key=lambda q: -q.share)), ""
    if isinstance(subject, External):
        return (), "nothing is known of what is in recorded activations: no plane could be turned"
    data = load_planted(run.artifacts)
    if data.config.generator == "gaussian":
        return (), "nothing is planted in these data"
    if data.config.generator != "fourier":
        return (), "the planted truth is directions: no plane could be turned"
    return tuple(b.T for b in data.features.double().view(-1, 2, x_ND.shape[1])), ""


def _untrained(inputs: Mapping[str, RunDirectory], results: Results) -> tuple[Bases, Bases, str]:
    """Return the decoder rows of each sound seed on the untrained model, the live ones, and a remark."""
    if "untrained" not in inputs:
        subject = read_subject(inputs["subject"])
        if not isinstance(subject, Modular):
            data = "files hold" if isinstance(subject, External) else "planted data have"
            return (), (), f"{data} no model that could be left untrained"
        return (), (), NOT_ASKED
    diverged = diverged_of(results, "untrained")
    lost = f"seed {', '.join(diverged)} diverged" if diverged else NOT_ASKED
    twin = read_cohort(inputs, "untrained")
    if len(twin.seeds) < 2:
        return (), (), f"{lost}: fewer than two are left"
    assert twin.fires is not None, "cohorts are saved with their firing counts"
    live_SF = torch.stack([live_mask(fires_F, twin.inputs) for fires_F in twin.fires])
    decoders_SFD = twin.weights.W_dec
    every = subset_rows(decoders_SFD, torch.ones_like(live_SF))
    return every, subset_rows(decoders_SFD, live_SF), lost
