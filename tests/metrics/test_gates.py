"""Gates: a clean clock passes; leaking, memorised, random and early models are stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from engine.errors import GateFailed, InputError
from engine.metrics import fourier, gates
from engine.metrics.gates import Evaluation, Gate, GateReport, Interval

P = 59
KEYS = (3, 11, 17, 25)
BOS, PLUS, EQUALS, EOS = P, P + 1, P + 2, P + 3
VOCABULARY = P + 4


def clock(p: int = P, scale: float = 5.0, ks: Sequence[int] = KEYS) -> Tensor:
    line = torch.arange(p, dtype=torch.float64)
    offset = line[:, None, None] + line[:, None] - line
    waves = torch.stack([torch.cos(2 * torch.pi * k * offset / p) for k in ks])
    return scale * waves.sum(0)


def pairs(p: int = P) -> tuple[Tensor, Tensor, Tensor]:
    a = torch.arange(p).repeat_interleave(p)
    b = torch.arange(p).repeat(p)
    return a, b, (a + b) % p


def train_mask(p: int = P, fraction: float = 0.3) -> Tensor:
    return torch.rand(p, p, generator=torch.Generator().manual_seed(0)) < fraction


def memorised(p: int = P) -> Tensor:
    """Right and sure on the training pairs, arbitrary elsewhere."""
    generator = torch.Generator().manual_seed(1)
    *_, c = pairs(p)
    answers = torch.where(
        train_mask(p).flatten(), c, torch.randint(0, p, c.shape, generator=generator)
    )
    return 20 * torch.eye(p)[answers].reshape(p, p, p)


def embedding(seed: int = 0, width: int = 128) -> Tensor:
    return torch.randn(VOCABULARY, width, generator=torch.Generator().manual_seed(seed))


class Adder:
    """A fake model that reads a and b where they stand and answers with a clock."""

    def __init__(self, a: int, b: int) -> None:
        self.a, self.b, self.grid = a, b, clock()

    def __call__(self, tokens: Tensor) -> Tensor:
        return self.grid[tokens[:, self.a], tokens[:, self.b]]


class Copier:
    """A fake model that copies the token at one position to its logits."""

    def __init__(self, position: int) -> None:
        self.position = position

    def __call__(self, tokens: Tensor) -> Tensor:
        return 10 * torch.eye(VOCABULARY)[tokens[:, self.position]]


def three_tokens() -> tuple[Tensor, Tensor]:
    a, b, c = pairs()
    return torch.stack([a, b, torch.full_like(a, EQUALS)], dim=1), c


def seven_tokens() -> tuple[Tensor, Tensor]:
    a, b, c = pairs()
    columns: list[int | Tensor] = [BOS, a, PLUS, b, EQUALS, c, EOS]
    filled = [x if isinstance(x, Tensor) else torch.full_like(a, x) for x in columns]
    return torch.stack(filled, dim=1), c


def history(
    train: int = 300, test: int = 1000, last: int = 3000, every: int = 100
) -> list[Evaluation]:
    return [
        Evaluation(step, 1.0 if step >= train else 0.5, 1.0 if step >= test else 0.1)
        for step in range(every, last + 1, every)
    ]


class TestLeakage:
    def test_sum_read_at_equals_passes(self) -> None:
        tokens, labels = three_tokens()
        gate = gates.leakage_gate(
            tokens, 2, labels, Adder(0, 1), embedding(), p=P, history=history(), budget=5000
        )
        assert gate.passed, gate.reason
        assert gate.reason == ""
        assert gate.evidence["read_tokens"] == 1
        assert gate.evidence["later_positions"] == 0
        assert gate.evidence["accuracy_allowed"] == pytest.approx(2 / P)

    def test_seven_tokens_read_at_equals_passes(self) -> None:
        tokens, labels = seven_tokens()
        gate = gates.leakage_gate(tokens, 4, labels, Adder(1, 3), embedding(), p=P)
        assert gate.passed, gate.reason
        assert gate.evidence["later_positions"] == 2
        assert gate.evidence["history_checked"] is False

    @pytest.mark.parametrize("read_pos", [5, -2])
    def test_reading_the_answer_token_fails(self, read_pos: int) -> None:
        tokens, labels = seven_tokens()
        gate = gates.leakage_gate(tokens, read_pos, labels, Copier(5), embedding(), p=P)
        assert not gate.passed
        assert gate.evidence["read_position"] == 5
        assert gate.evidence["read_tokens"] == P
        assert gate.evidence["probe_accuracy"] == pytest.approx(1.0)
        assert "59 different tokens at the read position, wanted one" in gate.reason
        assert "predicts 100.0% of held-out answers" in gate.reason

    def test_seeing_later_tokens_fails(self) -> None:
        tokens, labels = seven_tokens()
        gate = gates.leakage_gate(tokens, 4, labels, Copier(5), embedding(), p=P)
        assert not gate.passed
        assert gate.evidence["later_token_logit_change"] == pytest.approx(10.0)
        assert "later tokens change logits" in gate.reason
        assert "different tokens" not in gate.reason

    def test_answer_in_an_earlier_token_fails(self) -> None:
        a, b, c = pairs()
        tokens = torch.stack([c, a, b, torch.full_like(a, EQUALS)], dim=1)
        gate = gates.leakage_gate(tokens, 3, c, Copier(0), embedding(), p=P)
        assert not gate.passed
        assert "the token at position 0 alone predicts 100.0%" in gate.reason

    def test_float_noise_in_later_tokens_is_tolerated(self) -> None:
        tokens, labels = seven_tokens()
        adder = Adder(1, 3)
        gate = gates.leakage_gate(
            tokens, 4, labels, lambda t: adder(t) + 1e-6 * t[:, 5:6], embedding(), p=P
        )
        assert gate.passed, gate.reason

    def test_nan_logits_fail(self) -> None:
        tokens, labels = seven_tokens()
        gate = gates.leakage_gate(
            tokens, 4, labels, lambda t: torch.full((len(t), P), torch.nan), embedding(), p=P
        )
        assert not gate.passed

    @pytest.mark.parametrize(
        ("rows", "passes"),
        [
            (history(train=300, test=1000), True),
            (history(train=300, test=200), False),
            (history(train=300, test=9999), True),
            (history(train=100, test=100), False),  # within 2 % of 5000 steps
            (history(train=9999, test=1000), False),
        ],
    )
    def test_early_generalisation_raises_the_alarm(
        self, rows: list[Evaluation], passes: bool
    ) -> None:
        tokens, labels = three_tokens()
        gate = gates.leakage_gate(
            tokens, 2, labels, Adder(0, 1), embedding(), p=P, history=rows, budget=5000
        )
        assert gate.passed is passes
        if not passes:
            assert "test accuracy 0.9 at step" in gate.reason

    def test_errors(self) -> None:
        tokens, labels = three_tokens()
        adder, W = Adder(0, 1), embedding()
        with pytest.raises(InputError, match="odd prime"):
            gates.leakage_gate(tokens, 2, labels, adder, W, p=60)
        with pytest.raises(InputError, match="tokens, labels"):
            gates.leakage_gate(tokens, 2, labels[1:], adder, W, p=P)
        with pytest.raises(InputError, match="tokens, labels"):
            gates.leakage_gate(tokens[:50], 2, labels[:50], adder, W, p=P)
        with pytest.raises(InputError, match="read_pos"):
            gates.leakage_gate(tokens, 3, labels, adder, W, p=P)
        with pytest.raises(InputError, match="labels"):
            gates.leakage_gate(tokens, 2, labels + 1, adder, W, p=P)
        with pytest.raises(InputError, match="W_E"):
            gates.leakage_gate(tokens, 2, labels, adder, W[:P], p=P)
        with pytest.raises(InputError, match="budget"):
            gates.leakage_gate(tokens, 2, labels, adder, W, p=P, history=history(), budget=10)


class TestGrokking:
    train, test = torch.arange(0, 1000), torch.arange(1000, P * P)

    def gate(self, rows: list[Evaluation]) -> Gate:
        return gates.grokking_gate(rows, self.train, self.test)

    def test_delayed_generalisation_passes(self) -> None:
        gate = self.gate(history())
        assert gate.passed, gate.reason
        assert gate.evidence["t_train"] == (200.0, 300.0)
        assert gate.evidence["t_test"] == (900.0, 1000.0)
        assert gate.evidence["delay"] == pytest.approx(10 / 3)

    def test_the_delay_must_hold_wherever_in_the_intervals_the_crossings_were(self) -> None:
        assert not self.gate(history(train=300, test=600)).passed  # it may have been 501
        assert self.gate(history(train=300, test=700)).passed

    def test_one_test_pair_is_no_evidence(self) -> None:
        gate = gates.grokking_gate(history(), self.train, self.test[:1])
        assert gate.reason == "1 test pairs, wanted 100"

    def test_early_generalisation_fails(self) -> None:
        gate = self.gate(history(train=300, test=500))
        assert not gate.passed
        expected = "test learnt in steps 400 to 500, train by 300, wanted test after step 600"
        assert gate.reason == expected

    def test_never_generalising_fails(self) -> None:
        gate = self.gate(history(test=9999))
        assert not gate.passed
        assert gate.reason == "test accuracy never above 0.100, wanted 0.99"
        assert gate.evidence["t_test"] == (3000.0, math.inf)

    def test_not_sustained_fails(self) -> None:
        rows = history()
        rows[-1] = Evaluation(3000, 1.0, 0.97)
        gate = self.gate(rows)
        assert not gate.passed
        assert "accuracy 0.970 in the last 5% of steps" in gate.reason
        dip_before = history()
        dip_before[-10] = Evaluation(2100, 1.0, 0.5)
        assert self.gate(dip_before).passed

    def test_crossing_in_the_last_steps_is_not_sustained(self) -> None:
        gate = self.gate(history(test=3000))
        assert not gate.passed
        assert "crossed at 3000" in gate.reason
        assert not self.gate(history(train=500, test=3000, every=500)).passed

    def test_overlapping_splits_fail(self) -> None:
        gate = gates.grokking_gate(history(), torch.arange(0, 1002), self.test)
        assert not gate.passed
        assert gate.reason == "2 training pairs are test pairs too, wanted disjoint splits"

    def test_learnt_before_training_cannot_divide_by_zero(self) -> None:
        rows = [Evaluation(0, 1.0, 1.0), Evaluation(100, 1.0, 1.0)]
        assert not self.gate(rows).passed

    def test_errors(self) -> None:
        with pytest.raises(InputError, match="no evaluation"):
            self.gate([])
        with pytest.raises(InputError, match="do not rise"):
            self.gate([*history(), Evaluation(3000, 1.0, 1.0)])

    def test_crossings(self) -> None:
        rows = history(train=100)
        assert gates.first_crossing(rows, "train_accuracy", 0.99) == Interval(0.0, 100.0)
        assert gates.first_crossing(rows, "test_accuracy", 0.1) == Interval(0.0, 100.0)


class TestStructure:
    def test_clock_passes(self) -> None:
        L, W = clock(), embedding()[:P]
        fourier_gate, losses_gate = gates.fourier_gate(L, W), gates.losses_gate(L, train_mask())
        assert fourier_gate.passed, fourier_gate.reason
        assert losses_gate.passed, losses_gate.reason
        assert sorted(fourier_gate.evidence["key_frequencies"]) == list(KEYS)  # type: ignore[arg-type]
        assert fourier_gate.evidence["alpha"] == pytest.approx((5.0,) * 4)
        assert losses_gate.evidence["excluded_train_loss"] == pytest.approx(math.log(P))

    def test_each_loss_is_taken_on_its_split(self) -> None:
        L = torch.randn(P, P, P, generator=torch.Generator().manual_seed(4))
        evidence = gates.losses_gate(L, train_mask(), KEYS).evidence
        restricted = fourier.restricted_loss(L, KEYS, ~train_mask())
        assert evidence["restricted_test_loss"] == restricted
        assert restricted != fourier.restricted_loss(L, KEYS, train_mask())
        assert evidence["excluded_train_loss"] == fourier.excluded_loss(L, KEYS, train_mask())

    def test_noisy_clock_passes(self) -> None:
        noise = torch.randn(P, P, P, generator=torch.Generator().manual_seed(2))
        L = clock() + 1.4 * noise  # clock variance 50, noise 1.96: FVE .962
        gate = gates.fourier_gate(L, embedding()[:P])
        assert gate.passed, gate.reason
        assert gate.evidence["fve"] == pytest.approx(50 / 51.96, abs=0.003)
        assert gates.losses_gate(L, train_mask()).passed

    def test_memorised_fails_both(self) -> None:
        L = memorised()
        gate = gates.fourier_gate(L, embedding()[:P])
        assert not gate.passed
        assert gate.evidence["key_count"] is None
        losses = gates.losses_gate(L, train_mask())
        assert not losses.passed
        assert "restricted test loss" in losses.reason
        assert "excluded train loss" in losses.reason

    def test_clock_that_still_knows_its_training_pairs_fails(self) -> None:
        losses = gates.losses_gate(clock() + memorised(), train_mask(), KEYS)
        assert not losses.passed
        assert losses.reason.startswith("excluded train loss")

    def test_lookup_table_of_all_answers_fails(self) -> None:
        *_, c = pairs()
        L = 20 * torch.eye(P)[c].reshape(P, P, P)
        gate = gates.fourier_gate(L, embedding()[:P])
        assert not gate.passed
        assert gate.evidence["fve_all"] == pytest.approx(1.0)
        assert gate.evidence["key_count"] == 28  # of 29: 28/29 = .966, 27/29 = .931
        wanted = f"the 8 strongest frequencies explain {8 / 29:.3f} of the logits, wanted at least"
        assert gate.reason.startswith(wanted)

    def test_random_initialisation_fails(self) -> None:
        L = torch.randn(P, P, P, generator=torch.Generator().manual_seed(3))
        assert not gates.fourier_gate(L, embedding()[:P]).passed
        losses = gates.losses_gate(L, train_mask())
        assert not losses.passed
        assert losses.reason.startswith("restricted test loss")

    def test_nine_frequencies_are_too_many(self) -> None:
        W = embedding()[:P]
        assert gates.fourier_gate(clock(ks=range(1, 9)), W).passed
        assert not gates.fourier_gate(clock(ks=range(1, 10)), W).passed

    def test_constant_logits_fail(self) -> None:
        gate = gates.fourier_gate(torch.zeros(P, P, P), embedding()[:P])
        assert not gate.passed


class TestReport:
    good = Gate("G0", "leakage", True, {"x": 1.5})
    bad = Gate("G1", "grokked", False, {"t_test": (10.0, math.inf), "n": 2}, "a, wanted b")

    def test_passes_only_if_all_do(self) -> None:
        assert GateReport((self.good,)).passed
        report = GateReport((self.good, self.bad))
        assert not report.passed
        assert report.failures == (self.bad,)
        assert not GateReport(()).passed

    def test_require(self) -> None:
        GateReport((self.good,)).require()
        with pytest.raises(GateFailed, match="G1 grokked: a, wanted b"):
            GateReport((self.good, self.bad)).require()
        with pytest.raises(GateFailed, match="no gate"):
            GateReport(()).require()

    def test_json_is_plain(self) -> None:
        text = json.dumps(GateReport((self.good, self.bad)).to_json(), allow_nan=False)
        report = json.loads(text)
        assert report["passed"] is False
        assert report["gates"][1] == {
            "name": "G1",
            "title": "grokked",
            "passed": False,
            "evidence": {"t_test": [10.0, None], "n": 2},
            "reason": "a, wanted b",
        }


@pytest.mark.parametrize("p", [5, 7, 11, 13, 17, 19, 59])
def test_a_lookup_table_fails_at_every_modulus(p: int) -> None:
    # All frequencies at equal strength: with so few of them, eight would explain everything.
    a, b = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    logits = torch.nn.functional.one_hot((a + b) % p, p).double()
    assert not gates.fourier_gate(logits, torch.randn(p, 8)).passed
    # So would eight in G3, where a table that is sure of its answers loses nothing.
    assert not gates.losses_gate(20 * logits, (a + 2 * b) % 3 > 0).passed


def test_a_third_of_the_frequencies_counts_as_few() -> None:
    from engine.metrics.fourier import most_keys

    assert [most_keys(p) for p in (5, 17, 41, 53, 113)] == [1, 2, 6, 8, 8]
