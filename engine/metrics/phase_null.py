"""N6: what seeds would agree on if each had laid its atoms into the true planes at phases of its own.

The truth of modular arithmetic (and of planted `fourier` data) is planes, and phases inside a plane are
arbitrary: a → a + 1 turns every plane of a. So each plane is turned by a random angle, independently for
each seed: how many atoms lie in which plane and how they tile it stays. What agreement is left there does not
need the seeds to agree on phases (science.md §2).

What atoms have outside the planes is drawn anew around its own mean, with its own covariance, each at the
length it had; much as N2 draws whole atoms. Left in place it would agree as much as was observed, so that κ
would be 0 however much the seeds share there: two of them with half of their features the same, outside the
planes, scored .72 and this null .72 (60 features in 32 dimensions). So N6 is all but N2 where no atom lies in
a plane, and turned phases alone where all do.

Shapes: S = seeds, N = features of one seed, D = input dimension, C = coordinates in the planes, M = metrics
of `matching.metric_names(taus, strict=True)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError
from engine.metrics.matching import pair_values
from engine.metrics.nulls import covariance_root
from engine.metrics.parallel import side_by_side
from engine.metrics.similarity import Sign, unit_cosines, unit_rows

Floats = NDArray[np.float64]

SAME_PLANE = 0.9
"""Share of a plane inside the planes before it from which it turns with them, not by itself. At the stream
after attention the planes of a and of b are all but one, as both come from one embedding."""
ROUNDING = 1e-12
"""Squared length outside the planes, of unit rows, below which it is none."""


@dataclass(frozen=True)
class PhaseTable:
    """The metrics of turned dictionaries."""

    pairs_MSS: Floats
    """Mean over draws for each pair of seeds [M, S, S]; NaN on the diagonal."""
    sd_M: Floats
    """Between all draws of all pairs [M]."""
    draws: int
    """Pairs of turned dictionaries that were compared."""
    turned: int
    """Planes that were turned, each by its own angle."""
    inside: float
    """Share of the atoms' squared length in the planes, mean over seeds and features; the rest was drawn."""


def distinct_planes(bases: Sequence[Tensor]) -> list[Tensor]:
    """The planes that are not all but inside those before them, in their order; give the largest first.

    Args:
        bases: orthonormal columns [D, 1 or 2] each.

    Raises:
        InputError: a basis is not of that shape, not orthonormal, or not of one width.
    """
    kept: list[Tensor] = []
    for number, basis in enumerate(bases):
        basis_DC = basis.detach().cpu().double()
        _check_basis(basis_DC, number, kept[0].shape[0] if kept else None)
        if kept:
            span: Tensor = torch.linalg.qr(torch.cat(kept, 1)).Q
            inside = float((span.T @ basis_DC).square().sum()) / basis_DC.shape[1]
            if inside >= SAME_PLANE:
                continue
        kept.append(basis_DC)
    return kept


def _check_basis(basis_DC: Tensor, number: int, width: int | None) -> None:
    where, shape = f"planes[{number}]", list(basis_DC.shape)
    if basis_DC.ndim != 2 or basis_DC.shape[1] not in (1, 2):
        raise InputError(where, f"has shape {shape}", "[d_in, 1 or 2], orthonormal columns")
    if width is not None and basis_DC.shape[0] != width:
        raise InputError(where, f"has shape {shape}", f"planes in {width} dimensions, as the first")
    gram_CC = basis_DC.T @ basis_DC
    if not bool(torch.allclose(gram_CC, torch.eye(len(gram_CC)).double(), atol=1e-4)):
        raise InputError(where, "columns are not orthonormal", "an orthonormal basis")


def turn(rows_ND: Tensor, bases: Sequence[Tensor], angles: Sequence[float]) -> Tensor:
    """Rows whose part in each plane is turned by its angle (radians), at unit length [N, D], float64.

    Planes need not be orthogonal: coordinates are those of the pseudo-inverse of all bases joined, so a
    row inside one plane has none in the others. In one dimension the angle is 0 or π: ± reflection. Where
    planes are oblique, turning changes lengths, hence the unit length afterwards. Zero rows stay zero.
    """
    if len(bases) != len(angles):
        raise InputError("angles", f"are {len(angles)}", f"one for each of {len(bases)} planes")
    rows_ND = rows_ND.detach().cpu().double()
    if not bases:
        return rows_ND
    joined_DC = torch.cat([basis.double() for basis in bases], 1)
    _check_width(joined_DC, rows_ND)
    change_CC = torch.block_diag(
        *(_rotation(basis.shape[1], angle) for basis, angle in zip(bases, angles, strict=True))
    ) - torch.eye(joined_DC.shape[1], dtype=torch.float64)
    coordinates_NC = rows_ND @ torch.linalg.pinv(joined_DC).T
    turned_ND = rows_ND + coordinates_NC @ change_CC.T @ joined_DC.T
    return torch.nn.functional.normalize(turned_ND, dim=1)


def _check_width(basis_DC: Tensor, rows_ND: Tensor) -> None:
    if basis_DC.shape[0] != rows_ND.shape[1]:
        width = rows_ND.shape[1]
        raise InputError("planes", f"lie in {basis_DC.shape[0]} dimensions", f"{width}")


def _rotation(size: int, angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    if size == 1:
        return torch.tensor([[1.0 if c >= 0 else -1.0]], dtype=torch.float64)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


def phase_table(
    decoders: Sequence[Tensor],
    bases: Sequence[Tensor],
    *,
    draws: int,
    taus: tuple[float, ...],
    sign: Sign = "signed",
    seed: int = 0,
) -> PhaseTable:
    """Every metric of every pair of seeds, turned and drawn; at least `draws` pairs, all pairs equally often.

    Args:
        decoders: one [N, D] for each seed, without zero rows.
        bases: the planes, the largest first; those inside others turn with them.
        seed: of the angles, uniform on the circle, and of what is drawn.

    Raises:
        InputError: no plane, fewer than two seeds, fewer than one draw, or planes of another width.
    """
    if not bases:
        raise InputError("planes", "there is none to turn", "at least one existing plane")
    if len(decoders) < 2 or draws < 1:
        raise InputError("decoders", f"{len(decoders)} seeds, {draws} draws", "2 seeds, 1 draw")
    turning = distinct_planes(bases)
    for rows in decoders:
        _check_width(turning[0], rows)
    span_DC = torch.linalg.qr(torch.cat(turning, 1)).Q
    parted = [_part(unit_rows(rows).rows.cpu().double(), span_DC) for rows in decoders]
    generator = torch.Generator().manual_seed(seed)
    pairs = list(combinations(range(len(parted)), 2))
    rounds = math.ceil(draws / len(pairs))

    def compare(two: tuple[Tensor, Tensor]) -> list[float]:
        return pair_values(unit_cosines(two[0], two[1], sign), taus)

    found_RPM = np.array(
        [
            side_by_side(compare, [(turned[s], turned[t]) for s, t in pairs])
            for turned in (_turned(parted, turning, generator) for _ in range(rounds))
        ]
    )
    table_MSS = np.full((found_RPM.shape[2], len(parted), len(parted)), np.nan)
    for (s, t), mean_M in zip(pairs, found_RPM.mean(0), strict=True):
        table_MSS[:, s, t] = table_MSS[:, t, s] = mean_M
    flat_KM = found_RPM.reshape(-1, found_RPM.shape[2])
    sd_M = flat_KM.std(axis=0, ddof=1) if len(flat_KM) > 1 else np.full(flat_KM.shape[1], np.nan)
    inside = sum(float(one.inside_ND.square().sum(1).mean()) for one in parted) / len(parted)
    return PhaseTable(table_MSS, sd_M, len(flat_KM), len(turning), inside)


@dataclass(frozen=True)
class _Parted:
    """Unit rows of one seed, split where the planes end."""

    inside_ND: Tensor
    outside_N: Tensor
    """Length of what is not inside."""
    mean_D: Tensor
    """Of it: a direction that all atoms of a seed have in part, such as that of the mean activation."""
    root_DD: Tensor | None
    """Of its covariance, for the draws; None where all rows lie in the planes."""


def _part(rows_ND: Tensor, span_DC: Tensor) -> _Parted:
    inside_ND = rows_ND @ span_DC @ span_DC.T
    rest_ND = rows_ND - inside_ND
    outside_N = rest_ND.norm(dim=1)
    mean_D = rest_ND.mean(0)
    away_ND = rest_ND - mean_D
    if float(away_ND.square().sum(1).mean()) < ROUNDING:
        return _Parted(inside_ND, outside_N, mean_D, None)
    root_DD = covariance_root(away_ND.T @ away_ND / len(rest_ND))
    return _Parted(inside_ND, outside_N, mean_D, root_DD)


def _turned(
    parted: Sequence[_Parted], bases: Sequence[Tensor], generator: torch.Generator
) -> list[Tensor]:
    """Each seed's rows with its own angles and draws; float32 is enough for cosines to 1e-6."""
    turned = []
    for one in parted:
        angles = 2 * math.pi * torch.rand(len(bases), generator=generator, dtype=torch.float64)
        # Oblique planes change lengths: what is inside keeps the length it had beside the rest.
        length_N1 = one.inside_ND.norm(dim=1, keepdim=True)
        rows_ND = turn(one.inside_ND, bases, angles.tolist()) * length_N1
        rest_ND = one.mean_D.expand_as(rows_ND)
        if one.root_DD is not None:
            g_ND = torch.randn(rows_ND.shape, generator=generator, dtype=torch.float64)
            rest_ND = rest_ND + g_ND @ one.root_DD
        rest_ND = torch.nn.functional.normalize(rest_ND, dim=1) * one.outside_N[:, None]
        turned.append(torch.nn.functional.normalize(rows_ND + rest_ND, dim=1).float())
    return turned
