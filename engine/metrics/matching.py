"""Matching of features one to one: MCC, shared fraction, recovery of a known truth.

Shapes: A, B, N = features of a dictionary, P = matched pairs = min(A, B), T = true features,
D = input dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics.assignment import Assignment, assignment
from engine.metrics.similarity import (
    Sign,
    check_dictionary,
    cosine_matrix,
    nonzero_cosines,
    scaled_rows,
    unit_cosines,
    unit_rows,
)


@dataclass(frozen=True)
class TruthMatch:
    """How well one dictionary recovers known features."""

    mcc: float
    """Mean cosine over the assignment, divided by min(live atoms, true features)."""
    recall: float
    """True features whose assigned atom has cosine >= tau, over all true features."""
    precision: float
    """Atoms whose assigned feature has cosine >= tau, over all live atoms."""
    tau: float
    n_live: int
    n_truth: int


def check_tau(tau: float) -> None:
    """Raise InputError unless 0 < tau <= 1."""
    if not 0 < tau <= 1:
        raise InputError("tau", f"is {tau}", "a cosine threshold in (0, 1]")


def matched_cosines(cosine_AB: Tensor) -> Tensor:
    """The cosines [P] of the assigned pairs."""
    rows_P, columns_P = assignment(cosine_AB)
    return cosine_AB.detach().cpu()[rows_P, columns_P]


def matched_mcc(a_AD: Tensor, b_BD: Tensor, sign: Sign = "signed") -> float:
    """PW-MCC: the summed cosine of the best one-to-one matching over min(n_A, n_B).

    Zero rows are dropped. Source: Song et al. 2505.20254 (paper: abs; released code: signed).
    """
    return float(matched_cosines(nonzero_cosines(a_AD, b_BD, sign)).mean())


def gt_mcc(dictionary_ND: Tensor, truth_TD: Tensor, sign: Sign = "signed") -> float:
    """GT-MCC: `matched_mcc` of a dictionary against the true features (rows)."""
    return matched_mcc(dictionary_ND, truth_TD, sign)


def truth_match(
    dictionary_ND: Tensor,
    truth_TD: Tensor,
    *,
    tau: float = 0.9,
    live_N: Tensor | None = None,
    sign: Sign = "signed",
) -> TruthMatch:
    """GT-MCC, recall and precision of the live, non-zero atoms against the true features.

    Raises InputError when no atom is live, the mask does not fit, or tau is not in (0, 1].
    """
    check_tau(tau)
    check_dictionary(dictionary_ND)
    usable_N = unit_rows(dictionary_ND).kept
    if live_N is not None:
        if live_N.shape != usable_N.shape:
            raise InputError("live_N", f"has shape {list(live_N.shape)}", "one flag per atom")
        usable_N = usable_N & live_N.bool().to(usable_N.device)
    if not bool(usable_N.any()):
        raise InputError("live_N", "no live atom", "a dictionary with at least one live feature")
    n_live, n_truth = int(usable_N.sum()), truth_TD.shape[0]
    cosine_P = matched_cosines(cosine_matrix(dictionary_ND[usable_N], truth_TD, sign))
    hits = int((cosine_P >= tau).sum())
    return TruthMatch(float(cosine_P.mean()), hits / n_truth, hits / n_live, tau, n_live, n_truth)


class Nearest(NamedTuple):
    """The largest of each row and of each column of a matrix, on the CPU; of equal ones the first."""

    column_A: Tensor
    cosine_A: Tensor
    row_B: Tensor
    cosine_B: Tensor

    @classmethod
    def of(cls, cosine_AB: Tensor) -> Nearest:
        """Of a matrix that is read twice, however many measures need them."""
        cosine_AB = cosine_AB.detach().cpu()
        # Of a million entries numpy finds those of rows that lie in one piece in a fifth of the time that torch
        # takes, and those of columns, copied into rows, in less than half.
        column_A, row_B = (
            torch.from_numpy(rows.contiguous().numpy().argmax(1))
            for rows in (cosine_AB, cosine_AB.T)
        )
        cosine_A = cosine_AB[torch.arange(len(column_A)), column_A]
        return cls(column_A, cosine_A, row_B, cosine_AB[row_B, torch.arange(len(row_B))])

    @property
    def T(self) -> Nearest:
        """The same of the matrix turned over."""
        return Nearest(self.row_B, self.cosine_B, self.column_A, self.cosine_A)

    @property
    def mutual_A(self) -> Tensor:
        """Whether each row's nearest column has that row for its nearest."""
        return self.row_B[self.column_A] == torch.arange(len(self.column_A))

    @property
    def mean(self) -> float:
        """½(mean over rows + mean over columns): `mean_max` of the matrix."""
        return float(self.cosine_A.mean() + self.cosine_B.mean()) / 2


class Match(NamedTuple):
    """How the features of two seeds fit each other."""

    pair: Assignment
    """One to one."""
    nearest: Nearest
    """Many to one."""

    @classmethod
    def of(cls, cosine_AB: Tensor) -> Match:
        """Of the cosines of all with all."""
        return cls(assignment(cosine_AB), Nearest.of(cosine_AB))


def runner_up(cosine_AB: Tensor, nearest_A: Tensor) -> Tensor:
    """The largest cosine of each row [A] but that at its nearest column; NaN of a single column.

    Equal cosines count twice: a feature with two matches as good as each other has no margin.
    """
    if cosine_AB.shape[1] == 1:
        return torch.full_like(cosine_AB[:, 0], torch.nan)
    place_A1 = nearest_A.unsqueeze(1).to(cosine_AB.device)
    best_A1 = cosine_AB.gather(1, place_A1)
    # Without its best, a row's largest is its second: a fifth of the time of `topk`, and no copy.
    cosine_AB.scatter_(1, place_A1, -torch.inf)
    second_A = cosine_AB.amax(1)
    cosine_AB.scatter_(1, place_A1, best_A1)
    return second_A


def two_sided(count: int, n_a: int, n_b: int) -> float:
    """½(count/n_A + count/n_B): the share of features in `count` pairs, averaged over sides."""
    return (count / n_a + count / n_b) / 2


def shared_fraction(
    a_AD: Tensor,
    b_BD: Tensor,
    tau: float = 0.7,
    sign: Sign = "signed",
    *,
    strict: bool = False,
    encoders: tuple[Tensor, Tensor] | None = None,
) -> float:
    """The share of features that the other dictionary also has, ½(count/n_A + count/n_B).

    Counted are pairs that are each other's nearest neighbour with cosine >= tau; equal cosines go
    to the lower index. With `strict`, the rule of Paulo & Belrose (2501.16615): two Hungarian
    matchings, of decoder rows and of encoder rows; counted are pairs that both matchings choose
    and whose cosines are both >= tau. Rows whose decoder is zero are dropped.

    Raises InputError on `strict` without `encoders` (rows, one per decoder row) or the reverse.
    """
    check_tau(tau)
    if strict != (encoders is not None):
        raise InputError("encoders", "go with strict=True", "both, or neither")
    cosine_AB = nonzero_cosines(a_AD, b_BD, sign)
    if encoders is None:
        return _shares(Nearest.of(cosine_AB), [tau])[0]
    for name, encoder, decoder in zip("AB", encoders, (a_AD, b_BD), strict=True):
        if encoder.shape != decoder.shape:
            raise InputError(f"encoder {name}", "is not of its decoder's shape", "rows [n, d_in]")
    kept = [
        encoder[unit_rows(decoder).kept]
        for encoder, decoder in zip(encoders, (a_AD, b_BD), strict=True)
    ]
    rows = EncoderRows.of(kept[0], kept[1], sign)
    return _strict_shares(cosine_AB, rows, assignment(cosine_AB), [tau])[0]


def _shares(nearest: Nearest, taus: Sequence[float]) -> list[float]:
    """`shared_fraction`: mutual nearest neighbours with cosine >= each tau."""
    mutual_P = nearest.cosine_A[nearest.mutual_A]
    sizes = len(nearest.cosine_A), len(nearest.cosine_B)
    return [two_sided(int((mutual_P >= tau).sum()), *sizes) for tau in taus]


class EncoderRows(NamedTuple):
    """The encoders of two dictionaries."""

    a_AD: Tensor
    """Unit rows; zero rows stay zero."""
    b_BD: Tensor
    sign: Sign

    @classmethod
    def of(cls, a_AD: Tensor, b_BD: Tensor, sign: Sign = "signed") -> EncoderRows:
        """Rows of any length; InputError if one is not finite."""
        check_dictionary(a_AD, "encoder A")
        check_dictionary(b_BD, "encoder B")
        return cls(scaled_rows(a_AD), scaled_rows(b_BD), sign)

    def cosines(self) -> Tensor:
        """Of all with all [A, B]."""
        return unit_cosines(self.a_AD, self.b_BD, self.sign)

    def paired(self, pair: Assignment) -> Tensor:
        """Of matched rows alone [P]."""
        cosine_P = (self.a_AD[pair.rows] * self.b_BD[pair.columns]).sum(1).cpu()
        return cosine_P.abs() if self.sign == "abs" else cosine_P


def _strict_shares(
    decoder_AB: Tensor, encoders: EncoderRows, decoder_pair: Assignment, taus: Sequence[float]
) -> list[float]:
    """Paulo & Belrose's shared fraction for several thresholds, the decoders' matching being known."""
    rows_P, columns_P = decoder_pair
    least_P = torch.minimum(decoder_AB.cpu()[rows_P, columns_P], encoders.paired(decoder_pair))
    if float(least_P.max()) < min(taus):
        # Nothing can be counted, whatever the encoders' matching, and that is the costly part.
        return [0.0] * len(taus)
    encoder_pair = assignment(encoders.cosines())
    # linear_sum_assignment returns rows in increasing order, but for A > B it leaves some out.
    partner_A = torch.full((decoder_AB.shape[0],), -1)
    partner_A[encoder_pair.rows] = encoder_pair.columns
    agree_P = partner_A[rows_P] == columns_P
    return [two_sided(int((agree_P & (least_P >= tau)).sum()), *decoder_AB.shape) for tau in taus]


def metric_names(taus: tuple[float, ...], *, strict: bool = False) -> tuple[str, ...]:
    """The metrics of `pair_values`, in its order."""
    shares = [f"shared_fraction@{tau:g}" for tau in taus]
    strict_shares = [f"strict_shared_fraction@{tau:g}" for tau in taus] if strict else []
    return ("mean_max_cos", "matched_mcc", *shares, *strict_shares)


def pair_values(
    cosine_AB: Tensor,
    taus: tuple[float, ...],
    encoders: EncoderRows | None = None,
    match: Match | None = None,
) -> list[float]:
    """Every metric of one pair of dictionaries, ordered as `metric_names(taus, strict=True)`.

    `match` is that of the cosines, where it is known.

    Without encoders the strict shares are those of tied weights: Hungarian pairs with decoder
    cosine >= tau, which is the most that any encoders could give.
    """
    pair, nearest = match or Match.of(cosine_AB)
    matched_P = cosine_AB.cpu()[pair.rows, pair.columns]
    values = [nearest.mean, float(matched_P.mean()), *_shares(nearest, taus)]
    if encoders is None:
        sizes = cosine_AB.shape
        return values + [two_sided(int((matched_P >= tau).sum()), *sizes) for tau in taus]
    return values + _strict_shares(cosine_AB, encoders, pair, taus)
