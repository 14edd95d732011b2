"""Raw similarities are compared only where chance gives both the same."""

from __future__ import annotations

import pytest
import torch

from engine.errors import InputError
from engine.metrics.agreement import Stability
from engine.metrics.comparison import raw_difference
from engine.metrics.similarity import Sign
from engine.metrics.stability import measure_stability


def cohort(n: int = 20, d: int = 8, sign: Sign = "signed", seed: int = 0) -> Stability:
    g = torch.Generator().manual_seed(seed)
    decoders = torch.randn(2, n, d, generator=g)
    return measure_stability(
        decoders, None, activation_covariance_DD=None, initial_SFD=None, sign=sign
    )


def test_like_with_like_is_a_difference() -> None:
    one, other = cohort(), cohort(seed=1)
    observed = [x.agreement("mean_max_cos").observed for x in (one, other)]
    assert raw_difference(one, other, "mean_max_cos") == observed[1] - observed[0]
    raw_difference(one, cohort(n=21), "mean_max_cos")  # within 5 %


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (cohort(n=22), "features per seed are 20 and 22"),
        (cohort(d=9), "d_in is 8 and 9"),
        (cohort(sign="abs"), "cosines are signed in one and abs in the other"),
    ],
)
def test_another_n_d_or_sign_is_refused_with_the_reason(other: Stability, why: str) -> None:
    with pytest.raises(InputError, match=why):
        raw_difference(cohort(), other, "mean_max_cos")
    with pytest.raises(InputError, match="kappa"):
        raw_difference(cohort(), other, "mean_max_cos")
