"""How the subject adds: clock or pizza measures, beside networks that never learnt.

They belong to the subject but are measured here, by the analysis: in the stage `subject` every transformer
that is kept would have to be grokked again for them, and they take a tenth of a second.

Shapes: N = p² pairs, M samples, C answers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from engine.metrics.clock import distance_irrelevance, gradient_symmetry
from engine.metrics.parallel import side_by_side
from engine.metrics.uncertainty import spread
from engine.study.subject import Modular
from engine.subjects.arithmetic import Problem
from engine.subjects.gradients import fresh_network, logit_gradients
from engine.subjects.reader import Network, logits

SAMPLES = 256
"""Random (a, b, c) of the gradient symmetry."""
UNTRAINED_SEEDS = range(3)
KNOWN = {
    "clock": {"gradient_symmetry": 0.33, "distance_irrelevance": 0.85},
    "pizza": {"gradient_symmetry": 0.994, "distance_irrelevance": 0.17},
}
"""Values of Zhong et al. (2306.17844) for their model A and model B."""


def measure_clock(
    subject: Modular, problem: Problem, network: Network, clean_NC: Tensor
) -> dict[str, Any]:
    """Return both measures of a subject with logits [p², C], and those of three untrained networks.

    s_g and q disagree near the boundary, so there is no label.
    """
    untrained = [fresh_network(network, seed) for seed in UNTRAINED_SEEDS]
    symmetry = side_by_side(lambda one: _symmetry(subject, problem, one), [*untrained, network])
    q = [
        _irrelevance(subject, problem, logits(one, problem.tokens_NT, problem.read_index))
        for one in untrained[:1]
    ]
    return {
        "gradient_symmetry": _plain(symmetry.pop()),
        "distance_irrelevance": _plain(_irrelevance(subject, problem, clean_NC)),
        "samples": SAMPLES,
        "baselines": {
            "untrained": {
                "gradient_symmetry": spread(symmetry),
                "distance_irrelevance": spread(q),
            }
        },
        "known": KNOWN,
    }


def _symmetry(subject: Modular, problem: Problem, network: Network) -> float:
    positions = subject.positions()
    inputs = [positions.index(name) for name in ("a", "b")]
    if max(inputs) > problem.read_index:
        return math.nan
    generator = torch.Generator().manual_seed(0)
    rows_M = torch.randint(len(problem.tokens_NT), (SAMPLES,), generator=generator)
    answers_M = torch.randint(problem.modulus, (SAMPLES,), generator=generator)
    found = logit_gradients(
        network, problem.tokens_NT[rows_M], answers_M, problem.read_index, inputs
    )
    return gradient_symmetry(*found)


def _irrelevance(subject: Modular, problem: Problem, logits_NC: Tensor) -> float:
    p = subject.modulus
    correct_N = logits_NC.gather(1, problem.answers_N[:, None])[:, 0]
    return distance_irrelevance(correct_N.view(p, p), subject.task)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
