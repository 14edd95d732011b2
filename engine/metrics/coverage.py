"""How much of the truth a whole dictionary reaches: planes by its leading subspace, answers by atoms.

A decoder of full rank covers every plane, so coverage is that of its top-r subspace (science.md §5).
A dictionary of at least as many atoms as answers can be a lookup table: one atom per answer class.
Computed on the CPU in float64.

Shapes: N atoms, D width, C answer classes, Q planes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.ground_truth import Plane
from engine.metrics.matching import truth_match

CLASS_COSINE = 0.9
"""Matched cosine from which an atom is the atom of an answer class."""
SATURATED = 0.95
"""Coverage from which a plane is said to lie in the subspace."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Coverage:
    """tr(U_kᵀ Π U_k) / dim U_k of each plane, Π the projection on the top-r subspace of a dictionary."""

    mean: float
    """Mean over planes; NaN without planes."""
    planes: Tensor
    """Of each plane, [Q]."""
    rank: int
    """r: what was asked for, or the rank of the dictionary where that is less."""
    null: float
    """r / D: what a random subspace covers."""


@dataclass(frozen=True)
class ClassMatch:
    """Atoms matched one-to-one with the class means, centred over classes."""

    recall: float
    """Share of the classes whose matched atom has a cosine of at least `CLASS_COSINE`."""
    precision: float
    """The same count as a share of the live atoms."""
    cosine: float
    """Mean matched cosine."""


def coverage(
    D_ND: Tensor, truth: Sequence[Plane], rank: int, live_N: Tensor | None = None
) -> Coverage:
    """Coverage of the planes by the top right singular vectors of the live unit atoms.

    `InputError` unless the rank is at least 1 and the planes are as wide as the atoms.
    """
    if D_ND.ndim != 2 or rank < 1:
        raise InputError(
            "coverage", f"shape {tuple(D_ND.shape)}, rank {rank}", "[atoms, width], ≥ 1"
        )
    for plane in truth:
        if len(plane.basis) != D_ND.shape[1]:
            raise InputError("dictionary", f"width {D_ND.shape[1]}", f"{len(plane.basis)}")
    basis_DR = leading_subspace(D_ND if live_N is None else D_ND[live_N], rank)
    found = [
        float((plane.basis.T @ basis_DR).square().sum()) / plane.basis.shape[1] for plane in truth
    ]
    used = basis_DR.shape[1]
    return Coverage(
        mean=math.fsum(found) / len(found) if found else math.nan,
        planes=torch.tensor(found, dtype=torch.float64),
        rank=used,
        null=used / D_ND.shape[1],
    )


def leading_subspace(D_ND: Tensor, rank: int) -> Tensor:
    """The top `rank` right singular vectors of the unit atoms as columns [D, r]; fewer if the rank is less."""
    atoms = D_ND.detach().to("cpu", torch.float64)
    norms = atoms.norm(dim=1)
    atoms = atoms[norms > 0] / norms[norms > 0, None]
    if not len(atoms):
        return torch.zeros(D_ND.shape[1], 0, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(atoms.T @ atoms)
    kept = min(rank, int((values > _ROUNDING * values[-1]).sum()))
    leading: Tensor = vectors[:, len(values) - kept :]
    return leading


def match_classes(D_ND: Tensor, means_CD: Tensor, live_N: Tensor | None = None) -> ClassMatch:
    """Match live atoms with the answer classes' mean activations [C, D], less their own mean.

    Non-negative codes add atoms to a bias, so the sign counts. Without a live atom nothing is recalled.
    `InputError` if no class differs from the others.
    """
    centred_CD = means_CD.double() - means_CD.double().mean(0)
    known = centred_CD.norm(dim=1) > _ROUNDING * means_CD.double().abs().max().clamp_min(1e-300)
    if not bool(known.any()):
        raise InputError("class means", "all equal", "activations that depend on the answer")
    usable = D_ND.norm(dim=1) > 0
    if live_N is not None:
        usable = usable & live_N
    if not bool(usable.any()):
        return ClassMatch(0.0, math.nan, 0.0)
    found = truth_match(D_ND[usable].double(), centred_CD[known], tau=CLASS_COSINE)
    return ClassMatch(found.recall, found.precision, found.mcc)
