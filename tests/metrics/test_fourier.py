"""Frequencies, losses and sparsity indices against hand-worked numbers and science.md §8."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics import fourier

P = 113
KEYS = (14, 35, 41, 42, 52)


def clock(p: int, ks: Sequence[int], alphas: Sequence[float] | None = None) -> Tensor:
    """Logits sum alpha_k cos(w_k(a + b - c))."""
    line = torch.arange(p, dtype=torch.float64)
    offset = line[:, None, None] + line[:, None] - line
    weights = alphas or [1.0] * len(ks)
    return sum(
        (x * torch.cos(2 * torch.pi * k * offset / p) for k, x in zip(ks, weights, strict=True)),
        start=torch.zeros_like(offset),
    )


def lookup(p: int) -> Tensor:
    """One-hot logits of the right answer."""
    line = torch.arange(p)
    return torch.eye(p)[(line[:, None] + line) % p]


@pytest.fixture(scope="module")
def clock_113() -> Tensor:
    return clock(P, KEYS)


def random_mask(p: int, seed: int = 0) -> Tensor:
    return torch.rand(p, p, generator=torch.Generator().manual_seed(seed)) < 0.3


class TestCoefficients:
    def test_amplitudes_are_read_back(self) -> None:
        alpha = fourier.frequency_coefficients(clock(11, (1, 4), (2.0, -0.5)))
        assert alpha.tolist() == pytest.approx([2.0, 0, 0, -0.5, 0], abs=1e-12)

    def test_definition_by_brute_force(self) -> None:
        p = 7
        L = torch.randn(p, p, p, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        centred = L - L.mean(-1, keepdim=True)
        wanted = [float((centred * clock(p, (k,))).sum()) * 2 / p**3 for k in (1, 2, 3)]
        assert fourier.frequency_coefficients(L).tolist() == pytest.approx(wanted, abs=1e-12)
        shares = [w * w * (p**3 / 2) / float(centred.square().sum()) for w in wanted]
        assert fourier.fve(L, (1, 3)) == pytest.approx(shares[0] + shares[2], abs=1e-12)

    def test_a_constant_per_pair_changes_nothing(self) -> None:
        L = clock(11, (2, 3))
        shifted = L + 1e4 * torch.randn(11, 11, 1, generator=torch.Generator().manual_seed(2))
        assert fourier.fve(shifted, (2, 3)) == pytest.approx(1.0, abs=1e-9)

    def test_half_noise_halves_the_explained_variance(self) -> None:
        line = torch.arange(11, dtype=torch.float64)
        unrelated = torch.cos(
            2 * torch.pi * 2 * (line[:, None, None] + 0 * line[:, None] - line) / 11
        )
        assert fourier.fve(clock(11, (2,)) + unrelated, (2,)) == pytest.approx(0.5, abs=1e-12)

    def test_float32_suffices(self, clock_113: Tensor) -> None:
        keys = fourier.key_frequencies(clock_113.float())
        assert sorted(keys.ks) == list(KEYS)
        assert keys.fve == pytest.approx(1.0, abs=1e-6)

    def test_gradients_are_not_followed(self) -> None:
        L = clock(5, (1,)).requires_grad_()
        assert not fourier.frequency_coefficients(L).requires_grad


class TestKeyFrequencies:
    def test_lookup_table_needs_every_frequency(self) -> None:
        L = lookup(P)
        assert fourier.fve(L, range(1, 57)) == pytest.approx(1.0, abs=1e-9)
        assert fourier.fve(L, (3, 9, 20, 41, 56)) == pytest.approx(5 / 56, abs=1e-9)
        assert fourier.fve(L, KEYS) == pytest.approx(0.0893, abs=5e-5)
        assert len(fourier.key_frequencies(L).ks) == 54

    def test_strongest_first_and_no_more_than_needed(self) -> None:
        # Shares 16, 81, 4, 0.25 of 101.25: .800 for 9 alone, .958 with 4.
        keys = fourier.key_frequencies(clock(23, (2, 5, 7, 11), (4.0, 9.0, 2.0, -0.5)))
        assert keys.ks == (5, 2)
        assert keys.fve == pytest.approx(97 / 101.25, abs=1e-9)
        assert keys.reached
        tighter = fourier.key_frequencies(clock(23, (2, 5, 7, 11), (4.0, 9.0, 2.0, -0.5)), 0.99)
        assert tighter.ks == (5, 2, 7)

    def test_unreached_threshold_says_so(self) -> None:
        L = torch.randn(11, 11, 11, generator=torch.Generator().manual_seed(3))
        keys = fourier.key_frequencies(L)
        assert len(keys.ks) == 5
        assert not keys.reached
        assert keys.fve < 0.1

    def test_constant_logits_have_no_share(self) -> None:
        keys = fourier.key_frequencies(torch.ones(5, 5, 5))
        assert math.isnan(keys.fve)
        assert not keys.reached


class TestLosses:
    def test_clock_margin_and_losses(self, clock_113: Tensor) -> None:
        assert fourier.margin(clock_113) == pytest.approx(2.410, abs=0.002)
        for scale, loss in ((1, 1.030), (2, 0.0722), (5, 2.18e-5)):
            assert fourier.restricted_loss(scale * clock_113, KEYS) == pytest.approx(loss, rel=2e-3)

    def test_uniform_loss(self, clock_113: Tensor) -> None:
        # Without its frequencies a clock knows nothing: ln 113.
        excluded = fourier.excluded_loss(5 * clock_113, KEYS, random_mask(P))
        assert excluded == pytest.approx(4.7274, abs=5e-5)

    def test_one_frequency_kept_by_hand(self) -> None:
        L = clock(7, (1, 2), (5.0, 3.0))
        cosines = [math.cos(2 * math.pi * s / 7) for s in range(7)]
        wanted = math.log(sum(math.exp(5 * c) for c in cosines)) - 5
        assert fourier.restricted_loss(L, (1,)) == pytest.approx(wanted, abs=1e-9)
        assert fourier.excluded_loss(L, (2,), random_mask(7)) == pytest.approx(wanted, abs=1e-9)

    def test_restricted_keeps_the_mean_logits(self) -> None:
        bias = torch.tensor([0.0, 1, 2, 3, 4], dtype=torch.float64)
        L = bias.expand(5, 5, 5)
        wanted = math.log(sum(math.exp(x) for x in range(5))) - 2
        assert fourier.restricted_loss(L, (1,)) == pytest.approx(wanted, abs=1e-9)
        everywhere = torch.ones(5, 5, dtype=torch.bool)
        assert fourier.excluded_loss(L, (1,), everywhere) == pytest.approx(wanted, abs=1e-9)

    def test_components_against_explicit_projection(self) -> None:
        p, k = 7, 2
        L = torch.randn(p, p, p, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        line = torch.arange(p, dtype=torch.float64)
        angle = 2 * torch.pi * k * (line[:, None] + line) / p
        rest = L.clone()
        for wave in (angle.cos(), angle.sin()):
            beta = 2 / p**2 * torch.einsum("abc,ab->c", L, wave)
            rest -= wave[..., None] * beta
        labels = ((line[:, None] + line) % p).long()
        mask = random_mask(p, 5)
        cross_entropy = torch.nn.functional.cross_entropy
        wanted = float(cross_entropy(rest[mask], labels[mask]))
        assert fourier.excluded_loss(L, (k,), mask) == pytest.approx(wanted, abs=1e-9)
        kept = (L - rest) + L.mean((0, 1))
        wanted = float(cross_entropy(kept[mask], labels[mask]))
        assert fourier.restricted_loss(L, (k,), mask) == pytest.approx(wanted, abs=1e-9)


class TestTasks:
    def test_subtraction(self) -> None:
        line = torch.arange(11, dtype=torch.float64)
        L = torch.cos(2 * torch.pi * 3 * (line[:, None, None] - line[:, None] - line) / 11)
        assert fourier.fve(L, (3,), "subtract") == pytest.approx(1.0, abs=1e-9)
        assert fourier.fve(L, (3,), "add") == pytest.approx(0.0, abs=1e-9)
        assert fourier.margin(L, "subtract") > 0
        at_uniform = fourier.excluded_loss(20 * L, (3,), random_mask(11), "subtract")
        assert at_uniform == pytest.approx(math.log(11), abs=1e-9)

    def test_multiplication_uses_discrete_logarithms(self) -> None:
        # 3 is the least primitive root of 7: 3^0.. = 1 3 2 6 4 5.
        space = fourier.group(7, "multiply")
        assert space.a.tolist() == [1, 3, 2, 6, 4, 5]
        log = torch.zeros(7, dtype=torch.float64)
        log[space.a] = torch.arange(6, dtype=torch.float64)
        offset = log[:, None, None] + log[:, None] - log
        L = torch.cos(2 * torch.pi * offset / 6) + 0.25 * torch.cos(torch.pi * offset)
        L[0], L[:, 0], L[..., 0] = 50.0, -50.0, 7.0  # zeros must not matter
        alpha = fourier.frequency_coefficients(L, "multiply")
        assert alpha.tolist() == pytest.approx([1.0, 0.0, 0.25], abs=1e-9)
        assert fourier.fve(L, (1,), "multiply") == pytest.approx(0.5 / 0.5625, abs=1e-9)
        assert fourier.fve(L, (1, 3), "multiply") == pytest.approx(1.0, abs=1e-9)
        train = torch.ones(7, 7, dtype=torch.bool)
        uniform = fourier.excluded_loss(L, (1, 3), train, "multiply")
        assert uniform == pytest.approx(math.log(6), abs=1e-9)

    @pytest.mark.parametrize("p", [3, 5, 7, 23, 113])
    def test_every_group_has_the_same_number_of_frequencies(self, p: int) -> None:
        for task in ("add", "subtract", "multiply"):
            L = torch.randn(p, p, p, generator=torch.Generator().manual_seed(p))
            assert len(fourier.frequency_coefficients(L, task)) == (p - 1) // 2
        assert fourier.group(p, "multiply").a.sort().values.tolist() == list(range(1, p))


class TestSpectrum:
    def test_pure_waves(self) -> None:
        line = torch.arange(11, dtype=torch.float64)
        W = torch.stack(
            [torch.cos(2 * torch.pi * 2 * line / 11), 3 * torch.sin(2 * torch.pi * 5 * line / 11)],
            1,
        )
        power = fourier.embedding_spectrum(W + 100)
        assert power.tolist() == pytest.approx([0, 5.5, 0, 0, 49.5], abs=1e-6)

    def test_parseval(self) -> None:
        W = torch.randn(13, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        centred = float((W - W.mean(0)).square().sum())
        assert float(fourier.embedding_spectrum(W).sum()) == pytest.approx(centred)
        nonzero = W[1:] - W[1:].mean(0)
        total = float(fourier.embedding_spectrum(W, "multiply").sum())
        assert total == pytest.approx(float(nonzero.square().sum()))

    def test_gaussian_gini_null(self) -> None:
        generator = torch.Generator().manual_seed(0)
        values = [
            fourier.gini(fourier.embedding_spectrum(torch.randn(P, 128, generator=generator)))
            for _ in range(100)
        ]
        assert sum(values) / 100 == pytest.approx(0.049, abs=0.002)
        assert float(torch.tensor(values).std()) == pytest.approx(0.004, abs=0.002)

    def test_five_of_fifty_six(self) -> None:
        power = torch.tensor([1.0] * 5 + [0.0] * 51)
        assert fourier.gini(power) == pytest.approx(0.911, abs=5e-4)
        assert fourier.hoyer(power) == pytest.approx(0.809, abs=5e-4)

    def test_even_and_single(self) -> None:
        assert fourier.gini(torch.ones(4)) == pytest.approx(0.0)
        assert fourier.hoyer(torch.ones(4)) == pytest.approx(0.0)
        assert fourier.gini(torch.tensor([0.0, 0, 0, 2])) == pytest.approx(0.75)
        assert fourier.hoyer(torch.tensor([0.0, 0, 0, 2])) == pytest.approx(1.0)
        assert fourier.gini(torch.tensor([3.0, 1.0])) == pytest.approx(0.25)


class TestProgress:
    def test_curves_of_a_clock(self, clock_113: Tensor) -> None:
        W = torch.randn(P, 16, generator=torch.Generator().manual_seed(0))
        curves = fourier.progress(2 * clock_113, W, random_mask(P))
        assert curves["key_count"] == 5
        assert curves["fve"] == pytest.approx(1.0, abs=1e-9)
        for name in ("train_loss", "test_loss", "restricted_loss", "restricted_test_loss"):
            assert curves[name] == pytest.approx(0.0722, abs=1e-4)
        assert curves["train_accuracy"] == curves["test_accuracy"] == 1.0
        assert curves["margin"] == pytest.approx(4.820, abs=0.002)
        assert curves["excluded_loss"] == pytest.approx(math.log(P), abs=1e-9)
        assert all(math.isfinite(x) for x in curves.values())

    def test_splits_are_told_apart(self) -> None:
        p = 11
        mask = random_mask(p)
        L = torch.where(mask[..., None], 20 * lookup(p), torch.zeros(p, p, p))
        curves = fourier.progress(L, torch.randn(p, 8), mask)
        assert curves["train_loss"] < 1e-6
        assert curves["test_loss"] == pytest.approx(math.log(p))
        assert (curves["train_accuracy"], curves["test_accuracy"]) == (1.0, 0.0)
        assert curves["key_count"] == 0
        assert 0 < curves["fve"] <= curves["fve_all"] < 1

    def test_given_frequencies_are_used(self, clock_113: Tensor) -> None:
        W = torch.randn(P, 16)
        curves = fourier.progress(5 * clock_113, W, random_mask(P), ks=(1, 2))
        assert curves["fve"] == pytest.approx(0.0, abs=1e-9)
        assert curves["restricted_loss"] == pytest.approx(math.log(P), abs=1e-9)
        assert curves["excluded_loss"] == pytest.approx(2.18e-5, rel=2e-3)

    def test_agrees_with_the_single_functions(self) -> None:
        generator = torch.Generator().manual_seed(7)
        L, W, mask = (
            torch.randn(13, 13, 13, generator=generator),
            torch.randn(13, 5),
            random_mask(13),
        )
        for task in ("add", "subtract", "multiply"):
            curves = fourier.progress(L, W, mask, (2, 5), task)
            kwargs = {"task": task}
            assert curves["restricted_test_loss"] == pytest.approx(
                fourier.restricted_loss(L, (2, 5), ~mask, **kwargs)  # type: ignore[arg-type]
            )
            assert curves["excluded_loss"] == pytest.approx(
                fourier.excluded_loss(L, (2, 5), mask, **kwargs)  # type: ignore[arg-type]
            )

    def test_is_quick_enough_for_a_training_loop(self, clock_113: Tensor) -> None:
        L, W, mask = clock_113.float(), torch.randn(P, 128), random_mask(P)
        durations = []
        for _ in range(8):
            start = time.perf_counter()
            fourier.progress(L, W, mask)
            durations.append(time.perf_counter() - start)
        # Measured: 15 to 30 ms on one core; the best of several, as the machine is shared.
        assert min(durations) < 0.25


class TestWrappedSums:
    def test_by_brute_force(self) -> None:
        grid = torch.randn(5, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        plus, minus = torch.zeros(5, 2).double(), torch.zeros(5, 2).double()
        for a in range(5):
            for b in range(5):
                plus[(a + b) % 5] += grid[a, b]
                minus[(a - b) % 5] += grid[a, b]
        torch.testing.assert_close(fourier.wrapped_sums(grid), plus)
        torch.testing.assert_close(fourier.wrapped_sums(grid, -1), minus)


class TestErrors:
    @pytest.mark.parametrize("p", [1, 2, 9, 15, 112, 121])
    def test_modulus_must_be_an_odd_prime(self, p: int) -> None:
        with pytest.raises(InputError, match="odd prime") as caught:
            fourier.frequency_coefficients(torch.zeros(p, p, p))
        assert caught.value.where
        assert caught.value.want

    @pytest.mark.parametrize("shape", [(5, 5), (5, 5, 6), (5, 4, 5), (25, 5)])
    def test_grid_must_be_a_cube(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="logits grid"):
            fourier.fve(torch.zeros(shape), (1,))

    def test_embedding_with_the_equals_token(self) -> None:
        with pytest.raises(InputError, match="W_E rows"):
            fourier.embedding_spectrum(torch.randn(114, 8))
        with pytest.raises(InputError, match="W_E"):
            fourier.embedding_spectrum(torch.randn(113))

    @pytest.mark.parametrize("ks", [(0,), (3,), (1, 1), (-1,)])
    def test_impossible_frequencies(self, ks: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=r"1\.\.2"):
            fourier.fve(clock(5, (1,)), ks)

    def test_masks(self) -> None:
        L = clock(5, (1,))
        for mask in (torch.ones(5, 5), torch.ones(5, dtype=torch.bool)):
            with pytest.raises(InputError, match="boolean mask"):
                fourier.excluded_loss(L, (1,), mask)
        with pytest.raises(InputError, match="no pair"):
            fourier.restricted_loss(L, (1,), torch.zeros(5, 5, dtype=torch.bool))
        with pytest.raises(InputError, match="held out"):
            fourier.progress(L, torch.randn(5, 2), torch.ones(5, 5, dtype=torch.bool))

    def test_not_finite(self) -> None:
        L = clock(5, (1,))
        L[0, 0, 0] = torch.nan
        with pytest.raises(InputError, match="non-finite"):
            fourier.key_frequencies(L)
        for values in (torch.tensor([1.0, -1.0]), torch.zeros(3), torch.ones(1)):
            with pytest.raises(InputError, match="values"):
                fourier.gini(values)

    def test_unknown_task_and_threshold(self) -> None:
        with pytest.raises(InputError, match="add, subtract or multiply"):
            fourier.group(5, "divide")
        with pytest.raises(InputError, match="threshold"):
            fourier.key_frequencies(clock(5, (1,)), 1.5)
