"""How the ladder spends its draws on many or large dictionaries."""

from __future__ import annotations

import torch

from engine.metrics.ladder import LARGE, LARGE_DRAWS, Setting, make_ladder


def test_large_cohorts_spread_few_draws_over_all_seeds() -> None:
    # Fifteen pairs for five draws: three seeds lie on one axis (every |cos| is 1), three do not.
    generator = torch.Generator().manual_seed(0)
    decoders = torch.randn(6, LARGE + 1, 16, generator=generator)
    decoders[:3, :, 1:] = 0
    setting = Setting(covariance=torch.eye(16), sign="abs", draws=20, taus=(0.7,))
    ladder = make_ladder(list(decoders), setting)
    assert ladder.draws == {"N0": LARGE_DRAWS, "N1": LARGE_DRAWS, "N2": LARGE_DRAWS}
    n2 = ladder.nulls(0)[2]
    assert n2.value < 1
    assert n2.sd > 0.05


def test_unequal_sizes_visit_every_pair_equally_often() -> None:
    decoders = [torch.eye(8)[:n] for n in (8, 3, 5, 8)]
    setting = Setting(covariance=None, sign="signed", draws=1200, taus=(0.7,))
    ladder = make_ladder(decoders, setting)
    assert ladder.draws == {"N0": 1200, "N2": 1200}
    assert make_ladder(decoders, Setting(None, "signed", 1201, (0.7,))).draws["N2"] == 1206
