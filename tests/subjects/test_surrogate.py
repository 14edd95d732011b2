"""Surrogate data: the same moments and nothing else."""

import pytest
import torch

from engine.errors import InputError
from engine.subjects.surrogate import moments, surrogate


def test_moments_by_hand() -> None:
    """Rows (0, 0), (2, 4): mean (1, 2), covariance [[1, 2], [2, 4]]."""
    mean, covariance = moments(torch.tensor([[0.0, 0.0], [2.0, 4.0]]))
    assert mean.tolist() == [1.0, 2.0]
    assert covariance.tolist() == [[1.0, 2.0], [2.0, 4.0]]


def test_surrogate_keeps_mean_covariance_and_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    latent = (torch.rand(30_000, 3, generator=generator) < 0.1).float()
    x = latent @ torch.randn(3, 8, generator=generator) + 4
    y = surrogate(x, seed=1)
    assert y.shape == x.shape
    assert torch.allclose(y.mean(0), x.mean(0), atol=0.02)
    (_, ours), (_, theirs) = moments(y), moments(x)
    assert (ours - theirs).norm() < 0.05 * theirs.norm()
    assert torch.linalg.matrix_rank(ours, rtol=1e-5) == 3

    def kurtosis(t: torch.Tensor) -> float:
        z = (t - t.mean(0)) / t.std(0)
        return float(z.pow(4).mean())

    assert kurtosis(x) > 4
    assert kurtosis(y) == pytest.approx(3.0, abs=0.1)


def test_surrogate_is_a_function_of_its_seed() -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(surrogate(x, 1), surrogate(x, 1))
    assert not torch.equal(surrogate(x, 1), surrogate(x, 2))


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(1, 3), torch.full((4, 2), torch.nan)])
def test_surrogate_refuses(bad: torch.Tensor) -> None:
    with pytest.raises(InputError, match="activations"):
        surrogate(bad, 0)
