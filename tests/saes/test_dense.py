"""ReLU, JumpReLU and Gated SAEs, by hand."""

import math

import pytest
import torch

from engine.saes.dense import GatedSaes, JumpReLUSaes, ReLUSaes, jump
from engine.study.sae import Gated, JumpReLU, PAnneal, ReLU
from tests.saes.conftest import X, two_latents


def test_relu_by_hand() -> None:
    """x − b_dec = (2, 1), (−1, 4); pre = (1.5, 1.5), (−1.5, 4.5)."""
    sae = ReLUSaes(ReLU(d_sae=2, l1=0.1), two_latents())
    z = sae.encode(X)
    assert torch.allclose(z, torch.tensor([[[1.5, 1.5], [0.0, 4.5]]]))
    reconstruction = torch.tensor([[[1 + 1.5 + 0.9, 1 + 1.2], [1 + 2.7, 1 + 3.6]]])
    assert torch.allclose(sae.decode(z), reconstruction)
    done = sae.forward(X, step=0)
    assert torch.allclose(done.reconstruction, reconstruction)
    assert done.penalty.tolist() == pytest.approx([0.1 * (1.5 + 1.5 + 4.5) / 2])
    assert done.error.item() == pytest.approx((0.4**2 + 0.2**2 + 3.7**2 + 0.4**2) / 2, rel=1e-5)
    assert done.mass.tolist() == [[1.5, 6.0]]
    assert sae.held_out_penalty(l0=9.0, l1=7.0) == pytest.approx(0.7)


def test_l1_rises_over_its_warmup() -> None:
    sae = ReLUSaes(ReLU(d_sae=2, l1=0.1, l1_warmup_steps=4), two_latents())
    penalties = [sae.forward(X, step).penalty.item() for step in (0, 1, 3, 9)]
    assert penalties == pytest.approx([0.375 * share for share in (0.25, 0.5, 1.0, 1.0)])


def test_p_falls_in_equal_steps_and_the_penalty_keeps_its_size() -> None:
    """From step 20 of 100 to 60, in four steps from 1 to .2: five values for 8 steps each, p = .8 at 28,
    .6 at 36, .4 at 44, .2 at 52."""
    anneal = PAnneal(start=0.2, end=0.6, p=0.2, updates=4)
    sae = ReLUSaes(ReLU(d_sae=2, l1=0.1, p_anneal=anneal), two_latents(), steps=100)
    at = [sae.exponent_at(step) for step in (0, 27, 28, 36, 51, 52, 99)]
    assert at == pytest.approx([1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    before = sae.forward(X, 27).penalty.item()
    sae.after_step(27)
    assert sae.forward(X, 28).penalty.item() == pytest.approx(before, rel=1e-5)
    norm = 2 * 1.5**0.8 + 4.5**0.8
    assert sae.factor_S.item() == pytest.approx(7.5 / norm, rel=1e-5)
    assert set(sae.schedule_state()) == {"penalty_factor"}
    assert ReLUSaes(ReLU(d_sae=2, l1=0.1), two_latents()).schedule_state() == {}


@pytest.mark.parametrize(
    ("steps", "arrives"),
    [
        (1000, 927),  # 200 + 800 · 10/11 = 927.3
        (898, 832),  # 179.6 + 718.4 · 10/11 = 832.7
        (5, 4),  # 1 + 4 · 10/11 = 4.6: the very last step
    ],
)
def test_the_last_p_is_trained_with(steps: int, arrives: int) -> None:
    sae = ReLUSaes(ReLU(d_sae=2, l1=0.1, p_anneal=PAnneal()), two_latents(), steps=steps)
    at = [sae.exponent_at(step) for step in range(steps)]
    assert at[0] == 1.0
    assert at == sorted(at, reverse=True)
    assert at.index(at[-1]) == arrives
    assert at[-1] == pytest.approx(0.2)


def test_gradient_of_the_annealed_norm() -> None:
    """d/dz l1/B · z^p = l1/B · p · z^(p−1) for the latents that are on; 0 for one that is off."""
    anneal = PAnneal(start=0.0, end=0.5, p=0.5, updates=1)
    weights = two_latents()
    weights.b_enc.requires_grad_()
    sae = ReLUSaes(ReLU(d_sae=2, l1=0.1, p_anneal=anneal), weights, steps=10)
    torch.autograd.backward(sae.forward(X, 5).penalty.sum())
    assert weights.b_enc.grad is not None
    one, other = 0.05 * 0.5 * 1.5**-0.5, 0.05 * 0.5 * (1.5**-0.5 + 4.5**-0.5)
    assert weights.b_enc.grad[0].tolist() == pytest.approx([one, other], rel=1e-5)


THRESHOLDS = torch.tensor([[1.45, 2.0]])


def test_jumprelu_by_hand() -> None:
    """pre = (1.5, 1.5), (−1.5, 4.5); thresholds 1.45 and 2 leave 1.5 of the first latent, 4.5 of the second."""
    sae = JumpReLUSaes(JumpReLU(d_sae=2, l0=0.5), two_latents(threshold=THRESHOLDS.clone()))
    z = sae.encode(X)
    assert torch.allclose(z, torch.tensor([[[1.5, 0.0], [0.0, 4.5]]]))
    done = sae.forward(X, 0)
    assert done.penalty.item() == pytest.approx(0.5 * 1.0)
    assert done.mass.tolist() == [[1.5, 4.5]]
    aimed = JumpReLU(d_sae=2, target_l0=0.5, target_weight=3.0, l0_warmup_steps=2)
    sae = JumpReLUSaes(aimed, two_latents(threshold=THRESHOLDS.clone()))
    assert sae.forward(X, 0).penalty.item() == pytest.approx(0.5 * 3.0 * (1.0 / 0.5 - 1) ** 2)
    assert sae.held_out_penalty(l0=1.0, l1=9.0) == pytest.approx(3.0)


def test_jump_gradients_by_hand() -> None:
    """Width .2: only 1.5 lies within .1 of its threshold 1.45. Then dz/dθ = −θ/ε and dL0/dθ = −1/ε, the
    latter over B inputs; dz/dpre = 1 where the latent is on."""
    pre = torch.tensor([[[1.5, 1.5], [-1.5, 4.5]]], requires_grad=True)
    threshold = THRESHOLDS.clone().requires_grad_()
    z, l0 = jump(pre, threshold, 0.2)
    torch.autograd.backward((z * torch.tensor([[[3.0, 5.0], [7.0, 11.0]]])).sum() + 4.0 * l0.sum())
    assert pre.grad is not None
    assert threshold.grad is not None
    assert pre.grad.tolist() == [[[3.0, 0.0], [0.0, 11.0]]]
    expected = -(1.45 / 0.2) * 3.0 - (1 / 0.2) * 4.0 / 2
    assert threshold.grad[0].tolist() == pytest.approx([expected, 0.0], rel=1e-5)


def test_a_latent_just_below_its_threshold_moves_it_too() -> None:
    pre = torch.tensor([[[1.40]]], requires_grad=True)
    threshold = torch.tensor([[1.45]], requires_grad=True)
    z, l0 = jump(pre, threshold, 0.2)
    assert z.item() == 0.0
    torch.autograd.backward(l0.sum())
    assert threshold.grad is not None
    assert threshold.grad.item() == pytest.approx(-5.0)


def test_thresholds_are_trained_faster_and_never_negative() -> None:
    sae = JumpReLUSaes(
        JumpReLU(d_sae=2, l0=0.5, threshold_lr=7.0), two_latents(threshold=THRESHOLDS.clone())
    )
    assert "threshold" in sae.parameters()
    assert sae.lr_factors == {"threshold": 7.0}
    sae.weights.extra["threshold"][0, 0] = -0.3
    sae.after_step(0)
    assert sae.weights.extra["threshold"].tolist() == [[0.0, 2.0]]


def gated() -> GatedSaes:
    extra = {"b_mag": torch.tensor([[0.25, -3.0]]), "r_mag": torch.tensor([[math.log(2.0), 0.0]])}
    weights = two_latents(**extra)
    for tensor in weights.named().values():
        tensor.requires_grad_()
    return GatedSaes(Gated(d_sae=2, l1=0.1), weights)


def test_gated_by_hand() -> None:
    """Products (2, 1), (−1, 4); gates + (−.5, .5) = (1.5, 1.5), (−1.5, 4.5); magnitudes
    relu(2·2 + .25, 1 − 3), relu(−2 + .25, 4 − 3) = (4.25, 0), (0, 1)."""
    sae = gated()
    z = sae.encode(X)
    assert torch.allclose(z, torch.tensor([[[4.25, 0.0], [0.0, 1.0]]]))
    done = sae.forward(X, 0)
    assert torch.allclose(done.reconstruction, torch.tensor([[[5.25, 1.0], [1.6, 1.8]]]))
    assert done.penalty.item() == pytest.approx(0.1 * 7.5 / 2)
    main = (2.25**2 + 1.0 + 1.6**2 + 3.2**2) / 2
    gates = (0.4**2 + 0.2**2 + 3.7**2 + 0.4**2) / 2  # as the ReLU SAE above
    assert done.error.item() == pytest.approx(main + gates, rel=1e-5)


def test_gates_do_not_move_the_decoder() -> None:
    """The decoder's gradient is that of the main error alone: −2/B · residual ⊗ latent."""
    sae = gated()
    done = sae.forward(X, 0)
    torch.autograd.backward((done.error + done.penalty).sum())
    assert sae.weights.W_dec.grad is not None
    assert sae.weights.b_dec.grad is not None
    residual = X[0] - torch.tensor([[5.25, 1.0], [1.6, 1.8]])
    z = torch.tensor([[4.25, 0.0], [0.0, 1.0]])
    assert torch.allclose(sae.weights.W_dec.grad[0], -z.T @ residual, rtol=1e-5)


def test_gates_do_not_move_the_decoder_bias_that_they_are_read_with() -> None:
    """All gates closed, so x̂ is b_dec = (1, 1) in both errors; only the main one moves it: −2/B · Σ residual,
    residuals (2, 1), (−1, 4)."""
    sae = gated()
    with torch.no_grad():
        sae.weights.b_enc.fill_(-50.0)
    torch.autograd.backward(sae.forward(X, 0).error.sum())
    assert sae.weights.b_dec.grad is not None
    assert sae.weights.b_dec.grad.tolist() == [[-1.0, -5.0]]


def test_a_closed_gate_gives_no_latent_however_large() -> None:
    sae = gated()
    with torch.no_grad():
        sae.weights.extra["b_mag"][0, 0] = 50.0
    assert sae.encode(X)[0, 1, 0].item() == 0.0
