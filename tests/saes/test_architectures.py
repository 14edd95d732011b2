"""SAEs by hand: encoding, norms, gradients, initial weights."""

import pytest
import torch

from engine.saes.architectures import (
    ReLUSaes,
    TopKSaes,
    Weights,
    initial_decoder,
    initial_weights,
    make_architecture,
)
from engine.study.sae import ReLU, TopK

# Latent 0 reads and writes e1, latent 1 reads e2 and writes (.6, .8); the bias shifts the origin.
W_ENC = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
W_DEC = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
X = torch.tensor([[[3.0, 2.0], [0.0, 5.0]]])


def two_latents() -> Weights:
    b_enc, b_dec = torch.tensor([[-0.5, 0.5]]), torch.tensor([[1.0, 1.0]])
    return Weights(W_ENC.clone(), b_enc, W_DEC.clone(), b_dec)


def trainable(seeds: int = 2, d_sae: int = 12, d_in: int = 5) -> Weights:
    weights = initial_weights(range(seeds), d_sae, d_in)
    for tensor in weights.named().values():
        tensor.requires_grad_()
    return weights


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
    assert done.mass.tolist() == [[1.5, 6.0]]


@pytest.mark.parametrize("sparse", [True, False])
def test_topk_by_hand(sparse: bool) -> None:
    """k = 1 keeps 4.5 of the second input; ties and negatives are no latents."""
    sae = TopKSaes(TopK(d_sae=2, k=1), two_latents(), sparse)
    done = sae.forward(X + torch.tensor([1.0, 0.0]), step=0)  # pre = (2.5, 1.5), (−.5, 4.5)
    assert torch.allclose(done.reconstruction, torch.tensor([[[3.5, 1.0], [3.7, 4.6]]]))
    assert done.mass.tolist() == [[2.5, 4.5]]
    assert done.penalty.tolist() == [0.0]


def test_topk_never_keeps_a_negative_pre_activation() -> None:
    sae = TopKSaes(TopK(d_sae=2, k=2), two_latents())
    z = sae.encode(torch.tensor([[[-9.0, 3.0]]]))
    assert z.tolist() == [[[0.0, 2.5]]]


def test_l1_rises_over_its_warmup() -> None:
    sae = ReLUSaes(ReLU(d_sae=2, l1=0.1, l1_warmup_steps=4), two_latents())
    penalties = [sae.forward(X, step).penalty.item() for step in (0, 1, 3, 9)]
    assert penalties == pytest.approx([0.375 * share for share in (0.25, 0.5, 1.0, 1.0)])


def test_initial_weights_are_tied_unit_and_a_function_of_the_seed() -> None:
    weights = initial_weights([5, 6], d_sae=7, d_in=3)
    assert torch.equal(weights.W_enc, weights.W_dec)
    assert weights.W_enc.data_ptr() != weights.W_dec.data_ptr()
    assert torch.allclose(weights.W_dec.norm(dim=-1), torch.ones(2, 7), atol=1e-6)
    assert not weights.b_enc.any()
    assert not weights.b_dec.any()
    assert torch.equal(weights.W_dec[1], initial_decoder(6, 7, 3))
    assert not torch.equal(weights.W_dec[0], weights.W_dec[1])


def test_initial_decoder_is_not_the_plain_stream_of_its_seed() -> None:
    """Planted features drawn with the same seed would be the decoder itself."""
    plain = torch.randn(7, 3, generator=torch.Generator().manual_seed(5))
    assert not torch.allclose(plain / plain.norm(dim=-1, keepdim=True), initial_decoder(5, 7, 3))


def test_gradient_parallel_to_rows_is_removed() -> None:
    sae = make_architecture(TopK(d_sae=12, k=3), trainable())
    x = torch.randn(2, 9, 5)
    torch.autograd.backward(sae.forward(x, 0).reconstruction.square().sum())
    before = sae.weights.W_dec.grad
    assert before is not None
    parallel = (before * sae.weights.W_dec).sum(-1)
    assert parallel.abs().max() > 0.1
    across = before - parallel.unsqueeze(-1) * sae.weights.W_dec.detach()
    sae.before_step()
    assert (before * sae.weights.W_dec).sum(-1).abs().max() < 1e-4
    assert torch.allclose(before, across, atol=1e-5)


def test_rows_come_back_to_norm_one() -> None:
    sae = make_architecture(ReLU(d_sae=12, l1=0.1), trainable())
    with torch.no_grad():
        sae.weights.W_dec.mul_(torch.rand(2, 12, 1) + 0.5)
    sae.after_step()
    assert (sae.weights.W_dec.norm(dim=-1) - 1).abs().max() < 1e-6
