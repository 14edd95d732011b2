"""Matching: against assignments worked by hand and against exhaustive search."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from engine.errors import InputError
from engine.metrics.assignment import assignment
from engine.metrics.matching import (
    EncoderRows,
    Nearest,
    gt_mcc,
    matched_mcc,
    metric_names,
    pair_values,
    runner_up,
    shared_fraction,
    truth_match,
)
from engine.metrics.parallel import side_by_side
from engine.metrics.similarity import Sign, cosine_matrix, mean_max_cos

EYE = torch.eye(2)
TILTED = torch.tensor([[0.1, 1.0], [1.0, 0.2]])


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("a", "b", "sign", "expected"),
    [
        (EYE, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), "signed", 0.5),
        (EYE, -EYE, "abs", 1.0),
        (EYE, -EYE, "signed", 0.0),
        (EYE, TILTED, "signed", 0.9878),
    ],
)
def test_matched_mcc_of_known_pairs(
    a: torch.Tensor, b: torch.Tensor, sign: Sign, expected: float
) -> None:
    assert matched_mcc(a, b, sign) == pytest.approx(expected, abs=5e-5)


def test_assignment_takes_the_largest_total_not_the_largest_entry() -> None:
    # Greedy takes .9 and is left with 0; the best total is .8 + .7.
    pair = assignment(torch.tensor([[0.9, 0.8], [0.7, 0.0]]))
    assert (pair.rows.tolist(), pair.columns.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize(("n_a", "n_b"), [(4, 6), (6, 4), (5, 5)])
@pytest.mark.parametrize("sign", ["signed", "abs"])
def test_matched_mcc_is_the_best_of_all_matchings(n_a: int, n_b: int, sign: Sign) -> None:
    a, b = rows(n_a, 3, 1), rows(n_b, 3, 2)
    cosine = cosine_matrix(a, b, sign)
    if n_a > n_b:
        cosine = cosine.T
    few, many = cosine.shape
    best = max(
        float(cosine[torch.arange(few), torch.tensor(order)].sum())
        for order in permutations(range(many), few)
    )
    assert matched_mcc(a, b, sign) == pytest.approx(best / few, abs=1e-9)


def test_permutation_and_sign_are_seen_through_as_the_sign_option_says() -> None:
    a = rows(20, 50, 0)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    assert matched_mcc(a, 3 * a[order]) == pytest.approx(1.0, abs=1e-7)
    assert matched_mcc(a, -a[order], "abs") == pytest.approx(1.0, abs=1e-7)
    assert matched_mcc(a, -a[order], "signed") < 0.5


def test_duplicates_fool_the_many_to_one_mean_but_not_the_matching() -> None:
    copies = EYE[:1].repeat(2, 1)
    assert mean_max_cos(copies, EYE) == pytest.approx(0.75)
    assert matched_mcc(copies, EYE) == pytest.approx(0.5)


def test_the_second_best_of_a_row_by_hand() -> None:
    cosines = torch.tensor([[0.9, 0.2, 0.6], [-0.5, -0.1, -0.8], [0.7, 0.7, 0.3]])
    before = cosines.clone()
    second = runner_up(cosines, cosines.argmax(1))
    assert second.tolist() == pytest.approx([0.6, -0.5, 0.7]), "two equal ones have no margin"
    assert torch.equal(cosines, before)
    second = runner_up(cosines.T, cosines.argmax(0))
    assert second.tolist() == pytest.approx([0.7, 0.2, 0.3])


def test_an_only_column_has_no_second() -> None:
    assert runner_up(torch.tensor([[0.5], [0.25]]), torch.tensor([0, 0])).isnan().all()


def test_nearest_neighbours_by_hand() -> None:
    nearest = Nearest.of(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.75]], dtype=torch.float64))
    assert nearest.column_A.tolist() == [0, 0, 1]
    assert nearest.cosine_A.tolist() == [0.9, 0.8, 0.75]
    assert nearest.row_B.tolist() == [0, 2]
    assert nearest.cosine_B.tolist() == [0.9, 0.75]
    assert nearest.mutual_A.tolist() == [True, False, True]
    assert nearest.mean == pytest.approx((2.45 / 3 + 1.65 / 2) / 2)


def test_nearest_neighbours_from_the_other_side() -> None:
    turned = Nearest.of(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.75]], dtype=torch.float64)).T
    assert turned.column_A.tolist() == [0, 2]
    assert turned.cosine_A.tolist() == [0.9, 0.75]
    assert turned.row_B.tolist() == [0, 0, 1]
    assert turned.cosine_B.tolist() == [0.9, 0.8, 0.75]
    assert turned.mutual_A.tolist() == [True, True]


def test_of_equal_neighbours_the_first_counts() -> None:
    tied = torch.tensor([[0.5, 0.5], [0.5, 0.1], [0.5, 0.5]])
    nearest, across = Nearest.of(tied), Nearest.of(tied.T)
    assert (nearest.column_A.tolist(), nearest.row_B.tolist()) == ([0, 0, 0], [0, 0])
    assert (across.column_A.tolist(), across.row_B.tolist()) == ([0, 0], [0, 0, 0])
    assert nearest.mutual_A.tolist() == [True, False, False]


@pytest.mark.parametrize(("tau", "pairs"), [(0.5, 2), (0.75, 1), (0.95, 0)])
def test_shared_fraction_counts_mutual_pairs_from_both_sides(tau: float, pairs: int) -> None:
    # Cosines: row 0 (.9, 0), row 1 (.8, 0), row 2 (0, .6), built in five dimensions.
    a = torch.tensor([[0.9, 0, 0.19**0.5, 0, 0], [0.8, 0, 0, 0.6, 0], [0, 0.6, 0, 0, 0.8]])
    b = torch.eye(5)[:2]
    assert shared_fraction(a, b, tau) == pytest.approx((pairs / 3 + pairs / 2) / 2)
    assert shared_fraction(b, a, tau) == pytest.approx((pairs / 3 + pairs / 2) / 2)
    assert shared_fraction(a, -b, tau) == 0
    assert shared_fraction(a, -b, tau, "abs") == pytest.approx((pairs / 3 + pairs / 2) / 2)


@pytest.mark.parametrize("strict", [False, True])
def test_two_random_subsets_of_the_truth_share_its_square(strict: bool) -> None:
    # Each run finds 60 % of 500 features at random; the rest of its atoms are noise.
    generator = torch.Generator().manual_seed(3)
    truth = rows(500, 300, 0)
    runs = [torch.randn(500, 300, generator=generator) for _ in "ab"]
    kept = [torch.rand(500, generator=generator) < 0.6 for _ in "ab"]
    for run, keep in zip(runs, kept, strict=True):
        run[keep] = truth[keep]
    encoders = (runs[0], runs[1]) if strict else None
    fraction = shared_fraction(runs[0], runs[1], 0.7, strict=strict, encoders=encoders)
    assert fraction == float((kept[0] & kept[1]).sum()) / 500  # exactly those found by both
    assert fraction == pytest.approx(0.36, abs=0.05)  # sd of the draw .02


def test_the_strict_rule_needs_decoder_and_encoder_to_name_the_same_partner() -> None:
    decoder = torch.eye(4)
    far = torch.tensor([[0.6, 0.8, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
    swapped = torch.eye(4)[[0, 1, 3, 2]]
    assert shared_fraction(decoder, decoder, strict=True, encoders=(decoder, decoder)) == 1
    # Encoders pair 2 with 3 and 3 with 2, decoders do not.
    assert shared_fraction(decoder, decoder, strict=True, encoders=(decoder, swapped)) == 0.5
    # All partners agree, but one pair of encoders has cosine .6.
    assert shared_fraction(decoder, decoder, strict=True, encoders=(decoder, far)) == 0.75
    # ... and the same where it is the decoders that are too far apart.
    assert shared_fraction(decoder, far, strict=True, encoders=(decoder, decoder)) == 0.75
    assert shared_fraction(decoder, far, 0.5, strict=True, encoders=(decoder, decoder)) == 1


@pytest.mark.parametrize("flipped", [False, True])
def test_the_strict_rule_on_dictionaries_of_different_sizes(flipped: bool) -> None:
    a, b = torch.eye(5)[[3, 0, 1, 4]], torch.eye(5)[[1, 3]]
    if flipped:
        a, b = b, a
    assert shared_fraction(a, b, strict=True, encoders=(a, b)) == pytest.approx((2 / 4 + 1) / 2)


def test_zero_decoders_take_their_encoders_with_them() -> None:
    a = torch.cat([torch.zeros(1, 3), torch.eye(3)])
    encoders = (torch.cat([torch.ones(1, 3), torch.eye(3)]), torch.eye(3))
    assert shared_fraction(a, torch.eye(3), strict=True, encoders=encoders) == 1
    assert shared_fraction(a, torch.eye(3)) == 1


@pytest.mark.parametrize("tau", [0.0, 1.5, -0.7])
def test_thresholds_outside_the_cosines_are_refused(tau: float) -> None:
    with pytest.raises(InputError, match="tau"):
        shared_fraction(EYE, EYE, tau)


def test_strict_and_encoders_go_together() -> None:
    with pytest.raises(InputError, match="strict"):
        shared_fraction(EYE, EYE, strict=True)
    with pytest.raises(InputError, match="strict"):
        shared_fraction(EYE, EYE, encoders=(EYE, EYE))
    with pytest.raises(InputError, match="encoder B"):
        shared_fraction(EYE, EYE, strict=True, encoders=(EYE, torch.ones(3, 2)))


@pytest.mark.parametrize(("sigma", "mcc"), [(0.5, 0.894)])
def test_gt_mcc_of_a_noisy_permuted_dictionary(sigma: float, mcc: float) -> None:
    truth = torch.nn.functional.normalize(rows(30, 2000, 0), dim=1)
    noisy = truth.flip(0) + sigma * rows(30, 2000, 1) / 2000**0.5
    assert gt_mcc(noisy, truth) == pytest.approx(mcc, abs=0.005)


def test_recall_and_precision_by_hand() -> None:
    # Four true features; atoms: two exact, one at cosine .8, one unused direction, one dead.
    truth = torch.eye(6)[:4]
    atoms = torch.stack(
        [
            truth[2],
            truth[0],
            0.8 * truth[1] + 0.6 * torch.eye(6)[4],
            torch.eye(6)[5],
            truth[3],
            torch.zeros(6),
        ]
    )
    live = torch.tensor([True, True, True, True, False, True])
    match = truth_match(atoms, truth, tau=0.9, live_N=live)
    assert (match.n_live, match.n_truth) == (4, 4)
    assert match.mcc == pytest.approx((1 + 1 + 0.8 + 0) / 4, abs=1e-7)
    assert (match.recall, match.precision) == (0.5, 0.5)
    assert truth_match(atoms, truth, tau=0.75, live_N=live).recall == 0.75
    every = truth_match(atoms, truth)
    assert (every.n_live, every.recall, every.precision) == (5, 0.75, 0.6)


def test_recovery_without_live_atoms_or_with_a_foreign_mask_is_refused() -> None:
    with pytest.raises(InputError, match="no live atom"):
        truth_match(EYE, EYE, live_N=torch.tensor([False, False]))
    with pytest.raises(InputError, match="one flag per atom"):
        truth_match(EYE, EYE, live_N=torch.ones(3, dtype=torch.bool))


def test_pair_values_are_the_single_metrics_in_the_order_of_their_names() -> None:
    a, b, encoders = rows(12, 3, 0), rows(9, 3, 1), (rows(12, 3, 2), rows(9, 3, 3))
    taus = (0.5, 0.9)
    names = metric_names(taus, strict=True)
    values = pair_values(cosine_matrix(a, b), taus, EncoderRows.of(*encoders))
    single = {
        "mean_max_cos": mean_max_cos(a, b),
        "matched_mcc": matched_mcc(a, b),
        "shared_fraction@0.5": shared_fraction(a, b, 0.5),
        "shared_fraction@0.9": shared_fraction(a, b, 0.9),
        "strict_shared_fraction@0.5": shared_fraction(a, b, 0.5, strict=True, encoders=encoders),
        "strict_shared_fraction@0.9": shared_fraction(a, b, 0.9, strict=True, encoders=encoders),
    }
    assert dict(zip(names, values, strict=True)) == pytest.approx(single)
    assert metric_names(taus) == names[:4]


def test_encoders_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="encoder B"):
        EncoderRows.of(EYE, torch.full((3, 3), torch.nan))
    with pytest.raises(InputError, match="encoder A"):
        EncoderRows.of(torch.full((3, 3), -torch.inf), EYE)


def test_without_encoders_the_strict_share_is_its_upper_bound() -> None:
    a, b = rows(40, 4, 0), rows(40, 4, 1)
    cosine = cosine_matrix(a, b)
    tied = shared_fraction(a, b, 0.8, strict=True, encoders=(a, b))
    assert pair_values(cosine, (0.8,))[3] == tied
    assert shared_fraction(a, b, 0.8, strict=True, encoders=(a, b.flip(0))) <= tied


@pytest.mark.parametrize("threads", [1, 3])
def test_side_by_side_keeps_order_and_errors(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert side_by_side(lambda n: n * n, iter(range(8))) == [n * n for n in range(8)]
        with pytest.raises(ZeroDivisionError):
            side_by_side(lambda n: 1 // n, [1, 0])
    finally:
        torch.set_num_threads(before)


def test_strict_shares_count_below_the_highest_threshold() -> None:
    """One of two pairs has .6 and .8, which is shared at .5 and at no higher threshold; without a pair that is,
    the encoders' matching is not asked for."""
    decoder_AB = torch.tensor([[0.6, 0.0], [0.0, 0.1]])
    a = torch.tensor([[0.8, 0.0, 0.6, 0.0], [0.0, 0.9, 0.0, 0.19**0.5]])
    encoders = EncoderRows.of(a, torch.eye(4)[:2])  # cosines .8 and .9 on the diagonal
    taus = (0.5, 0.7)
    names = metric_names(taus, strict=True)
    values = dict(zip(names, pair_values(decoder_AB, taus, encoders), strict=True))
    assert values["strict_shared_fraction@0.5"] == pytest.approx(0.5)
    assert values["strict_shared_fraction@0.7"] == 0.0
    nothing = pair_values(decoder_AB - 0.2, taus, encoders)
    assert nothing[names.index("strict_shared_fraction@0.5")] == 0.0
