"""The engine against `oracle`, an implementation that shares no code with it, on random inputs."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from engine.metrics import ladder, matching, nulls, similarity, stability, uncertainty
from engine.metrics.agreement import FeatureAgreement
from engine.metrics.similarity import Sign
from engine.saes.quality import explained_variance
from tests.metrics import oracle

SHAPES = [(3, 5, 2), (5, 3, 4), (1, 4, 3), (4, 1, 2), (6, 6, 7), (2, 2, 1), (7, 4, 3)]
KINDS = ["gaussian", "zero rows", "duplicates", "ties", "tiny and huge"]
SIGNS: tuple[Sign, ...] = ("signed", "abs")


def dictionary(n: int, d: int, kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d))
    if kind == "zero rows" and n > 1:
        rows[rng.integers(n)] = 0
    elif kind == "duplicates":
        rows = rows[rng.integers(0, max(1, n // 2), size=n)]
    elif kind == "ties":
        # Along the axes every cosine is exactly -1, 0 or 1.
        rows = np.eye(d)[rng.integers(d, size=n)] * rng.choice([-1.0, 1.0, 2.0], size=(n, 1))
    elif kind == "tiny and huge":
        rows *= 10.0 ** rng.integers(-170, 170, size=(n, 1))  # whose squares are 0 or inf
    return rows


def pair(shape: tuple[int, int, int], kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    n, m, d = shape
    return dictionary(n, d, kind, 2 * seed), dictionary(m, d, kind, 2 * seed + 1)


def close(expected: float, tolerance: float = 1e-9) -> object:
    return pytest.approx(expected, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
class TestDictionaries:
    def test_cosines(self, shape: tuple[int, int, int], kind: str) -> None:
        for seed in range(3):
            a, b = pair(shape, kind, seed)
            for sign in SIGNS:
                ours = similarity.cosine_matrix(torch.tensor(a), torch.tensor(b), sign)
                every = [[oracle.cosine(u, v, sign) for v in b] for u in a]
                np.testing.assert_allclose(ours.numpy(), every, atol=1e-12)

    def test_best_matches(self, shape: tuple[int, int, int], kind: str) -> None:
        for seed in range(3):
            a, b = pair(shape, kind, seed)
            x, y = torch.tensor(a), torch.tensor(b)
            for sign in SIGNS:
                assert similarity.mean_max_cos(x, y, sign) == close(oracle.mean_max_cos(a, b, sign))
                assert similarity.mmcs(x, y, sign) == close(oracle.mmcs(a, b, sign))
                assert similarity.mmcs(y, x, sign) == close(oracle.mmcs(b, a, sign))
                assert matching.matched_mcc(x, y, sign) == close(oracle.matched_mcc(a, b, sign))
                assert matching.gt_mcc(x, y, sign) == close(oracle.matched_mcc(a, b, sign))

    def test_shared(self, shape: tuple[int, int, int], kind: str) -> None:
        for seed in range(3):
            a, b = pair(shape, kind, seed)
            x, y = torch.tensor(a), torch.tensor(b)
            for sign in SIGNS:
                for tau in (0.3, 0.5, 0.7, 0.9):
                    ours = matching.shared_fraction(x, y, tau, sign)
                    assert ours == close(oracle.shared_fraction(a, b, tau, sign))


@pytest.mark.parametrize("kind", ["gaussian", "zero rows", "tiny and huge"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_strictly_shared(shape: tuple[int, int, int], kind: str) -> None:
    # Ties leave several best matchings, and the rule does not say which counts.
    for seed in range(4):
        a, b = pair(shape, kind, seed)
        # Encoders near their decoders, so that both matchings often agree.
        rng = np.random.default_rng(seed)
        enc_a, enc_b = (z * (1 + 0.3 * rng.normal(size=z.shape)) for z in (a, b))
        encoders = (torch.tensor(enc_a), torch.tensor(enc_b))
        for tau in (0.2, 0.5, 0.7):
            ours = matching.shared_fraction(
                torch.tensor(a), torch.tensor(b), tau, strict=True, encoders=encoders
            )
            theirs = oracle.strict_shared_fraction(a, b, enc_a, enc_b, tau)
            assert ours == close(theirs)


@pytest.mark.parametrize("seed", range(12))
def test_recovery_of_a_truth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, t, d = int(rng.integers(2, 7)), int(rng.integers(1, 6)), int(rng.integers(2, 5))
    truth = rng.normal(size=(t, d))
    atoms = truth[rng.integers(t, size=n)] + 0.4 * rng.normal(size=(n, d))
    atoms[0] = 0
    live = rng.random(n) < 0.7
    live[-1] = True
    ours = matching.truth_match(
        torch.tensor(atoms), torch.tensor(truth), tau=0.8, live_N=torch.tensor(live)
    )
    theirs = oracle.truth_match(atoms, truth, live, 0.8)
    assert (ours.mcc, ours.recall, ours.precision) == close(theirs)


@pytest.mark.parametrize("seed", range(6))
def test_encoder_decoder_alignment(seed: int) -> None:
    encoder, decoder = dictionary(5, 3, KINDS[seed % 5], seed), dictionary(5, 3, "zero rows", 9)
    ours = similarity.enc_dec_alignment(torch.tensor(encoder), torch.tensor(decoder)).tolist()
    for value, e, d in zip(ours, encoder, decoder, strict=True):
        both = bool(np.any(e != 0) and np.any(d != 0))
        assert value == close(oracle.cosine(e, d) if both else math.nan)


def test_live_features() -> None:
    rng = np.random.default_rng(0)
    for samples in (9, 10, 999, 99_999, 100_000, 100_001, 250_000):
        counts = rng.integers(0, min(samples, 40) + 1, size=60)
        ours = similarity.live_mask(torch.tensor(counts), samples).tolist()
        assert ours == [oracle.live(int(count), samples) for count in counts]


# -- chance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("d", [2, 2.5, 3, 16, 64.7, 300])
@pytest.mark.parametrize("n", [1, 2, 333, 5000])
def test_closed_form_of_chance(n: int, d: float, sign: Sign) -> None:
    assert nulls.expected_max_cos(n, d, sign) == close(oracle.expected_max_cos(n, d, sign), 1e-4)
    for alpha in (0.01, 0.05, 0.5):
        critical = nulls.critical_max_cos(alpha, n, d, sign)
        assert critical == close(oracle.critical_max_cos(alpha, n, d, sign), 2e-3)
        assert float(nulls.max_cos_p(critical, n, d, sign)) == pytest.approx(alpha, rel=1e-4)
    for value in (-0.2, 0.1, 0.4):
        if sign == "signed" or value > 0:
            p = float(nulls.max_cos_p(value, n, d, sign))
            assert p == close(oracle.max_cos_p(value, n, d, sign), 2e-3)


def test_each_direction_of_chance_has_its_own_number_of_candidates() -> None:
    expected = (oracle.expected_max_cos(4, 6) + oracle.expected_max_cos(50, 6)) / 2
    assert nulls.isotropic_mean_max_cos(4, 50, 6) == close(expected, 1e-4)


@pytest.mark.parametrize(("n", "m", "d"), [(4, 6, 3), (5, 5, 2), (6, 3, 8)])
@pytest.mark.parametrize("sign", SIGNS)
def test_monte_carlo_of_chance(n: int, m: int, d: int, sign: Sign) -> None:
    rng = np.random.default_rng(5)
    matched, shared = [], []
    for _ in range(300):
        a, b = rng.normal(size=(n, d)), rng.normal(size=(m, d))
        matched.append(oracle.matched_mcc(a, b, sign))
        shared.append(oracle.shared_fraction(a, b, 0.5, sign))
    ours = nulls.isotropic_matched_mcc(n, m, d, sign)
    share = nulls.isotropic_shared_fraction(n, m, d, 0.5, sign)
    assert ours.value == pytest.approx(np.mean(matched), abs=5 * np.std(matched) / math.sqrt(300))
    assert share.value == pytest.approx(np.mean(shared), abs=5 * np.std(shared) / math.sqrt(300))
    assert ours.sd == pytest.approx(np.std(matched), rel=0.25)


def random_covariance(d: int, seed: int, rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rank or 3 * d, d)) * 3.0 ** rng.normal(size=d)
    return x.T @ x


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("d", "rank"), [(3, None), (7, None), (7, 3), (5, 1)])
def test_covariances(d: int, rank: int | None, seed: int) -> None:
    sigma = random_covariance(d, seed, rank)
    root = nulls.covariance_root(torch.tensor(sigma))
    np.testing.assert_allclose(root @ root, sigma, atol=1e-7 * np.abs(sigma).max())
    np.testing.assert_allclose(root, root.T, atol=1e-9 * np.abs(sigma).max())
    values = np.linalg.eigvalsh(sigma).clip(0)
    assert nulls.effective_rank(torch.tensor(sigma)) == close(oracle.entropy_rank(values), 1e-6)
    rows = np.random.default_rng(seed).normal(size=(9, d))
    basis = nulls.effective_subspace(torch.tensor(sigma))
    ours = nulls.energy_outside(similarity.unit_rows(torch.tensor(rows)).rows, basis)
    np.testing.assert_allclose(ours, oracle.energy_outside(rows, sigma), atol=1e-7)


@pytest.mark.parametrize("which", ["activations", "decoders"])
def test_covariance_nulls_draw_from_their_covariance(which: str) -> None:
    # Directions of rows along Σ^(1/2) g: second moments of the same rows drawn in numpy.
    rows = np.random.default_rng(1).normal(size=(40, 4)) * [3, 1, 1, 0.2]
    if which == "decoders":
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        sigma, law = unit.T @ unit / 40, nulls.decoder_law(torch.tensor(rows))
        assert law.n == 40
    else:
        sigma = rows.T @ rows / 40
        law = nulls.activation_law(7, torch.tensor(sigma))
        assert law.n == 7
    law = nulls.Law(60_000, law.d, law.root)
    ours = nulls.draw_rows(law, torch.Generator().manual_seed(0)).double().numpy()
    theirs = np.random.default_rng(2).multivariate_normal(np.zeros(4), sigma, size=60_000)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(ours.T @ ours, theirs.T @ theirs, atol=0.012 * 60_000)


def test_the_ladder_names_the_mean_over_all_pairs_of_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nulls, "MIN_ROWS", 1)
    # Unequal seeds: N2 of a pair takes one dictionary from each seed's own second moment.
    rng = np.random.default_rng(3)
    seeds = [rng.normal(size=(n, 4)) * [4**k, 1, 1, 1] for k, n in enumerate((5, 5, 5))]
    setting = ladder.Setting(None, "signed", 600, (0.5,))
    made = ladder.make_ladder([torch.tensor(x) for x in seeds], setting)
    drawn = []
    for k in range(600):
        a, b = list(combinations(seeds, 2))[k % 3]
        fake = []
        for x in (a, b):
            unit = x / np.linalg.norm(x, axis=1, keepdims=True)
            fake.append(rng.multivariate_normal(np.zeros(4), unit.T @ unit / len(x), size=len(x)))
        drawn.append([oracle.mean_max_cos(*fake), oracle.matched_mcc(*fake)])
    error = 4 * np.std(drawn, axis=0) * math.sqrt(2 / 600)
    for metric in range(2):
        null = made.nulls(metric)[2]
        assert null.name == "N2"
        assert null.value == pytest.approx(np.mean(drawn, axis=0)[metric], abs=error[metric])


def test_kappa_and_headline() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        observed, null = rng.uniform(-1, 1, size=2)
        assert nulls.kappa(observed, null) == close(oracle.kappa(observed, null))
    assert math.isnan(nulls.kappa(0.5, 1.0))
    for _ in range(50):
        values = [math.nan if rng.random() < 0.2 else rng.uniform() for _ in range(5)]
        usable = [bool(rng.random() < 0.6) for _ in values]
        usable[2], values[2] = True, rng.uniform()
        listed = [
            nulls.Null(f"N{i}", v, math.nan, 0, u, "")
            for i, (v, u) in enumerate(zip(values, usable, strict=True))
        ]
        largest = max(v for v, u in zip(values, usable, strict=True) if u and not math.isnan(v))
        assert nulls.headline(listed).value == largest


def test_start_of_training() -> None:
    rng = np.random.default_rng(4)
    start = rng.normal(size=(3, 8, 5))
    found = nulls.step_zero(torch.tensor(start))
    observed = [oracle.mean_max_cos(a, b) for a, b in combinations(start, 2)]
    assert found.observed == close(float(np.mean(observed)))
    assert found.expected == close(oracle.expected_max_cos(8, 5), 1e-4)
    assert found.ok == (abs(found.observed - found.expected) <= found.tolerance)


# -- seeds ----------------------------------------------------------------------------------------


def symmetric(n_seeds: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(size=(n_seeds, n_seeds))
    return (values + values.T) / 2


@pytest.mark.parametrize("n_seeds", [3, 4, 5, 6, 7, 10])
@pytest.mark.parametrize("seed", range(4))
def test_jackknife(n_seeds: int, seed: int) -> None:
    pairs = symmetric(n_seeds, seed)
    ours = uncertainty.jackknife_pairs(pairs)
    theirs = oracle.jackknife(lambda seeds: oracle.pair_mean(pairs, seeds), n_seeds)
    assert (ours.value, ours.se, ours.low, ours.high) == close(theirs, 1e-6)
    chosen = list(range(0, n_seeds, 2))
    assert uncertainty.pair_mean(pairs, chosen) == close(oracle.pair_mean(pairs, chosen))


@pytest.mark.parametrize("n_seeds", [3, 4, 5])
def test_bootstrap(n_seeds: int) -> None:
    pairs = symmetric(n_seeds, n_seeds)
    mean, sd = oracle.bootstrap_moments(pairs)
    drawn = uncertainty.seed_bootstrap(pairs, draws=20_000)
    assert drawn.mean() == pytest.approx(mean, abs=5 * sd / math.sqrt(20_000))
    assert drawn.std() == pytest.approx(sd, rel=0.03)


def test_verdict() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        value, half = rng.uniform(-0.5, 1.0), abs(rng.normal() * 0.2)
        value = value if rng.random() > 0.05 else math.nan
        low, high = value - half, value + half
        assert uncertainty.verdict(value, (low, high)) == oracle.verdict(value, low, high)
    for edge in (0.0, 0.2, 0.6):
        assert uncertainty.verdict(edge, (edge, edge)) == oracle.verdict(edge, edge, edge)


def test_spread() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 5):
        values = rng.normal(size=n).tolist()
        found = uncertainty.spread([*values, math.nan])
        assert found["mean"] == pytest.approx(sum(values) / n)
        squares = sum((v - sum(values) / n) ** 2 for v in values)
        assert found["sd"] == (pytest.approx(math.sqrt(squares / (n - 1))) if n > 1 else None)


@pytest.mark.parametrize(("n_seeds", "seed"), [(3, 0), (3, 1), (3, 2), (4, 3), (4, 4), (5, 5)])
def test_a_whole_measurement(n_seeds: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Observed, N3, kappa, its joint jackknife, verdict and per-feature stability, from raw rows."""
    monkeypatch.setattr(
        nulls, "MIN_ROWS", 1
    )  # N0 to N2 are not asked here; 1,600 draws would be slow
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(5, 6))
    noise = (0.2, 0.6, 1.5)[seed % 3]
    real = truth + noise * rng.normal(size=(n_seeds, 5, 6))
    fake = rng.normal(size=(n_seeds, 5, 6)) * [3, 3, 1, 1, 1, 1]
    real[0, 2] = 0
    # Twins with fewer features would be raised (`twin_counts`); these have as many or more.
    live, fake_live = rng.random((n_seeds, 5)) < 0.8, np.ones((n_seeds, 5), dtype=bool)
    live[:, 1] = True
    found = stability.measure_stability(
        torch.tensor(real),
        torch.tensor(live),
        activation_covariance_DD=None,
        initial_SFD=None,
        surrogate_SFD=torch.tensor(fake),
        surrogate_live_SF=torch.tensor(fake_live),
        dependence="so that N3 alone is the null",
    )
    metrics = {
        "mean_max_cos": oracle.mean_max_cos,
        "matched_mcc": oracle.matched_mcc,
        "shared_fraction@0.5": lambda a, b: oracle.shared_fraction(a, b, 0.5),
        "shared_fraction@0.7": lambda a, b: oracle.shared_fraction(a, b, 0.7),
    }
    for subset in ("all", "live"):
        rows = [x if subset == "all" else x[m] for x, m in zip(real, live, strict=True)]
        twin = [x if subset == "all" else x[m] for x, m in zip(fake, fake_live, strict=True)]
        for name, metric in metrics.items():
            pairs, null = (
                [
                    [metric(a, b) if i != j else math.nan for j, b in enumerate(group)]
                    for i, a in enumerate(group)
                ]
                for group in (rows, twin)
            )
            ours = found.agreement(name, subset)

            def corrected(seeds: list[int], pairs: list = pairs, null: list = null) -> float:
                return oracle.kappa(oracle.pair_mean(pairs, seeds), oracle.pair_mean(null, seeds))

            value, _, low, high = oracle.jackknife(corrected, n_seeds)
            everyone = range(n_seeds)
            assert ours.n_per_seed == tuple(len(oracle.nonzero(x)) for x in rows)
            assert ours.observed == close(oracle.pair_mean(pairs, everyone))
            assert (ours.null_name, ours.null) == ("N3", close(oracle.pair_mean(null, everyone)))
            assert (ours.kappa, ours.ci_low, ours.ci_high) == close((value, low, high), 1e-5)
            flat = high - low < 1e-9 and 0 < value < 1 - 1e-9
            assert ours.verdict == ("undetermined" if flat else oracle.verdict(value, low, high))
    check_features(found.features, real)


def check_features(found: FeatureAgreement, real: np.ndarray) -> None:
    for s in range(len(real)):
        expected = oracle.feature_stability(list(real), s)
        np.testing.assert_allclose(found.stability[s], expected, atol=1e-9)
        for t in range(len(real)):
            if s != t:
                for i in oracle.nonzero(real[s]):
                    at = oracle.nonzero(real[t])
                    row = [oracle.cosine(real[s][i], real[t][j]) for j in at]
                    ordered = sorted(row, reverse=True)
                    assert found.best[s, t, i] == close(ordered[0])
                    assert found.runner_up[s, t, i] == close(ordered[1])
                    assert found.partner[s, t, i] == at[row.index(max(row))]
                    p = oracle.max_cos_p(ordered[0], len(at), 6)
                    assert found.p_isotropic[s, t, i] == close(p, 2e-3)


def test_per_feature_chance_in_the_effective_dimensions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nulls, "MIN_ROWS", 1)
    rng = np.random.default_rng(8)
    rows, sigma = rng.normal(size=(3, 6, 5)), random_covariance(5, 8)
    found = stability.measure_stability(
        torch.tensor(rows),
        None,
        activation_covariance_DD=torch.tensor(sigma),
        initial_SFD=None,
    ).features
    rank = oracle.entropy_rank(np.linalg.eigvalsh(sigma))
    best = max(oracle.cosine(rows[0][2], other) for other in rows[1])
    assert found.p_effective[0, 1, 2] == close(oracle.max_cos_p(best, 6, rank), 2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_explained_variance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(17, 4)) + 10
    guess = x + rng.normal(size=x.shape) * rng.uniform(0, 2)
    ours = explained_variance(torch.tensor(x), torch.tensor(guess))
    assert ours == close(oracle.explained_variance(x, guess))
