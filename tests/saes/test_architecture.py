"""What all architectures keep true."""

import pytest
import torch

from engine.saes.architecture import rise, squared_error
from engine.saes.architectures import make_architecture
from engine.study.sae import (
    BatchTopK,
    Gated,
    JumpReLU,
    Matryoshka,
    ReLU,
    Sae,
    Stability,
    TopK,
)
from tests.saes.conftest import fresh

ALL: list[Sae] = [
    TopK(d_sae=24, k=3),
    BatchTopK(d_sae=24, k=3),
    Matryoshka(d_sae=24, k=3, groups=(0.25, 0.25, 0.5)),
    ReLU(d_sae=24, l1=0.1),
    JumpReLU(d_sae=24, target_l0=3.0),
    Gated(d_sae=24, l1=0.1),
]
EACH = pytest.mark.parametrize("config", ALL, ids=lambda config: config.architecture)


def test_squared_error_by_hand() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert squared_error(x, torch.zeros(1, 2, 2)).tolist() == [15.0]


def test_rise() -> None:
    assert [rise(step, 4) for step in (0, 1, 3, 4, 99)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert rise(0, 0) == 1.0


@EACH
def test_gradient_parallel_to_rows_is_removed(config: Sae) -> None:
    sae = make_architecture(config, fresh(config).map(lambda t: t.detach()))
    for parameter in sae.parameters().values():
        parameter.requires_grad_()
    x = torch.randn(2, 9, 12)
    torch.autograd.backward(sae.forward(x, 0).reconstruction.square().sum())
    before = sae.weights.W_dec.grad
    assert before is not None
    parallel = (before * sae.weights.W_dec).sum(-1)
    assert parallel.abs().max() > 0.1
    across = before - parallel.unsqueeze(-1) * sae.weights.W_dec.detach()
    sae.before_step()
    assert (before * sae.weights.W_dec).sum(-1).abs().max() < 1e-4
    assert torch.allclose(before, across, atol=1e-5)


@EACH
def test_rows_come_back_to_norm_one(config: Sae) -> None:
    sae = make_architecture(config, fresh(config).map(lambda t: t.detach()))
    sae.weights.W_dec.mul_(torch.rand(2, 24, 1) + 0.5)
    sae.after_step(0)
    assert (sae.weights.W_dec.norm(dim=-1) - 1).abs().max() < 1e-6


@EACH
def test_seeds_of_a_stack_do_not_see_each_other(config: Sae) -> None:
    both = make_architecture(config, fresh(config).map(lambda t: t.detach()))
    x = torch.randn(2, 31, 12, generator=torch.Generator().manual_seed(1))
    alone = make_architecture(config, both.weights.pick([1]).map(torch.clone))
    together, single = both.forward(x, 0), alone.forward(x[1:], 0)
    assert torch.allclose(together.reconstruction[1], single.reconstruction[0], atol=1e-5)
    assert torch.allclose(together.error[1], single.error[0], rtol=1e-5)
    assert torch.allclose(both.encode(x)[1], alone.encode(x[1:])[0], atol=1e-5)


def test_pinned_rows_do_not_move() -> None:
    config = TopK(d_sae=8, k=2, stability=Stability(pinned=0.5))
    sae = make_architecture(config, fresh(config).map(lambda t: t.detach()))
    rows = sae.weights.W_dec[0, :4].clone()
    sae.pinned_PD = rows
    for parameter in sae.parameters().values():
        parameter.requires_grad_()
    torch.autograd.backward(sae.forward(torch.randn(2, 9, 12), 0).error.sum())
    sae.before_step()
    assert sae.weights.W_dec.grad is not None
    assert not sae.weights.W_dec.grad[:, :4].any()
    assert sae.weights.W_dec.grad[:, 4:].any()
    with torch.no_grad():
        sae.weights.W_dec.add_(0.1)
    sae.after_step(0)
    assert torch.equal(sae.weights.W_dec[0, :4], rows)
    assert torch.equal(sae.weights.W_dec[1, :4], rows)
