"""N4 and N6 in the ladder: what they say, what they may decide, and why they are missing."""

from __future__ import annotations

import math

import torch

from engine.metrics.agreement import Agreement, Stability
from engine.metrics.nulls import Null
from engine.metrics.rungs import ELSEWHERE, NOT_ASKED, Beside
from engine.metrics.stability import measure_stability

SEEDS, FEATURES, WIDTH = 3, 24, 8


def draw(seed: int) -> torch.Tensor:
    return torch.randn(SEEDS, FEATURES, WIDTH, generator=torch.Generator().manual_seed(seed))


def measured(
    decoders: torch.Tensor, beside: Beside, live_SF: torch.Tensor | None = None, **options: object
) -> Stability:
    live = torch.ones(SEEDS, FEATURES, dtype=torch.bool)
    return measure_stability(
        decoders, live if live_SF is None else live_SF, activation_covariance_DD=None, initial_SFD=None,
        surrogate_SFD=draw(9), surrogate_live_SF=live, beside=beside, **options,  # type: ignore[arg-type]
    )  # fmt: skip


def rung(agreement: Agreement, name: str) -> Null:
    return next(null for null in agreement.nulls if null.name == name)


def test_every_metric_has_every_rung() -> None:
    stability = measured(draw(0), Beside(start_SFD=draw(1)))
    for agreement in stability.agreements:
        names = [null.name for null in agreement.nulls]
        assert names == ["N0", "N1", "N2", "N3", "N4 step 0", "N4 untrained", "N6"]


def test_the_start_is_measured_and_decides_nothing() -> None:
    same = draw(1)[:1].expand(SEEDS, -1, -1)
    agreement = measured(draw(0), Beside(start_SFD=same)).agreement("mean_max_cos", "live")
    start = rung(agreement, "N4 step 0")
    assert abs(start.value - 1) < 1e-6
    assert not start.admissible
    assert "check" in start.reason
    assert agreement.null_name in ("N0", "N2", "N3")


def test_the_untrained_model_has_its_kappa_and_no_say() -> None:
    copies = tuple(draw(2)[0] for _ in range(2))
    apart = tuple(torch.eye(WIDTH)[[place]] for place in range(2))
    stability = measured(draw(0), Beside(untrained=copies, untrained_live=apart))
    agreement = stability.agreement("matched_mcc", "live")
    untrained = rung(agreement, "N4 untrained")
    assert untrained.value == 0  # of the live twins, which lie apart
    assert not untrained.admissible
    assert untrained.reason.startswith("asks what the model's training adds")
    assert agreement.null_name in ("N0", "N2", "N3")
    whole = measured(draw(0), Beside(untrained=copies, untrained_live=copies))
    assert abs(rung(whole.agreement("matched_mcc"), "N4 untrained").value - 1) < 1e-6


def test_rungs_are_measured_where_the_headline_is_and_listed_elsewhere() -> None:
    live = torch.ones(SEEDS, FEATURES, dtype=torch.bool)
    live[:, 0] = False
    beside = Beside(start_SFD=draw(1), planes=(torch.eye(WIDTH).double()[:, :2],))
    stability = measured(draw(0), beside, live_SF=live)
    for metric in ("mean_max_cos", "shared_fraction@0.5"):
        measured_on, other = (stability.agreement(metric, name) for name in ("live", "all"))
        for name in ("N4 step 0", "N6"):
            assert math.isfinite(rung(measured_on, name).value)
            listed = rung(other, name)
            assert math.isnan(listed.value)
            assert not listed.admissible
            assert listed.reason == ELSEWHERE


def test_rungs_are_of_all_features_where_a_seed_has_no_live_one() -> None:
    live = torch.ones(SEEDS, FEATURES, dtype=torch.bool)
    live[0] = False
    stability = measured(draw(0), Beside(start_SFD=draw(1)), live_SF=live)
    assert math.isfinite(rung(stability.agreement("mean_max_cos"), "N4 step 0").value)
    assert stability.agreement("mean_max_cos", "live").nulls == ()


def test_rungs_without_data_say_why() -> None:
    agreement = measured(draw(0), Beside(planes_reason="no truth")).agreement("mean_max_cos")
    assert rung(agreement, "N4 step 0").reason == "no start was given"
    assert rung(agreement, "N4 untrained").reason == NOT_ASKED
    assert rung(agreement, "N6").reason == "no truth"


def test_phases_take_the_headline_where_they_explain_the_agreement() -> None:
    # All atoms of all seeds in one plane at phases of their own: N6 scores what is seen, others less.
    decoders = draw(0)
    decoders[:, :, 2:] *= 0.01
    agreement = measured(
        decoders, Beside(planes=(torch.eye(WIDTH).double()[:, :2],)), draws=60
    ).agreement("mean_max_cos")
    assert agreement.null_name == "N6"
    assert abs(agreement.kappa) < 0.3
    said = rung(agreement, "N6").reason
    assert said.startswith("1 of 1 planes turned; they hold 100% of the atoms' energy")
    n0 = rung(agreement, "N0").value
    assert (agreement.observed - n0) / (1 - n0) > 0.9


def test_planes_with_hardly_an_atom_do_not_make_chance_of_shared_features() -> None:
    # Every seed has the same atoms outside the plane, and a few of its own inside.
    decoders = draw(0)[:1].repeat(SEEDS, 1, 1)
    decoders[:, :, :2] = 0
    decoders[:, :3] = 0
    decoders[:, :3, :2] = draw(5)[:, :3, :2]
    decoders += 0.05 * draw(6)
    agreement = measured(
        decoders, Beside(planes=(torch.eye(WIDTH).double()[:, :2],)), draws=60
    ).agreement("mean_max_cos")
    assert agreement.observed > 0.95
    assert agreement.verdict == "strong"


def test_phases_do_not_judge_seeds_that_depend_on_each_other() -> None:
    stability = measured(
        draw(0), Beside(planes=(torch.eye(WIDTH).double()[:, :2],)), dependence="one start"
    )
    null = rung(stability.agreement("mean_max_cos"), "N6")
    assert not null.admissible
    assert null.reason == "one start"
