"""The measurement as a whole: cohorts whose agreement is known by construction."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.metrics.agreement import Stability
from engine.metrics.nulls import expected_max_cos, max_cos_p
from engine.metrics.similarity import mean_max_cos
from engine.metrics.stability import measure_stability

S, F, D = 4, 48, 96


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noisy_copies(sigma: float, seeds: int = S, seed: int = 1) -> torch.Tensor:
    """Every seed finds the same features, each with its own noise of relative length sigma."""
    return rows(1, F, D) + sigma * rows(seeds, F, D, seed=seed)


def measure(decoders: torch.Tensor, **options: Any) -> Stability:
    defaults: dict[str, Any] = {
        "live_SF": torch.ones(decoders.shape[:2], dtype=torch.bool),
        "activation_covariance_DD": torch.eye(decoders.shape[2]),
        "initial_SFD": None,
        # What SAEs of nothing look like; without it there is no verdict.
        "surrogate_SFD": rows(*decoders.shape, seed=11),
        "surrogate_live_SF": torch.ones(decoders.shape[:2], dtype=torch.bool),
    }
    return measure_stability(decoders, **(defaults | options))


def test_noisy_copies_agree_as_their_noise_allows() -> None:
    result = measure(noisy_copies(0.5), initial_SFD=rows(S, F, D, seed=5))
    for metric in ("mean_max_cos", "matched_mcc"):
        agreement = result.agreement(metric)
        assert agreement.observed == pytest.approx(0.8, abs=0.01)  # 1/(1 + sigma²)
        assert agreement.verdict == "strong"
        assert agreement.ci_low < agreement.kappa < agreement.ci_high
    shares = [result.agreement(f"shared_fraction@{tau:g}").observed for tau in (0.5, 0.7, 0.9)]
    assert shares == pytest.approx([1, 1, 0], abs=0.03)
    assert result.step_zero is not None
    assert result.step_zero.ok


def test_unrelated_dictionaries_are_at_chance() -> None:
    agreement = measure(rows(S, F, D)).agreement("mean_max_cos")
    assert agreement.nulls[0].value == pytest.approx(expected_max_cos(F, D))
    assert agreement.nulls[0].draws == 0  # closed form
    assert agreement.observed == pytest.approx(expected_max_cos(F, D), abs=0.01)
    assert abs(agreement.kappa) < 0.02
    assert agreement.verdict == "chance"


def test_identical_seeds_are_certain_and_their_start_is_suspect() -> None:
    same = rows(1, F, D).repeat(S, 1, 1)
    result = measure(same, initial_SFD=same)
    agreement = result.agreement("matched_mcc")
    assert (agreement.kappa, agreement.ci_low, agreement.ci_high) == pytest.approx((1, 1, 1))
    assert agreement.verdict == "strong"
    assert result.step_zero is not None
    assert not result.step_zero.ok


def test_pairs_are_symmetric_with_an_empty_diagonal() -> None:
    pairs = measure(noisy_copies(0.5)).agreement("mean_max_cos").pairs
    assert np.isnan(np.diag(pairs)).all()
    np.testing.assert_array_equal(pairs, pairs.T)
    decoders = noisy_copies(0.5)
    assert pairs[1, 3] == pytest.approx(mean_max_cos(decoders[1], decoders[3]), abs=1e-9)


def test_opposite_features_agree_only_in_absolute_value() -> None:
    decoders = rows(1, F, D) * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None]
    assert measure(decoders, sign="abs").agreement("matched_mcc").observed == pytest.approx(1)
    signed = measure(decoders).agreement("matched_mcc").pairs
    assert signed[0, 2] == pytest.approx(1)
    assert signed[0, 1] < 0.3


def test_the_surrogate_becomes_the_null_and_is_deleted_with_its_seed() -> None:
    decoders, surrogate = noisy_copies(0.5), noisy_copies(1.0, seed=7)
    surrogate[0] += 0.7 * rows(F, D, seed=8)  # one seed agrees less
    agreement = measure(decoders, surrogate_SFD=surrogate).agreement("mean_max_cos")
    assert agreement.null_name == "N3"
    assert agreement.null == pytest.approx(np.nanmean(_pairs(surrogate)), abs=1e-9)

    def corrected(seeds: list[int]) -> float:
        observed, null = (
            np.nanmean(_pairs(x)[np.ix_(seeds, seeds)]) for x in (decoders, surrogate)
        )
        return float((observed - null) / (1 - null))

    every = list(range(S))
    deleted = np.array([corrected([s for s in every if s != out]) for out in every])
    se = math.sqrt((S - 1) / S * ((deleted - deleted.mean()) ** 2).sum())
    assert agreement.kappa == pytest.approx(corrected(every), abs=1e-9)
    assert agreement.ci_high - agreement.kappa == pytest.approx(3.182446 * se, rel=1e-5)


def _pairs(decoders: torch.Tensor) -> np.ndarray:
    table = np.full((len(decoders),) * 2, np.nan)
    for s in range(len(decoders)):
        for t in range(len(decoders)):
            if s != t:
                table[s, t] = mean_max_cos(decoders[s], decoders[t])
    return table


def test_a_surrogate_that_agrees_as_much_leaves_only_chance() -> None:
    result = measure(noisy_copies(1.0), surrogate_SFD=noisy_copies(1.0, seed=9))
    agreement = result.agreement("mean_max_cos")
    assert agreement.null_name == "N3"
    assert abs(agreement.kappa) < 0.05
    assert agreement.verdict == "chance"


def test_low_rank_activations_make_agreement_cheap() -> None:
    # All atoms lie at random in six dimensions: impressive against N0, nothing against N1.
    covariance = torch.diag(torch.tensor([1.0] * 6 + [0.0] * (D - 6)))
    agreement = measure(rows(S, F, D) @ covariance, activation_covariance_DD=covariance).agreement(
        "mean_max_cos"
    )
    by_name = {null.name: null for null in agreement.nulls}
    assert agreement.observed - by_name["N0"].value > 0.5
    assert by_name["N1"].value == pytest.approx(expected_max_cos(F, 6), abs=0.005)
    assert by_name["N2"].value == pytest.approx(expected_max_cos(F, 6), abs=0.01)
    assert agreement.verdict == "chance"


def test_the_activation_null_is_set_aside_when_atoms_fit_noise() -> None:
    # Activations have six strong dimensions and faint noise; the atoms are laid in all of them.
    covariance = torch.diag(torch.tensor([1.0] * 6 + [1e-4] * (D - 6)))
    agreement = measure(noisy_copies(1.0), activation_covariance_DD=covariance).agreement(
        "mean_max_cos"
    )
    n1 = agreement.nulls[1]
    assert n1.value > agreement.observed
    assert not n1.admissible
    assert "effective dimensions" in n1.reason
    assert agreement.null_name != "N1"
    assert agreement.kappa > 0


def test_agreeing_less_than_chance_inside_the_activations_is_not_excused() -> None:
    # Two seeds on one half of the sphere, two on the other, all inside the activations.
    covariance = torch.diag(torch.tensor([1.0] * 6 + [0.0] * (D - 6)))
    decoders = rows(S, F, D) @ covariance
    decoders[:, :, 0] = torch.tensor([3.0, -3.0, 3.0, -3.0])[:, None]
    agreement = measure(decoders, activation_covariance_DD=covariance).agreement("mean_max_cos")
    assert agreement.nulls[1].admissible
    assert agreement.nulls[1].value > agreement.observed
    assert agreement.kappa < 0
    assert agreement.verdict == "chance"


def test_live_features_are_measured_apart_from_all() -> None:
    # Thirty features are found by everyone; the rest are dead and random.
    decoders, live = noisy_copies(0.3), torch.zeros(S, F, dtype=torch.bool)
    live[:, :30] = True
    decoders[:, 30:] = rows(S, F - 30, D, seed=3)
    live[2, 29] = False
    result = measure(decoders, live_SF=live)
    assert result.agreement("matched_mcc", "live").n_per_seed == (30, 30, 29, 30)
    assert result.agreement("matched_mcc", "live").observed == pytest.approx(0.917, abs=0.01)
    assert result.agreement("matched_mcc").observed < 0.75
    n0 = result.agreement("mean_max_cos", "live").nulls[0]
    assert n0.value == pytest.approx(expected_max_cos(30, D), abs=0.002)
    assert n0.value < result.agreement("mean_max_cos").nulls[0].value


def test_when_everything_is_live_both_subsets_say_the_same() -> None:
    result = measure(noisy_copies(0.5), encoders_SFD=noisy_copies(0.5))
    for agreement in result.agreements[: len(result.agreements) // 2]:
        twin = result.agreement(agreement.metric, "live").to_json()
        assert twin == agreement.to_json() | {"subset": "live"}


def test_without_a_surrogate_there_is_no_verdict() -> None:
    agreement = measure(noisy_copies(0.5), surrogate_SFD=None).agreement("mean_max_cos")
    assert agreement.kappa > 0.5
    assert agreement.verdict == "undetermined"
    assert "N3" in agreement.reason


def test_seeds_of_one_start_are_judged_against_the_surrogate_alone() -> None:
    # What they share they may have started with: directions at random are no null for them.
    decoders, twin = noisy_copies(0.5), noisy_copies(0.5, seed=9)
    agreement = measure(decoders, independent=False, surrogate_SFD=twin).agreement("mean_max_cos")
    assert [null.name for null in agreement.nulls if null.admissible] == ["N3"]
    assert agreement.verdict == "chance"
    alone = measure(decoders, independent=False, surrogate_SFD=None).agreement("mean_max_cos")
    assert alone.verdict == "undetermined"
    assert math.isnan(alone.kappa)
    # Nobody said why: the sentence must hold for pinned rows and a consistency loss, too.
    assert "share their initial weights" not in alone.reason
    assert "the seeds depend on each other" in alone.reason


@pytest.mark.parametrize(
    "why", ["10% of the decoder rows are pinned to the same inputs", "one start for all seeds"]
)
def test_nulls_that_dependent_seeds_rule_out_say_why(why: str) -> None:
    decoders, twin = noisy_copies(0.5), noisy_copies(0.5, seed=9)
    stability = measure(decoders, dependence=why, surrogate_SFD=twin)
    for agreement in stability.agreements:
        ruled_out = {null.name: null.reason for null in agreement.nulls if not null.admissible}
        assert ruled_out == {"N0": why, "N1": why, "N2": why}
    alone = measure(decoders, dependence=why, surrogate_SFD=None).agreement("mean_max_cos")
    assert alone.reason == f"no admissible null: {why}"


def test_noise_on_the_atoms_never_improves_kappa() -> None:
    # Activations in six dimensions, atoms inside them, then ever more noise outside.
    covariance = torch.diag(torch.tensor([1.0] * 6 + [0.0] * (D - 6)))
    inside = noisy_copies(0.2) @ covariance
    kappas = []
    for sigma in (0.0, 0.02, 0.3, 1.0):
        noisy = inside / inside.norm(dim=2, keepdim=True) + sigma * rows(S, F, D, seed=21) / D**0.5
        twin = rows(S, F, D, seed=22) @ covariance
        twin = twin / twin.norm(dim=2, keepdim=True) + sigma * rows(S, F, D, seed=23) / D**0.5
        found = measure(noisy, activation_covariance_DD=covariance, surrogate_SFD=twin)
        kappas.append(found.agreement("mean_max_cos").kappa)
    assert kappas[0] >= kappas[1] - 0.05
    assert kappas[1] >= kappas[2] - 0.05


@pytest.mark.parametrize("case", ["dead seed", "no record"])
def test_an_empty_live_set_is_reported_not_raised(case: str) -> None:
    live = torch.ones(S, F, dtype=torch.bool)
    live[2] = False
    result = measure(noisy_copies(0.5), live_SF=live if case == "dead seed" else None)
    empty = result.agreement("mean_max_cos", "live")
    assert math.isnan(empty.observed)
    assert empty.verdict == "undetermined"
    assert empty.reason == (
        f"no live feature in 1 of {S} seeds"
        if case == "dead seed"
        else "no firing record was given"
    )
    assert result.agreement("mean_max_cos").verdict == "strong"
    assert result.to_json()["metrics"]["mean_max_cos"]["live"]["observed"] is None


def test_two_seeds_give_values_but_no_verdict() -> None:
    agreement = measure(noisy_copies(0.5, seeds=2)).agreement("mean_max_cos")
    assert agreement.kappa > 0.6
    assert math.isnan(agreement.ci_low)
    assert agreement.verdict == "undetermined"
    assert "at least 3" in agreement.reason


def test_nulls_without_data_say_so() -> None:
    nulls = measure(noisy_copies(0.5), activation_covariance_DD=None, surrogate_SFD=None)
    nulls = nulls.agreement("matched_mcc").nulls
    assert [(null.name, null.admissible) for null in nulls] == [
        ("N0", True),
        ("N1", False),
        ("N2", True),
        ("N3", False),
    ]
    assert "covariance was not given" in nulls[1].reason
    assert nulls[3].reason == "no surrogate was given"


@pytest.mark.parametrize(
    ("live_surrogate", "reason"),
    [
        (None, "no firing record of the surrogate"),
        (torch.zeros(S, F, dtype=torch.bool), "no feature in this subset"),
    ],
)
def test_a_surrogate_without_live_features_is_no_null_for_live(
    live_surrogate: torch.Tensor | None, reason: str
) -> None:
    live = torch.arange(F).expand(S, F) < 40
    result = measure(
        noisy_copies(0.5),
        live_SF=live,
        surrogate_SFD=noisy_copies(1.0, seed=7),
        surrogate_live_SF=live_surrogate,
    )
    assert reason in result.agreement("mean_max_cos", "live").nulls[3].reason
    assert result.agreement("mean_max_cos", "all").nulls[3].admissible


def test_a_surrogate_with_other_live_counts_says_so() -> None:
    few = torch.arange(F).expand(S, F) < 20
    result = measure(
        noisy_copies(0.5), surrogate_SFD=noisy_copies(1.0, seed=7), surrogate_live_SF=few
    )
    null = result.agreement("mean_max_cos", "live").nulls[3]
    assert null.admissible
    assert null.reason == (
        "20 features per surrogate seed against 48: raised to what they would score if they were as many"
    )


def test_encoders_add_the_strict_rule() -> None:
    decoders = noisy_copies(0.2)
    encoders = noisy_copies(0.2)
    encoders[:, :12] = encoders[:, :12] * 0 + rows(S, 12, D, seed=4)  # a quarter reads noise
    result = measure(decoders, encoders_SFD=encoders)
    assert result.agreement("shared_fraction@0.7").observed == 1
    assert result.agreement("strict_shared_fraction@0.7").observed == 0.75
    with pytest.raises(InputError, match="strict"):
        measure(decoders).agreement("strict_shared_fraction@0.7")


def test_definitions_name_sign_and_threshold() -> None:
    result = measure(noisy_copies(0.5), sign="abs", tau=(0.7,))
    definition = result.agreement("shared_fraction@0.7").definition
    assert "C >= 0.7" in definition
    assert "|cos|" in definition
    assert "|cos|" not in measure(noisy_copies(0.5)).agreement("matched_mcc").definition


def test_features_are_followed_through_a_permutation() -> None:
    # Seed 1 holds seed 0's features in reverse; seed 2 holds only the first half of them.
    first = rows(F, D)
    third = rows(F, D, seed=2)
    third[: F // 2] = first[: F // 2]
    features = measure(torch.stack([first, first.flip(0), third])).features
    np.testing.assert_array_equal(features.partner[0, 1], np.arange(F)[::-1])
    np.testing.assert_allclose(features.best[0, 1], 1, atol=1e-9)
    np.testing.assert_allclose(features.stability[0], [1] * (F // 2) + [0.5] * (F // 2))
    np.testing.assert_allclose(features.stability[2], [1] * (F // 2) + [0] * (F // 2))
    assert np.isnan(features.best[1, 1]).all()
    assert (features.partner[1, 1] == -1).all()
    best = features.best[2, 0, -1]
    assert best < 0.7
    assert features.p_isotropic[2, 0, -1] == pytest.approx(float(max_cos_p(best, F, D)))


def test_the_margin_of_a_match_by_hand() -> None:
    # Three features of one seed; the other has them turned in the plane of the first two. By 3-4-5:
    first = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 3]])
    second = torch.tensor([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, -1]])
    features = measure(
        torch.stack([first, second]), surrogate_SFD=None, surrogate_live_SF=None
    ).features
    np.testing.assert_allclose(features.best[0, 1], [0.6, 0.8, 0], atol=1e-7)
    np.testing.assert_allclose(features.runner_up[0, 1], [0, 0.6, 0], atol=1e-7)
    np.testing.assert_allclose(features.best[1, 0], [0.8, 0.6, 0], atol=1e-7)
    np.testing.assert_allclose(features.runner_up[1, 0], [0.6, 0, 0], atol=1e-7)
    assert np.isnan(features.runner_up[0, 0]).all()


def test_mean_feature_stability_is_the_shared_fraction() -> None:
    result = measure(noisy_copies(0.65))
    assert 0.1 < result.agreement("shared_fraction@0.7").observed < 0.9
    assert result.features.stability.mean() == pytest.approx(
        result.agreement("shared_fraction@0.7").observed
    )


def test_chance_of_a_feature_is_judged_in_the_dimensions_the_activations_have() -> None:
    covariance = torch.diag(torch.tensor([1.0] * 6 + [0.0] * (D - 6)))
    low_rank = rows(S, F, D) @ covariance
    features = measure(low_rank, activation_covariance_DD=covariance).features
    assert np.nanmean(features.p_isotropic < 0.05) > 0.5
    assert np.nanmean(features.p_effective < 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.isnan(measure(low_rank, activation_covariance_DD=None).features.p_effective).all()


def test_zero_rows_take_no_part() -> None:
    decoders = noisy_copies(0.5)
    decoders[1, 5] = 0
    result = measure(decoders)
    assert result.agreement("matched_mcc").n_per_seed == (F, F - 1, F, F)
    assert math.isnan(result.features.stability[1, 5])
    assert np.isnan(result.features.best[1, :, 5]).all()
    assert np.isnan(result.features.runner_up[1, :, 5]).all()
    assert not (result.features.partner[:, 1] == 5).any()


def test_json_is_strict_and_repeats_itself() -> None:
    decoders = noisy_copies(0.5)
    first = json.dumps(measure(decoders).to_json(features=True), allow_nan=False)
    assert first == json.dumps(measure(decoders.clone()).to_json(features=True), allow_nan=False)
    plain = json.loads(first)
    row = plain["metrics"]["mean_max_cos"]["all"]
    assert row["pairs"][0][0] is None
    assert [null["name"] for null in row["nulls"]] == ["N0", "N1", "N2", "N3"]
    n0 = row["nulls"][0]
    assert n0["kappa"] == pytest.approx((row["observed"] - n0["value"]) / (1 - n0["value"]))
    assert len(plain["features"]["best"]) == S
    assert "features" not in measure(decoders).to_json()


def test_double_half_and_single_precision_agree() -> None:
    decoders = noisy_copies(0.5)
    values = [
        measure(decoders.to(dtype)).agreement("matched_mcc").observed
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert values[0] == pytest.approx(values[2], abs=5e-3)


GOOD = rows(3, 6, 5)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"decoders": GOOD[:1]}, "seeds"),
        ({"decoders": GOOD[0]}, "decoders_SFD"),
        ({"decoders": GOOD[:, :0]}, "decoders_SFD"),
        ({"decoders": GOOD * math.nan}, "decoders_SFD"),
        (
            {"decoders": GOOD * torch.tensor([1.0, 0, 1])[:, None, None]},
            r"decoders_SFD\[1\]: every row",
        ),
        ({"surrogate_SFD": rows(3, 6, 4)}, "surrogate_SFD"),
        ({"surrogate_SFD": rows(2, 6, 5)}, "surrogate_SFD"),
        ({"initial_SFD": rows(3, 5, 6)}, "initial_SFD"),
        ({"encoders_SFD": rows(3, 5, 6)}, "encoders_SFD"),
        ({"activation_covariance_DD": torch.eye(6)}, "activation_covariance_DD"),
        ({"live_SF": torch.ones(3, 6)}, "live_SF"),
        ({"live_SF": torch.ones(6, 3, dtype=torch.bool)}, "live_SF"),
        ({"sign": "cosine"}, "sign"),
        ({"draws": 5}, "draws"),
        ({"tau": (0.7, 1.7)}, "tau"),
    ],
)
def test_measurements_that_mean_nothing_are_refused(options: dict[str, Any], where: str) -> None:
    decoders = options.pop("decoders", GOOD)
    defaults: dict[str, Any] = {
        "live_SF": None,
        "activation_covariance_DD": torch.eye(5),
        "initial_SFD": None,
        # What SAEs of nothing look like; without it there is no verdict.
        "surrogate_SFD": rows(*decoders.shape, seed=11),
        "surrogate_live_SF": torch.ones(decoders.shape[:2], dtype=torch.bool),
    }
    with pytest.raises(InputError, match=where):
        measure_stability(decoders, **(defaults | options))


def test_an_interval_without_width_decides_nothing() -> None:
    # Half of the features are the same in every seed, the other half at right angles to all others: every
    # pair scores one half to the last digit, and a jackknife of equal values has no width.
    eye = torch.eye(40)
    decoders = torch.stack([torch.cat([eye[:8], eye[8 + 8 * s : 16 + 8 * s]]) for s in range(4)])
    agreement = measure(decoders, activation_covariance_DD=torch.eye(40)).agreement("matched_mcc")
    assert agreement.observed == pytest.approx(0.5)
    assert agreement.null_name != "N3"
    assert agreement.verdict == "undetermined"
    assert "no width" in agreement.reason


def test_how_pairs_match_is_handed_over_for_the_subset_of_the_headline() -> None:
    # Seed t holds the rows of seed 0 turned by t places: row n of s is row n + t - s of t.
    base = rows(1, F, D)[0]
    decoders = torch.stack([base.roll(t, 0) for t in range(S)])
    (found,) = measure(decoders, live_SF=None).matches.items()
    assert found[0] == "all"
    assert set(found[1]) == {(s, t) for s in range(S) for t in range(s + 1, S)}
    for (s, t), (pair, nearest) in found[1].items():
        assert ((pair.rows + t - s) % F == pair.columns).all()
        assert torch.equal(nearest.column_A, (torch.arange(F) + t - s) % F)
        assert torch.equal(nearest.row_B, (torch.arange(F) + s - t) % F)
        assert torch.allclose(nearest.cosine_A, torch.ones(F, dtype=torch.float64))
    live = torch.ones(S, F, dtype=torch.bool)
    live[:, 0] = False
    (found,) = measure(decoders, live_SF=live).matches.items()
    assert found[0] == "live"
    assert set(found[1]) == {(s, t) for s in range(S) for t in range(s + 1, S)}
    assert all(len(match.pair.rows) == F - 1 for match in found[1].values())
    whole = measure(decoders, live_SF=torch.ones(S, F, dtype=torch.bool)).matches
    assert whole["live"] is whole["all"]
