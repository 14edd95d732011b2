"""The sparse kernels against dense products and autograd."""

import pytest
import torch
from torch import Tensor

from engine.saes import kernels
from engine.saes.ksparse import TopKSaes
from engine.saes.weights import Weights
from engine.study.sae import TopK
from tests.saes.conftest import fresh

# Sums of the same float32 products in another order.
TOLERANCE = 2e-5


def gradients(config: TopK, sparse: bool, x: Tensor, target: Tensor) -> list[Tensor]:
    weights = fresh(config, (3, 4, 5), x.shape[-1]).map(torch.detach)
    weights.b_enc += 0.1 * torch.randn(3, config.d_sae, generator=torch.Generator().manual_seed(1))
    weights.b_dec += torch.randn(3, x.shape[-1], generator=torch.Generator().manual_seed(2))
    for tensor in weights.named().values():
        tensor.requires_grad_()
    done = TopKSaes(config, weights, sparse).forward(x, 0)
    torch.autograd.backward((target - done.reconstruction).square().sum() / x.shape[1])
    grads = [tensor.grad for tensor in weights.named().values()]
    return [done.reconstruction.detach(), done.mass] + [grad for grad in grads if grad is not None]


@pytest.mark.parametrize(("d_sae", "k"), [(40, 5), (128, 4), (16, 16)])
def test_topk_gradients_equal_dense_autograd(d_sae: int, k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, target = (
        torch.randn(3, 30, 8, generator=generator),
        torch.randn(3, 30, 8, generator=generator),
    )
    sparse = gradients(TopK(d_sae=d_sae, k=k), True, x, target)
    dense = gradients(TopK(d_sae=d_sae, k=k), False, x, target)
    assert len(sparse) == len(dense) == 6
    for ours, reference in zip(sparse, dense, strict=True):
        assert torch.allclose(ours, reference, atol=TOLERANCE, rtol=TOLERANCE)


def test_affine_gradients_equal_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 9, 4), (2, 4), (2, 6, 4), (2, 6)]
    x, b_dec, W_enc, b_enc = (
        torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes
    )
    inputs = [t.requires_grad_() for t in (b_dec, W_enc, b_enc)]
    assert torch.autograd.gradcheck(lambda b, w, c: kernels.affine(x, b, w, c), inputs)


def test_ragged_code_by_hand() -> None:
    """Input 0 has latents 2 and 0, input 1 none, input 2 latent 2 (L = 3, D = 2)."""
    ends = kernels.ends_of(torch.tensor([0, 0, 2]), 3)
    assert ends.tolist() == [0, 2, 2, 3]
    code = kernels.make_code(torch.tensor([2, 0, 2]), ends, 3)
    assert code.order.tolist() == [1, 0, 2]
    assert code.inputs.tolist() == [0, 0, 2]
    assert code.starts.tolist() == [0, 1, 1]
    rows = torch.tensor([[[1.0, 0.0], [9.0, 9.0], [0.0, 1.0]]], requires_grad=True)
    values = torch.tensor([2.0, 3.0, 5.0], requires_grad=True)
    out = kernels.decode(values, rows, code)
    assert out.tolist() == [[3.0, 2.0], [0.0, 0.0], [0.0, 5.0]]
    torch.autograd.backward(out, torch.tensor([[1.0, 2.0], [7.0, 7.0], [3.0, 4.0]]))
    assert values.grad is not None
    assert rows.grad is not None
    assert values.grad.tolist() == [2.0, 1.0, 4.0]
    assert rows.grad.tolist() == [[[3.0, 6.0], [0.0, 0.0], [17.0, 24.0]]]


def test_a_seed_gets_the_same_bits_alone_and_in_company() -> None:
    """Every sum of the sparse kernels runs over one seed's entries in one order."""
    x = torch.randn(1, 30, 8, generator=torch.Generator().manual_seed(0))
    grads = []
    for seeds in ((7,), (6, 7)):
        weights: Weights = fresh(TopK(d_sae=40, k=1), seeds, 8).map(torch.detach)
        code = kernels.top_code(torch.arange(40).view(1, 5, 8).expand(len(seeds), 5, 8), 40)
        rows = weights.W_dec.requires_grad_()
        out = kernels.decode(torch.ones(40 * len(seeds)), rows, code)
        torch.autograd.backward((out * x[0, :5].repeat(len(seeds), 1)).sum())
        assert rows.grad is not None
        grads.append(rows.grad[-1])
    assert torch.equal(grads[0], grads[1])
