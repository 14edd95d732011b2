"""Cosine similarity between dictionaries, and which features are alive.

Shapes: N, A, B = features (rows) of a dictionary, M = rows kept, D = input dimension. A dictionary
is a tensor of ROWS; the weight of `nn.Linear(d_sae, d_in)` is transposed once, by whoever loads it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from engine.errors import InputError

Sign = Literal["signed", "abs"]

SIGNS: tuple[Sign, ...] = ("signed", "abs")

# Unit rows in float64 stay within this of 1; a matrix normalised along the wrong axis does not.
COSINE_SLACK = 1e-6

# A feature that fires fewer than ten times has no estimable activation map, whatever N is.
LIVE_COUNT, LIVE_RATE = 10, 1e-4


class UnitRows(NamedTuple):
    """The non-zero rows of a dictionary, scaled to unit length."""

    rows: Tensor
    """[M, D]."""
    kept: Tensor
    """[N], bool: which rows are not zero."""
    dropped: int


def check_sign(sign: str) -> None:
    """Raise InputError unless `sign` is one of SIGNS."""
    if sign not in SIGNS:
        raise InputError("sign", f"unknown sign {sign!r}", "one of: signed, abs")


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    # A third of the time of a mask: NaN is passed on by both, and nothing is beyond an infinity.
    return values.numel() == 0 or all(bool(torch.isfinite(end)) for end in values.aminmax())


def check_dictionary(dictionary_ND: Tensor, where: str = "dictionary") -> None:
    """Raise InputError unless this is a finite, non-empty [n, d] tensor."""
    if dictionary_ND.ndim != 2 or 0 in dictionary_ND.shape:
        shape = list(dictionary_ND.shape)
        raise InputError(where, f"has shape {shape}", "a non-empty [features, d_in] tensor")
    if not all_finite(dictionary_ND):
        raise InputError(where, "holds a value that is not finite", "finite weights")


def scaled_rows(dictionary_ND: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Rows at unit length; zero rows stay zero. Metal has no float64, so it goes to the CPU."""
    device = "cpu" if dictionary_ND.device.type == "mps" else dictionary_ND.device
    rows_ND = dictionary_ND.detach().to(device).to(dtype)
    # Dividing by the largest entry first keeps the squared norm of tiny or huge rows representable.
    largest_N1 = rows_ND.abs().amax(dim=1, keepdim=True)
    rows_ND = rows_ND / torch.where(largest_N1 > 0, largest_N1, 1.0)
    norms_N1 = rows_ND.norm(dim=1, keepdim=True)
    return rows_ND / torch.where(norms_N1 > 0, norms_N1, 1.0)


def unit_rows(dictionary_ND: Tensor, dtype: torch.dtype = torch.float64) -> UnitRows:
    """Unit rows, the mask of rows kept, and how many zero rows were dropped."""
    check_dictionary(dictionary_ND)
    rows_ND = scaled_rows(dictionary_ND, dtype)
    kept_N = rows_ND.abs().amax(dim=1) > 0
    return UnitRows(rows_ND[kept_N], kept_N, int((~kept_N).sum()))


def cosine_matrix(
    a_AD: Tensor,
    b_BD: Tensor,
    sign: Sign = "signed",
    *,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Cosines [A, B] between rows, or their absolute values; a zero row has cosine 0 with all.

    Raises InputError when the two live in different dimensions, or a value is not finite.
    """
    check_sign(sign)
    check_dictionary(a_AD, "first dictionary")
    check_dictionary(b_BD, "second dictionary")
    if a_AD.shape[1] != b_BD.shape[1]:
        raise InputError(
            "dictionaries",
            f"d_in differs: {a_AD.shape[1]} and {b_BD.shape[1]}",
            "two dictionaries of one hook, as rows [features, d_in]",
        )
    return unit_cosines(scaled_rows(a_AD, dtype), scaled_rows(b_BD, dtype), sign)


def unit_cosines(a_AD: Tensor, b_BD: Tensor, sign: Sign) -> Tensor:
    """Cosines [A, B] of rows that are already of unit length; raises InputError if they are not."""
    cosine_AB = a_AD @ b_BD.T
    # Of a matrix of a million entries, its absolute values would be a second one.
    least, most = cosine_AB.aminmax()
    largest = float(torch.maximum(-least, most))
    if not largest <= 1 + COSINE_SLACK:
        raise InputError("cosine", f"|cos| reaches {largest:.6f}", "rows of unit length")
    if largest > 1:
        cosine_AB.clamp_(-1.0, 1.0)
    return cosine_AB.abs() if sign == "abs" else cosine_AB


def nonzero_cosines(a_AD: Tensor, b_BD: Tensor, sign: Sign) -> Tensor:
    """Cosines between the non-zero rows only; raises InputError if either side has none."""
    cosine_AB = cosine_matrix(a_AD, b_BD, sign)
    cosine_AB = cosine_AB[unit_rows(a_AD).kept][:, unit_rows(b_BD).kept]
    if cosine_AB.numel() == 0:
        raise InputError("dictionary", "every row is zero", "at least one non-zero feature")
    return cosine_AB


def mean_max(cosine_AB: Tensor) -> float:
    """½[mean_i max_j C + mean_j max_i C] of a cosine matrix."""
    return float(cosine_AB.amax(1).mean() + cosine_AB.amax(0).mean()) / 2


def mean_max_cos(a_AD: Tensor, b_BD: Tensor, sign: Sign = "signed") -> float:
    """PWMCC: the best cosine of each feature, averaged over both directions; many-to-one."""
    return mean_max(nonzero_cosines(a_AD, b_BD, sign))


def mmcs(a_AD: Tensor, b_BD: Tensor, sign: Sign = "signed") -> float:
    """Mean over A of its best cosine in B: one direction (Sharkey et al.; Cunningham et al.)."""
    return float(nonzero_cosines(a_AD, b_BD, sign).amax(1).mean())


def enc_dec_alignment(encoder_ND: Tensor, decoder_ND: Tensor) -> Tensor:
    """cos(encoder_i, decoder_i) per feature [N]; NaN where either row is zero."""
    check_dictionary(encoder_ND, "encoder")
    check_dictionary(decoder_ND, "decoder")
    if encoder_ND.shape != decoder_ND.shape:
        raise InputError(
            "encoder",
            f"shape {list(encoder_ND.shape)} is not the decoder's {list(decoder_ND.shape)}",
            "both as rows [features, d_in]",
        )
    encoder_ND, decoder_ND = (scaled_rows(x, torch.float64) for x in (encoder_ND, decoder_ND))
    zero_N = (encoder_ND == 0).all(1) | (decoder_ND == 0).all(1)
    return (encoder_ND * decoder_ND).sum(1).masked_fill(zero_N, torch.nan)


def live_mask(fire_counts: Tensor, n_samples: int) -> Tensor:
    """Which features fire in at least max(10, 1e-4 * n_samples) samples; any shape, bool."""
    if n_samples < 1:
        raise InputError("n_samples", f"is {n_samples}", "the number of samples, at least 1")
    if bool((fire_counts < 0).any()) or bool((fire_counts > n_samples).any()):
        raise InputError("fire_counts", "lie outside 0..n_samples", "counts of firing samples")
    return fire_counts >= max(LIVE_COUNT, LIVE_RATE * n_samples)
