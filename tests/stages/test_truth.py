"""The ground truth of a model made by hand, whose true features and their effects are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.disk.rundir import RunDirectory
from engine.metrics.agreement import Stability
from engine.metrics.stability import measure_stability
from engine.saes.formats import TrainedSaes
from engine.saes.weights import Weights
from engine.stages.artifacts import WEIGHTS
from engine.stages.causal import CONTROLS, KINDS
from engine.stages.planted import score_planted
from engine.stages.recovery import correlate_stability
from engine.stages.truth import Truth, score_modular
from engine.study.sae import ReLU
from engine.study.subject import Modular, Planted
from engine.subjects.planted import make_planted, save_planted
from engine.subjects.surrogate import moments
from tests.subjects.networks import made_up

P, KEYS, D, HOOK = 13, (1, 2), 6, "blocks.0.hook_resid_post"
SEEDS = (1, 2, 3)
SIZE = {"d_model": D, "heads": 1, "d_mlp": 4}
SUBJECT = Modular.model_validate({"modulus": P, "transformer": SIZE})
SUMS = (torch.arange(P)[:, None] + torch.arange(P)).flatten()


def circle(k: int, t: Tensor) -> Tensor:
    angle = 2 * torch.pi * k * t / P
    return torch.stack([angle.cos(), angle.sin()], 1)


def clock_activations(amplitude: float = 0.5) -> Tensor:
    """Two planes of a + b in six dimensions; the head below makes α = 1 of either amplitude 1 and ½."""
    planes = [circle(1, SUMS), amplitude * circle(2, SUMS), torch.zeros(P * P, 2)]
    return torch.cat(planes, 1)


@pytest.fixture
def clock(tmp_path: Path) -> RunDirectory:
    """A subject whose logits are Σ cos w_k(a + b - c) of the activations above."""
    run = RunDirectory(tmp_path / "subject")
    network = made_up(SUBJECT)
    answers = torch.arange(P)
    head = torch.cat([circle(1, answers), 2 * circle(2, answers), torch.zeros(P, 2)], 1)
    weights = {**network.weights, "head.weight": head}
    save_file({k: v.contiguous() for k, v in weights.items()}, run.begin_artifacts() / WEIGHTS)
    run.finish({"key_frequencies": list(KEYS)})
    return run


def saes_of(decoder_FD: Tensor, x_ND: Tensor, noise: float = 0.0) -> TrainedSaes:
    """The same tied ReLU dictionary for every seed, apart from noise."""
    generator = torch.Generator().manual_seed(0)
    count = len(SEEDS)
    W = decoder_FD.expand(count, -1, -1).clone()
    W += noise * torch.randn(W.shape, generator=generator)
    weights = Weights(W, torch.zeros(W.shape[:2]), W.clone(), torch.zeros(count, W.shape[2]))
    config = ReLU(d_sae=W.shape[1], l1=0.1)
    saes = TrainedSaes(config, SEEDS, weights, 1.0, None, len(x_ND))
    fires = (saes.encode(x_ND) > 0).sum(1)
    return TrainedSaes(config, SEEDS, weights, 1.0, fires, len(x_ND))


def axes() -> Tensor:
    """Both signs of every axis of both planes: their rectified sum is the activation itself."""
    return torch.cat([torch.eye(D)[:4], -torch.eye(D)[:4]])


def stable(decoders_SFD: Tensor, live_SF: Tensor) -> Stability:
    return measure_stability(
        decoders_SFD, live_SF, activation_covariance_DD=None, initial_SFD=None, draws=20
    )


def scored(run: RunDirectory, x_ND: Tensor, saes: TrainedSaes) -> Truth:
    live_SF = torch.ones(len(SEEDS), saes.config.d_sae, dtype=torch.bool)
    drawn = torch.randn(saes.config.d_sae, D, generator=torch.Generator().manual_seed(7))
    start = saes_of(drawn, x_ND)
    held_out = torch.arange(0, len(x_ND), 3)
    stability = stable(saes.weights.W_dec, live_SF)
    covariance_DD = moments(x_ND)[1]
    return score_modular(
        SUBJECT, run, HOOK, x_ND, covariance_DD, saes, start, live_SF, stability, held_out
    )


def summary_of(truth: Truth) -> dict[str, Any]:
    assert truth.summary is not None
    plain: dict[str, Any] = json.loads(json.dumps(truth.summary, allow_nan=False))
    return plain


def test_a_perfect_dictionary_does_what_science_md_calls_ideal(clock: RunDirectory) -> None:
    x_ND = clock_activations()
    truth = scored(clock, x_ND, saes_of(axes(), x_ND))
    summary = summary_of(truth)
    assert summary["recall"]["per_seed"] == summary["precision"]["per_seed"] == [1.0] * 3
    causal = summary["causal"]
    assert causal["loss_recovered"]["mean"] == pytest.approx(1.0)
    assert causal["fve"]["mean"] == pytest.approx(1.0)
    assert causal["baselines"]["mean"]["fve"] is None or causal["baselines"]["mean"]["fve"] < 1e-9
    assert causal["baselines"]["mean"]["loss"] == pytest.approx(math.log(P), abs=1e-4)
    assert causal["margin"]["mean"] == pytest.approx(causal["baselines"]["clean"]["margin"])
    assert causal["baselines"]["untrained"]["margin"] < causal["margin"]["mean"]
    assert truth.loss_recovered is not None
    assert truth.loss_recovered["mean"] == causal["loss_recovered"]["mean"]
    assert "effective rank of 3.3" in truth.warnings[0], "four dimensions are few"

    groups = summary["frequency_ablation"]
    assert [size["mean"] for size in groups["group_sizes"]] == [4.0, 4.0]
    assert groups["matrix"] == [
        pytest.approx([0.0, 1.0], abs=1e-5),
        pytest.approx([1.0, 0.0], abs=1e-5),
    ]
    assert [one["mean"] for one in groups["spliced"]] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert groups["matrix_diagonal"]["mean"] == pytest.approx(0.0, abs=1e-5)
    assert groups["control_diagonal"]["mean"] > 0.1, "random groups leave something"


def test_single_features_move_the_logits_by_what_they_write(clock: RunDirectory) -> None:
    # An axis of the first plane writes z = max(cos, 0): Δ logits = z cos w c, and of the second 2z' cos 2wc
    # with z' half as large: both z/√2, whose mean square over the inputs where it fires is about ¼.
    x_ND = clock_activations()
    summary = summary_of(scored(clock, x_ND, saes_of(axes(), x_ND)))
    for kind in KINDS:
        effects = summary["ablation"]["kinds"][kind]
        assert effects["feature"]["logits"]["mean"] == pytest.approx(0.5, abs=0.05)
        assert effects["feature"]["margin"]["mean"] < 0
        assert set(effects) == {"feature", *CONTROLS}


def test_the_measures_of_the_subject(clock: RunDirectory) -> None:
    x_ND = clock_activations()
    measured = summary_of(scored(clock, x_ND, saes_of(axes(), x_ND)))["clock"]
    # The logits of the right answer are constant here: cos w_k(a+b-c) = 1 at c = a+b.
    assert measured["distance_irrelevance"] is None
    assert -1 <= measured["gradient_symmetry"] <= 1
    untrained = measured["baselines"]["untrained"]["gradient_symmetry"]
    assert min(untrained["per_seed"]) > 0.95


def test_atoms_at_the_class_means_are_a_lookup_table(clock: RunDirectory) -> None:
    x_ND = clock_activations()
    table = torch.nn.functional.normalize(x_ND[:P], dim=1)  # a = 0: one row per answer
    classes = summary_of(scored(clock, x_ND, saes_of(table, x_ND)))["classes"]
    assert classes["recall"]["mean"] == classes["precision"]["mean"] == 1.0
    assert classes["lookup_possible"]
    few = summary_of(scored(clock, x_ND, saes_of(axes(), x_ND)))["classes"]
    assert not few["lookup_possible"]
    assert few["recall"]["mean"] < 0.5


def test_coverage_says_when_it_says_nothing(clock: RunDirectory) -> None:
    x_ND = clock_activations(1.0)  # four equal variances: effective rank 4
    coverage = summary_of(scored(clock, x_ND, saes_of(axes(), x_ND)))["coverage"]
    assert coverage["rank"] == 4
    assert coverage["mean"] == pytest.approx(1.0)
    assert coverage["null"] == pytest.approx(4 / D)
    assert "principal components" in coverage["warning"]
    away = torch.eye(D)[[4, 5, 0]]
    missed = summary_of(scored(clock, x_ND, saes_of(away, x_ND)))["coverage"]
    assert missed["mean"] == pytest.approx(0.25)
    assert missed["warning"] is None


@pytest.mark.parametrize(
    ("second", "said"), [(0.2, "no direction of theirs"), (None, "probability")]
)
def test_activations_of_low_rank_are_scored_with_a_warning(
    clock: RunDirectory, second: float | None, said: str
) -> None:
    """An effective rank below 2 leaves the energy null without power; the analysis goes on."""
    x_ND = clock_activations(0.6)
    if second is not None:
        x_ND = torch.cat([circle(1, SUMS) * torch.tensor([1.0, second]), torch.zeros(P * P, 4)], 1)
    truth = scored(clock, x_ND, saes_of(axes(), x_ND))
    summary = summary_of(truth)
    assert (summary["activation_rank"] < 2) is (second is not None)
    assert summary["energy_null"]["powerless"]
    (warning,) = truth.warnings
    assert said in warning
    assert "no power" in warning


def test_a_hook_without_planes_has_no_groups(clock: RunDirectory) -> None:
    x_ND = torch.cat([circle(k, SUMS) for k in (3, 4, 5)], 1)  # no key frequency
    summary = summary_of(scored(clock, x_ND, saes_of(axes(), x_ND)))
    assert not any(plane["exists"] for plane in summary["planes"])
    assert "missing" in summary["coverage"]
    assert summary["frequency_ablation"]["matrix"] == [[None, None], [None, None]]
    assert "no live feature" in summary["frequency_ablation"]["missing"]


@pytest.mark.parametrize("case", ["no key frequencies", "the same for every input"])
def test_without_a_fourier_truth_the_reason_is_told_and_maps_are_scored(
    clock: RunDirectory, tmp_path: Path, case: str
) -> None:
    x_ND = clock_activations()
    run, saes = clock, saes_of(axes(), x_ND)
    if case == "no key frequencies":
        run = RunDirectory(tmp_path / "memorised")
        run.begin_artifacts()
        run.finish({"key_frequencies": []})
    else:
        x_ND = torch.ones_like(x_ND)
    truth = scored(run, x_ND, saes)
    assert case in summary_of(truth)["missing"]
    assert "recall" not in summary_of(truth)
    assert truth.planes == ()
    assert truth.loss_recovered is None
    assert len(truth.features) == len(SEEDS)
    assert "plane_energy" not in truth.features[0]
    share = float(truth.features[0]["selectivity"][0])
    assert math.isnan(share) if "same" in case else share > 0.8


def test_a_wholly_dead_cohort_is_scored_and_says_that_nothing_is_live(clock: RunDirectory) -> None:
    x_ND = clock_activations()
    saes = saes_of(axes(), x_ND)
    saes.weights.b_enc.fill_(-1e3)  # no latent ever fires
    dead = TrainedSaes(saes.config, SEEDS, saes.weights, 1.0, torch.zeros(3, 8), len(x_ND))
    live_SF = torch.zeros(3, 8, dtype=torch.bool)
    stability = stable(dead.weights.W_dec, live_SF)
    covariance_DD, held_out = moments(x_ND)[1], torch.arange(0, len(x_ND), 3)
    truth = score_modular(
        SUBJECT, clock, HOOK, x_ND, covariance_DD, dead, dead, live_SF, stability, held_out
    )
    summary = summary_of(truth)
    assert summary["recall"]["per_seed"] == [0.0] * 3
    assert summary["precision"]["mean"] is None
    assert summary["causal"]["loss_recovered"]["mean"] == pytest.approx(0.0, abs=0.1)
    assert "no live feature" in summary["frequency_ablation"]["missing"]
    found = correlate_stability(truth.features, stability, live_SF)
    assert "fewer than four live features" in found["plane_energy"]["stability"]["missing"]


class TestCorrelation:
    def test_true_features_that_every_seed_has(self) -> None:
        # Four features that all seeds share are true, the others are drawn anew and are not.
        generator = torch.Generator().manual_seed(3)
        shared = torch.eye(64)[:4].expand(3, 4, 64)
        own = torch.randn(3, 8, 64, generator=generator)
        live = torch.ones(3, 12, dtype=torch.bool)
        stability = stable(torch.cat([shared, own], 1), live)
        truth = [{"plane_energy": torch.tensor([1.0] * 4 + [0.1] * 8)}] * 3
        found = correlate_stability(truth, stability, live)
        assert set(found) == {"plane_energy"}
        by = found["plane_energy"]["stability"]
        assert by["mean"] == pytest.approx(1.0)
        assert by["p"] == pytest.approx(1 / 500)
        assert by["n_per_seed"] == [12, 12, 12]
        assert 0.5 < found["plane_energy"]["median_best_cosine"]["mean"] < 1

    def test_reasons(self) -> None:
        live = torch.ones(3, 12, dtype=torch.bool)
        drawn = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(3))
        stability = stable(drawn, live)
        assert "missing" in correlate_stability([{}] * 3, stability, live)
        flat = correlate_stability([{"selectivity": torch.ones(12)}] * 3, stability, live)
        assert flat["selectivity"]["stability"]["mean"] is None
        assert "one value" in flat["selectivity"]["stability"]["missing"]

    @pytest.mark.parametrize(
        ("true", "said"),
        [
            (
                2,
                "6 of 36 live features are true (in-plane energy from .9 on); at least 10 of either",
            ),
            (
                10,
                "30 of 36 live features are true (in-plane energy from .9 on); at least 10 of either",
            ),
            (4, ""),
        ],
    )
    def test_a_handful_of_true_features_is_no_side_of_a_correlation(
        self, true: int, said: str
    ) -> None:
        shared = torch.eye(64)[:4].expand(3, 4, 64)
        own = torch.randn(3, 8, 64, generator=torch.Generator().manual_seed(3))
        live = torch.ones(3, 12, dtype=torch.bool)
        stability = stable(torch.cat([shared, own], 1), live)
        scores = torch.linspace(0.5, 0.1, 12)
        scores[:true] = 0.9
        by = correlate_stability([{"plane_energy": scores}] * 3, stability, live)
        one = by["plane_energy"]["stability"]
        assert one["n_true"] == 3 * true
        assert (one["mean"] is None) == bool(said)
        assert (one["p"] is None, one["ci_low"] is None) == (bool(said),) * 2
        assert one.get("missing", "").startswith(said)

    def test_a_handful_of_shared_features_is_none_either(self) -> None:
        # Two features of 3 × 12 are shared at all: true or not, ρ would be about those two.
        one = torch.eye(64)[:1].expand(2, 1, 64)
        own = torch.randn(3, 12, 64, generator=torch.Generator().manual_seed(3))
        own[:2, :1] = one
        live = torch.ones(3, 12, dtype=torch.bool)
        scores = torch.tensor([1.0] * 6 + [0.1] * 6)
        by = correlate_stability([{"plane_energy": scores}] * 3, stable(own, live), live)
        why = by["plane_energy"]["stability"]["missing"]
        assert why.startswith("2 of 36 live features differ from the rest in stability")
        assert by["plane_energy"]["median_best_cosine"]["mean"] is not None


@pytest.mark.parametrize("generator", ["sparse", "fourier"])
def test_planted_data_say_why_nothing_is_ablated(tmp_path: Path, generator: str) -> None:
    count = 3 if generator == "fourier" else 6  # planes, or features
    config = Planted.model_validate(
        {
            "kind": "planted",
            "generator": generator,
            "d_in": 8,
            "features": count,
            "l0": 2,
            "samples": 300,
        }
    )
    run, data = RunDirectory(tmp_path / "planted"), make_planted(config)
    save_planted(run.begin_artifacts(), data)
    run.finish({})
    saes = saes_of(data.features, data.activations)
    live = torch.ones(3, len(data.features), dtype=torch.bool)
    truth = score_planted(run, moments(data.activations)[1], saes, live)
    assert truth.summary is not None
    for part in ("causal", "ablation", "frequency_ablation", "clock"):
        assert "no model" in truth.summary[part]["missing"]
    column = "plane_energy" if generator == "fourier" else "truth_cosine"
    assert truth.features[0][column].tolist() == pytest.approx([1.0] * len(data.features), abs=1e-5)
    assert truth.loss_recovered is None
