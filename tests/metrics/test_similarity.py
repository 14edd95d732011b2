"""Cosines, their averages, and who is alive: against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from engine.errors import InputError
from engine.metrics.similarity import (
    Sign,
    cosine_matrix,
    enc_dec_alignment,
    live_mask,
    mean_max_cos,
    mmcs,
    unit_cosines,
    unit_rows,
)

EYE = torch.eye(2)
BOTH_FIRST = torch.tensor([[1.0, 0.0], [1.0, 0.0]])

# Unit rows (1, 0), (0, -1), (.6, .8) against (1, 0), (.6, .8).
THREE = torch.tensor([[2.0, 0.0], [0.0, -3.0], [0.6, 0.8]])
TWO = torch.tensor([[5.0, 0.0], [0.6, 0.8]])


def test_cosine_matrix_of_a_non_square_pair_by_hand() -> None:
    expected = torch.tensor([[1.0, 0.6], [0.0, -0.8], [0.6, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(cosine_matrix(THREE, TWO), expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(cosine_matrix(THREE, TWO, "abs"), expected.abs(), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("sign", "forth", "back"), [("signed", 2 / 3, 1.0), ("abs", 2.8 / 3, 1.0)])
def test_one_direction_by_hand(sign: Sign, forth: float, back: float) -> None:
    # Best of each row of THREE: 1, 0 (|-.8| = .8), 1; of each row of TWO: 1, 1.
    assert mmcs(THREE, TWO, sign) == pytest.approx(forth, abs=1e-7)
    assert mmcs(TWO, THREE, sign) == pytest.approx(back, abs=1e-7)
    assert mean_max_cos(THREE, TWO, sign) == pytest.approx((forth + back) / 2, abs=1e-7)


@pytest.mark.parametrize(
    ("a", "b", "sign", "expected"),
    [
        (EYE, BOTH_FIRST, "signed", 0.75),
        (EYE, -EYE, "abs", 1.0),
        (EYE, -EYE, "signed", 0.0),
        (EYE, EYE, "signed", 1.0),
    ],
)
def test_mean_max_cos_of_known_pairs(
    a: torch.Tensor, b: torch.Tensor, sign: Sign, expected: float
) -> None:
    assert mean_max_cos(a, b, sign) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_row_lengths_do_not_matter(scale: float) -> None:
    assert mean_max_cos(THREE * scale, TWO) == pytest.approx(mean_max_cos(THREE, TWO), abs=1e-6)


@pytest.mark.parametrize(("sigma", "cosine"), [(0.5, 0.894), (1.0, 0.7071)])
def test_noise_lowers_the_cosine_to_the_truth(sigma: float, cosine: float) -> None:
    # 1/sqrt(1 + sigma²) for noise of relative length sigma, nearly orthogonal in 2,000 dimensions.
    generator = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.normalize(torch.randn(40, 2000, generator=generator), dim=1)
    noise = torch.randn(40, 2000, generator=generator) / math.sqrt(2000)
    assert mean_max_cos(truth + sigma * noise, truth) == pytest.approx(cosine, abs=0.005)


def test_noise_in_both_runs_lowers_their_cosine_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.normalize(torch.randn(40, 2000, generator=generator), dim=1)
    runs = [truth + 0.5 * torch.randn(40, 2000, generator=generator) / 2000**0.5 for _ in "ab"]
    assert mean_max_cos(*runs) == pytest.approx(0.8, abs=0.005)


def test_phase_tiling_follows_the_sinc_of_its_spacing() -> None:
    # m evenly spaced atoms in a plane, phases independent: E best cosine = sin(pi/m)/(pi/m).
    phases = torch.rand(4000, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
    for m, expected in [(3, 0.827), (4, 0.900), (6, 0.955), (8, 0.974)]:
        angles = torch.arange(m) * 2 * math.pi / m
        fixed = torch.stack([angles.cos(), angles.sin()], 1)
        probes = torch.stack([phases.cos(), phases.sin()], 1)
        assert mmcs(probes, fixed) == pytest.approx(expected, abs=0.005)


def test_zero_rows_are_dropped_and_counted() -> None:
    holed = torch.cat([torch.zeros(1, 2), TWO, torch.zeros(2, 2)])
    units = unit_rows(holed)
    assert units.dropped == 3
    assert units.kept.tolist() == [False, True, True, False, False]
    torch.testing.assert_close(units.rows.norm(dim=1), torch.ones(2, dtype=torch.float64))
    assert mean_max_cos(THREE, holed) == pytest.approx(mean_max_cos(THREE, TWO), abs=1e-12)


def test_rows_normalised_along_the_wrong_axis_are_refused() -> None:
    columns = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]), dim=0)
    with pytest.raises(InputError, match="rows of unit length"):
        unit_cosines(columns, columns, "signed")


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(3, 4), torch.ones(4, 3), "d_in differs: 4 and 3"),
        (torch.ones(3), torch.ones(1, 3), r"first dictionary: has shape \[3\]"),
        (torch.ones(1, 3), torch.ones(0, 3), r"second dictionary: has shape \[0, 3\]"),
        (torch.tensor([[math.nan, 1.0]]), EYE, "not finite"),
        (torch.tensor([[math.inf, 1.0]]), EYE, "not finite"),
        (torch.zeros(2, 2), EYE, "every row is zero"),
    ],
)
def test_what_cannot_be_compared_is_refused(a: torch.Tensor, b: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mean_max_cos(a, b)


def test_an_unknown_sign_is_refused() -> None:
    with pytest.raises(InputError, match="signed, abs"):
        cosine_matrix(EYE, EYE, "cosine")  # type: ignore[arg-type]


def test_alignment_of_encoder_and_decoder_is_row_by_row() -> None:
    encoder = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    decoder = torch.tensor([[7.0, 0.0, 0.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    alignment = enc_dec_alignment(encoder, decoder)
    torch.testing.assert_close(
        alignment,
        torch.tensor([1.0, -1.0, 0.6, math.nan], dtype=torch.float64),
        equal_nan=True,
    )
    with pytest.raises(InputError, match="rows"):
        enc_dec_alignment(encoder, decoder.T)


@pytest.mark.parametrize(
    ("n_samples", "live"),
    [
        (1_000, [False, True, True, True]),  # ten firings, whatever the sample
        (100_000, [False, True, True, True]),  # 1e-4 * N is ten as well
        (200_000, [False, False, True, True]),  # 20
        (1_000_000, [False, False, False, True]),  # 100
    ],
)
def test_live_needs_ten_firings_and_one_in_ten_thousand(n_samples: int, live: list[bool]) -> None:
    assert live_mask(torch.tensor([9, 10, 20, 100]), n_samples).tolist() == live


@pytest.mark.parametrize(("counts", "n_samples"), [([5], 0), ([5], 4), ([-1], 10)])
def test_impossible_counts_are_refused(counts: list[int], n_samples: int) -> None:
    with pytest.raises(InputError):
        live_mask(torch.tensor(counts), n_samples)
