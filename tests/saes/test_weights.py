"""Where SAEs start: seeds, bases, inputs, medians."""

import math

import pytest
import torch

from engine.saes.weights import Weights, geometric_median, initial_decoder, pinned_rows
from engine.study.recipe import SaeTraining
from engine.study.sae import BatchTopK, Gated, JumpReLU, Sae, Stability, TopK
from tests.saes.conftest import TRAINING, batches, fresh

SIZE = TopK(d_sae=7, k=2)


def changed(**values: object) -> SaeTraining:
    return TRAINING.model_copy(update=values)


def test_rows_are_tied_unit_and_a_function_of_the_seed() -> None:
    weights = fresh(SIZE, (5, 6), d=3)
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


def test_an_untied_encoder_has_unit_rows_of_its_own() -> None:
    weights = fresh(SIZE, (5, 6), training=changed(tied_init=False))
    assert torch.allclose(weights.W_enc.norm(dim=-1), torch.ones(2, 7), atol=1e-6)
    assert (weights.W_enc * weights.W_dec).sum(-1).abs().max() < 0.99
    assert torch.equal(weights.W_dec, fresh(SIZE, (5, 6)).W_dec)


def test_orthogonal_rows_are_bases_one_after_another() -> None:
    weights = fresh(TopK(d_sae=7, k=2), (5, 6), d=3, training=changed(init="orthogonal"))
    for rows in weights.W_dec:
        for first in (0, 3):
            basis = rows[first : first + 3]
            assert torch.allclose(basis @ basis.T, torch.eye(3), atol=1e-6)
        assert rows[6].norm().item() == pytest.approx(1.0, abs=1e-6)
    assert not torch.allclose(weights.W_dec[0], weights.W_dec[1])


def test_data_rows_are_inputs_of_the_training_part() -> None:
    weights = fresh(SIZE, (5, 6), training=changed(init="data"))
    data = batches()
    x = torch.nn.functional.normalize(data.take(data.train), dim=-1)
    assert ((weights.W_dec[0] @ x.T).amax(1) > 1 - 1e-5).all()
    assert not torch.allclose(weights.W_dec[0], weights.W_dec[1])


def test_more_data_rows_than_inputs_repeat_them() -> None:
    weights = fresh(TopK(d_sae=800, k=2), (5,), training=changed(init="data"))
    assert torch.allclose(weights.W_dec.norm(dim=-1), torch.ones(1, 800), atol=1e-6)


def test_pinned_rows_are_the_same_inputs_for_every_seed() -> None:
    config = TopK(d_sae=8, k=2, stability=Stability(pinned=0.5))
    weights = fresh(config, (5, 6))
    rows = pinned_rows(config, TRAINING, batches())
    assert rows.shape == (4, 12)
    assert torch.equal(weights.W_dec[0, :4], rows)
    assert torch.equal(weights.W_dec[1, :4], rows)
    assert not torch.allclose(weights.W_dec[0, 4:], weights.W_dec[1, 4:])


def test_shared_init_starts_all_seeds_from_the_init_seed() -> None:
    config = TopK(d_sae=8, k=2, stability=Stability(shared_init=True))
    weights = fresh(config, (5, 6), training=changed(init_seed=3))
    assert torch.equal(weights.W_dec[0], weights.W_dec[1])
    assert torch.equal(weights.W_dec[0], initial_decoder(3, 8, 12))


@pytest.mark.parametrize(
    ("config", "names", "value"),
    [
        (BatchTopK(d_sae=8, k=2), {"threshold": (2,)}, -1.0),
        (JumpReLU(d_sae=8, l0=0.1, threshold=0.25), {"threshold": (2, 8)}, 0.25),
        (Gated(d_sae=8, l1=0.1), {"b_mag": (2, 8), "r_mag": (2, 8)}, 0.0),
    ],
)
def test_what_architectures_have_beside_the_common_weights(
    config: Sae, names: dict[str, tuple[int, ...]], value: float
) -> None:
    weights = fresh(config)
    assert {name: tuple(tensor.shape) for name, tensor in weights.extra.items()} == names
    assert all((tensor == value).all() for tensor in weights.extra.values())


def test_geometric_median_by_hand() -> None:
    """Of three points on a line the middle one; of a square's corners the centre; an outlier moves the
    mean of five, not the median. The Fermat point of this right triangle is (3−√3)/6 from both legs."""
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0]])
    assert torch.allclose(geometric_median(line), torch.tensor([1.0, 0.0]), atol=1e-3)
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert torch.allclose(geometric_median(square), torch.tensor([0.5, 0.5]), atol=1e-5)
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    at = (3 - math.sqrt(3)) / 6
    assert torch.allclose(geometric_median(triangle), torch.tensor([at, at]), atol=1e-4)


def test_geometric_median_as_decoder_bias() -> None:
    weights = fresh(SIZE, (5, 6), training=changed(b_dec_init="geometric_median"))
    data = batches()
    x = data.take(data.train)
    at = weights.b_dec[1].detach()

    def distances(point: torch.Tensor) -> float:
        return float((x - point).norm(dim=1).sum())

    assert torch.equal(weights.b_dec[0], weights.b_dec[1])
    assert distances(at) < distances(torch.zeros(12))
    for axis in torch.eye(12):
        assert distances(at) <= distances(at + 0.05 * axis)
        assert distances(at) <= distances(at - 0.05 * axis)


def test_weights_by_name_and_by_seed() -> None:
    weights = fresh(Gated(d_sae=8, l1=0.1), (5, 6, 7))
    names = ["W_enc", "b_enc", "W_dec", "b_dec", "b_mag", "r_mag"]
    assert list(weights.named()) == names
    again = Weights.of(weights.named())
    assert again.W_dec is weights.W_dec
    picked = weights.pick([2, 0])
    assert torch.equal(picked.W_dec[0], weights.W_dec[2])
    assert torch.equal(picked.extra["b_mag"], weights.extra["b_mag"][[2, 0]])
