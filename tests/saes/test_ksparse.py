"""SAEs with a given number of latents, by hand."""

import pytest
import torch

from engine.saes.architectures import make_architecture
from engine.saes.ksparse import BatchTopKSaes, MatryoshkaSaes, TopKSaes
from engine.saes.weights import Weights
from engine.study.sae import BatchTopK, Matryoshka, Sae, TopK
from tests.saes.conftest import X, fresh, two_latents

BOTH = pytest.mark.parametrize("sparse", [True, False])
BATCH = BatchTopK(d_sae=2, k=1, threshold_decay=0.75)


def unset() -> torch.Tensor:
    return torch.tensor([-1.0])


@BOTH
def test_topk_by_hand(sparse: bool) -> None:
    """k = 1 keeps 4.5 of the second input; ties and negatives are no latents."""
    sae = TopKSaes(TopK(d_sae=2, k=1), two_latents(), sparse)
    done = sae.forward(X + torch.tensor([1.0, 0.0]), step=0)  # pre = (2.5, 1.5), (−.5, 4.5)
    assert torch.allclose(done.reconstruction, torch.tensor([[[3.5, 1.0], [3.7, 4.6]]]))
    assert done.mass.tolist() == [[2.5, 4.5]]
    assert done.penalty.tolist() == [0.0]
    # x = (4, 2), (1, 5): squared errors .25 + 1 and 7.29 + .16
    assert done.error.item() == pytest.approx((1.25 + 7.45) / 2, rel=1e-6)


def test_topk_never_keeps_a_negative_pre_activation() -> None:
    sae = TopKSaes(TopK(d_sae=2, k=2), two_latents())
    z = sae.encode(torch.tensor([[[-9.0, 3.0]]]))
    assert z.tolist() == [[[0.0, 2.5]]]


def test_topk_encodes_no_input_and_keeps_all_latents_and_nan() -> None:
    sae = TopKSaes(TopK(d_sae=2, k=2), two_latents())
    assert sae.encode(torch.empty(1, 0, 2)).shape == (1, 0, 2)
    z = sae.encode(torch.tensor([[[4.0, 2.0], [1.0, 5.0], [torch.nan, 1.0]]]))
    assert z[0, :2].tolist() == [[2.5, 1.5], [0.0, 4.5]]
    assert z[0, 2].isnan().all(), "what is not finite is not hidden"


def test_k_falls_linearly_over_its_warmup() -> None:
    sae = TopKSaes(TopK(d_sae=100, k=4, k_warmup_steps=10, k_start=44), fresh(TopK(d_sae=9, k=1)))
    assert [sae.latents_at(step) for step in (0, 1, 5, 9, 10, 99)] == [44, 40, 24, 8, 4, 4]
    default = TopKSaes(TopK(d_sae=30, k=4, k_warmup_steps=10), fresh(TopK(d_sae=9, k=1)))
    assert default.latents_at(0) == 30, "ten times k, at most d_sae"


@BOTH
def test_k_warmup_is_seen_by_the_forward_pass(sparse: bool) -> None:
    config = TopK(d_sae=12, k=1, k_warmup_steps=4, k_start=9)
    sae = make_architecture(config, fresh(config).map(lambda t: t.detach().abs()), sparse)
    x = torch.rand(2, 5, 12)
    counts = [int((sae.forward(x, step).pre > -9).sum()) for step in (0,)]
    assert counts == [2 * 5 * 12]
    masses = [float(sae.forward(x, step).mass.sum()) for step in (0, 2, 4)]
    assert masses[0] > masses[1] > masses[2] > 0


@BOTH
def test_batch_topk_by_hand(sparse: bool) -> None:
    """k·B = 2 of (1.5, 1.5, −1.5, 4.5) + (1, 0, 1, 0): the batch keeps 4.5 and 2.5, both above .5."""
    sae = BatchTopKSaes(BATCH, two_latents(threshold=unset()), sparse)
    x = X + torch.tensor([1.0, 0.0])
    done = sae.forward(x, step=0)
    assert done.mass.tolist() == [[2.5, 4.5]]
    assert torch.allclose(done.reconstruction, torch.tensor([[[3.5, 1.0], [3.7, 4.6]]]))
    # Both latents of one input may be kept and none of the other.
    uneven = sae.forward(
        torch.tensor([[[9.0, 9.0], [0.0, 0.0]]]), step=0
    )  # pre (7.5, 8.5) (−1.5, −.5)
    assert uneven.mass.tolist() == [[7.5, 8.5]]
    assert torch.allclose(uneven.reconstruction[0, 1], torch.tensor([1.0, 1.0]))


@BOTH
def test_threshold_is_the_running_mean_of_the_smallest_latent_kept(sparse: bool) -> None:
    sae = BatchTopKSaes(BATCH, two_latents(threshold=unset()), sparse)
    threshold = sae.weights.extra["threshold"]
    sae.forward(X + torch.tensor([1.0, 0.0]), step=0)
    assert threshold.item() == -1.0, "a forward pass changes nothing"
    sae.after_step(0)
    assert threshold.item() == pytest.approx(2.5), "the first batch sets it"
    sae.forward(torch.tensor([[[9.0, 9.0], [0.0, 0.0]]]), step=1)
    sae.after_step(1)
    assert threshold.item() == pytest.approx(0.75 * 2.5 + 0.25 * 7.5)
    sae.forward(torch.full((1, 2, 2), -9.0), step=2)
    sae.after_step(2)
    assert threshold.item() == pytest.approx(3.75), "a batch in which nothing fires moves nothing"


def test_inference_of_batch_topk_is_by_threshold_alone() -> None:
    sae = BatchTopKSaes(BATCH, two_latents(threshold=torch.tensor([1.6])))
    x = torch.tensor(
        [[[4.0, 4.0], [0.0, 0.0], [0.0, 5.0]]]
    )  # pre (2.5, 3.5), (−1.5, −.5), (−1.5, 4.5)
    together = sae.encode(x)
    assert together.tolist() == [[[2.5, 3.5], [0.0, 0.0], [0.0, 4.5]]]
    apart = torch.cat([sae.encode(x[:, i : i + 1]) for i in range(3)], dim=1)
    assert torch.equal(together, apart), "an input's latents do not depend on its company"


def test_without_a_threshold_inference_keeps_what_training_would() -> None:
    sae = BatchTopKSaes(BATCH, two_latents(threshold=unset()))
    z = sae.encode(X + torch.tensor([1.0, 0.0]))
    assert z.tolist() == [[[2.5, 0.0], [0.0, 4.5]]]
    assert sae.weights.extra["threshold"].item() == -1.0


@BOTH
def test_matryoshka_by_hand(sparse: bool) -> None:
    """Groups of one latent each; k = 2 keeps all that is positive.

    x = (4, 2), (1, 5), pre = (2.5, 1.5), (−.5, 4.5). First prefix: (3.5, 1), (1, 1): errors 1.25 and 16.
    Both: (3.5 + .9, 1 + 1.2), (3.7, 4.6): errors .2 and 7.45.
    """
    config = Matryoshka(d_sae=2, k=2, groups=(0.5, 0.5))
    sae = MatryoshkaSaes(config, two_latents(threshold=unset()), sparse)
    done = sae.forward(X + torch.tensor([1.0, 0.0]), step=0)
    assert torch.allclose(done.reconstruction, torch.tensor([[[4.4, 2.2], [3.7, 4.6]]]))
    first, both = (1.25 + 16) / 2, (0.2 + 7.45) / 2
    assert done.error.item() == pytest.approx((first + both) / 2, rel=1e-6)


def test_matryoshka_group_sizes_sum_to_the_dictionary() -> None:
    assert Matryoshka(d_sae=1024, k=4).sizes() == (64, 64, 128, 256, 512)
    assert Matryoshka(d_sae=10, k=2, groups=(1 / 3, 1 / 3, 1 / 3)).sizes() == (3, 3, 4)


@pytest.mark.parametrize(
    "config",
    [
        TopK(d_sae=24, k=3),
        BatchTopK(d_sae=24, k=3),
        Matryoshka(d_sae=24, k=3, groups=(0.25, 0.25, 0.5)),
    ],
)
def test_sparse_and_dense_passes_have_equal_values_and_gradients(config: Sae) -> None:
    x = torch.randn(2, 31, 12, generator=torch.Generator().manual_seed(1))
    found: list[dict[str, torch.Tensor]] = []
    for sparse in (True, False):
        weights = fresh(config).map(lambda t: t.detach().clone())
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            getattr(weights, name).requires_grad_()
        sae = make_architecture(config, weights, sparse)
        done = sae.forward(x, 0)
        torch.autograd.backward((done.error * torch.tensor([1.0, 3.0])).sum())
        gradients = {f"d{name}": t.grad for name, t in sae.parameters().items()}
        assert all(grad is not None for grad in gradients.values())
        found.append(
            {"x̂": done.reconstruction, "mass": done.mass, "error": done.error, **gradients}  # type: ignore[dict-item]
        )
    for name, tensor in found[0].items():
        assert torch.allclose(tensor, found[1][name], rtol=1e-4, atol=1e-5), name


def test_k_above_zero_entries_gradient_only_reaches_kept_latents() -> None:
    weights: Weights = fresh(TopK(d_sae=12, k=1), seeds=(0,))
    sae = TopKSaes(TopK(d_sae=12, k=1), weights)
    x = weights.W_enc[:, 3:4].detach().clone()
    done = sae.forward(x, 0)
    torch.autograd.backward((x - done.reconstruction + 1.0).square().sum())
    assert weights.W_enc.grad is not None
    moved = weights.W_enc.grad[0].abs().sum(1) > 0
    assert int(moved.sum()) == 1
    assert bool(moved[done.pre[0, 0].argmax()])
